"""The derivatives that the records of formulas tell, by each argument, are exact: the
rules of PyTorch and JAX rest on them."""

import inspect
import itertools

import numpy as np
import pytest
import slope_reference as exactly
from expected import dtype_of
from grid import rounded
from mpmath import mp
from reference import ulps

from xploss._arguments import backend_of
from xploss.formulas import focal, probability, sigmoid

LOGITS = (-80.0, -17.0, -2.5, -0.25, 0.0, 1.0, 17.0, 40.0)
PROBS = (1e-30, 1e-7, 0.125, 0.5, 0.75, 1 - 2.0**-20)
LABELS = (0.0, 2.0**-20, 0.3, 0.5, 0.9, 1 - 2.0**-20, 1.0)
SMOOTHED = (0.0, 0.125)

# A record, the definition of what it tells, and the arguments to try.
RECORDS = {
    "cross-entropy": (
        sigmoid.CROSS_ENTROPY,
        exactly.cross_entropy,
        (LOGITS, LABELS, (1.0, 3.75), SMOOTHED),
    ),
    "focal": (
        focal.FOCAL,
        exactly.focal,
        (LOGITS, LABELS, (0.5, 1.0, 2.0, 5.0), (0.25,), SMOOTHED),
    ),
    "probability": (
        probability.PROBABILITY,
        exactly.probability,
        (PROBS, LABELS, (1.0, 3.75), SMOOTHED),
    ),
    "sigmoid": (sigmoid.SLOPE, exactly.sigmoid, (LOGITS, LABELS)),
}
SLOPES = [
    pytest.param(record, name, id=f"{title}-{name}")
    for title, (formula, *_) in RECORDS.items()
    for name in formula.slopes
    for record in [title]
]


def columns(title, dtype):
    """All pairs of arguments, as numbers of the dtype."""
    points = list(itertools.product(*RECORDS[title][2]))
    return rounded(np.array(points), dtype).T


def options_of(formula, given):
    """The arguments of a function of the record; None for what is not given."""
    return [*given, *[None] * (len(formula.traced) - len(given))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("title", "name"), SLOPES)
def test_slopes_are_exact(title, name, dtype):
    formula, *_ = RECORDS[title]

    def slopes(arrays):
        with np.errstate(all="ignore"):
            return formula.slopes[name](np, *options_of(formula, arrays))

    exact_slopes(title, name, dtype, slopes)


def exact_slopes(title, name, dtype, slopes):
    """What slopes makes of all pairs of arguments is within a few ulp."""
    _, loss, _ = RECORDS[title]
    given = columns(title, dtype)
    results = slopes(given.astype(dtype))
    for result, point in zip(results, given.T.tolist(), strict=True):
        exact = exactly.slope(loss, name, *point)
        # A power amplifies the error of its exponent.
        gamma = point[2] if title == "focal" else 0.0
        bound = 8.0 * (1.0 + gamma * 90.0)
        away = ulps(result, exact.slope, dtype, unit=exact.term, lost=1024.0)
        assert away <= bound, f"at {point}: {result!r}, exactly {mp.nstr(exact.slope)}"


@pytest.mark.parametrize(("title", "name"), SLOPES)
def test_slopes_ask_for_what_the_standard_has(backend, title, name, shapes):
    """On every library, in the dtype of the arguments throughout."""
    formula, *_ = RECORDS[title]
    for dtype in {"float32", "float64"} & {*backend.dtypes}:
        arrays = [backend.array(a[:8], dtype) for a in columns(title, dtype)]
        xp = backend_of("first", arrays[0]).xp
        result = formula.slopes[name](xp, *options_of(formula, arrays))
        assert (dtype_of(result), tuple(result.shape)) == (dtype, (8,))


@pytest.mark.parametrize(("title", "name"), SLOPES)
def test_slopes_at_infinity_are_no_nan(title, name):
    """Where an infinite logit, or a certain probability, meets any label."""
    formula, *_ = RECORDS[title]
    ends = (0.0, 1.0) if title == "probability" else (-np.inf, np.inf)
    first, labels = np.array(list(itertools.product(ends, LABELS))).T
    whole = columns(title, "float64")
    arrays = [first, labels, *(np.full_like(first, a[0]) for a in whole[2:])]
    with np.errstate(all="ignore"):
        results = formula.slopes[name](np, *options_of(formula, arrays))
    # 1/0 - 1/0, of neither class by all of it.
    assert not np.isnan(results).any(), dict(zip(first, results, strict=True))


def test_a_certain_answer_has_no_slope():
    """At infinity where the label says so, F and all its derivatives are 0."""
    first, labels = np.array([np.inf, -np.inf]), np.array([1.0, 0.0])
    for name, slope in focal.FOCAL.slopes.items():
        with np.errstate(all="ignore"):
            result = slope(np, first, labels, 2.0, 0.25, None)
        assert not result.any(), name


def test_every_function_of_a_record_takes_what_is_traced():
    for formula, *_ in RECORDS.values():
        assert set(formula.slopes) <= set(formula.traced)
        made = [formula.value, formula.value_and_slope, formula.slope_and_curvature]
        for function in filter(None, (*made, *formula.slopes.values())):
            inspect.signature(function).bind(np, *formula.traced)
