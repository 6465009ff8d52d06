"""Tensors on the CPU, which NumPy is shown in eager mode: when, and when not."""

from functools import partial

import expected
import numpy as np
import pytest
import torch

import xploss

pytestmark = pytest.mark.library("torch")

cross_entropy = xploss.sigmoid_cross_entropy
per_element = partial(cross_entropy, reduction="none")
X = torch.tensor([[-3.0, 0.5, 20.0], [0.0, -0.25, 2.0]])
Y = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.25, 0.0]])


@pytest.fixture
def shown(monkeypatch):
    """How often NumPy was shown tensors."""
    from xploss.backends import torch as ours

    calls = []

    def counted(way):
        def called(*arguments):
            calls.append(arguments)
            return way(*arguments)

        return called

    # As arrays, or by their addresses alone.
    for way in ("_by_views", "_flat"):
        monkeypatch.setattr(ours, way, counted(getattr(ours, way)))
    return calls


def plainly(function, *arguments):
    """What PyTorch's own operations give; a subclass is not shown to NumPy."""

    class Subclass(torch.Tensor):
        pass

    with torch.no_grad():
        return function(*(a.as_subclass(Subclass) for a in arguments))


def close(result, right, most=4):
    """Within so many ulp, and the same in bfloat16, of which NumPy has none."""
    if right.dtype == torch.bfloat16:
        assert torch.equal(result, right)
    else:
        result, right = result.detach().numpy(), right.detach().numpy()
        np.testing.assert_array_max_ulp(result, right, most)


VIEWED = {
    "per element": (per_element, X, Y),
    "mean": (cross_entropy, X, Y),
    "along an axis": (partial(cross_entropy, axis=0), X, Y),
    "float16": (cross_entropy, X.half(), Y.half()),
    "bfloat16": (cross_entropy, X.bfloat16(), Y.bfloat16()),
    "bfloat16, per element": (per_element, X.bfloat16(), Y.bfloat16()),
    "bfloat16 labels": (per_element, X, Y.bfloat16()),
    "float64": (cross_entropy, X.double(), Y.double()),
    "whole labels": (cross_entropy, X, (Y > 0.5).int()),
    "boolean labels": (cross_entropy, X, Y > 0.5),
    "pos_weight": (partial(cross_entropy, pos_weight=torch.tensor([1.0, 2, 3])), X, Y),
    "where": (partial(cross_entropy, where=X > 0), X, Y),
    "focal": (xploss.sigmoid_focal_loss, X, Y),
    "transposed": (per_element, X.T, Y.T),
    "every other": (per_element, X[:, ::2], Y[:, ::2]),
    "0-d": (cross_entropy, X[0, 0], Y[0, 0]),
    "empty": (partial(cross_entropy, reduction="sum"), X[:0], Y[:0]),
    "a parameter": (cross_entropy, torch.nn.Parameter(X), Y),
}


@pytest.mark.parametrize("name", VIEWED)
def test_shown_to_numpy(name, shown):
    function, *arguments = VIEWED[name]
    result = function(*arguments)
    right = plainly(function, *arguments)
    assert len(shown) == (2 if name == "where" else 1)  # N is counted
    assert type(result) is torch.Tensor
    assert (result.dtype, result.shape) == (right.dtype, right.shape)
    close(result, right)


def test_step_is_two_looks(shown):
    x = X.clone().requires_grad_()
    cross_entropy(x, Y).backward()
    assert len(shown) == 2
    close(x.grad, plainly(xploss.value_and_grad(cross_entropy), X, Y)[1])


@pytest.mark.parametrize("reduced", [True, False])
def test_every_gradient(reduced, shown):
    def gradients(watched):
        columns = torch.tensor([[1.0, 2.0, 0.5]])
        inputs = [t.double().requires_grad_() for t in (X, Y, columns)]
        x, y, w = inputs
        loss = cross_entropy if reduced else per_element
        value = loss(x, y, pos_weight=w, label_smoothing=0.1)
        total = value if reduced else (value * X).sum()
        return torch.autograd.grad(total, inputs, create_graph=watched)

    for by_views, plain in zip(gradients(False), gradients(True), strict=True):
        assert plain.requires_grad
        close(by_views, plain, 64)  # of differences of larger terms
    assert shown


def test_gradient_of_a_weighed_mean_and_again():
    """What is retained is no part of what was returned."""
    x = X.double().requires_grad_()
    mean = cross_entropy(x, Y.double())
    (once,) = torch.autograd.grad(2.5 * mean, x, retain_graph=True)
    once.mul_(0.0)
    (twice,) = torch.autograd.grad(2.5 * mean, x)
    _, exact = xploss.value_and_grad(cross_entropy)(X.double(), Y.double())
    close(twice, 2.5 * exact)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("label", [0, 1, 0.3])
@pytest.mark.parametrize("watched", [False, True])
def test_number_as_label(label, reduction, watched):
    loss = partial(cross_entropy, reduction=reduction)
    x = X.double().requires_grad_()
    total = loss(x, label).sum()
    (gradient,) = torch.autograd.grad(total, x, create_graph=watched)
    value, right = xploss.value_and_grad(loss)(X.double(), label)
    close(total, value.sum())
    close(gradient, right)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_batched_gradients(reduction):
    loss = partial(cross_entropy, reduction=reduction, pos_weight=2.0)
    x = X.double().requires_grad_()
    losses = loss(x, Y.double())
    upstream = torch.stack([torch.ones_like(losses), torch.full_like(losses, -2.5)])
    (batch,) = torch.autograd.grad(losses, x, upstream, is_grads_batched=True)
    _, right = xploss.value_and_grad(loss)(X.double(), Y.double())
    close(batch[0], right)
    close(batch[1], -2.5 * right)


def test_mean_of_large_losses():
    x = torch.full((16,), 3e38)
    assert cross_entropy(x, torch.zeros(16)) == x[0]


def test_infinite_logits_beside_one_label():
    """Evaluated again, by the formula; the label is an array without axes."""
    x = torch.tensor([torch.inf, 2.0, -torch.inf], requires_grad=True)
    losses = per_element(x, 1)
    losses[:2].sum().backward()
    assert losses[0] == 0
    assert losses[2] == torch.inf
    assert x.grad[0] == 0
    close(losses[1:2], per_element(x.detach()[1:2], 1.0))


def test_infinite_upstream():
    x = X.clone().requires_grad_()
    (cross_entropy(x, Y) * torch.inf).backward()
    assert torch.isinf(x.grad).all()


def test_inputs_are_left_alone():
    x, y = X.clone(), Y.clone()
    xploss.value_and_grad(cross_entropy)(x, y)
    x.requires_grad_()
    cross_entropy(x, y).backward()
    assert torch.equal(x.detach(), X)
    assert torch.equal(y, Y)


def test_written_afterwards_is_noticed():
    """As with PyTorch's own: a saved tensor that was changed in place is an error."""
    x, y = X.clone().requires_grad_(), Y.clone()
    mean = cross_entropy(x, y)
    y.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mean.backward()


# ---- when not ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((X.to("meta"), Y.to("meta")), id="meta"),
        pytest.param((torch.complex(X, X).conj().imag, Y), id="negated in passing"),
    ],
)
def test_not_shown(arguments, shown):
    result = per_element(*arguments)
    assert not shown
    assert result.dtype == arguments[0].dtype
    if not result.is_meta:
        close(result, per_element(arguments[0].resolve_neg(), arguments[1]))


def test_modes_see_every_operation(shown):
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils.flop_counter import FlopCounterMode

    with FakeTensorMode():
        assert cross_entropy(torch.empty(5), torch.empty(5)).shape == ()
    with FlopCounterMode(display=False):
        cross_entropy(X, Y)
    graph = make_fx(lambda x, y: cross_entropy(x, y))(X, Y)
    close(graph(-X, Y), cross_entropy(-X, Y))
    assert len(shown) == 1  # the last call


@pytest.mark.filterwarnings("ignore")  # it is deprecated
def test_traced_program_is_no_constant():
    traced = torch.jit.trace(
        lambda x, y: cross_entropy(x, y), (X, Y), check_trace=False
    )
    close(traced(-X, Y), cross_entropy(-X, Y))
    x = X.clone().requires_grad_()
    torch.jit.trace(lambda x, y: cross_entropy(x, y), (x, Y))  # which checks itself
    both = xploss.value_and_grad(cross_entropy)
    traced = torch.jit.trace(lambda x, y: both(x, y), (X[:1].double(), Y[:1].double()))
    for result, right in zip(
        traced(X.double(), Y.double()), both(X.double(), Y.double()), strict=True
    ):
        close(result, right)


def test_tensor_without_memory():
    zeros = torch._efficientzerotensor((2, 3))
    close(per_element(X, zeros), per_element(X, torch.zeros(2, 3)))


def test_default_device_is_no_matter():
    with torch.device("meta"):
        result = cross_entropy(X, Y)
    assert result.device.type == "cpu"
    close(result, plainly(cross_entropy, X, Y))


LOSSES = [loss.function for loss in expected.LOSSES]
BY_NAME = pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)


@BY_NAME
def test_more_axes_than_numpy_has(loss, shown):
    x = torch.full((1,) * 66, 0.25, requires_grad=True)
    value, gradient = xploss.value_and_grad(loss)(x.detach(), 1.0)
    close(value, loss(torch.tensor([0.25]), 1.0))
    loss(x, torch.ones_like(x)).backward()
    assert x.grad.shape == gradient.shape == x.shape
    close(x.grad.flatten(), gradient.flatten())


@BY_NAME
def test_a_fake_tensor_outside_its_mode(loss):
    """As PyTorch's own loss takes it, forward and backward."""
    from torch._subclasses import FakeTensorMode

    mode = FakeTensorMode()
    x, y = (mode.from_tensor(t).requires_grad_() for t in (X, Y))
    assert torch.nn.functional.binary_cross_entropy_with_logits(x, y).shape == ()
    for options in ({}, {"reduction": "none", "weights": y}, {"where": y > 0}):
        result = loss(x, y, **options)
        assert type(result) is type(x)
        assert result.shape == (X.shape if "reduction" in options else ())
    result = loss(x, 1.0, weights=y, reduction="weighted_mean", label_smoothing=0.1)
    assert result.shape == ()
    gradient = xploss.value_and_grad(loss)(x.detach(), y.detach())[1]
    assert (type(gradient), gradient.shape) == (type(x), X.shape)
    both = xploss.value_and_grad(loss)(x, y)
    slopes = torch.autograd.grad(both[0], (x, y))
    assert [slope.shape for slope in slopes] == [X.shape, X.shape]
    for options in ({}, {"weights": y, "reduction": "weighted_mean"}):
        x.grad = y.grad = None
        loss(x, y, label_smoothing=0.1, **options).backward()
        assert type(x.grad) is type(y.grad) is type(x)
        assert x.grad.shape == y.grad.shape == X.shape
