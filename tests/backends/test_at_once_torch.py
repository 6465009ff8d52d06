"""Ordinary calls of rows of tensors, as of arrays (`test_at_once_numpy.py`), and a step
of them."""

from functools import partial

import pytest
import torch
from expected import each
from short_way import LOSSES, calls_by_checks, quantities, returned_at_once

import xploss
from xploss.backends.compiled import INSTRUCTION_SETS
from xploss.backends.torch import BACKEND

pytestmark = [
    pytest.mark.library("torch"),
    pytest.mark.skipif(not INSTRUCTION_SETS, reason="built without a compiler"),
]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
RNG = torch.Generator().manual_seed(5)


def arguments_of(name, shape, dtype, kind):
    x = 4 * torch.randn(shape, generator=RNG)
    x = torch.softmax(x, -1) if name == "probabilities" else x
    if kind is None:
        masses = torch.softmax(torch.randn(shape, generator=RNG), -1)
        return x.to(dtype), masses.to(dtype)
    numbers = torch.randint(0, shape[-1], shape[:-1], generator=RNG)
    return x.to(dtype), numbers.to(kind)


@pytest.fixture
def checked(monkeypatch):
    return calls_by_checks(monkeypatch, type(BACKEND))


@pytest.fixture
def at_once(monkeypatch):
    return returned_at_once(monkeypatch, type(BACKEND))


def alike(results, right):
    for a, b in zip(each(results), each(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [None, torch.int64, torch.int32], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 10), (70, 3), (5, 1), (2, 3, 40), (3, 2000)])
@pytest.mark.parametrize("name", LOSSES)
def test_bits_are_those_of_a_checked_call(name, shape, dtype, kind, checked, at_once):
    given = arguments_of(name, shape, dtype, kind)
    for reduction in ("none", "sum", "mean", "weighted_mean"):
        for function in quantities(name):
            made = function(*given, reduction=reduction)
            assert at_once.pop() is not None
            alike(made, checked(function, *given, reduction=reduction))


@pytest.mark.parametrize("kind", [None, torch.int64], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_steps(name, dtype, kind, checked, at_once):
    x, y = arguments_of(name, (70, 10), dtype, kind)

    def step(reduction):
        leaf = x.clone().requires_grad_()
        value = LOSSES[name](leaf, y, reduction=reduction)
        (3.0 * value).backward()
        return value.detach(), leaf.grad

    for reduction in ("sum", "mean", "weighted_mean"):
        made = step(reduction)
        assert at_once.pop() is not None
        alike(made, checked(step, reduction))


@pytest.mark.parametrize("kind", [None, torch.int64], ids=str)
def test_differentiated_again(kind, checked, at_once):
    x, y = arguments_of("cross-entropy", (7, 5), torch.float64, kind)

    def hessian_times(vector):
        leaf = x.clone().requires_grad_()
        mean = xploss.softmax_cross_entropy(leaf, y)
        (slope,) = torch.autograd.grad(mean, leaf, create_graph=True)
        return torch.autograd.grad(slope, leaf, vector)

    made = hessian_times(x)
    assert at_once.pop() is not None
    alike(made, checked(hessian_times, x))
    assert torch.autograd.gradgradcheck(
        lambda a: xploss.softmax_cross_entropy(a, y), x.clone().requires_grad_()
    )


def test_two_numbers_a_row_are_kept():
    x, y = arguments_of("cross-entropy", (70, 10), torch.float32, torch.int64)
    sizes = []

    def noted(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        xploss.softmax_cross_entropy(x.requires_grad_(), y)
    assert sizes == [700, 70, 70, 70]  # logits and labels, which are the caller's


def test_what_is_written_afterwards_is_noticed():
    x, y = arguments_of("cross-entropy", (7, 5), torch.float32, torch.int64)
    mean = xploss.softmax_cross_entropy(x.requires_grad_() * 1.0, y)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mean.backward()


ELEMENTS = partial(xploss.sigmoid_cross_entropy, labels=torch.rand(6, 4, generator=RNG))
ROWS = partial(
    xploss.softmax_cross_entropy, labels=torch.randint(0, 4, (6,), generator=RNG)
)


@pytest.mark.parametrize("loss", [ELEMENTS, ROWS], ids=["elements", "rows"])
@pytest.mark.parametrize(
    "unpack",
    [
        lambda t: t.t().contiguous().t() if t.ndim == 2 else t,
        lambda t: t.double() if t.is_floating_point() else t,
        lambda t: t.to(torch.int16) if not t.is_floating_point() else t,
    ],
    ids=["strides", "dtype", "integers"],
)
def test_what_a_hook_unpacks(loss, unpack):
    """Equal numbers, that lie otherwise."""
    x = torch.randn(6, 4, generator=RNG).requires_grad_()
    (right,) = torch.autograd.grad(loss(x), x)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        mean = loss(x)
    torch.testing.assert_close(torch.autograd.grad(mean, x)[0], right)


@pytest.mark.parametrize("loss", [ELEMENTS, ROWS], ids=["elements", "rows"])
def test_other_data_between_forward_and_backward(loss):
    x = torch.randn(6, 4, generator=RNG).requires_grad_()
    (right,) = torch.autograd.grad(loss(x), x)
    mean = loss(x)
    x.data = x.data.t().contiguous().t()
    torch.testing.assert_close(torch.autograd.grad(mean, x)[0], right)
    mean = loss(x)
    x.data = torch.zeros(6000, 4)  # beyond the labels
    with pytest.raises((ValueError, IndexError, RuntimeError)):
        torch.autograd.grad(mean, x)


def test_masses_have_a_gradient(at_once):
    x, y = arguments_of("cross-entropy", (7, 5), torch.float64, None)
    inputs = x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(xploss.softmax_cross_entropy, inputs)
    assert at_once
    assert all(result is None for result in at_once)


X, Y = arguments_of("cross-entropy", (6, 4), torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        (X, Y, {"ignore_index": int(Y[0])}),
        (X, Y, {"ignore_index": 2**70}),
        (X.T.contiguous().T, Y, {}),
        (X, Y.to(torch.int16), {}),
        (X.T, Y, {"class_axis": 0}),
        (X[0], Y[0], {}),
        (X[:0], Y[:0], {}),
        (X, X.double(), {}),
        (X.to("meta"), Y.to("meta"), {}),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_left_to_the_checks(x, y, options, checked, at_once):
    made = xploss.softmax_cross_entropy(x, y, **options)
    right = checked(xploss.softmax_cross_entropy, x, y, **options)
    assert at_once == [None]
    if not x.is_meta:
        torch.testing.assert_close(made, right, rtol=0, atol=0, equal_nan=True)
    assert (made.dtype, made.shape) == (right.dtype, right.shape)


@pytest.mark.parametrize(
    ("x", "y", "options", "error"),
    [
        (X, Y.float(), {}, TypeError),
        (X, Y > 1, {}, TypeError),
        (X, Y[:5], {}, ValueError),
        (X, X[:, :3], {}, ValueError),
        (X, Y, {"class_axis": True}, TypeError),
        (X, X, {"ignore_index": 1}, ValueError),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_wrong_is_refused(x, y, options, error):
    with pytest.raises(error):
        xploss.softmax_cross_entropy(x, y, **options)
