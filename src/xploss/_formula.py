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

Why not another form (worst error in units in the last place at finite logits, of hard,
soft and almost hard labels; then wrong results of 18 at infinite logits):

                                             float32            float64
    max(x,0) - x*y + log1p(exp(-|x|))        2.0 32   8e6       0.6 62  5e15    10
    -y*log_sigmoid(x)-(1-y)*log_sigmoid(-x)  2.0 2.4  2.0       0.6 1.7 1.5      2
    this one                                 2.0 2.0  2.0       0.6 1.3 1.3      0

The first cancels where x*y is near x; the second takes two exponentials.

From a probability p the loss is -(pos * log(p) + neg * log1p(-p)), 0 * log(0) = 0.

Everything here is elementwise, in one floating dtype, and asks of `xp` only `where`,
`exp`, `log1p`, `log`, `isinf`, `ones_like` and operators: it runs unchanged under
automatic differentiation, jit and kernel fusion.  Nothing here looks at a value.

Source: the fold of softplus is in Maechler, "Accurately computing
log(1 - exp(-|a|))", 2012.
"""

from typing import Any, NamedTuple

Array = Any  # an array of any library; the public functions say which one returns
Scalar = Any  # a number or a 0-d array; None where there is no such option


def masses(labels: Array, smoothing: Scalar) -> tuple[Array, Array]:
    """Mass of the positive and of the negative class, before any weight.

    Smoothing s moves both towards 1/2: y*(1-s) + s/2 and (1-y)*(1-s) + s/2.  Both are
    written out, since 1 - pos loses a small neg to rounding.
    """
    pos, neg = labels, 1.0 - labels
    if smoothing is not None:
        pos = pos * (1.0 - smoothing) + smoothing / 2.0
        neg = neg * (1.0 - smoothing) + smoothing / 2.0
    return pos, neg


def _unsmoothed(part: Array, smoothing: Scalar) -> Array:
    """A derivative by the label, of which smoothing leaves 1 - s."""
    return part if smoothing is None else (1.0 - smoothing) * part


def _none(xp: Any, mass: Array, weight: Any) -> Array:
    """Where a mass is 0 once it is weighed; of both, as their product may underflow."""
    none = mass == 0.0
    return none if weight is None else weight * xp.where(none, mass, 1.0) == 0.0


class Fold(NamedTuple):
    """What value, slope and curvature share."""

    xp: Any
    positive: Array  # x >= 0
    against: Array  # d before the weight: a weighted subnormal mass would lose digits
    decay: Array  # exp(-|x|)
    mass: Array | None  # pos + neg, None for 1
    pos_weight: Array | float | None

    def staked(self, part: Array) -> Array:
        """A part that goes with d, weighted where d is of the positive class."""
        if self.pos_weight is None:
            return part
        return self.xp.where(self.positive, part, self.pos_weight * part)

    def costless(self) -> Array:
        """Whether no mass is against."""
        none = self.against == 0.0
        if self.pos_weight is None:
            return none
        weighed = _none(self.xp, self.against, self.pos_weight)
        # Not `where`, which ONNX does not have for booleans.
        return (self.positive & none) | (~self.positive & weighed)

    def shared(self, part: Array) -> Array:
        """A part that goes with pos + neg."""
        return part if self.mass is None else self.mass * part


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
        mass=None if pos_weight is None else neg + pos_weight * pos,
        pos_weight=pos_weight,
    )


def _value(logits: Array, f: Fold, differentiable: bool = True) -> Array:
    # An infinite logit with no mass against it costs 0, not 0 * inf.  Masking the
    # logit keeps the derivative by the label; masking the product costs less.
    costless = f.costless()
    if differentiable:
        push = f.against * f.xp.where(costless & f.xp.isinf(logits), 0.0, logits)
        if f.pos_weight is not None:
            # What is not weighed must not reach the weight's derivative: 0 * inf.
            weighed = f.pos_weight * f.xp.where(f.positive, 0.0, push)
            push = f.xp.where(f.positive, push, weighed)
    else:
        push = f.xp.where(costless, 0.0, f.staked(f.against * logits))
    return push + f.shared(f.xp.log1p(f.decay))


def _slope(f: Fold) -> Array:
    back = f.xp.where(f.positive, -f.decay, f.decay) / (1.0 + f.decay)
    return f.staked(f.against) + f.shared(back)


def _curvature(f: Fold) -> Array:
    return f.shared(f.decay / (1.0 + f.decay) / (1.0 + f.decay))


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
    return _value(logits, f, differentiable)


def slope(
    xp: Any,
    logits: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    differentiable: bool = True,
) -> Array:
    """L', by the logit."""
    return _slope(fold(xp, logits, labels, pos_weight, smoothing, differentiable))


def _mass_slope(xp: Any, logits: Array, labels: Array, pos_weight: Any) -> Array:
    """w * softplus(-x) - softplus(x), of mass that moves to the positive class."""
    if pos_weight is None:
        return -logits
    f = fold(xp, logits, labels, pos_weight, None)
    weightless = ~f.positive & _none(xp, xp.ones_like(logits), pos_weight)
    reach = xp.where(weightless & xp.isinf(logits), 0.0, logits)
    return f.staked(-reach) + (pos_weight - 1.0) * xp.log1p(f.decay)


def label_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/dy = (1-s) * (w * softplus(-x) - softplus(x)), which is -x without options."""
    return _unsmoothed(_mass_slope(xp, logits, labels, pos_weight), smoothing)


def smoothing_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/ds = (1/2 - y) * (w * softplus(-x) - softplus(x))."""
    return (0.5 - labels) * _mass_slope(xp, logits, labels, pos_weight)


def pos_weight_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> Array:
    """dL/dw = pos * softplus(-x)."""
    pos, _ = masses(labels, smoothing)
    # No mass at -inf is no loss; masking the logit keeps the derivative by the label.
    reach = xp.where((pos == 0.0) & xp.isinf(logits), 0.0, logits)
    return pos * value(xp, reach, xp.ones_like(logits), None, None)


def one(xp: Any, logits: Array, labels: Array) -> Array:
    """What a mean divides by, weighed and summed as the loss is."""
    return xp.ones_like(logits)


def value_and_slope(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> tuple[Array, Array]:
    """(L, L') from one exponential."""
    f = fold(xp, logits, labels, pos_weight, smoothing)
    return _value(logits, f), _slope(f)


def slope_and_curvature(
    xp: Any, logits: Array, labels: Array, pos_weight: Any, smoothing: Scalar
) -> tuple[Array, Array]:
    """(L', L'') from one exponential."""
    f = fold(xp, logits, labels, pos_weight, smoothing)
    return _slope(f), _curvature(f)


# ---- focal -----------------------------------------------------------------------


class Focus(NamedTuple):
    """What the focal loss shares, for x folded at 0 and pos + neg = 1.

    With wrong = |d|, right = 1 - wrong (both from the labels), the probability that
    is not on the label, and its rate of change,

        1 - p_t = (wrong + right * e) / (1 + e)             all terms >= 0
        r       = p_t' / (1 - p_t) = (pos - neg) * p * (1 - p) / (1 - p_t)
        r'      = r * (1 - 2p) + r**2
    """

    fold: Fold
    gamma: Array | float
    power: Array  # (1 - p_t)**gamma
    balance: Array | None  # alpha_t, None for 1
    plain: Array  # L
    lean: Array  # pos - neg
    per_left: Array  # e / (wrong + right * e)
    wrong: Array

    def rate(self) -> Array:
        """r"""
        return self.lean * self.per_left / (1.0 + self.fold.decay)

    def finite(self) -> Array:
        """L where it meets r or the power: at infinity r is 0 before L is inf."""
        return self.fold.xp.where(self.fold.xp.isinf(self.plain), 0.0, self.plain)

    def balanced(self, part: Array) -> Array:
        """alpha_t * part; where that is 0, an infinite part counts 0.

        Masking the part, not the product, keeps a finite one's derivative by alpha_t.
        """
        if self.balance is None:
            return part
        xp, costless = self.fold.xp, self.balance == 0.0
        return self.balance * xp.where(costless & xp.isinf(part), 0.0, part)

    def value(self) -> Array:
        """alpha_t * (1 - p_t)**gamma * L; a power that underflows keeps L infinite.

        At infinity the power is wrong**gamma, written without the logit: the power's
        derivative by it is 0 there, and 0 * inf is no number.
        """
        xp, infinite = self.fold.xp, self.fold.xp.isinf(self.plain)
        partly = infinite & (self.wrong != 1.0)
        limit = xp.exp(self.gamma * xp.log(xp.where(partly, self.wrong, 1.0)))
        limit = xp.where(limit == 0.0, 1.0, limit)
        bounded = self.power * self.finite()
        return self.balanced(xp.where(infinite, limit * self.plain, bounded))

    def tilt(self) -> Array:
        """1 - 2p"""
        tilt = (1.0 - self.fold.decay) / (1.0 + self.fold.decay)
        return self.fold.xp.where(self.fold.positive, -tilt, tilt)


def _focus(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> Focus:
    pos, neg = masses(labels, smoothing)
    f = fold(xp, logits, labels, None, smoothing)
    wrong, right = (xp.where(f.positive, a, b) for a, b in ((neg, pos), (pos, neg)))
    # Where nothing but right * e is left, and 1 / e**2 might overflow, e is taken out:
    # its logarithm is -|x|.  (The derivative by a label of 0 or 1 then lacks a part
    # gamma / |x| of it.)  At infinity the loss is 0 whatever the power, which is kept
    # finite for its derivatives.
    sure = (wrong == 0.0) & (f.decay < 2.0**-60)
    magnitude = xp.where(f.positive, logits, -logits)
    reach = xp.where(sure & ~xp.isinf(logits), magnitude, 0.0)
    left = xp.where(sure, right, wrong + right * f.decay)
    power = xp.exp(gamma * (xp.log(left) - reach - xp.log1p(f.decay)))
    balance = None if alpha is None else alpha * pos + (1.0 - alpha) * neg
    lean = _unsmoothed(2.0 * labels - 1.0, smoothing)
    per_left = xp.where(sure, 1.0, f.decay) / left
    return Focus(f, gamma, power, balance, _value(logits, f), lean, per_left, wrong)


def focal_value(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> Array:
    """F = alpha_t * (1 - p_t)**gamma * L, the power in log space."""
    return _focus(xp, logits, labels, gamma, alpha, smoothing).value()


def focal_value_and_slope(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> tuple[Array, Array]:
    """(F, F'), with F' = alpha_t * (1 - p_t)**gamma * (L' - gamma * r * L)."""
    f = _focus(xp, logits, labels, gamma, alpha, smoothing)
    slope = _slope(f.fold) - gamma * f.rate() * f.finite()
    return f.value(), f.balanced(f.power * slope)


def focal_slope_and_curvature(
    xp: Any,
    logits: Array,
    labels: Array,
    gamma: Any,
    alpha: Any,
    smoothing: Scalar,
) -> tuple[Array, Array]:
    """(F', F''), with

    F'' = alpha_t * (1 - p_t)**gamma
          * (L'' - 2 * gamma * r * L' + gamma * r * ((gamma - 1) * r - (1 - 2p)) * L)
    """
    f = _focus(xp, logits, labels, gamma, alpha, smoothing)
    slope, rate, plain = _slope(f.fold), f.rate(), f.finite()
    bend = gamma * rate * ((gamma - 1.0) * rate - f.tilt()) * plain
    curvature = _curvature(f.fold) - 2.0 * gamma * rate * slope + bend
    slope = slope - gamma * rate * plain
    return f.balanced(f.power * slope), f.balanced(f.power * curvature)


# ---- from probabilities ------------------------------------------------------------


class Clip(NamedTuple):
    """Where a probability is below eps or above 1 - eps; NaN is neither.

    Its logarithms are constants there, taken from the number: eps may be rounded in
    the probabilities' dtype, to 0 even, which is why 0 and 1 are asked for.  1 - p is
    exact where it is near 1 - eps.
    """

    low: Array
    high: Array
    log_eps: Scalar
    log_rest: Scalar  # of 1 - eps

    def changed(self) -> Array:
        return self.low | self.high

    def within(self, xp: Any, probs: Array) -> Array:
        """p, or 1/2 where it is clipped and must not reach a derivative."""
        return xp.where(self.changed(), 0.5, probs)


def _clip(
    xp: Any, probs: Array, eps: Scalar, log_eps: Scalar, log_rest: Scalar
) -> Clip | None:
    """Of an eps above 0 whose logarithms are given, or of one that may be 0."""
    if eps is None:
        return None
    low = (probs < eps) | (probs <= 0.0)
    high = (1.0 - probs < eps) | (probs >= 1.0)
    if log_eps is None:
        some = eps > 0.0
        low, high, positive = low & some, high & some, xp.where(some, eps, 0.5)
        log_eps, log_rest = xp.log(positive), log_complement(xp, positive)
    return Clip(low, high, log_eps, log_rest)


def _with_mass(
    xp: Any, probs: Array, pos: Array, neg: Array, pos_weight: Any
) -> tuple[Array, Array]:
    """p where there is mass, 1 or 0 where not: 0 * log(0) = 0, and so by p and y."""
    none = _none(xp, pos, pos_weight)
    some = xp.where(none & (probs == 0.0), 1.0, probs)
    rest = xp.where((neg == 0.0) & (probs == 1.0), 0.0, probs)
    return some, rest


def log_complement(xp: Any, probs: Array) -> Array:
    """log(1 - p): by `log` where 1 - p is as good as exact, by `log1p` below.

    `log1p` alone would do, were it not off by 129 ulp near -0.41 in XLA's float64 on
    the CPU: https://github.com/jax-ml/jax/issues/39707
    """
    large = probs > 0.25
    near = xp.log(xp.where(large, 1.0 - probs, 1.0))
    return xp.where(large, near, xp.log1p(-xp.where(large, 0.0, probs)))


class Probability(NamedTuple):
    """What value and slope share: the masses, and p where each logarithm is taken."""

    pos: Array
    neg: Array
    some: Array  # of p
    rest: Array  # of 1 - p
    clip: Clip | None


def _probability(
    xp: Any,
    probs: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    eps: Scalar = None,
    log_eps: Scalar = None,
    log_rest: Scalar = None,
) -> Probability:
    """log(eps) and log(1 - eps) are given where eps is a number, which is rounded."""
    pos, neg = masses(labels, smoothing)
    clip = _clip(xp, probs, eps, log_eps, log_rest)
    within = probs if clip is None else clip.within(xp, probs)
    return Probability(pos, neg, *_with_mass(xp, within, pos, neg, pos_weight), clip)


def probability_value(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """-(pos * log(p) + neg * log1p(-p)); options are smoothing, eps, its logarithms."""
    p = _probability(xp, probs, labels, pos_weight, *options)

    def weighed(log: Array, log_of_rest: Array) -> Array:
        hit = p.pos * log
        hit = hit if pos_weight is None else pos_weight * hit
        return hit + p.neg * log_of_rest

    total = weighed(xp.log(p.some), log_complement(xp, p.rest))
    if p.clip is not None:
        low, high = p.clip.log_eps, p.clip.log_rest
        beyond = xp.where(p.clip.high, weighed(high, low), total)
        total = xp.where(p.clip.low, weighed(low, high), beyond)
    return 0.0 - total  # 0, not -0


def probability_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """neg / (1 - p) - pos / p; 0 where p was clipped."""
    p = _probability(xp, probs, labels, pos_weight, *options)
    hit = p.pos / p.some
    if pos_weight is not None:  # 0 * inf, of a subnormal probability, is 0 as well
        none = _none(xp, p.pos, pos_weight) & xp.isinf(hit)
        hit = pos_weight * xp.where(none, 0.0, hit)
    slope = p.neg / (1.0 - p.rest) - hit
    return slope if p.clip is None else xp.where(p.clip.changed(), 0.0, slope)


def probability_value_and_slope(
    xp: Any, probs: Array, labels: Array, *parameters: Any
) -> tuple[Array, Array]:
    """(L, L') by the probability."""
    arguments = (probs, labels, *parameters)
    return probability_value(xp, *arguments), probability_slope(xp, *arguments)
