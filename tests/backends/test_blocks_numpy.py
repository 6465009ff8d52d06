"""Blocks put together are the whole, by the compiled formulas and without them."""

import itertools
from functools import partial

import numpy as np
import pytest

import xploss
from xploss.backends import numpy as host
from xploss.backends.base import Backend

pytestmark = pytest.mark.library("numpy")

cross_entropy = xploss.sigmoid_cross_entropy
value_and_grad = xploss.value_and_grad(cross_entropy)


@pytest.fixture(params=["compiled", "plain"])
def engine(request, monkeypatch):
    """Compiled, a block is of 512 elements; plainly, of 8 or 16 here."""
    if request.param == "plain":
        monkeypatch.setattr(host.NumPy, "compiled", None)
        monkeypatch.setattr(host, "BLOCK", 64)
    elif host.NumPy.compiled is None:
        pytest.skip("built without a compiler")


SHAPES = [(600,), (7, 90), (40, 1), (1, 40), (3, 41, 5), (2, 1, 33), (5, 0)]
LAYOUTS = {
    "by rows": lambda a: a,
    "by columns": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "one for all": lambda a: np.broadcast_to(a[:1], a.shape),
}


def options(shape, rng):
    spread = tuple(1 if k % 2 else n for k, n in enumerate(shape))
    yield {}
    yield {"pos_weight": rng.uniform(1, 2, shape[-1:]), "label_smoothing": 0.1}
    yield {"weights": rng.uniform(0, 1, spread), "where": rng.random(shape) < 0.7}


def axes(shape):
    for length in range(1, len(shape) + 1):
        yield from itertools.combinations(range(len(shape)), length)


def calls(shape):
    gradient_and_hessian = xploss.grad_and_hess(cross_entropy)
    yield partial(value_and_grad, reduction="none")
    yield lambda *arguments, **kw: gradient_and_hessian(*arguments, **kw)
    for axis in (None, *axes(shape)):
        yield partial(value_and_grad, axis=axis)
        yield partial(cross_entropy, axis=axis, reduction="weighted_mean")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.usefixtures("engine")
def test_blocks_are_the_whole(dtype, shape, layout, monkeypatch):
    rng = np.random.default_rng(4)
    logits = LAYOUTS[layout](rng.normal(size=shape).astype(dtype))
    labels = LAYOUTS[layout]((rng.random(shape) < 0.5).astype(dtype))
    for function, given in itertools.product(calls(shape), options(shape, rng)):
        results = function(logits, labels, **given)
        with monkeypatch.context() as patched:
            patched.setattr(host.NumPy, "evaluate", Backend.evaluate)
            expected = function(logits.copy(), labels.copy(), **given)
        results = results if isinstance(results, tuple) else (results,)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for result, right in zip(results, expected, strict=True):
            assert result.dtype == right.dtype
            assert type(result) is type(right)
            # A gradient's terms cancel where it is small.
            finite = np.abs(right)[np.isfinite(right)]
            unit = np.spacing(np.max(finite, initial=0.0))
            np.testing.assert_allclose(result, right, rtol=0.0, atol=8.0 * unit)


@pytest.mark.usefixtures("engine")
def test_results_lie_as_the_logits_do():
    logits = np.asfortranarray(np.zeros((300, 400)))
    for result in (
        cross_entropy(logits, 1, reduction="none"),
        *value_and_grad(logits, 1),
    ):
        assert result.ndim == 0 or result.flags.f_contiguous


@pytest.mark.usefixtures("engine")
def test_blocks_are_written_where_they_belong():
    """No result is a view of another array."""
    for n in (1, 511, 512, 513, 16384, 16385, 40000):
        gradient, hessian = xploss.grad_and_hess(cross_entropy)(np.zeros(n), 1)
        assert gradient.base is None
        assert hessian.base is None
        np.testing.assert_array_equal(gradient, -0.5)
        np.testing.assert_array_equal(hessian, 0.25)
