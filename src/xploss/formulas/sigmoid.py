"""Cross-entropy of sigmoid(logits): value, slope and curvature.

With the masses pos and neg that the label gives to both classes (`masses.py`), at the
logit x the loss is

    L(x) = neg * softplus(x) + pos * softplus(-x),  softplus(x) = log(1 + exp(x)).

Fold x at 0.  With m = |x|, e = exp(-m) in (0, 1], q = e / (1 + e) and
d = neg where x >= 0, -pos where x < 0: the mass that the logit argues against,
signed,

    L   = d * x + (pos + neg) * log1p(e)
    L'  = d -/+ (pos + neg) * q                     - where x >= 0, + where x < 0
    L'' = (pos + neg) * q / (1 + e)

because softplus(x) = max(x, 0) + log1p(exp(-|x|)).  Both terms of L are >= 0, so
nothing cancels: a few ulp for every logit and label.  Each side is analytic at 0,
so differentiating these lines (`where(x >= 0, x, -x)`, not `abs`) is right at
x = 0 to every order.

Why not another form (worst error in units in the last place at finite logits, of hard,
soft and almost hard labels; then wrong results of 18 at infinite logits):

                                             float32            float64
    max(x,0) - x*y + log1p(exp(-|x|))        2.0 32   8e6       0.6 62  5e15    10
    -y*log_sigmoid(x)-(1-y)*log_sigmoid(-x)  2.0 2.4  2.0       0.6 1.7 1.5      2
    this one                                 2.0 2.0  2.0       0.6 1.3 1.3      0

The first cancels where x*y is near x; the second takes two exponentials.

Source: the fold of softplus is in Maechler, "Accurately computing
log(1 - exp(-|a|))", 2012.
"""

from typing import Any, NamedTuple

from .masses import by_label, by_smoothing, masses, no_mass
from .record import Array, Formula, Scalar


class Fold(NamedTuple):
    """What value, slope and curvature share."""

    xp: Any
    positive: Array  # x >= 0
    against: Array  # d before the weight: a weighted subnormal mass would lose digits
    decay: Array  # exp(-|x|)
    total_mass: Array | None  # pos + neg, None for 1
    pos_weight: Array | float | None

    def weighed(self, part: Array) -> Array:
        """A part that goes with d, weighed where d is of the positive class."""
        if self.pos_weight is None:
            return part
        return self.xp.where(self.positive, part, self.pos_weight * part)

    def no_mass_against(self) -> Array:
        none = self.against == 0.0
        if self.pos_weight is None:
            return none
        weighed = no_mass(self.xp, self.against, self.pos_weight)
        # Not `where`, which ONNX does not have for booleans.
        return (self.positive & none) | (~self.positive & weighed)

    def times_total_mass(self, part: Array) -> Array:
        return part if self.total_mass is None else self.total_mass * part


def fold(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Fold:
    """`differentiable` at 0, for which |x| is no `abs`, which costs less."""
    pos, neg = masses(labels, smoothing)
    positive = logits >= 0.0
    magnitude = xp.where(positive, logits, -logits) if differentiable else abs(logits)
    return Fold(
        xp,
        positive,
        against=xp.where(positive, neg, -pos),
        decay=xp.exp(-magnitude),
        total_mass=None if pos_weight is None else neg + pos_weight * pos,
        pos_weight=pos_weight,
    )


def folded_value(logits: Array, f: Fold, differentiable: bool = True) -> Array:
    """L = d * x + (pos + neg) * log1p(e)."""
    # An infinite logit with no mass against it costs 0, not 0 * inf.  Masking the
    # logit keeps the derivative by the label; masking the product costs less.
    none = f.no_mass_against()
    if differentiable:
        linear = f.against * f.xp.where(none & f.xp.isinf(logits), 0.0, logits)
        if f.pos_weight is not None:
            # What is not weighed must not reach the weight's derivative: 0 * inf.
            weighed = f.pos_weight * f.xp.where(f.positive, 0.0, linear)
            linear = f.xp.where(f.positive, linear, weighed)
    else:
        linear = f.xp.where(none, 0.0, f.weighed(f.against * logits))
    return linear + f.times_total_mass(f.xp.log1p(f.decay))


def folded_slope(f: Fold) -> Array:
    """L' = d -/+ (pos + neg) * e / (1 + e)."""
    back = f.xp.where(f.positive, -f.decay, f.decay) / (1.0 + f.decay)
    return f.weighed(f.against) + f.times_total_mass(back)


def folded_curvature(f: Fold) -> Array:
    """L'' = (pos + neg) * e / (1 + e) / (1 + e)."""
    return f.times_total_mass(f.decay / (1.0 + f.decay) / (1.0 + f.decay))


def value(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Array:
    """L."""
    f = fold(xp, logits, labels, pos_weight, smoothing, differentiable)
    return folded_value(logits, f, differentiable)


def slope(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Array:
    """L', by the logit."""
    return folded_slope(fold(xp, logits, labels, pos_weight, smoothing, differentiable))


def value_and_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> tuple[Array, Array]:
    """(L, L') from one exponential."""
    f = fold(xp, logits, labels, pos_weight, smoothing, differentiable)
    return folded_value(logits, f, differentiable), folded_slope(f)


def slope_and_curvature(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> tuple[Array, Array]:
    """(L', L'') from one exponential."""
    f = fold(xp, logits, labels, pos_weight, smoothing)
    return folded_slope(f), folded_curvature(f)


def curvature(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """L'', by the logit."""
    return folded_curvature(fold(xp, logits, labels, pos_weight, smoothing))


def hessian_product(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    vector: Array,
) -> Array:
    """L'' v: an element's loss is of its own logit alone."""
    return curvature(xp, logits, labels, pos_weight, smoothing) * vector


# ---- by the other arguments --------------------------------------------------------


def _mass_slope(xp: Any, logits: Array, labels: Array, pos_weight: Any) -> Array:
    """w * softplus(-x) - softplus(x), of mass that moves to the positive class."""
    if pos_weight is None:
        return -logits
    f = fold(xp, logits, labels, pos_weight, None)
    weightless = ~f.positive & no_mass(xp, xp.ones_like(logits), pos_weight)
    finite = xp.where(weightless & xp.isinf(logits), 0.0, logits)
    return f.weighed(-finite) + (pos_weight - 1.0) * xp.log1p(f.decay)


def label_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/dy = (1-s) * (w * softplus(-x) - softplus(x)), which is -x without options."""
    return by_label(_mass_slope(xp, logits, labels, pos_weight), smoothing)


def smoothing_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/ds = (1/2 - y) * (w * softplus(-x) - softplus(x))."""
    return by_smoothing(xp, _mass_slope(xp, logits, labels, pos_weight), labels)


def pos_weight_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/dw = pos * softplus(-x)."""
    pos, _ = masses(labels, smoothing)
    # No mass at -inf is no loss; masking the logit keeps the derivative by the label.
    finite = xp.where((pos == 0.0) & xp.isinf(logits), 0.0, logits)
    return pos * value(xp, finite, xp.ones_like(logits), None, None)


CROSS_ENTROPY = Formula(
    traced=("logits", "labels", "pos_weight", "smoothing"),
    value=value,
    value_and_slope=value_and_slope,
    slope_and_curvature=slope_and_curvature,
    slopes={
        "logits": slope,
        "labels": label_slope,
        "pos_weight": pos_weight_slope,
        "smoothing": smoothing_slope,
    },
    static=("differentiable",),
    together=(("pos_weight", "smoothing"),),
    neutral={"pos_weight": 1.0, "smoothing": 0.0},
    hessian_product=hessian_product,
)


# ---- what else is made of it ---------------------------------------------------------


# Of label 0 it is the sigmoid.
SLOPE = Formula(
    traced=CROSS_ENTROPY.traced,
    value=slope,
    slopes={"logits": curvature},
    together=CROSS_ENTROPY.together,
    neutral=CROSS_ENTROPY.neutral,
)


def one(xp: Any, logits: Array, labels: Array) -> Array:
    """What a mean divides by, weighed and summed as the loss is."""
    return xp.ones_like(logits)


ONE = Formula(traced=("logits", "labels"), value=one)
