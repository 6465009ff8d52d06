"""The masses of the classes that a label gives, a row at a time.

A label is a row of masses y_j, or the number of a class, which has all of it.
Smoothing s moves them towards 1/C, and class weights w scale them after that, as
PyTorch does it:

    mass_j = w_j * (y_j * (1 - s) + s / C).
"""

from typing import Any, NamedTuple

from .masses import times
from .record import Array, Scalar


class Label(NamedTuple):
    """Masses; or, where one class has all of it, that class's number."""

    masses: Array | None
    number: Array | None = None
    of_number: Array | float = 1.0  # 1, or NaN of a number that no class has

    def hot(self, xp: Any, like: Array) -> Array:
        """At the class of the number."""
        return xp.is_class(like, self.number)

    def total(self, xp: Any) -> Array | float:
        return self.of_number if self.masses is None else xp.class_sum(self.masses)


def label_of(
    xp: Any,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
) -> Label:
    """As masses only where they have to be made."""
    if numbers is None or class_weights is not None or smoothing is not None:
        return Label(
            class_masses(xp, logits, labels, numbers, class_weights, smoothing)
        )
    return Label(None, numbers, one_or_nan(xp, logits, numbers))


def one_or_nan(xp: Any, logits: Array, numbers: Array) -> Array:
    """1 of the number of a class, NaN of another."""
    there = (numbers >= 0.0) & (numbers <= xp.class_count(logits) - 1.0)
    return xp.where(there, 0.0 * numbers + 1.0, float("nan"))


def class_masses(
    xp: Any,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
) -> Array:
    """Of masses, or of numbers of classes."""
    masses = smoothed(xp, logits, given(xp, logits, labels, numbers), smoothing)
    return masses if class_weights is None else class_weights * masses


def given(xp: Any, logits: Array, labels: Array | None, numbers: Array | None) -> Array:
    """As the label has them: of a number that no class has, NaN."""
    if numbers is None:
        return labels
    hot = xp.where(xp.is_class(logits, numbers), xp.ones_like(logits), 0.0)
    return hot * one_or_nan(xp, logits, numbers)


def smoothed(xp: Any, logits: Array, masses: Array, smoothing: Scalar) -> Array:
    if smoothing is None:
        return masses
    return masses * (1.0 - smoothing) + smoothing / xp.class_count(logits)


# ---- derivatives, of what a unit of a class's mass costs ---------------------------


def by_label(
    xp: Any, cost: Array, class_weights: Array | None, smoothing: Scalar
) -> Array:
    """w (1 - s) cost."""
    left = cost if smoothing is None else times(xp, 1.0 - smoothing, cost)
    return left if class_weights is None else times(xp, class_weights, left)


def by_class_weight(
    xp: Any,
    cost: Array,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
) -> Array:
    """(y (1 - s) + s / C) cost, class by class."""
    masses = smoothed(xp, logits, given(xp, logits, labels, numbers), smoothing)
    return times(xp, masses, cost)


def by_smoothing(
    xp: Any,
    cost: Array,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
) -> Array:
    """w (1 / C - y) cost, class by class."""
    moved = 1.0 / xp.class_count(logits) - given(xp, logits, labels, numbers)
    part = times(xp, moved, cost)
    return part if class_weights is None else times(xp, class_weights, part)
