"""The mathematics: value, slope and curvature of binary cross-entropy.

A label y gives mass to the positive and to the negative class,

    pos = y,  neg = 1 - y,                         pos + neg = 1,

and smoothing or a positive-class weight only change these two masses.  At the
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

Why not another form, in units in the last place (float32; hard labels, soft
labels): `max(x, 0) - x*y + log1p(exp(-|x|))` loses all digits where x*y cancels
x (1.6e7, 53); `-y*log_sigmoid(x) - (1-y)*log_sigmoid(-x)` takes two exponentials
and is NaN at infinity; this one 2.3 and 2.8.

From a probability p the loss is -(pos * log(p) + neg * log1p(-p)), 0 * log(0) = 0.

Everything here is elementwise, in one floating dtype, and asks of `xp` only
`where`, `exp`, `log1p`, `log`, `isinf` and operators: it runs unchanged under
automatic differentiation, jit and kernel fusion.  Nothing here looks at a value.

Source: the fold of softplus is in Maechler, "Accurately computing
log(1 - exp(-|a|))", 2012; focal weights and smoothing only rescale the masses.
"""

from typing import Any

Array = Any  # an array of any library; the public functions say which one returns


def masses(
    labels: Array, pos_weight: Array | float | None, smoothing: float
) -> tuple[Array, Array, Array | None]:
    """Mass of the positive class, of the negative class, and their sum (None: 1).

    Smoothing s moves both masses towards 1/2: y*(1-s) + s/2 and (1-y)*(1-s) + s/2.
    Both are written out, since 1 - pos loses a small neg to rounding.  `pos_weight`
    then scales the positive one.
    """
    pos, neg, total = labels, 1.0 - labels, None
    if smoothing:
        pos = pos * (1.0 - smoothing) + smoothing / 2.0
        neg = neg * (1.0 - smoothing) + smoothing / 2.0
    if pos_weight is not None:
        pos = pos * pos_weight
        total = pos + neg
    return pos, neg, total


def _times(total: Array | None, part: Array) -> Array:
    return part if total is None else total * part


def _fold(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: float
) -> tuple[Array, Array, Array, Array | None]:
    """(x >= 0, signed opposing mass d, exp(-|x|), pos + neg)."""
    pos, neg, total = masses(labels, pos_weight, smoothing)
    positive = logits >= 0.0
    against = xp.where(positive, neg, -pos)
    decay = xp.exp(-xp.where(positive, logits, -logits))
    return positive, against, decay, total


def _value(xp: Any, logits: Array, fold: Any) -> Array:
    _, against, decay, total = fold
    # An infinite logit with no mass against it costs 0, not 0 * inf.  The logit is
    # masked rather than the product: that keeps dL/dy = -x at finite logits.
    reach = xp.where((against == 0.0) & xp.isinf(logits), 0.0, logits)
    return against * reach + _times(total, xp.log1p(decay))


def _slope(xp: Any, fold: Any) -> Array:
    positive, against, decay, total = fold
    back = _times(total, decay / (1.0 + decay))
    return against + xp.where(positive, -back, back)


def _curvature(fold: Any) -> Array:
    _, _, decay, total = fold
    return _times(total, decay / (1.0 + decay) / (1.0 + decay))


def value(xp: Any, logits: Array, labels: Array, pos_weight: Any, s: float) -> Array:
    """L."""
    return _value(xp, logits, _fold(xp, logits, labels, pos_weight, s))


def slope(xp: Any, logits: Array, labels: Array, pos_weight: Any, s: float) -> Array:
    """L'."""
    return _slope(xp, _fold(xp, logits, labels, pos_weight, s))


def value_and_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: float
) -> tuple[Array, Array]:
    """(L, L') from one exponential."""
    fold = _fold(xp, logits, labels, pos_weight, smoothing)
    return _value(xp, logits, fold), _slope(xp, fold)


def slope_and_curvature(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: float
) -> tuple[Array, Array]:
    """(L', L'') from one exponential."""
    fold = _fold(xp, logits, labels, pos_weight, smoothing)
    return _slope(xp, fold), _curvature(fold)


# ---- from probabilities ------------------------------------------------------------


def _clipped(xp: Any, probs: Array, eps: float) -> tuple[Array, Array]:
    """p within [eps, 1 - eps], and whether it was left as it is; NaN stays NaN."""
    low, high = probs < eps, probs > 1.0 - eps
    return xp.where(low, eps, xp.where(high, 1.0 - eps, probs)), ~(low | high)


def probability_value(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, smoothing: float, eps: float
) -> Array:
    """-(pos * log(p) + neg * log1p(-p))."""
    pos, neg, _ = masses(labels, pos_weight, smoothing)
    if eps:
        probs, _ = _clipped(xp, probs, eps)
    # 0 * log(0) = 0, masked where p is: that keeps the derivative by the label.
    some = xp.where((pos == 0.0) & (probs == 0.0), 1.0, probs)
    rest = xp.where((neg == 0.0) & (probs == 1.0), 0.0, probs)
    return 0.0 - (pos * xp.log(some) + neg * xp.log1p(-rest))  # 0, not -0


def probability_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, smoothing: float, eps: float
) -> Array:
    """neg / (1 - p) - pos / p; 0 where p was clipped."""
    pos, neg, _ = masses(labels, pos_weight, smoothing)
    if eps:
        probs, kept = _clipped(xp, probs, eps)
    some = xp.where((pos == 0.0) & (probs == 0.0), 1.0, probs)
    rest = xp.where((neg == 0.0) & (probs == 1.0), 0.0, probs)
    slope = neg / (1.0 - rest) - pos / some
    return xp.where(kept, slope, 0.0) if eps else slope


def probability_value_and_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, smoothing: float, eps: float
) -> tuple[Array, Array]:
    """(L, L') by the probability."""
    arguments = (probs, labels, pos_weight, smoothing, eps)
    return probability_value(xp, *arguments), probability_slope(xp, *arguments)
