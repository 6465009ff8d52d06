"""Cross-entropy of softmax(logits): value, slope and the diagonal of the Hessian.

With k the first of the largest logits of a row, m = x_k, and the masses y_j that the
label gives to the classes (`class_masses.py`), t = sum of y_j,

    L = sum y_j (logsumexp(x) - x_j).

Take each logit from the largest:

    gap_j = m - x_j                 0 at k
    e_j   = exp(-gap_j)             of j other than k
    r     = sum e_j                 exp(-m) * sum exp(x_j) is 1 + r
    L     = sum y_j gap_j + t * log1p(r)

Every term is >= 0, so nothing cancels, and the loss of a confident answer, which is r,
keeps its digits: the 1 of class k is never added to it.  With p_j = e_j / (1 + r),
1 / (1 + r) at k, and rest = the mass of all classes but k,

    dL/dx_j   = t p_j - y_j         at k, if r <= 1: rest - t * r / (1 + r)
    d2L/dx_j2 = t p_j (1 - p_j)     1 - p_k = r / (1 + r)
    dL/dy_j   = gap_j + log1p(r)

The exponential is of the difference as it is, not as it is rounded, which would be as
much as gap_j / 2 units (`difference.py`).

The largest logit is picked by its number: for a fixed k the lines are the loss of every
x, so differentiating them is right to every order, at ties too.  Of a `max` it is not,
nor of one that is taken for a constant.

Where r is more than 1, k is as unsure as the others, and its slope is written as
theirs: t r / (1 + r) is then more than half of t, and the difference to the rest
cancels.

Why not another form (worst error in units in the last place at finite logits, of hard
and of soft labels; then wrong results of 18 at infinite logits):

                                       float32             float64
    -y * log_softmax(x)                1.7e7  9.6e5        9e15  1e14      8
    logsumexp(x) - x_j                 1.7e7               9e15            4 (of 11)
    this one, gap as it is rounded     33     2.8          496   2.3       0
    this one                           2.9    2.3          1.8   1.7       0

Source: the pivot is in Blanchard, Higham and Higham, "Accurately computing the
log-sum-exp and softmax functions", 2021.
"""

from typing import Any, NamedTuple

from . import softmax_of_class as of_class
from .class_masses import (
    Label,
    by_class_weight,
    by_label,
    by_smoothing,
    given,
    label_of,
)
from .masses import times
from .record import Array, Formula, Scalar


class Row(NamedTuple):
    """A row of logits seen from its largest."""

    logits: Array
    number: Array  # k
    top: Array  # at k alone
    largest: Array  # m
    gap: Array
    exponential: Array  # e
    others: Array  # r

    def log_sum(self, xp: Any) -> Array:
        """log(1 + r): how far logsumexp(x) is above the largest."""
        return xp.log1p(self.others)

    def gap_at(self, xp: Any, number: Array) -> Array:
        """Of one class."""
        gap = self.largest - xp.pick(self.logits, number)
        return xp.where(xp.same_class(self.number, number), 0.0, gap)


def row(
    xp: Any,
    logits: Array,
    differentiable: bool = True,
    statistic: tuple[Array, Array] | None = None,
) -> Row:
    """`differentiable` at infinities, of which no NaN may reach a derivative; with the
    `statistic` of the row, (k, r), where that is known."""
    number, others = (xp.argmax(logits), None) if statistic is None else statistic
    top = xp.is_class(logits, number)
    largest = xp.pick(logits, number)
    # At k it is 0 where m is infinite too.
    gap = xp.where(top, 0.0, largest - logits)
    if differentiable:
        exponential = xp.differentiable_exp_of_difference(logits, largest, top)
    else:
        exponential = xp.where(top, 0.0, xp.exp_of_difference(logits, largest))
    if others is None:
        others = xp.class_sum(exponential)
    return Row(logits, number, top, largest, gap, exponential, others)


def loss_of(xp: Any, f: Row, label: Label, z: Scalar) -> Array:
    """L, and z * logsumexp(x)**2 beside it."""
    if label.masses is None:
        result = f.gap_at(xp, label.number) + label.of_number * f.log_sum(xp)
    else:
        total = label.total(xp)
        result = xp.class_sum(times(xp, label.masses, f.gap)) + total * f.log_sum(xp)
    return result if z is None else result + times(xp, z, square(log_sum_exp_of(xp, f)))


def log_sum_exp_of(xp: Any, f: Row) -> Array:
    """m + log(1 + r)."""
    return f.largest + f.log_sum(xp)


def square(x: Array) -> Array:
    return x * x


def probabilities(xp: Any, f: Row) -> Array:
    """p."""
    return xp.where(f.top, 1.0, f.exponential) * (1.0 / (1.0 + f.others))


def complements(xp: Any, f: Row, p: Array) -> Array:
    """1 - p, of which that of k would cancel."""
    return xp.where(f.top, f.others / (1.0 + f.others), 1.0 - p)


def slope_of(xp: Any, f: Row, label: Label, z: Scalar) -> Array:
    """t p_j - y_j, at a sure k rest - t r / (1 + r); and 2 z logsumexp(x) p_j.

    Of all mass on one class that is p_j - 1 there, which is -(1 - p_j), else p_j.
    """
    p = probabilities(xp, f)
    if label.masses is None:
        result = xp.where(label.hot(xp, p), -complements(xp, f, p), p) * label.of_number
    else:
        total = label.total(xp)
        rest = xp.class_sum(xp.where(f.top, 0.0, label.masses))
        at_top = rest - total * (f.others / (1.0 + f.others))
        sure = f.top & (f.others <= 1.0)
        result = xp.where(sure, at_top, total * p - label.masses)
    if z is None:
        return result
    return result + times(xp, p, times(xp, 2.0 * z, log_sum_exp_of(xp, f)))


def curvature_of(xp: Any, f: Row, label: Label, z: Scalar) -> Array:
    """t p (1 - p); and 2 z (p**2 + logsumexp(x) p (1 - p))."""
    p = probabilities(xp, f)
    variance = p * complements(xp, f, p)
    result = label.total(xp) * variance
    if z is None:
        return result
    push = times(xp, variance, times(xp, 2.0 * z, log_sum_exp_of(xp, f)))
    return result + 2.0 * z * (p * p) + push


def product_of(xp: Any, f: Row, label: Label, z: Scalar, vector: Array) -> Array:
    """t (diag(p) - p p') v.

    v moves all logits of a row alike where it is constant, which changes nothing: with
    u = v - v_k and s = sum of p_j u_j it is t p_j (u_j - s), at k -t p_k s, and no
    digit of p v_k, which is large, is left.
    """
    p, total = probabilities(xp, f), label.total(xp)
    of_top = xp.class_sum(xp.where(f.top, vector, 0.0))
    apart = xp.where(f.top, 0.0, vector - of_top)
    mean = xp.class_sum(p * apart)
    covariance = p * (apart - mean)
    if z is None:
        return total * covariance
    push = times(xp, covariance, times(xp, 2.0 * z, log_sum_exp_of(xp, f)))
    return total * covariance + 2.0 * z * (p * (of_top + mean)) + push


# ---- the record --------------------------------------------------------------------
#
# What follows the logits is (labels, numbers, class_weights, smoothing, z).


def parts(
    xp: Any,
    logits: Array,
    *options: Any,
    differentiable: bool = True,
    statistic: tuple[Array, Array] | None = None,
) -> tuple[Row, Label, Scalar]:
    """The row, the label's masses, and z."""
    *label, z = options
    f = row(xp, logits, differentiable, statistic)
    return f, label_of(xp, logits, *label), z


def is_of_class(options: tuple[Any, ...], differentiable: bool) -> bool:
    """Whether `softmax_of_class.py` has it."""
    _, numbers, *others = options[:5]
    alone = all(option is None for option in others)
    return alone and numbers is not None and not differentiable


def value(xp: Any, logits: Array, *options: Any, differentiable: bool = True) -> Array:
    """L of a row."""
    if is_of_class(options, differentiable):
        return of_class.loss_of(xp, of_class.row(xp, logits, options[1]))
    return loss_of(xp, *parts(xp, logits, *options, differentiable=differentiable))


def slope(xp: Any, logits: Array, *options: Any, differentiable: bool = True) -> Array:
    """dL/dx."""
    if is_of_class(options, differentiable):
        return of_class.slope_of(xp, of_class.row(xp, logits, options[1]))
    return slope_of(xp, *parts(xp, logits, *options, differentiable=differentiable))


def value_and_slope(
    xp: Any, logits: Array, *options: Any, differentiable: bool = True
) -> tuple[Array, Array]:
    """(L, dL/dx) from one exponential."""
    if is_of_class(options, differentiable):
        f = of_class.row(xp, logits, options[1])
        return of_class.loss_of(xp, f), of_class.slope_of(xp, f)
    made = parts(xp, logits, *options, differentiable=differentiable)
    return loss_of(xp, *made), slope_of(xp, *made)


def value_and_statistic(
    xp: Any, logits: Array, *options: Any, differentiable: bool = False
) -> tuple[Array, Array, Array]:
    """(L, k, r); or (L, m, r), where the label is a class alone."""
    if is_of_class(options, differentiable):
        f = of_class.row(xp, logits, options[1])
        return of_class.loss_of(xp, f), f.largest, f.others
    made = parts(xp, logits, *options, differentiable=differentiable)
    return loss_of(xp, *made), made[0].number, made[0].others


def slope_by_statistic(
    xp: Any, logits: Array, *arguments: Any, differentiable: bool = False
) -> Array:
    """dL/dx from (*options, *statistic), which is that of `value_and_statistic`."""
    options, known = arguments[:-2], arguments[-2:]
    if is_of_class(options, differentiable):
        return of_class.slope_of(xp, of_class.row(xp, logits, options[1], known))
    made = parts(xp, logits, *options, differentiable=differentiable, statistic=known)
    return slope_of(xp, *made)


def slope_and_curvature(xp: Any, logits: Array, *options: Any) -> tuple[Array, Array]:
    """(dL/dx, the diagonal of the Hessian) from one exponential."""
    made = parts(xp, logits, *options)
    return slope_of(xp, *made), curvature_of(xp, *made)


def hessian_product(xp: Any, logits: Array, *options: Any) -> Array:
    """The whole Hessian, of a row, times a vector, which is the last of the options."""
    *options_of_loss, vector = options
    return product_of(xp, *parts(xp, logits, *options_of_loss), vector)


# ---- by the other arguments --------------------------------------------------------


def cost(xp: Any, logits: Array) -> Array:
    """gap + log(1 + r), of a unit of mass of each class: -log(p)."""
    f = row(xp, logits)
    return f.gap + f.log_sum(xp)


def label_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dL/dy = w (1 - s) (gap + log(1 + r))."""
    return by_label(xp, cost(xp, logits), *options[2:4])


def class_weights_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dL/dw, class by class: (y (1 - s) + s / C) (gap + log(1 + r))."""
    return by_class_weight(xp, cost(xp, logits), logits, *options[:4])


def smoothing_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dL/ds, class by class: w (1 / C - y) (gap + log(1 + r))."""
    return by_smoothing(xp, cost(xp, logits), logits, *options[:3])


def z_slope(xp: Any, logits: Array, *options: Any) -> Array:
    """dL/dz = logsumexp(x)**2, at one of the classes."""
    f = row(xp, logits)
    return xp.where(f.top, square(log_sum_exp_of(xp, f)), 0.0)


SOFTMAX_CROSS_ENTROPY = Formula(
    traced=("logits", "labels", "numbers", "class_weights", "smoothing", "z"),
    value=value,
    value_and_slope=value_and_slope,
    slope_and_curvature=slope_and_curvature,
    slopes={
        "logits": slope,
        "labels": label_slope,
        "class_weights": class_weights_slope,
        "smoothing": smoothing_slope,
        "z": z_slope,
    },
    static=("differentiable",),
    hessian_product=hessian_product,
    together=(("class_weights", "smoothing", "z"),),
    neutral={"class_weights": 1.0, "smoothing": 0.0, "z": 0.0},
    per_row=("numbers", "smoothing", "z"),
    value_and_statistic=value_and_statistic,
    slope_by_statistic=slope_by_statistic,
)


# ---- what else is made of it ---------------------------------------------------------


def softmax(xp: Any, logits: Array, labels: None) -> Array:
    """p."""
    return probabilities(xp, row(xp, logits))


def log_softmax(xp: Any, logits: Array, labels: None) -> Array:
    """log(p)."""
    return -cost(xp, logits)


def log_sum_exp(xp: Any, logits: Array, labels: None) -> Array:
    """m + log(1 + r)."""
    return log_sum_exp_of(xp, row(xp, logits))


SOFTMAX = Formula(("logits", "labels"), softmax, per_class=True)
LOG_SOFTMAX = Formula(("logits", "labels"), log_softmax, per_class=True)
LOG_SUM_EXP = Formula(("logits", "labels"), log_sum_exp, slopes={"logits": softmax})


def row_weight(
    xp: Any,
    logits: Array,
    labels: Array | None,
    numbers: Array | None,
    class_weights: Array,
) -> Array:
    """What a weighted mean divides by: the label's class weight."""
    return xp.class_sum(class_weights * given(xp, logits, labels, numbers))


ROW_WEIGHT = Formula(SOFTMAX_CROSS_ENTROPY.traced[:4], row_weight, per_row=("numbers",))
