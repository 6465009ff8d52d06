"""The most memory that a call holds at once: its results, and a few blocks.

The bounds are what was measured, rounded up: they may only go down.
"""

from functools import partial

import numpy as np
import pytest
from checks import peak
from expected import LOSSES

import xploss

cross_entropy = xploss.sigmoid_cross_entropy
per_element = partial(cross_entropy, reduction="none")

MEASURED = {
    "mean": (cross_entropy, 1.5),
    "sum along rows": (partial(cross_entropy, axis=0, reduction="sum"), 1.5),
    "mean along columns": (partial(cross_entropy, axis=1), 1.5),
    "pos_weight": (partial(cross_entropy, pos_weight=3.0, weights=2.0), 1.5),
    "probabilities": (xploss.binary_cross_entropy, 1.5),
    "focal": (xploss.sigmoid_focal_loss, 2.5),
}


def test_every_loss_is_measured():
    measured = {getattr(f, "func", f) for f, _ in MEASURED.values()}
    assert measured == {loss.function for loss in LOSSES}


PER_ELEMENT = {
    "per element": (per_element, 1),
    "value_and_grad": (xploss.value_and_grad(cross_entropy), 1),
    "value_and_grad, per element": (xploss.value_and_grad(per_element), 2),
    "their value_and_grad": (xploss.value_and_grad(xploss.binary_cross_entropy), 1),
    "grad_and_hess": (xploss.grad_and_hess(cross_entropy), 2),
}


def drawn(dtype):
    """In (0, 1), so that they are logits and probabilities alike: 2 million."""
    rng = np.random.default_rng(5)
    return rng.uniform(0.01, 0.99, (2, 1000, 2000)).astype(dtype)


def extra(function, dtype, results=0):
    """MiB beyond what the results take."""
    first, labels = drawn(dtype)
    return (peak(function, first, labels) - results) * first.nbytes / 2**20


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", MEASURED)
def test_reduced_makes_no_array(name, dtype):
    function, most = MEASURED[name]
    assert extra(function, dtype) <= most


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", PER_ELEMENT)
def test_per_element_makes_its_results(name, dtype):
    function, results = PER_ELEMENT[name]
    assert extra(function, dtype, results) <= 2.0


# Of a sum along an axis: how many times its result's memory the total takes besides.
# It is the result where each of its elements is of one block, and else is kept wider.
TOTALS = {
    "rows, whole in a block": ((200_000, 10), 1, 0),
    "axes, whole in a block": ((2_000, 10, 100), (1,), 0),
    "columns of blocks": ((10, 200_000), 0, 2),
    "few columns": ((200_000, 10), 0, 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("name", TOTALS)
def test_a_total_takes_little_beside_its_result(name, reduction, dtype):
    shape, axis, beside = TOTALS[name]
    first = np.random.default_rng(6).uniform(0.01, 0.99, shape).astype(dtype)
    function = partial(cross_entropy, axis=axis, reduction=reduction)
    result = function(first, first)
    taken = peak(function, first, first) * first.nbytes - result.nbytes
    assert taken <= beside * result.nbytes + 1.5 * 2**20


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_hard_probabilities_make_no_array(dtype):
    labels = np.random.default_rng(7).integers(0, 2, (1000, 4000)).astype(dtype)
    beyond = peak(xploss.binary_cross_entropy, labels, labels) * labels.nbytes
    assert beyond <= 2.0 * 2**20
