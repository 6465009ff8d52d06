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
    """Masses; or, where a class has all of it, that class's number."""

    masses: Array | None
    numbers: Array | None
    total: Array | float  # of a number 1, or NaN where no class has it

    def hot(self, xp: Any, like: Array) -> Array:
        """At the class of the number."""
        return xp.class_index(like) == self.numbers

    def sum(self, xp: Any) -> Array | float:
        return self.total if self.masses is None else xp.class_sum(self.masses)


def label_of(
    xp: Any,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
) -> Label:
    if numbers is None or class_weights is not None or smoothing is not None:
        masses = class_masses(xp, logits, labels, numbers, class_weights, smoothing)
        return Label(masses, None, 1.0)
    there = (numbers >= 0.0) & (numbers <= xp.classes(logits) - 1.0)
    return Label(None, numbers, xp.where(there, 0.0 * numbers + 1.0, float("nan")))


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
    index = xp.class_index(logits)
    ones = xp.ones_like(logits)
    there = (numbers >= 0.0) & (numbers <= xp.classes(logits) - 1.0)
    return xp.where(
        index == numbers, ones, xp.where(there, 0.0 * numbers, float("nan"))
    )


def smoothed(xp: Any, logits: Array, masses: Array, smoothing: Scalar) -> Array:
    if smoothing is None:
        return masses
    return masses * (1.0 - smoothing) + smoothing / xp.classes(logits)


# ---- derivatives, of what a unit of a class's mass costs ---------------------------


def by_label(
    xp: Any, cost: Array, class_weights: Array | None, smoothing: Scalar
) -> Array:
    """w (1 - s) cost."""
    left = cost if smoothing is None else times(xp, 1.0 - smoothing, cost)
    return left if class_weights is None else times(xp, class_weights, left)


def by_smoothing(
    xp: Any, cost: Array, logits: Array, masses: Array, class_weights: Array | None
) -> Array:
    """w (1 / C - y) cost."""
    moved = times(xp, 1.0 / xp.classes(logits) - masses, cost)
    return moved if class_weights is None else times(xp, class_weights, moved)
