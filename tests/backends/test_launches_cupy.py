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
    assert asked(cross_entropy, *arguments).keys() == {"launches"}
    logits, labels = drawn(cupy, "float32", (30, 64))
    weighted = partial(cross_entropy, weights=cupy.ones((30, 1)), where=logits > 0.1)
    assert asked(weighted, logits, labels).keys() == {"launches"}


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
