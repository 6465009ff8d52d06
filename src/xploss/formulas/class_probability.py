"""Cross-entropy of the probabilities of many classes.

With the masses y_j that the label gives to the classes (`class_masses.py`),

    L = -sum y_j log(p_j),  0 * log(0) = 0.

Probabilities are taken as they are: what does not sum to 1 is not divided by its sum.
"""

from typing import Any

from .class_masses import by_label, by_smoothing, class_masses, given
from .masses import times
from .probability import Clip, clip_of
from .record import Array, Formula, Scalar


def logarithms(xp: Any, probs: Array, clip: Clip | None) -> Array:
    """log(p), clipped; NaN above 1, as below 0."""
    within = probs if clip is None else clip.within(xp, probs)
    logs = xp.log(xp.where(within > 1.0, float("nan"), within))
    if clip is None:
        return logs
    return xp.where(clip.low, clip.log_eps, xp.where(clip.high, clip.log_rest, logs))


def with_mass(xp: Any, probs: Array, masses: Array) -> Array:
    """p where there is mass, 1 where not: 0 * log(0) = 0, and so by p."""
    return xp.where((masses == 0.0) & (probs == 0.0), 1.0, probs)


def value(
    xp: Any,
    probs: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
    eps: Scalar,
    log_eps: Scalar,
    log_rest: Scalar,
) -> Array:
    """L of a row."""
    masses = class_masses(xp, probs, labels, numbers, class_weights, smoothing)
    clip = clip_of(xp, probs, eps, log_eps, log_rest)
    some = with_mass(xp, probs, masses) if clip is None else probs
    logs = logarithms(xp, some, clip)
    return 0.0 - xp.class_sum(masses * logs)  # 0, not -0


def slope(
    xp: Any,
    probs: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
    eps: Scalar,
    log_eps: Scalar,
    log_rest: Scalar,
) -> Array:
    """dL/dp = -y / p; 0 where p was clipped."""
    masses = class_masses(xp, probs, labels, numbers, class_weights, smoothing)
    clip = clip_of(xp, probs, eps, log_eps, log_rest)
    within = probs if clip is None else clip.within(xp, probs)
    some = with_mass(xp, xp.where(within > 1.0, float("nan"), within), masses)
    result = 0.0 - masses / xp.where(some < 0.0, float("nan"), some)
    return result if clip is None else xp.where(clip.changed(), 0.0, result)


def value_and_slope(xp: Any, probs: Array, *arguments: Any) -> tuple[Array, Array]:
    """(L, dL/dp)."""
    return value(xp, probs, *arguments), slope(xp, probs, *arguments)


# ---- by the other arguments --------------------------------------------------------


def label_slope(
    xp: Any,
    probs: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
    *eps: Scalar,
) -> Array:
    """dL/dy = -w (1 - s) log(p)."""
    cost = -logarithms(xp, probs, clip_of(xp, probs, *eps))
    return by_label(xp, cost, class_weights, smoothing)


def class_weights_slope(
    xp: Any,
    probs: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
    *eps: Scalar,
) -> Array:
    """dL/dw, class by class: -(y (1 - s) + s / C) log(p)."""
    masses = class_masses(xp, probs, labels, numbers, None, smoothing)
    return times(xp, masses, -logarithms(xp, probs, clip_of(xp, probs, *eps)))


def smoothing_slope(
    xp: Any,
    probs: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array | None,
    smoothing: Scalar,
    *eps: Scalar,
) -> Array:
    """dL/ds, class by class: -w (1 / C - y) log(p)."""
    cost = -logarithms(xp, probs, clip_of(xp, probs, *eps))
    masses = given(xp, probs, labels, numbers)
    return by_smoothing(xp, cost, probs, masses, class_weights)


CATEGORICAL = Formula(
    traced=(
        "probs", "labels", "numbers", "class_weights", "smoothing", "eps", "log_eps",
        "log_rest",
    ),
    value=value,
    value_and_slope=value_and_slope,
    slopes={
        "probs": slope,
        "labels": label_slope,
        "class_weights": class_weights_slope,
        "smoothing": smoothing_slope,
    },
)  # fmt: skip
