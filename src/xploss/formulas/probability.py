"""Cross-entropy of probabilities.

With the masses pos and neg that the label gives to both classes (`masses.py`), the loss
of a probability p is

    L(p) = -(pos * log(p) + neg * log1p(-p)),  0 * log(0) = 0.
"""

from typing import Any, NamedTuple

from .masses import by_label, by_smoothing, masses, no_mass
from .record import Array, Formula, Scalar


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


def clip_of(
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
    none = no_mass(xp, pos, pos_weight)
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


class Parts(NamedTuple):
    """What value and derivatives share: the masses, p where each logarithm is taken."""

    pos: Array
    neg: Array
    some: Array  # of p
    rest: Array  # of 1 - p
    clip: Clip | None

    def logarithms(self, xp: Any) -> tuple[Array, Array]:
        """log(p) and log(1 - p), clipped."""
        log, log_of_rest = xp.log(self.some), log_complement(xp, self.rest)
        if self.clip is None:
            return log, log_of_rest
        low, high, log_eps, log_rest = self.clip
        return (
            xp.where(low, log_eps, xp.where(high, log_rest, log)),
            xp.where(low, log_rest, xp.where(high, log_eps, log_of_rest)),
        )


def _parts(
    xp: Any,
    probs: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    eps: Scalar,
    log_eps: Scalar,
    log_rest: Scalar,
) -> Parts:
    """log(eps) and log(1 - eps) are given where eps is a number, which is rounded."""
    pos, neg = masses(labels, smoothing)
    clip = clip_of(xp, probs, eps, log_eps, log_rest)
    within = probs if clip is None else clip.within(xp, probs)
    return Parts(pos, neg, *_with_mass(xp, within, pos, neg, pos_weight), clip)


def value(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """-(pos * log(p) + neg * log1p(-p)); options are smoothing, eps, its logarithms."""
    p = _parts(xp, probs, labels, pos_weight, *options)

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


def slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """neg / (1 - p) - pos / p; 0 where p was clipped."""
    p = _parts(xp, probs, labels, pos_weight, *options)
    hit = p.pos / p.some
    if pos_weight is not None:  # 0 * inf, of a subnormal probability, is 0 as well
        none = no_mass(xp, p.pos, pos_weight) & xp.isinf(hit)
        hit = pos_weight * xp.where(none, 0.0, hit)
    slope = p.neg / (1.0 - p.rest) - hit
    return slope if p.clip is None else xp.where(p.clip.changed(), 0.0, slope)


def value_and_slope(
    xp: Any, probs: Array, labels: Array, *options: Scalar
) -> tuple[Array, Array]:
    """(L, L') by the probability."""
    return value(xp, probs, labels, *options), slope(xp, probs, labels, *options)


# ---- by the other arguments --------------------------------------------------------


def _mass_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """log(1 - p) - w * log(p), of mass that moves to the positive class."""
    log, log_of_rest = _parts(xp, probs, labels, pos_weight, *options).logarithms(xp)
    return log_of_rest - (log if pos_weight is None else pos_weight * log)


def label_slope(
    xp: Any,
    probs: Array,
    labels: Array,
    pos_weight: Any,
    smoothing: Scalar,
    *options: Scalar,
) -> Array:
    """dL/dy = (1-s) * (log(1 - p) - w * log(p))."""
    part = _mass_slope(xp, probs, labels, pos_weight, smoothing, *options)
    return by_label(part, smoothing)


def smoothing_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """dL/ds = (1/2 - y) * (log(1 - p) - w * log(p))."""
    part = _mass_slope(xp, probs, labels, pos_weight, *options)
    return by_smoothing(xp, part, labels)


def pos_weight_slope(
    xp: Any, probs: Array, labels: Array, pos_weight: Any, *options: Scalar
) -> Array:
    """dL/dw = -pos * log(p)."""
    p = _parts(xp, probs, labels, pos_weight, *options)
    return -p.pos * p.logarithms(xp)[0]


PROBABILITY = Formula(
    traced=(
        "probs", "labels", "pos_weight", "smoothing", "eps", "log_eps", "log_rest"
    ),
    value=value,
    value_and_slope=value_and_slope,
    slopes={
        "probs": slope,
        "labels": label_slope,
        "pos_weight": pos_weight_slope,
        "smoothing": smoothing_slope,
    },
    together=(("pos_weight", "smoothing"), ("eps", "log_eps", "log_rest")),
    neutral={"pos_weight": 1.0, "smoothing": 0.0},
)  # fmt: skip
