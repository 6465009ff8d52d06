"""The focal loss: cross-entropy of logits, times how improbable the label was.

With L and the fold of `sigmoid.py`, pos + neg = 1, and p_t = pos * p + neg * (1 - p),

    F = alpha_t * (1 - p_t)**gamma * L,   alpha_t = alpha * pos + (1 - alpha) * neg.

With wrong = |d|, right = 1 - wrong (both from the labels),

    1 - p_t = (wrong + right * e) / (1 + e)             all terms >= 0
    r       = p_t' / (1 - p_t) = (pos - neg) * p * (1 - p) / (1 - p_t)
    r'      = r * (1 - 2p) + r**2

and so, P = (1 - p_t)**gamma being taken in log space, never of a rounded probability,

    F'  = alpha_t * P * (L' - gamma * r * L)
    F'' = alpha_t * P * (L'' - 2 * gamma * r * L'
                         + gamma * r * ((gamma - 1) * r - (1 - 2p)) * L).

Source: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017.
"""

from typing import Any, NamedTuple

from .masses import by_label, by_smoothing, masses, times
from .record import Array, Formula, Scalar
from .sigmoid import Fold, fold, folded_curvature, folded_slope, folded_value


class Focus(NamedTuple):
    """What value and derivatives share."""

    fold: Fold
    gamma: Array | float
    log_power: Array  # log(1 - p_t)
    power: Array  # (1 - p_t)**gamma
    balance: Array | None  # alpha_t, None for 1
    cross_entropy: Array  # L
    mass_difference: Array  # pos - neg
    numerator: Array  # of 1 - p_t: wrong + right * e; right where e is taken out
    decay: Array  # e; 1 where it is taken out of the numerator
    wrong: Array

    def rate(self) -> Array:
        """r"""
        return (
            self.mass_difference
            * (self.decay / self.numerator)
            / (1.0 + self.fold.decay)
        )

    def infinite(self) -> Array:
        return self.fold.xp.isinf(self.cross_entropy)

    def finite_loss(self) -> Array:
        """L where it meets r or the power: at infinity r is 0 before L is inf."""
        return self.fold.xp.where(self.infinite(), 0.0, self.cross_entropy)

    def balanced(self, part: Array) -> Array:
        """alpha_t * part."""
        return part if self.balance is None else times(self.fold.xp, self.balance, part)

    def powered(self, differentiable: bool = True) -> Array:
        """(1 - p_t)**gamma * L; a power that underflows keeps L infinite.

        At infinity the power is wrong**gamma, for derivatives written without the
        logit: the power's by it is 0 there, and 0 * inf is no number.
        """
        xp, infinite = self.fold.xp, self.infinite()
        limit = self.power
        if differentiable:
            partly = infinite & (self.wrong != 1.0)
            limit = xp.exp(self.gamma * xp.log(xp.where(partly, self.wrong, 1.0)))
        limit = xp.where(limit == 0.0, 1.0, limit)
        bounded = self.power * self.finite_loss()
        return xp.where(infinite, limit * self.cross_entropy, bounded)

    def one_minus_2p(self) -> Array:
        size = (1.0 - self.fold.decay) / (1.0 + self.fold.decay)
        return self.fold.xp.where(self.fold.positive, -size, size)


def focus(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Focus:
    pos, neg = masses(labels, smoothing)
    f = fold(xp, logits, labels, None, smoothing, differentiable)
    wrong, right = (xp.where(f.positive, a, b) for a, b in ((neg, pos), (pos, neg)))
    # Where nothing but right * e is left, and 1 / e**2 might overflow, e is taken out:
    # its logarithm is -|x|.  At infinity the loss is 0 whatever the power, which is
    # kept finite for its derivatives.
    sure = (wrong == 0.0) & (f.decay < 2.0**-60)
    magnitude = xp.where(f.positive, logits, -logits)
    taken_out = xp.where(sure & ~xp.isinf(logits), magnitude, 0.0)
    numerator = xp.where(sure, right, wrong + right * f.decay)
    log_power = xp.log(numerator) - taken_out - xp.log1p(f.decay)
    return Focus(
        f,
        gamma,
        log_power,
        power=xp.exp(gamma * log_power),
        balance=None if alpha is None else alpha * pos + (1.0 - alpha) * neg,
        cross_entropy=folded_value(logits, f, differentiable),
        mass_difference=by_label(2.0 * labels - 1.0, smoothing),
        numerator=numerator,
        decay=xp.where(sure, 1.0, f.decay),
        wrong=wrong,
    )


def value(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Array:
    """F."""
    f = focus(xp, logits, labels, gamma, alpha, smoothing, differentiable)
    return f.balanced(f.powered(differentiable))


def _slope(f: Focus) -> Array:
    return folded_slope(f.fold) - f.gamma * f.rate() * f.finite_loss()


def slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Array:
    """F', by the logit."""
    f = focus(xp, logits, labels, gamma, alpha, smoothing, differentiable)
    return f.balanced(f.power * _slope(f))


def value_and_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> tuple[Array, Array]:
    """(F, F')."""
    f = focus(xp, logits, labels, gamma, alpha, smoothing, differentiable)
    value = f.balanced(f.powered(differentiable))
    return value, f.balanced(f.power * _slope(f))


def slope_and_curvature(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> tuple[Array, Array]:
    """(F', F'')."""
    f = focus(xp, logits, labels, gamma, alpha, smoothing)
    loss_slope, rate, loss = folded_slope(f.fold), f.rate(), f.finite_loss()
    rest = gamma * rate * ((gamma - 1.0) * rate - f.one_minus_2p()) * loss
    curvature = folded_curvature(f.fold) - 2.0 * gamma * rate * loss_slope + rest
    slope = loss_slope - gamma * rate * loss
    return f.balanced(f.power * slope), f.balanced(f.power * curvature)


def hessian_product(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
    vector: Array,
) -> Array:
    """F'' v: an element's loss is of its own logit alone."""
    return slope_and_curvature(xp, logits, labels, gamma, alpha, smoothing)[1] * vector


# ---- by the other arguments --------------------------------------------------------


def gamma_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> Array:
    """dF/dgamma = log(1 - p_t) * F, which at an infinite loss is -inf, or 0 of 0 * inf.

    There 1 - p_t is wrong, of which 1 leaves nothing to weigh.
    """
    f = focus(xp, logits, labels, gamma, alpha, smoothing)
    part = f.power * f.log_power * f.finite_loss()
    limit = xp.where(f.wrong == 1.0, 0.0, -f.cross_entropy)
    return f.balanced(xp.where(f.infinite(), limit, part))


def alpha_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> Array:
    """dF/dalpha = (pos - neg) * (1 - p_t)**gamma * L."""
    f = focus(xp, logits, labels, gamma, alpha, smoothing)
    return times(xp, f.mass_difference, f.powered())


def _mass_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> Array:
    """By mass that moves to the positive class, which makes 1 - p_t grow by 1 - 2p:

    alpha_t * P * (gamma * (1 - 2p) * L / (1 - p_t) - x) + (2 * alpha - 1) * P * L

    At an infinite loss, of wrong * |x|, it is infinite like wrong**(1 + gamma) * |x|
    moves, and where x is infinite and L is not, it is 0.
    """
    f = focus(xp, logits, labels, gamma, alpha, smoothing)
    far = xp.isinf(logits)
    # Where e was taken out, L / (1 - p_t) is 1 to 2**-60.
    ratio = f.finite_loss() * (1.0 + f.fold.decay) / f.numerator
    ratio = xp.where(f.decay == f.fold.decay, ratio, 1.0)
    moved = gamma * f.one_minus_2p() * ratio - xp.where(far, 0.0, logits)
    part = f.balanced(xp.where(far, 0.0, f.power * moved))
    wrong = xp.where(f.infinite(), f.wrong, 1.0)
    rate = xp.where(f.fold.positive, -1.0 / wrong, 1.0 / wrong)  # of wrong, over wrong
    share = f.balanced((1.0 + gamma) * rate)
    if alpha is not None:
        part = part + (2.0 * alpha - 1.0) * xp.where(far, 0.0, f.powered())
        share = share + (2.0 * alpha - 1.0)
    limit = times(xp, share, xp.where(f.infinite(), f.cross_entropy, 0.0))
    return xp.where(f.infinite(), limit, part)


def label_slope(
    xp: Any, logits: Array, labels: Array, gamma: Any, alpha: Any, smoothing: Scalar
) -> Array:
    """dF/dy."""
    part = _mass_slope(xp, logits, labels, gamma, alpha, smoothing)
    return by_label(part, smoothing)


def smoothing_slope(
    xp: Any, logits: Array, labels: Array, gamma: Any, alpha: Any, smoothing: Scalar
) -> Array:
    """dF/ds."""
    part = _mass_slope(xp, logits, labels, gamma, alpha, smoothing)
    return by_smoothing(xp, part, labels)


FOCAL = Formula(
    traced=("logits", "labels", "gamma", "alpha", "smoothing"),
    value=value,
    value_and_slope=value_and_slope,
    slope_and_curvature=slope_and_curvature,
    slopes={
        "logits": slope,
        "labels": label_slope,
        "gamma": gamma_slope,
        "alpha": alpha_slope,
        "smoothing": smoothing_slope,
    },
    static=("differentiable",),
    together=(("smoothing",), ("alpha",)),
    neutral={"smoothing": 0.0},
    hessian_product=hessian_product,
)
