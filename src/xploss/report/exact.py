"""The exact loss, gradient and Hessian of one logit and label, and distances in ulp.

By the standard library's `decimal`, straight from the definitions

    softplus(x) = ln(1 + exp(x)),    sigmoid(x) = 1 / (1 + exp(-x)),

with as many digits as they need: another way than the fold of `_formula.py`.
"""

import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import NamedTuple

# Beyond |x| = 120, exp(-|x|) < 1e-52: softplus is x or exp(x) to 52 digits.  Up to
# there, 1 + exp(-|x|) in 100 digits leaves 47 of its logarithm.
FAR = 120
DIGITS = Context(prec=100, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])

# Digits of the significand, and the exponent of the smallest normal number.
FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}


class Exact(NamedTuple):
    """To 40 digits (the gradient: of `term`, the larger of its two terms)."""

    value: Decimal
    gradient: Decimal
    hessian: Decimal
    term: Decimal


def reference(logit: float, label: float) -> Exact:
    """The loss of one logit by one label, and its derivatives by the logit::

        value     neg * softplus(x) + pos * softplus(-x)      pos = y, neg = 1 - y
        gradient  neg * sigmoid(x) - pos * sigmoid(-x)
        Hessian   sigmoid(x) * sigmoid(-x)

    At an infinite logit the limits; NaN for a NaN.

    >>> print(f"{reference(-800.0, 0.0).value:.20e}")
    3.66787458417768721346e-348
    """
    with localcontext(DIGITS):
        x, pos = Decimal(logit), Decimal(label)
        neg = 1 - pos
        rise, fall = _times(neg, _sigmoid(x)), _times(pos, _sigmoid(-x))
        return Exact(
            value=_times(neg, _softplus(x)) + _times(pos, _softplus(-x)),
            gradient=rise - fall,
            hessian=_sigmoid(x) * _sigmoid(-x),
            term=max(rise, fall),
        )


def row_reference(logits: tuple[float, ...], number: int) -> Decimal:
    """The loss of a row of logits by the number of its class::

        log(sum of exp(x_j - x_k))                  k is the number

    At an infinite logit the limit; the rest within 120 of each other.

    >>> print(f"{row_reference((40.0, 0.0, -5.0), 0):.15e}")
    4.276979441097083e-18
    """
    with localcontext(DIGITS):
        x = [Decimal(logit) for logit in logits]
        if x[number].is_infinite():
            return Decimal(0) if x[number] > 0 else Decimal("inf")
        return sum(((other - x[number]).exp() for other in x), Decimal(0)).ln()


def _softplus(x: Decimal) -> Decimal:
    if x > FAR:
        return x
    return x.exp() if x < -FAR else (1 + x.exp()).ln()


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _times(mass: Decimal, part: Decimal) -> Decimal:
    """No mass, no loss, be it 0 * inf."""
    return Decimal(0) if mass == 0 and part.is_infinite() else mass * part


# ---- distances ------------------------------------------------------------------


def ulps(result: float, exact: Decimal, dtype: str, of: Decimal | None = None) -> float:
    """|result - exact| in units in the last place of `exact`, rounded to `dtype`.

    Or in those of the number `of`.  An `exact` beyond the dtype's range counts as
    infinite; 0 where both are NaN or the same infinity, inf where only one is.

    >>> ulps(0.0, Decimal("1e-400"), "float64") < 1e-70
    True
    >>> ulps(1.0, Decimal(1) + Decimal(2) ** -23, "float32")
    1.0
    """
    exact = _in_range(exact, dtype)
    if not math.isfinite(result) or not exact.is_finite():
        same = result == exact or (math.isnan(result) and exact.is_nan())
        return 0.0 if same else math.inf
    unit = spacing(exact if of is None else of, dtype)
    with localcontext(DIGITS):
        return float(abs(Decimal(result) - exact) / unit)


def spacing(number: Decimal, dtype: str) -> Decimal:
    """The unit in the last place of a finite number, rounded to `dtype`."""
    digits, _ = FORMATS[dtype]
    with localcontext(DIGITS):
        return Decimal(2) ** (_exponent(number, dtype) - digits + 1)


def smallest_normal(dtype: str) -> Decimal:
    """Below it, libraries that flush subnormal results return 0."""
    with localcontext(DIGITS):
        return Decimal(2) ** FORMATS[dtype][1]


def _exponent(number: Decimal, dtype: str) -> int:
    """e of a finite number that, rounded to `dtype`, is in [2**e, 2**(e+1))."""
    digits, least = FORMATS[dtype]
    fraction, exponent = math.frexp(abs(float(number)))
    rounds_up = fraction >= 1 - 2.0 ** -(digits + 1)
    exponent = exponent if rounds_up else exponent - 1
    return max(exponent, least) if fraction else least


def _in_range(number: Decimal, dtype: str) -> Decimal:
    """The number, or the infinity that it rounds to."""
    _, least = FORMATS[dtype]
    if not number.is_finite():
        return number
    nearest = float(number)
    beyond = math.isinf(nearest) or _exponent(number, dtype) > 1 - least
    return Decimal(math.copysign(math.inf, nearest)) if beyond else number
