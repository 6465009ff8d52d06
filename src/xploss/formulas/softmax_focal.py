"""Focal loss of softmax(logits): value, slope and the diagonal of the Hessian.

With the masses y_j, the probabilities p_j, q_j = 1 - p_j and c_j = -log(p_j),

    F = sum y_j q_j**gamma c_j.

By a logit, dc_j/dx_i = p_i - d_ij and dp_j/dx_i = p_j (d_ij - p_i), d_ij being 1 at
j = i alone, so that

    dF/dx_i = p_i * sum of h_j - h_i,   h_j = y_j q_j**gamma (1 + gamma p_j c_j / q_j):

the slope of the cross-entropy (`softmax.py`) whose masses are h, which are >= 0, and
nothing cancels.  The power is taken in log space; q_k of the largest is r / (1 + r),
and c_k / q_k goes to 1 where both go to 0.

A logit moves h_j as dh_j/dx_i = -k_j (d_ij - p_i), with k_j = -p_j dh_j/dp_j, so that

    d2F/dx_i2 = p_i q_i * sum of h_j + p_i**2 * sum of k_j but k_i + k_i q_i**2
    k_j q_j   = y_j gamma p_j q_j**gamma (2 - c_j + (gamma - 1) p_j c_j / q_j).

The last has no q_j in a denominator, and k_j is that divided by q_j: what p_i**2 leaves
of it is finite, as p_i is at most the q_j of another class.  The loss is not convex,
and these terms differ in sign.

Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
"""

from typing import Any, NamedTuple

from .class_masses import (
    Label,
    by_class_weight,
    by_label,
    by_smoothing,
    class_masses,
)
from .masses import times
from .record import Array, Formula, Scalar
from .softmax import Row, complements, probabilities, row, slope_of


class Focus(NamedTuple):
    row: Row
    gamma: Scalar
    power: Array  # q**gamma
    log_complement: Array  # log(q), 0 where q is 0
    cost: Array  # c
    rate: Array  # p c / q

    def loss(self, xp: Any) -> Array:
        """q**gamma c, of a unit of mass of each class."""
        return times(xp, self.power, self.cost)


def focus(xp: Any, logits: Array, gamma: Scalar) -> Focus:
    f = row(xp, logits)
    p = probabilities(xp, f)
    rest = complements(xp, f, p)
    none = rest == 0.0
    some = xp.where(none, 1.0, rest)
    log_complement = xp.log(some)
    power = xp.where(none & (gamma * some > 0.0), 0.0, xp.exp(gamma * log_complement))
    cost = f.gap + f.log_sum(xp)
    rate = xp.where(none, 1.0, times(xp, p, cost) / some)
    return Focus(f, gamma, power, log_complement, cost, rate)


def loss_of(xp: Any, f: Focus, masses: Array) -> Array:
    """F."""
    return xp.class_sum(times(xp, masses, f.loss(xp)))


def focal_slope_of(xp: Any, f: Focus, masses: Array) -> Array:
    """dF/dx, of the cross-entropy by the masses h."""
    weighed = masses * f.power * (1.0 + f.gamma * f.rate)
    return slope_of(xp, f.row, Label(weighed), None)


def focal_curvature_of(xp: Any, f: Focus, masses: Array) -> Array:
    """d2F/dx2, of a class by its own logit."""
    p = probabilities(xp, f.row)
    rest = complements(xp, f.row, p)
    total = xp.class_sum(masses * f.power * (1.0 + f.gamma * f.rate))
    bend = 2.0 + (f.gamma - 1.0) * f.rate
    # p c is 0 where p is.
    push = f.gamma * f.power * (p * bend - times(xp, p, f.cost))
    apart = masses * push
    by_rest = xp.where(rest == 0.0, 0.0, apart / xp.where(rest == 0.0, 1.0, rest))
    others = xp.class_sum(by_rest) - by_rest
    of_top = xp.class_sum(xp.where(f.row.top, 0.0, by_rest))
    others = xp.where(f.row.top, of_top, others)
    # p**2 alone would underflow.
    return p * rest * total + p * times(xp, p, others) + apart * rest


# ---- the record --------------------------------------------------------------------
#
# What follows the logits is (labels, numbers, class_weights, smoothing, gamma).


def parts(xp: Any, logits: Array, *options: Any) -> tuple[Focus, Array]:
    *label, gamma = options
    return focus(xp, logits, gamma), class_masses(xp, logits, *label)


def value(xp: Any, logits: Array, *options: Any) -> Array:
    """F of a row."""
    return loss_of(xp, *parts(xp, logits, *options))


def slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dF/dx."""
    return focal_slope_of(xp, *parts(xp, logits, *options))


def value_and_slope(xp: Any, logits: Array, *options: Any) -> tuple[Array, Array]:
    """(F, dF/dx) from one exponential and one logarithm."""
    made = parts(xp, logits, *options)
    return loss_of(xp, *made), focal_slope_of(xp, *made)


def slope_and_curvature(xp: Any, logits: Array, *options: Any) -> tuple[Array, Array]:
    """(dF/dx, the diagonal of the Hessian) from one exponential and one logarithm."""
    made = parts(xp, logits, *options)
    return focal_slope_of(xp, *made), focal_curvature_of(xp, *made)


# ---- by the other arguments --------------------------------------------------------


def label_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dF/dy = w (1 - s) q**gamma c."""
    loss = focus(xp, logits, options[4]).loss(xp)
    return by_label(xp, loss, *options[2:4])


def gamma_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dF/dgamma, class by class: y q**gamma log(q) c."""
    f, masses = parts(xp, logits, *options)
    return times(xp, masses, times(xp, f.power * f.log_complement, f.cost))


def class_weights_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dF/dw, class by class: (y (1 - s) + s / C) q**gamma c."""
    loss = focus(xp, logits, options[4]).loss(xp)
    return by_class_weight(xp, loss, logits, *options[:4])


def smoothing_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dF/ds, class by class: w (1 / C - y) q**gamma c."""
    loss = focus(xp, logits, options[4]).loss(xp)
    return by_smoothing(xp, loss, logits, *options[:3])


SOFTMAX_FOCAL = Formula(
    traced=("logits", "labels", "numbers", "class_weights", "smoothing", "gamma"),
    value=value,
    value_and_slope=value_and_slope,
    slope_and_curvature=slope_and_curvature,
    slopes={
        "logits": slope,
        "labels": label_slope,
        "gamma": gamma_slope,
        "class_weights": class_weights_slope,
        "smoothing": smoothing_slope,
    },
    neutral={"class_weights": 1.0, "smoothing": 0.0},
    per_row=("numbers", "smoothing", "gamma"),
)
