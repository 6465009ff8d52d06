"""Ordinary calls of rows, which reach the kernels past the checks: the same bits as by
the checks, and whatever is not ordinary is left to them."""

from functools import partial

import numpy as np
import pytest
from expected import each
from short_way import LOSSES, calls_by_checks, quantities, returned_at_once

import xploss
from xploss.backends.compiled import INSTRUCTION_SETS
from xploss.backends.numpy import BACKEND

pytestmark = [
    pytest.mark.library("numpy"),
    pytest.mark.skipif(not INSTRUCTION_SETS, reason="built without a compiler"),
]
RNG = np.random.default_rng(3)


def arguments_of(name, shape, dtype, kind):
    x = RNG.normal(size=shape, scale=4)
    if name == "probabilities":
        x = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    masses = RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
    if kind == "masses":
        return x.astype(dtype), masses
    return x.astype(dtype), RNG.integers(0, shape[-1], shape[:-1]).astype(kind)


X, Y = arguments_of("cross-entropy", (6, 4), "float32", "int64")


@pytest.fixture
def checked(monkeypatch):
    return calls_by_checks(monkeypatch, type(BACKEND))


@pytest.fixture
def at_once(monkeypatch):
    return returned_at_once(monkeypatch, type(BACKEND))


def alike(results, right):
    for a, b in zip(each(results), each(right), strict=True):
        assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("kind", ["masses", "int64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 10), (70, 3), (5, 1), (2, 3, 40), (3, 2000)])
@pytest.mark.parametrize("name", LOSSES)
def test_bits_are_those_of_a_checked_call(name, shape, dtype, kind, checked, at_once):
    given = arguments_of(name, shape, dtype, kind)
    for reduction in ("none", "sum", "mean", "weighted_mean"):
        for function in quantities(name):
            made = function(*given, reduction=reduction)
            assert at_once.pop() is not None
            alike(made, checked(function, *given, reduction=reduction))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_labels_to_be_ignored(reduction, checked, at_once):
    x, y = arguments_of("cross-entropy", (6, 4), "float32", "int64")
    call = partial(xploss.softmax_cross_entropy, reduction=reduction)
    alike(call(x, y, ignore_index=-100), checked(call, x, y))
    assert at_once.pop() is not None  # there are none
    y[2] = -100
    alike(call(x, y, ignore_index=-100), checked(call, x, y, ignore_index=-100))
    assert at_once.pop() is None


def test_a_mean_is_a_number():
    """Whatever the labels, the mask and the weights."""
    mean = partial(xploss.softmax_cross_entropy, X, Y)
    for options in ({}, {"ignore_index": -100}, {"ignore_index": int(Y[0])}):
        assert type(mean(**options)) is np.float32
    assert type(mean(where=Y >= 0)) is np.float32
    assert type(mean(weights=np.ones(6), reduction="weighted_mean")) is np.float32


def test_arguments_that_a_partial_has():
    function = xploss.value_and_grad(partial(xploss.softmax_cross_entropy, X))
    alike(function(Y), xploss.value_and_grad(xploss.softmax_cross_entropy)(X, Y))
    with pytest.raises(TypeError, match="positional"):
        function(X, Y)


@pytest.mark.parametrize(
    "of",
    [
        lambda x, y: (x.T.copy().T, y),
        lambda x, y: (x[::-1, ::-1], y[::-1]),
        lambda x, y: (np.lib.stride_tricks.as_strided(x, x.shape, (0, 4)), y),
    ],
)
def test_strides(of, checked, at_once):
    x, y = of(*arguments_of("cross-entropy", (70, 40), "float32", "int64"))
    function = xploss.value_and_grad(xploss.softmax_cross_entropy)
    made = function(x, y)
    assert at_once.pop() is not None
    alike(made, checked(function, x, y))


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        (X.astype(">f4"), Y, {}),
        (X, Y.astype(">i8"), {}),
        (X.astype("float16"), Y, {}),
        (X.T, Y, {"class_axis": 0}),
        (X[0], Y[0], {}),
        (X, 1, {}),
        (X[:0], Y[:0], {}),
        (X, X, {}),  # masses of any sum
        (X, X.astype("float64"), {}),
        (X, Y, {"class_weights": np.ones(4)}),
        (X, Y, {"weights": np.ones(6)}),
        (X, Y, {"ignore_index": np.int64(7)}),
        (X, Y, {"label_smoothing": np.array(0.1)}),
    ],
)
def test_what_is_left_to_the_checks(x, y, options, checked, at_once):
    made = xploss.softmax_cross_entropy(x, y, **options)
    alike(made, checked(xploss.softmax_cross_entropy, x, y, **options))
    taken = [result is not None for result in at_once]
    assert taken in ([], [y is X and x is X])


@pytest.mark.parametrize(
    ("x", "y", "options", "error"),
    [
        (X, Y.astype("float32"), {}, TypeError),
        (X, Y > 1, {}, TypeError),
        (X, Y[:, None], {}, ValueError),
        (X, Y[:5], {}, ValueError),
        (X, X[:, :3], {}, ValueError),
        (X, Y, {"class_axis": True}, TypeError),
        (X, Y, {"class_axis": 1.0}, TypeError),
        (X, Y, {"class_axis": 2}, ValueError),
        (X, Y, {"ignore_index": True}, TypeError),
        (X, Y, {"ignore_index": 1.0}, TypeError),
        (X, X, {"ignore_index": 1}, ValueError),
        (X, Y, {"ignore_index": 10**400, "where": Y >= 0}, ValueError),
        (X, Y, {"label_smoothing": 2.0}, ValueError),
        (X, Y, {"z_loss": -1.0}, ValueError),
        (X[..., :0], Y, {}, ValueError),
        (X[0, 0], Y, {}, ValueError),
    ],
)
def test_what_is_wrong_is_refused(x, y, options, error):
    with pytest.raises(error):
        xploss.softmax_cross_entropy(x, y, **options)
