"""Cross-entropy of the probabilities of many classes.

With the masses y_j that the label gives to the classes (`class_masses.py`),

    L = -sum y_j log(p_j),  0 * log(0) = 0.

Probabilities are taken as they are: what does not sum to 1 is not divided by its sum.
"""

from typing import Any

from .class_masses import by_class_weight, by_label, by_smoothing, class_masses
from .probability import Clip, clip_of
from .record import Array, Formula, Scalar


def checked(xp: Any, probs: Array) -> Array:
    """p, NaN where it is none."""
    return xp.where((probs < 0.0) | (probs > 1.0), float("nan"), probs)


def logarithms(xp: Any, probs: Array, clip: Clip | None) -> Array:
    """log(p), clipped."""
    if clip is None:
        return xp.log(checked(xp, probs))
    logs = xp.log(checked(xp, clip.within(xp, probs)))
    return xp.where(clip.low, clip.log_eps, xp.where(clip.high, clip.log_rest, logs))


def with_mass(xp: Any, probs: Array, masses: Array) -> Array:
    """p where there is mass, 1 where not: 0 * log(0) = 0, and so by p."""
    return xp.where((masses == 0.0) & (probs == 0.0), 1.0, probs)


# ---- the record --------------------------------------------------------------------
#
# What follows p is (labels, numbers, class_weights, smoothing, eps, its logarithms).


def parts(xp: Any, probs: Array, *options: Any) -> tuple[Array, Array, Clip | None]:
    """The masses, p where there is some, and where it is clipped."""
    masses = class_masses(xp, probs, *options[:4])
    clip = clip_of(xp, probs, *options[4:])
    return masses, with_mass(xp, probs, masses) if clip is None else probs, clip


def loss_of(xp: Any, masses: Array, some: Array, clip: Clip | None) -> Array:
    """L."""
    return 0.0 - xp.class_sum(masses * logarithms(xp, some, clip))  # 0, not -0


def slope_of(xp: Any, masses: Array, some: Array, clip: Clip | None) -> Array:
    """-y / p; 0 where p was clipped."""
    if clip is None:
        return 0.0 - masses / checked(xp, some)
    within = checked(xp, clip.within(xp, some))
    return xp.where(clip.changed(), 0.0, 0.0 - masses / within)


def value(xp: Any, probs: Array, *options: Any) -> Array:
    """L of a row."""
    return loss_of(xp, *parts(xp, probs, *options))


def slope(xp: Any, probs: Array, *options: Any) -> Array:
    """dL/dp."""
    return slope_of(xp, *parts(xp, probs, *options))


def value_and_slope(xp: Any, probs: Array, *options: Any) -> tuple[Array, Array]:
    """(L, dL/dp)."""
    made = parts(xp, probs, *options)
    return loss_of(xp, *made), slope_of(xp, *made)


# ---- by the other arguments --------------------------------------------------------


def cost(xp: Any, probs: Array, *eps: Scalar) -> Array:
    """-log(p), of a unit of mass of each class."""
    return -logarithms(xp, probs, clip_of(xp, probs, *eps))


def label_slope(xp: Any, probs: Array, *options: Any) -> Array:
    """dL/dy = -w (1 - s) log(p)."""
    return by_label(xp, cost(xp, probs, *options[4:]), *options[2:4])


def class_weights_slope(xp: Any, probs: Array, *options: Any) -> Array:
    """dL/dw, class by class: -(y (1 - s) + s / C) log(p)."""
    return by_class_weight(xp, cost(xp, probs, *options[4:]), probs, *options[:4])


def smoothing_slope(xp: Any, probs: Array, *options: Any) -> Array:
    """dL/ds, class by class: -w (1 / C - y) log(p)."""
    return by_smoothing(xp, cost(xp, probs, *options[4:]), probs, *options[:3])


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
    together=(("eps", "log_eps", "log_rest"),),
    neutral={"class_weights": 1.0, "smoothing": 0.0},
    per_row=("numbers", "smoothing", "eps", "log_eps", "log_rest"),
)  # fmt: skip
