"""Exact derivatives of the loss by mpmath: any order, by logit and by each option.

    L = pos * softplus(-x) + neg * softplus(x)

Masses are linear in the label, in pos_weight and in the smoothing.  The derivatives
of softplus are polynomials in q = sigmoid(-|x|) (Minai and Williams, "On the
derivatives of the sigmoid", 1993), and a derivative of L is the sum of their terms,
mass by mass.  What is computed in floating point is off by a few ulp of the largest of
these terms.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from mpmath import mp, mpf
from reference import masses, sigmoid, times


class Exact(NamedTuple):
    value: mpf
    term: mpf  # the largest term of its sum, by magnitude


def softplus_terms(x: mpf, order: int) -> list[mpf]:
    """softplus = max(x, 0) + log(1 + exp(-|x|)): its derivative, term by term."""
    q, side = sigmoid(-abs(x)), -1 if x >= 0 else 1
    if order == 0:
        return [max(x, mpf(0)), mp.log1p(mp.exp(-abs(x)))]
    straight = mpf(1 if order == 1 and x >= 0 else 0)
    powers = [
        (-1) ** (k - 1) * mp.factorial(k - 1) * mp.stirling2(order, k) * q**k
        for k in range(1, order + 1)
    ]
    return [straight, *(side**order * power for power in powers)]


def mass_slopes(
    label: mpf, pos_weight: float, smoothing: mpf, by: tuple[int, int, int]
) -> tuple[mpf, mpf]:
    """A derivative of (pos, neg) by label, pos_weight, smoothing: linear in each."""
    by_label, by_pos_weight, by_smoothing = by
    if max(by) > 1:
        return mpf(0), mpf(0)
    if by_label:
        return difference(mass_slopes, label, pos_weight, smoothing, by, at=0)
    if by_smoothing:
        return difference(mass_slopes, label, pos_weight, smoothing, by, at=2)
    pos, neg = masses(label, 1.0 if by_pos_weight else pos_weight, smoothing)
    return pos, mpf(0) if by_pos_weight else neg


def difference(slopes: Callable[..., Any], *arguments: Any, at: int) -> Any:
    """Of `slopes` by its argument `at`, in which it is linear."""
    *here, by = arguments
    by = tuple(0 if k == at else order for k, order in enumerate(by))
    before = [a - 1 if k == at else a for k, a in enumerate(here)]
    pairs = zip(slopes(*here, by), slopes(*before, by), strict=True)
    return tuple(after - earlier for after, earlier in pairs)


@cache
def derivative(
    logit: float,
    label: float,
    by_logit: int = 1,
    by_label: int = 0,
    by_pos_weight: int = 0,
    by_smoothing: int = 0,
    pos_weight: float = 1.0,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> Exact:
    """Of weight * L: so many times by the logit and by each option."""
    with mp.workprec(400):
        x, w = mpf(logit), mpf(weight)
        by = (by_label, by_pos_weight, by_smoothing)
        pos, neg = mass_slopes(mpf(label), pos_weight, mpf(smoothing), by)
        terms = [
            w * times(mass, sign**by_logit * term)
            for mass, sign in ((pos, -1), (neg, 1))
            for term in softplus_terms(sign * x, by_logit)
        ]
        return Exact(mp.fsum(terms), max(map(abs, terms)))
