"""The numbers that `python -m xploss` holds everything against, by other routes."""

import itertools
import math
from decimal import Decimal

import numpy as np
import pytest
from mpmath import mp, mpf

from xploss.report.exact import (
    FORMATS,
    reference,
    row_reference,
    smallest_normal,
    spacing,
    ulps,
)

SIZES = [5e-324, 1e-30, 0.3, 1, 17, 37, 88, 119.9, 120, 120.1, 745, 800, 1e4, 1e30]
LOGITS = [0.0, -0.0, *(sign * size for size in SIZES for sign in (1.0, -1.0))]
LABELS = [0.0, 1.0, 0.5, 0.3, 5e-324, 2**-53, 1 - 2**-53]


# ---- the exact loss ----------------------------------------------------------------


def softplus(x):
    """Folded at 0, which `_exact` does not do."""
    return max(x, mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def by_mpmath(logit, label):
    """Value, gradient, Hessian and the gradient's larger term, at 60 digits.

    sigmoid(x) = exp(-softplus(-x)); its derivative is (sech(x / 2) / 2)**2.
    """
    x, pos = mpf(logit), mpf(label)
    neg = 1 - pos
    rise, fall = neg * mp.exp(-softplus(-x)), pos * mp.exp(-softplus(x))
    value = neg * softplus(x) + pos * softplus(-x)
    return value, rise - fall, (mp.sech(x / 2) / 2) ** 2, max(rise, fall)


def close(number, expected, unit):
    """To 40 digits of `unit`; what `decimal` cannot hold is 0."""
    number = mpf(0) if number == 0 else mpf(str(number))
    return abs(number - expected) <= mpf(10) ** -40 * unit + mpf(10) ** -(10**9)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("logit", LOGITS)
def test_reference_agrees_with_mpmath_to_40_digits(logit, label):
    exact = reference(logit, label)
    with mp.workdps(60 + 330):  # the labels beside 0 are 330 digits away from 1
        value, gradient, hessian, term = by_mpmath(logit, label)
        assert close(exact.value, value, value)
        assert close(exact.gradient, gradient, term)
        assert close(exact.hessian, hessian, hessian)
        assert close(exact.term, term, term)


@pytest.mark.parametrize(
    ("logit", "label", "value", "gradient"),
    [
        (math.inf, 0.0, math.inf, 1.0),
        (math.inf, 1.0, 0.0, 0.0),
        (-math.inf, 0.0, 0.0, 0.0),
        (-math.inf, 1.0, math.inf, -1.0),
        (math.inf, 0.25, math.inf, 0.75),
        (-math.inf, 0.25, math.inf, -0.25),
    ],
)
def test_infinite_logits_have_the_limits(logit, label, value, gradient):
    exact = reference(logit, label)
    assert (exact.value, exact.gradient, exact.hessian) == (value, gradient, 0)


@pytest.mark.parametrize(("logit", "label"), [(math.nan, 0.0), (1.0, math.nan)])
def test_nan_stays_nan(logit, label):
    exact = reference(logit, label)
    assert exact.value.is_nan()
    assert exact.gradient.is_nan()
    assert exact.hessian.is_nan() == math.isnan(logit)


# ---- distances ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "exact", "dtype", "expected"),
    [
        (1.0, "1", "float64", 0.0),
        (1.0 + 2**-52, "1", "float64", 1.0),
        (1.0, "0.99999", "bfloat16", 0.00128),  # 0.99999 rounds to 1: its ulp is 2**-7
        (1.0, "0.99", "bfloat16", 2.56),
        (0.0, "9.183e-41", "bfloat16", 1.0),  # 2**-133, the smallest subnormal number
        (2**-24, "0", "float16", 1.0),
        (2**-24, "3e-8", "float16", 0.497),
        (0.0, "1e-400", "float64", 0.0),
        (5e-324, "0", "float64", 1.0),
        (-5e-324, "4.94066e-324", "float64", 2.0),
        (2**-149, "0", "float32", 1.0),
        (2**-126, "0", "float32", 2.0**23),
        (65504.0, "65519.9", "float16", 0.497),
        (math.inf, "65520", "float16", 0.0),
        (65504.0, "65520", "float16", math.inf),
        (math.inf, "65519.9", "float16", math.inf),
        (math.inf, "1e39", "float32", 0.0),
        (math.inf, "1e309", "float64", 0.0),
        (-math.inf, "1e309", "float64", math.inf),
        (math.inf, "Infinity", "float64", 0.0),
        (1.0, "Infinity", "float64", math.inf),
        (math.inf, "-Infinity", "float64", math.inf),
        (math.nan, "NaN", "float64", 0.0),
        (math.nan, "1", "float64", math.inf),
        (1.0, "NaN", "float64", math.inf),
        (math.nan, "Infinity", "float64", math.inf),
        (math.inf, "NaN", "float64", math.inf),
    ],
)
def test_ulps_of_known_cases(result, exact, dtype, expected):
    assert ulps(result, Decimal(exact), dtype) == pytest.approx(expected, rel=5e-3)


def test_ulps_of_another_number():
    """A difference of two terms is measured by the larger."""
    assert ulps(2**-52, Decimal(0), "float64", of=Decimal(1)) == 1.0


def numbers(dtype):
    """Every binade from the subnormal ones on, and a number on both sides of it."""
    digits, least = FORMATS[dtype]
    for exponent in range(least - digits + 1, 1 - least):
        for shift in (1.0, 1.37, 1 - 2.0**-digits):
            yield 2.0**exponent * shift


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_spacing_is_numpys(dtype):
    kind = np.dtype(dtype).type
    for number in numbers(dtype):
        rounded = kind(number)
        assert float(spacing(Decimal(number), dtype)) == float(np.spacing(rounded))
        assert ulps(float(rounded), Decimal(number), dtype) <= 0.5


def test_spacing_of_bfloat16_is_65536_times_that_of_float32():
    """It is float32 without its last 16 digits."""
    for exponent in range(-126, 128):
        number = Decimal(2.0**exponent)
        expected = 65536 * float(spacing(number, "float32"))
        assert float(spacing(number, "bfloat16")) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_smallest_normal_is_numpys(dtype):
    expected = float(np.finfo(dtype).smallest_normal)
    assert float(smallest_normal(dtype)) == expected


def test_a_wrong_digit_is_seen():
    """The comparison with mpmath can fail."""
    pairs = list(itertools.product([1.0, 800.0], [0.0, 0.3]))
    with mp.workdps(60):
        for logit, label in pairs:
            value = by_mpmath(logit, label)[0]
            off = reference(logit, label).value * (1 + Decimal("1e-20"))
            assert not close(off, value, value)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "logits", [(1.0, 2.0, 3.0), (40.0, 0.0, -5.0), (0.5, 0.5, -100.0)]
)
def test_rows_agree_with_mpmath_to_40_digits(logits, number):
    with mp.workdps(200):
        total = mp.log(mp.fsum(mp.exp(mpf(x)) for x in logits))
        exact = total - mpf(logits[number])
        made = mpf(str(row_reference(logits, number)))
        assert abs(made - exact) <= mpf(10) ** -40 * exact


def test_rows_at_infinity():
    inf = math.inf
    assert row_reference((inf, 0.0), 0) == 0
    assert row_reference((inf, 0.0), 1) == Decimal("inf")
    assert row_reference((-inf, 0.0), 0) == Decimal("inf")
    assert row_reference((-inf, 0.0), 1) == 0
