"""The exact focal loss by mpmath, from its definition by probabilities.

    F = alpha_t * u**gamma * L,  u = 1 - p_t = pos * (1 - p) + neg * p

Another route than the code's: u and its derivatives in full, the power of u itself,
nothing folded at 0 and no logarithm.  Imports nothing of the package.
"""

from functools import cache
from typing import NamedTuple

from mpmath import mp, mpf
from reference import from_logit, masses, sigmoid, times


class Exact(NamedTuple):
    """The value and its derivatives by the logit, each with its largest term."""

    value: mpf
    gradient: mpf
    hessian: mpf
    gradient_term: mpf
    hessian_term: mpf
    power: mpf  # |log(1 - p_t)|: by gamma times this the power amplifies an error


def wrong_probability(
    logit: float, label: float, smoothing: float = 0.0
) -> tuple[mpf, mpf, mpf]:
    """u and its first two derivatives by the logit."""
    pos, neg = masses(label, 1.0, smoothing)
    up, down = sigmoid(mpf(logit)), sigmoid(-mpf(logit))
    slope = (neg - pos) * up * down
    return pos * down + neg * up, slope, slope * (down - up)


@cache
def from_logit_focal(
    logit: float,
    label: float,
    gamma: float = 2.0,
    alpha: float | None = None,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> Exact:
    plain = from_logit(logit, label, smoothing=smoothing)
    if mp.isnan(plain.value):
        return Exact(*[mp.nan] * 5, mpf(0))
    with mp.workprec(400):
        pos, neg = masses(label, 1.0, smoothing)
        left, slope, bend = wrong_probability(logit, label, smoothing)
        if left == 0:  # an infinite logit that is right: every limit is 0
            return Exact(*[mpf(0)] * 6)
        g, w = mpf(gamma), mpf(weight)
        if alpha is not None:
            w *= mpf(alpha) * pos + (1 - mpf(alpha)) * neg
        zero, one, two = (w * left ** (g - k) for k in range(3))
        loss = plain.value
        gradient = [zero * plain.gradient, times(g * one * slope, loss)]
        hessian = [
            zero * plain.hessian,
            2 * g * one * slope * plain.gradient,
            times(g * one * bend, loss),
            times(g * (g - 1) * two * slope**2, loss),
        ]
        # The slopes of the loss and of u are differences themselves: of terms up to
        # `plain.term`, and of pos and neg.
        spread = max(pos, neg) / abs(pos - neg) if pos != neg else mpf(1)
        first = [zero * plain.term, *(spread * term for term in gradient[1:])]
        second = [2 * g * one * slope * plain.term, *hessian[1:]]
        second = [hessian[0], *(spread * term for term in second)]
        return Exact(
            times(zero, loss),
            mp.fsum(gradient),
            mp.fsum(hessian),
            max(map(abs, first)),
            max(map(abs, second)),
            abs(mp.log(left)),
        )


def label_slope_term(logit: float, label: float, gamma: float) -> mpf:
    """The largest term of the derivative of u**gamma * L by the label."""
    with mp.workprec(400):
        left, _, _ = wrong_probability(logit, label)
        by_label = sigmoid(-mpf(logit)) - sigmoid(mpf(logit))  # of u
        loss = from_logit(logit, label).value
        powers = left**gamma, gamma * left ** (gamma - 1)
        return max(
            powers[0] * abs(logit), powers[0] * loss, abs(powers[1] * by_label * loss)
        )


@cache
def partial_derivative(
    logit: float,
    label: float,
    gamma: float,
    alpha: float,
    orders: tuple[int, int, int, int],
) -> mpf:
    """By logit, label, gamma and alpha so many times each, by finite differences.

    mpmath takes them in as many digits as they cost: 800 bits hold what they lose and
    what 1 + exp(-|x|) loses of exp(-|x|) up to |x| = 200.
    """

    def loss(x: mpf, y: mpf, g: mpf, a: mpf) -> mpf:
        p = 1 / (1 + mp.exp(-x))
        left = y * (1 - p) + (1 - y) * p
        plain = -y * mp.log(p) - (1 - y) * mp.log(1 - p)
        return (a * y + (1 - a) * (1 - y)) * left**g * plain

    with mp.workprec(800):
        return mp.diff(loss, (logit, label, gamma, alpha), orders)
