"""What a call asks of a GPU: launches and copies, counted by CuPy on the host."""

from collections import Counter
from functools import partial

import numpy as np
import pytest

import xploss

import cupy_on_host  # isort: skip

pytestmark = [
    pytest.mark.library("cupy"),
    pytest.mark.skipif(cupy_on_host.driver_present(), reason="a GPU is here"),
]

cross_entropy = xploss.sigmoid_cross_entropy
per_element = partial(cross_entropy, reduction="none")
of_rows = xploss.softmax_cross_entropy
MOST = {
    "per element": (1, per_element),
    "mean": (2, cross_entropy),
    "sum": (2, partial(cross_entropy, reduction="sum")),
    "every option": (2, partial(cross_entropy, pos_weight=3.0, weights=2.0)),
    "smoothed": (2, partial(cross_entropy, label_smoothing=0.1)),
    "mean and gradient": (2, xploss.value_and_grad(cross_entropy)),
    "losses and gradient": (1, xploss.value_and_grad(per_element)),
    "gradient and Hessian": (1, xploss.grad_and_hess(cross_entropy)),
    "probabilities": (2, xploss.binary_cross_entropy),
    "focal": (2, xploss.sigmoid_focal_loss),
    "rows": (2, of_rows),
    "rows and gradient": (2, xploss.value_and_grad(of_rows)),
    "rows, gradient and Hessian": (1, xploss.grad_and_hess(of_rows)),
    "focal rows": (2, xploss.softmax_focal_loss),
    "probabilities of rows": (2, xploss.categorical_cross_entropy),
    "one label": (2, lambda logits, labels: cross_entropy(logits, 1)),
    "whole labels": (2, lambda x, y: cross_entropy(x, y.astype("int8"))),
}


@pytest.fixture(scope="module")
def cupy():
    cupy_on_host.install()
    import cupy

    return cupy


def asked(function, *arguments):
    """Of a GPU, by a call that was made before."""
    function(*arguments)
    before = cupy_on_host.tally()
    function(*arguments)
    return cupy_on_host.tally() - before


def drawn(cupy, dtype, shape):
    first = np.random.default_rng(0).uniform(0.01, 0.99, shape).astype(dtype)
    return cupy.asarray(first), cupy.asarray((first > 0.5).astype(dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", MOST)
def test_launches(cupy, name, dtype):
    most, function = MOST[name]
    arguments = drawn(cupy, dtype, (30, 64))
    extra = 1 if name == "whole labels" else 0  # their `astype` is a launch
    assert asked(function, *arguments) == Counter(launches=most + extra)


@pytest.mark.parametrize("shape", [(1 << 16,), (300, 200), (7, 1000), (64,), (2, 3)])
def test_launches_of_a_mean(cupy, shape):
    arguments = drawn(cupy, "float64", shape)
    assert asked(cross_entropy, *arguments) == Counter(launches=2)


def test_nothing_is_copied_where_rows_are_uneven(cupy):
    """A prime number of elements, and weights of another shape than the logits'."""
    arguments = drawn(cupy, "float32", (10007,))
    assert asked(cross_entropy, *arguments) == Counter(launches=2)
    logits, labels = drawn(cupy, "float32", (30, 64))
    weighted = partial(cross_entropy, weights=cupy.ones((30, 1)), where=logits > 0.1)
    assert asked(weighted, logits, labels).keys() == {"launches"}


def test_nothing_is_copied_of_any_layout(cupy):
    """Of every other column, backwards, turned, and spread along rows."""
    logits, labels = drawn(cupy, "float32", (30, 64))
    row = cupy.broadcast_to(labels[:1], (30, 64))
    for x, y in (
        (logits[:, ::2], labels[:, ::2]),
        (logits[::-1], labels[::-1]),
        (logits.T, labels.T),
        (logits, row),
    ):
        for function in (cross_entropy, of_rows):
            assert asked(function, x, y) == Counter(launches=2)
            right = function(x.get(), y.get())
            np.testing.assert_array_max_ulp(function(x, y).get(), np.asarray(right), 4)


def test_a_grid_covers_a_device(cupy, monkeypatch):
    """An H100 has 132 multiprocessors, each of which runs 8 of such blocks at once."""
    from xploss.backends.cupy import _Device

    grids, launch = [], _Device.launch

    def seen(self, name, text, blocks, arguments, like):
        grids.append(blocks)
        launch(self, name, text, blocks, arguments, like)

    monkeypatch.setattr(_Device, "launch", seen)
    x = cupy.full(10_000_000, 0.5, "float32")
    exact = np.float32(np.log1p(np.exp(-0.5)) + 0.25)
    np.testing.assert_array_max_ulp(cross_entropy(x, x).get(), exact, 2)
    assert (grids[0] > 8 * 132, len(grids), grids[-1]) == (True, 2, 1)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (xploss.sigmoid_cross_entropy, "label_smoothing"),
        (xploss.sigmoid_cross_entropy, "pos_weight"),
        (xploss.binary_cross_entropy, "eps"),
        (xploss.sigmoid_focal_loss, "gamma"),
        (xploss.sigmoid_focal_loss, "alpha"),
        (xploss.sigmoid_focal_loss, "label_smoothing"),
    ],
)
def test_numbers_of_an_option_are_one_kernel(cupy, loss, name):
    from xploss.backends.device import _text

    x = cupy.linspace(0.1, 0.9, 12, dtype="float32").reshape(4, 3)
    made = []
    for number in (0.125, 0.25, 0.3, 0.5):
        loss(x, x, reduction="none", **{name: number})
        made.append(_text.cache_info().currsize)
    assert made == made[:1] * 4
