"""Closed-form derivatives are those of the value that is returned beside them."""

import copy
import inspect
import multiprocessing
import pickle
import pydoc
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest
from expected import (
    LABELS,
    LOGITS,
    LOSSES,
    MASK,
    OPTIONS,
    PER_CLASS,
    PER_ELEMENT,
    PER_SAMPLE,
    REDUCTIONS,
    gradient,
    is_close,
    is_like,
    of_backend,
    per_element,
    value,
    wide,
    without_address,
)

import xploss
from xploss.formulas import probability, sigmoid

cross_entropy = xploss.sigmoid_cross_entropy
loss_of = pytest.mark.parametrize("loss", LOSSES, ids=str)

# 16-bit numbers are rounded once, after the division by N.
BOUNDS = {"float16": 0.51, "bfloat16": 0.51}


def check(backend, dtype, loss, calls, options):
    """The value and its gradient of calls that differ in reduction and axis."""

    def derived(first, labels, **arrays):
        function = xploss.value_and_grad(loss.function)
        return [function(first, labels, **arrays, **call) for call in calls]

    first, y = (backend.array(a, dtype) for a in (loss.first, loss.labels))
    results = backend.call(derived, first, y, **of_backend(backend, dtype, options))
    for call, (result, slope) in zip(calls, results, strict=True):
        exact = value(loss, options | call)
        kind = dtype if call.get("reduction") == "none" else wide(dtype)
        is_like(first, result, kind, exact.shape)
        is_close(backend.numpy(result), exact, kind, loss.bound)
        exact, terms = gradient(loss, options | call)
        is_like(first, slope, dtype, loss.first.shape)
        bound = BOUNDS[dtype] if "16" in dtype else loss.bound
        is_close(backend.numpy(slope), exact, dtype, bound, unit=terms)


EVERYWHERE = [{"reduction": r} for r in REDUCTIONS]
ALONG = [{"reduction": r, "axis": k} for r in REDUCTIONS[1:] for k in (0, -1, (1, 0))]


@loss_of
def test_gradient_of_every_reduction(backend, dtype, loss):
    check(backend, dtype, loss, EVERYWHERE, {})


@pytest.mark.parametrize(
    ("weights", "where"),
    [(3.0, MASK), (PER_CLASS, True), (PER_SAMPLE, MASK[:, 1:2]), (PER_ELEMENT, MASK)],
)
def test_gradient_of_what_is_weighed_and_left_out(backend, weights, where):
    options = {"weights": weights, "where": where}
    check(backend, "float32", LOSSES[0], EVERYWHERE, options)


@loss_of
def test_gradient_along_an_axis(backend, loss):
    check(backend, "float32", loss, ALONG, {})


def test_gradient_with_every_option_along_an_axis(backend):
    check(backend, "float32", LOSSES[0], ALONG, OPTIONS)


CHOICES = [
    {},
    {"label_smoothing": 0.125},
    {"pos_weight": PER_CLASS},
    {"weights": PER_SAMPLE},
    {"where": MASK},
    OPTIONS,
]


@pytest.mark.parametrize("options", CHOICES, ids=", ".join)
def test_grad_and_hess_are_of_an_element(backend, options):
    """Times its weight, and never divided by N."""
    x, y = (backend.array(a, "float32") for a in (LOGITS, LABELS))
    function = xploss.grad_and_hess(cross_entropy)
    results = backend.call(function, x, y, **of_backend(backend, "float32", options))
    slopes, curvatures, terms = (
        per_element(field, LOSSES[0], options)
        for field in ("gradient", "hessian", "term")
    )
    for result in results:
        is_like(x, result, "float32", LOGITS.shape)
    is_close(backend.numpy(results[0]), slopes, "float32", 8, unit=terms)
    is_close(backend.numpy(results[1]), curvatures, "float32", 8)


def test_grad_and_hess_are_like_the_logits(backend, dtype, shapes):
    x, y = (backend.array(a, dtype) for a in (LOGITS, LABELS))
    for result in backend.call(xploss.grad_and_hess(cross_entropy), x, y):
        is_like(x, result, dtype, LOGITS.shape)


# ---- what they are made of ---------------------------------------------------------


def halved(x):
    """Arrays that show whose arguments they were."""
    return np.array([x, x / 2])


PARTIALS = {
    "options": partial(cross_entropy, weights=3.0, reduction="sum"),
    "nested": partial(partial(cross_entropy, weights=3.0), reduction="sum"),
    "arguments": partial(cross_entropy, halved(8.0), weights=3.0, reduction="sum"),
}


@pytest.mark.parametrize("name", PARTIALS)
def test_value_and_grad_of_a_partial(name):
    left = () if name == "arguments" else (halved(8.0),)
    result, slope = xploss.value_and_grad(PARTIALS[name])(*left, 0.0)
    plain = xploss.value_and_grad(cross_entropy)
    expected = plain(halved(8.0), 0.0, weights=3.0, reduction="sum")
    assert result == expected[0]
    np.testing.assert_array_equal(slope, expected[1], strict=True)


def test_grad_and_hess_of_a_partial():
    results = xploss.grad_and_hess(partial(cross_entropy, weights=3.0))(halved(8.0), 0)
    expected = xploss.grad_and_hess(cross_entropy)(halved(8.0), 0, weights=3.0)
    for result, number in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, number, strict=True)


@loss_of
def test_value_and_grad_keeps_the_signature(loss):
    for function in (loss.function, partial(loss.function, reduction="sum")):
        derived = inspect.signature(xploss.value_and_grad(function))
        assert derived == inspect.signature(function)
    assert xploss.value_and_grad(loss.function).__name__ == loss.function.__name__


@loss_of
def test_what_checks_a_call_takes_the_arguments_of_the_loss(loss):
    """And has its defaults, which a derivative would otherwise not have."""

    def arguments(function):
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    assert arguments(loss.function.made_of.call) == arguments(loss.function)


@pytest.mark.parametrize("function", [cross_entropy, partial(cross_entropy, labels=1)])
def test_grad_and_hess_keeps_the_signature_but_for_the_reduction(function):
    kept = dict(inspect.signature(function).parameters)
    del kept["reduction"], kept["axis"]
    assert dict(inspect.signature(xploss.grad_and_hess(function)).parameters) == kept


DERIVED = [
    *(xploss.value_and_grad(loss.function) for loss in LOSSES),
    xploss.value_and_grad(partial(cross_entropy, pos_weight=3.0)),
    xploss.grad_and_hess(cross_entropy),
    xploss.grad_and_hess(partial(xploss.sigmoid_focal_loss, gamma=3.0)),
]


@pytest.mark.parametrize("derived", DERIVED, ids=without_address)
def test_what_is_derived_is_pickled_and_copied(derived):
    x, y = np.array([0.25, 0.5]), np.array([0.0, 1.0])
    for again in (pickle.loads(pickle.dumps(derived)), copy.deepcopy(derived)):
        assert inspect.signature(again) == inspect.signature(derived)
        for one, other in zip(again(x, y), derived(x, y), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_derived_goes_to_another_process():
    derived = xploss.value_and_grad(partial(cross_entropy, reduction="sum"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        value, gradient = pool.submit(derived, np.zeros(2), 1).result()
    assert value == derived(np.zeros(2), 1)[0]
    np.testing.assert_array_equal(gradient, [-0.5, -0.5])


@pytest.mark.parametrize(
    ("transform", "pair"),
    [
        (xploss.value_and_grad, "(value, gradient"),
        (xploss.grad_and_hess, "(gradient, Hessian"),
    ],
    ids=["value_and_grad", "grad_and_hess"],
)
def test_help_says_what_is_returned(transform, pair):
    for loss in (cross_entropy, partial(cross_entropy, pos_weight=3.0)):
        shown = pydoc.render_doc(transform(loss), renderer=pydoc.plaintext)
        assert shown.index(pair) < shown.index("loss = neg * softplus(x)")
        assert transform.__name__ in shown
    assert repr(transform(cross_entropy)).startswith(f"{transform.__name__}(<function")


# ---- their cost --------------------------------------------------------------------


class Counting:
    """NumPy, and how often each of its functions was called."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        self.calls.append(name)
        return getattr(np, name)


ONE_EXPONENTIAL = (
    sigmoid.value,
    sigmoid.slope,
    sigmoid.value_and_slope,
    sigmoid.slope_and_curvature,
)


@pytest.mark.parametrize("pos_weight", [None, 3.0, PER_CLASS])
@pytest.mark.parametrize("smoothing", [None, 0.125])
@pytest.mark.parametrize("formula", ONE_EXPONENTIAL, ids=lambda f: f.__name__)
def test_one_exponential_an_element(formula, pos_weight, smoothing):
    xp = Counting()
    formula(xp, LOGITS, LABELS, pos_weight, smoothing)
    assert xp.calls.count("exp") == 1
    assert xp.calls.count("log1p") == formula.__name__.startswith("value")
    assert set(xp.calls) <= {"exp", "log1p", "where", "isinf"}


def test_three_logarithms_a_probability():
    """Of p, of 1 - p, and of 1 - p below a quarter; none of them twice."""
    first, labels = LOSSES[1].first, LABELS
    with np.errstate(all="ignore"):
        for formula, times in (
            (probability.value, 3),
            (probability.slope, 0),
            (probability.value_and_slope, 3),
        ):
            xp = Counting()
            formula(xp, first, labels, *[None] * 5)
            assert "exp" not in xp.calls
            assert sum(name.startswith("log") for name in xp.calls) == times
