"""What eager PyTorch asks of a GPU: launches, grids and bytes, counted on the host."""

import importlib.util
import subprocess
import sys
from functools import partial

import kernels_on_host
import numpy as np
import pytest
import torch
from expected import each
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import xploss

pytestmark = [
    pytest.mark.library("torch"),
    pytest.mark.skipif(
        importlib.util.find_spec("cupy") is None,
        reason="the host runs kernels behind headers of CuPy's wheel",
    ),
]

cross_entropy, focal = xploss.sigmoid_cross_entropy, xploss.sigmoid_focal_loss
of_rows, focal_of_rows = xploss.softmax_cross_entropy, xploss.softmax_focal_loss
RNG = np.random.default_rng(11)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.fixture
def launches():
    with kernels_on_host.installed() as launches:
        yield launches


def drawn(dtype, shape=(300, 40), layout=torch.contiguous_format):
    x = torch.tensor(4.0 * RNG.normal(size=shape)).to(dtype)
    y = torch.tensor(RNG.integers(0, 2, shape)).to(dtype)
    return x.contiguous(memory_format=layout), y.contiguous(memory_format=layout)


LOSSES = {
    "sigmoid": (cross_entropy, False),
    "every option": (
        partial(cross_entropy, pos_weight=3.0, label_smoothing=0.125),
        False,
    ),
    "focal": (partial(focal, alpha=0.25), False),
    "probabilities": (lambda x, y, **o: xploss.binary_cross_entropy(y, y, **o), False),
    "masses": (of_rows, False),
    "numbers": (of_rows, True),
    "numbers, every option": (
        partial(of_rows, label_smoothing=0.125, z_loss=0.25, ignore_index=-100),
        True,
    ),
    "focal of rows": (focal_of_rows, True),
}


def called(name, dtype):
    loss, of_numbers = LOSSES[name]
    x, y = drawn(dtype)
    return loss, x, torch.tensor(RNG.integers(0, 40, 300)) if of_numbers else y


def asked(launches, function, *arguments, **options):
    """How often it launches, and which bytes of arrays it names, each once."""
    before = len(launches.blocks)
    results = each(function(*arguments, **options))
    return len(launches.blocks) - before, sum(launches.bytes[before:]), results


def size_of(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_launches_and_bytes(launches, name, dtype):
    """One launch, one more for a sum, and two for an N that is counted."""
    loss, x, y = called(name, dtype)
    counted = 2 * (name == "numbers, every option")
    least = size_of(y) if name == "probabilities" else size_of(x, y)
    times, moved, results = asked(launches, loss, x, y, reduction="none")
    assert times == 1
    assert moved <= 1.25 * (least + size_of(*results))
    times, moved, _ = asked(launches, loss, x, y)
    assert times == 2 + counted
    assert moved <= 1.25 * least + counted * size_of(x)
    if name == "probabilities":
        return
    times, moved, results = asked(launches, xploss.value_and_grad(loss), x, y)
    assert times == 2 + counted
    assert moved <= 1.25 * (least + size_of(*results)) + counted * size_of(x)
    times, moved, results = asked(launches, xploss.grad_and_hess(loss), x, y)
    assert times == 1
    assert moved <= 1.25 * (least + size_of(*results))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [n for n in LOSSES if n != "probabilities"])
def test_a_step(launches, name, dtype):
    loss, x, y = called(name, dtype)
    x.requires_grad_()
    value = loss(x, y)
    times, moved, _ = asked(launches, value.backward)
    assert times == 1
    assert moved <= 1.25 * (size_of(x, y, x.grad))


@pytest.mark.parametrize("n", [10_000_019, 10_000_000])
def test_a_grid_covers_a_device(launches, n):
    """An H100 has 132 multiprocessors, each of which runs 8 of such blocks at once."""
    x = torch.full((n,), 0.5)
    value = cross_entropy(x, x)
    assert launches.blocks[0] > 8 * 132
    exact = np.log1p(np.exp(-0.5)) + 0.25
    assert abs(float(value) - exact) <= 2 * np.spacing(np.float32(exact))


@pytest.mark.parametrize("loss", [cross_entropy, partial(of_rows, class_axis=1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_layout_is_kept(launches, loss, layout):
    """Of images, and of views of them, without a copy."""
    x, y = drawn(torch.float32, (3, 5, 8, 6), layout)
    plain = [np.asarray(a.contiguous()) for a in (x, y)]
    for part in (slice(None), (slice(None), slice(None), slice(1, None, 2))):
        both = xploss.value_and_grad(loss)
        times, _, (value, gradient) = asked(launches, both, x[part], y[part])
        assert times == 2
        assert gradient.stride() == torch.empty_like(x[part]).stride()
        right, slopes = both(*(a[part] for a in plain))
        np.testing.assert_array_max_ulp(value.numpy(), right, 4)
        eps = np.finfo("float32").eps
        np.testing.assert_allclose(
            gradient, slopes, 8 * eps, eps * np.abs(slopes).max()
        )


@pytest.mark.parametrize(
    ("shape", "class_axis"),
    [
        ((2000, 10), -1), ((40, 3000), -1), ((3, 20_000), -1), ((1, 50), -1),
        ((300, 70), 0), ((2, 300, 5, 7), 1), ((5000, 3), 0), ((10, 4097), 0),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_of_any_shape(launches, shape, class_axis, dtype):
    """Gone over by 1 to 256 threads, beside each other or at a distance."""
    x, _ = drawn(dtype, shape)
    x.select(class_axis, 1).copy_(x.select(class_axis, 0))  # ties
    numbers = torch.argmax(x, class_axis)
    numbers.view(-1)[::3] = 1
    both = xploss.value_and_grad(partial(of_rows, class_axis=class_axis))
    value, gradient = both(x, numbers)
    right, slopes = both(x.numpy(), numbers.numpy())
    np.testing.assert_array_max_ulp(value.numpy(), right, 4)
    eps = np.finfo(right.dtype).eps
    np.testing.assert_allclose(gradient, slopes, 8 * eps, eps * np.abs(slopes).max())


def test_sizes_beyond_an_int(launches, monkeypatch):
    """As if an int counted no further than ten."""
    from xploss.backends import device

    monkeypatch.setattr(device, "LONGEST", 10)
    x, y = drawn(torch.float32, (7, 9))
    for loss in (cross_entropy, of_rows, partial(of_rows, class_axis=0)):
        right = loss(x.numpy(), y.numpy())
        np.testing.assert_array_max_ulp(loss(x, y).numpy(), np.asarray(right), 4)
        turned = loss(x.T[:, 1:], y.T[:, 1:])
        right = loss(x.numpy().T[:, 1:], y.numpy().T[:, 1:])
        np.testing.assert_array_max_ulp(turned.numpy(), np.asarray(right), 4)


def test_halves_are_split_and_joined():
    from xploss.backends.device import _low

    for n in (0, 5, -5, 2**31, 2**31 + 7, -(2**33) - 1, 2**40 + 3):
        assert ((n >> 32) << 32) | (_low(n) & 0xFFFFFFFF) == n
        assert -(2**31) <= _low(n) < 2**31


def test_autocast_and_deterministic_mode(launches):
    x, y = drawn(torch.bfloat16)
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = cross_entropy(x, y)
    value.backward()
    torch.use_deterministic_algorithms(True)
    try:
        again = cross_entropy(x, y)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(value, again)
    assert (value.dtype, x.grad.dtype) == (torch.float32, torch.bfloat16)


def test_without_a_run_time_compiler(monkeypatch):
    """As on a CPU: there is none, which is no error, and nothing is launched."""
    from xploss.backends import torch_private

    assert not torch_private.takes_kernels(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda._utils, "_get_gpu_rtc_library", None)
    torch_private.run_time_compiler.cache_clear()
    assert torch_private.run_time_compiler() is None
    torch_private.run_time_compiler.cache_clear()


def test_the_private_names_are_there():
    from torch.cuda import _utils

    assert callable(_utils._get_gpu_rtc_library)
    assert callable(_utils._get_gpu_runtime_library)


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")


@on_a_gpu
def test_a_gpu_takes_kernels():
    from xploss.backends import torch_private

    assert torch_private.takes_kernels(
        torch.device("cuda", torch.cuda.current_device())
    )


@on_a_gpu
def test_backward_is_the_first_work_of_a_thread():
    """Autograd's own, and one of the user's, have no context before."""
    lines = (
        "import threading, torch, xploss",
        "x = torch.randn(10**4, device='cuda', requires_grad=True)",
        "y = torch.rand(10**4, device='cuda')",
        "loss = xploss.sigmoid_cross_entropy(x, y)",
        "loss.backward()",
        "call = lambda: found.append(xploss.sigmoid_cross_entropy(x.detach(), y))",
        "found = []",
        "thread = threading.Thread(target=call)",
        "thread.start(), thread.join()",
        "assert torch.equal(found[0], loss) and bool(x.grad.isfinite().all())",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


@on_a_gpu
def test_a_graph_is_captured():
    x, y = (a.cuda() for a in drawn(torch.float32))
    expected = cross_entropy(x, y)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = cross_entropy(x, y)
    graph.replay()
    assert torch.equal(value, expected)


# ---- where there are none ------------------------------------------------------------


class Counted(TorchDispatchMode):
    """Operations that are kernels, and the bytes that they read and write."""

    def __init__(self):
        super().__init__()
        self.kernels, self.bytes = 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function.__name__.split(".")[0] not in ("detach", "expand", "alias"):
            self.kernels += 1
            tensors = tree_leaves((arguments, options, result))
            distinct = {id(t): t for t in tensors if isinstance(t, torch.Tensor)}
            if function.__name__.split(".")[0].endswith("_"):  # read, and written
                self.bytes += size_of(result)
            self.bytes += size_of(*(_read(t) for t in distinct.values()))
        return result


def _read(tensor):
    """What is spread is one number in memory."""
    return tensor[(0,) * tensor.ndim] if 0 in tensor.stride() else tensor


@pytest.mark.parametrize(
    ("loss", "forward", "backward"),
    [
        # Two of each are of single numbers: backward's 1, and its division by N.
        pytest.param(cross_entropy, (10, 72), (8, 51), id="sigmoid"),
        pytest.param(focal, (37, 301), (47, 404), id="focal"),
    ],
)
def test_operations_elsewhere(loss, forward, backward, monkeypatch):
    """On a new device, as on `meta`: no more than were counted."""
    from xploss.backends import torch_private

    monkeypatch.setattr(torch_private, "mode_is_active", lambda: False)  # who counts
    n = 1_000_000
    x, y = (
        torch.empty(n, device="meta", requires_grad=True),
        torch.empty(n, device="meta"),
    )
    with Counted() as counted:
        value = loss(x, y)
    assert (counted.kernels, round(counted.bytes / n)) <= forward
    with Counted() as counted:
        value.backward()
    assert (counted.kernels, round(counted.bytes / n)) <= backward


@pytest.mark.parametrize("upstream", [1.0, 3.0, 2.0**16])
@pytest.mark.parametrize("reduced", [True, False])
def test_gradient_elsewhere(reduced, upstream, monkeypatch):
    """By operations that PyTorch has in one: 4 units of its larger term, tails too."""
    from xploss.backends import torch as backend

    for name in ("_has_kernels", "_is_in_a_row"):
        monkeypatch.setattr(backend, name, lambda *_: False)
    far = torch.tensor([0.0, -0.0, 1e-30, 88.0, 95.0, 103.0, 800.0, torch.inf])
    x = torch.cat([far, -far, torch.linspace(-30, 30, 1000)]).repeat(3)
    y = torch.tensor([0.0, 1.0, 0.3]).repeat_interleave(len(x) // 3)
    leaf = x.clone().requires_grad_()
    reduction = "sum" if reduced else "none"
    (upstream * cross_entropy(leaf, y, reduction=reduction)).sum().backward()
    wide, against = x.double(), (x >= 0).double() - y.double()
    tail = torch.exp(-wide.abs()) / (1 + torch.exp(-wide.abs()))
    exact = against + torch.where(x >= 0, -tail, tail)
    larger = torch.maximum(against.abs(), tail)
    unit = torch.finfo(torch.float32).eps * larger + 2.0**-149
    assert (((leaf.grad / upstream - exact) / unit).abs() <= 4).all()
