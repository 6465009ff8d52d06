"""Mass of the positive and of the negative class, of which a label gives to both.

A label y gives pos = y and neg = 1 - y.  Smoothing s moves both towards 1/2, and a
positive-class weight w scales pos:

    pos = w * (y*(1-s) + s/2),  neg = (1-y)*(1-s) + s/2.
"""

from typing import Any

from .record import Array, Scalar


def masses(labels: Array, smoothing: Scalar) -> tuple[Array, Array]:
    """(pos, neg), before any weight.

    Both are written out, since 1 - pos loses a small neg to rounding.
    """
    pos, neg = labels, 1.0 - labels
    if smoothing is not None:
        pos = pos * (1.0 - smoothing) + smoothing / 2.0
        neg = neg * (1.0 - smoothing) + smoothing / 2.0
    return pos, neg


def by_label(part: Array, smoothing: Scalar) -> Array:
    """A derivative by pos becomes one by the label, of which smoothing leaves 1 - s."""
    return part if smoothing is None else (1.0 - smoothing) * part


def by_smoothing(xp: Any, part: Array, labels: Array) -> Array:
    """A derivative by pos becomes one by s, which moves pos by 1/2 - y, neg back."""
    return times(xp, 0.5 - labels, part)


def times(xp: Any, factor: Array, part: Array) -> Array:
    """factor * part, where 0 * inf is 0.

    Masking the part, not the product, keeps a finite one's derivative by the factor.
    """
    return factor * xp.where((factor == 0.0) & xp.isinf(part), 0.0, part)


def no_mass(xp: Any, mass: Array, weight: Any) -> Array:
    """Where a mass is 0 once it is weighed; of both, as their product may underflow."""
    none = mass == 0.0
    return none if weight is None else weight * xp.where(none, mass, 1.0) == 0.0
