"""Exact losses by mpmath, and distances from them in units in the last place.

Another route than the code's: both softplus functions in full, never folded at 0,
with as many bits as their logarithm needs.  Imports nothing of the package.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from mpmath import mp, mpf

# dtype: bits of the significand, exponent of the smallest normal number
FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}


class Exact(NamedTuple):
    value: mpf
    gradient: mpf
    hessian: mpf
    term: mpf  # the larger of the two terms whose difference the gradient is


def softplus(x: mpf) -> mpf:
    """log(1 + exp(x)): 1 + exp(x) needs |x| / log(2) bits beyond those asked for."""
    if not abs(x) <= 2000:
        return mp.exp(x) if x < 0 else x  # less than 2**-2800 of it away; or NaN
    with mp.workprec(200 + int(1.5 * abs(x))):
        return mp.log(1 + mp.exp(x))


def sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


def times(mass: mpf, part: mpf) -> mpf:
    """0 * inf is 0: no mass, no loss; NaN stays NaN."""
    return mpf(0) if mass == 0 and not mp.isnan(part) else mass * part


def masses(label: float, pos_weight: float, smoothing: float) -> tuple[mpf, mpf]:
    y, s = mpf(label), mpf(smoothing)
    return mpf(pos_weight) * (y * (1 - s) + s / 2), (1 - y) * (1 - s) + s / 2


@cache
def from_logit(
    logit: float,
    label: float,
    pos_weight: float = 1.0,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> Exact:
    """weight * (neg * softplus(x) + pos * softplus(-x)), and its derivatives by x."""
    with mp.workprec(200):
        x, w = mpf(logit), mpf(weight)
        pos, neg = masses(label, pos_weight, smoothing)
        up, down = sigmoid(x), sigmoid(-x)
        against, back = (neg, down) if x >= 0 else (pos, up)
        return Exact(
            w * (times(neg, softplus(x)) + times(pos, softplus(-x))),
            w * (neg * up - pos * down),
            w * (pos + neg) * up * down,
            w * max(against, (pos + neg) * back),
        )


@cache
def from_probability(
    prob: float,
    label: float,
    pos_weight: float = 1.0,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> Exact:
    """weight * -(pos * log(p) + neg * log(1 - p)), and its derivatives by p."""
    with mp.workprec(1200):
        p, w = mpf(prob), mpf(weight)
        pos, neg = masses(label, pos_weight, smoothing)
        yes, no = (mp.inf if q == 0 else 1 / q for q in (p, 1 - p))
        wins, loses = times(pos, yes), times(neg, no)
        return Exact(
            w * (times(pos, mp.inf if p == 0 else -mp.log(p))
                 + times(neg, mp.inf if p == 1 else -mp.log(1 - p))),
            w * (loses - wins),
            w * (times(pos, yes**2) + times(neg, no**2)),
            w * max(wins, loses),
        )  # fmt: skip


def clipped(prob: float, eps: float) -> mpf:
    """A probability within [eps, 1 - eps], of the number eps as it is; NaN stays."""
    with mp.workprec(1200):
        low = mpf(eps)
        return mpf(prob) if np.isnan(prob) else min(max(mpf(prob), low), 1 - low)


def ulp(exact: mpf, dtype: str) -> mpf:
    """The unit in the last place of an exact value that is rounded to `dtype`."""
    bits, least = FORMATS[dtype]
    exponent = least if exact == 0 else max(int(mp.frexp(exact)[1]) - 1, least)
    return mp.ldexp(mpf(1), exponent - bits + 1)


def largest(dtype: str) -> mpf:
    bits, least = FORMATS[dtype]
    return mp.ldexp(2 - mp.ldexp(mpf(1), 1 - bits), 1 - least)


def _is_normal(number: float) -> bool:
    """And far from both ends of float64."""
    return 1e-250 < abs(number) < 1e250


@cache
def largest_of(dtype: str) -> float:
    return float(largest(dtype))


def ulps(
    result: float, exact: mpf, dtype: str, unit: mpf | None = None, lost: float = 0.0
) -> float:
    """How many ulp of `exact` (or of `unit`) a result is away from it.

    A library that flushes subnormal numbers may lose terms that are: `lost` smallest
    normal numbers are forgiven.
    """
    nearest = float(exact)
    near = float(exact if unit is None else unit)
    # Of the dtype that is computed in.
    forgiven = lost * 2.0 ** FORMATS["float32" if dtype == "float16" else dtype][1]
    if _is_normal(nearest) and _is_normal(near):
        # Exact numbers as sums of two of float64, to 2**-106: the same in a fifth of
        # the time.
        away = abs((float(result) - nearest) - float(exact - nearest))
        bits, least = FORMATS[dtype]
        significand, exponent = math.frexp(near)
        # Not where rounding to float64 may have reached the next power of 2.
        if away < largest_of(dtype) and abs(significand) != 0.5:
            exponent = max(exponent - 1, least)
            return math.ldexp(max(0.0, away - forgiven), bits - 1 - exponent)
    result = mpf(float(result))
    if mp.isnan(exact) or mp.isnan(result):
        return 0.0 if mp.isnan(exact) and mp.isnan(result) else float("inf")
    if result == exact:
        return 0.0
    if mp.isinf(result) and not mp.isinf(exact):
        if abs(exact) > largest(dtype):
            return 0.0 if mp.sign(result) == mp.sign(exact) else float("inf")
        result = mp.sign(result) * (largest(dtype) + ulp(largest(dtype), dtype))
    if mp.isinf(exact):
        return float("inf")
    away = abs(result - exact) - mpf(forgiven)
    return max(0.0, float(away / ulp(exact if unit is None else unit, dtype)))


def flushed(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values as a library sees them that reads subnormal numbers as 0."""
    return np.where(np.abs(values) < 2.0 ** FORMATS[dtype][1], 0.0, values)
