"""The most memory that NumPy holds for rows of classes, beside inputs and results.

The bound is what was measured, rounded up: it may only go down.
"""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from expected import each

import xploss

MOST = 3 << 20  # bytes
# So many that one loss a row is beyond the bound, of ten classes; of more, an array of
# float64 that is as large as the logits.
ELEMENTS = {10: 8_400_000, 1000: 500_000, 50_000: 500_000}
cross_entropy = xploss.softmax_cross_entropy
LOSSES = {
    "cross-entropy": cross_entropy,
    "every option": partial(cross_entropy, label_smoothing=0.125, z_loss=2.0**-10),
    "focal": xploss.softmax_focal_loss,
    "probabilities": xploss.categorical_cross_entropy,
}
WAYS = {
    "mean": lambda loss: loss,
    "none": lambda loss: partial(loss, reduction="none"),
    "value_and_grad": xploss.value_and_grad,
}


def drawn(classes, class_axis, soft, dtype):
    """Probabilities, so that they are logits, masses and probabilities alike."""
    rng = np.random.default_rng(21)
    n = ELEMENTS[classes] // classes
    shape = (n, classes) if class_axis == -1 else (classes, n)
    first = rng.uniform(0.01, 0.99, shape).astype(dtype)
    return first, first if soft else rng.integers(0, classes, n)


def beside(function, first, labels):
    """Bytes at once that are of no result."""
    function(first, labels)  # what only a first call loads is left out
    tracemalloc.start()
    try:
        results = each(function(first, labels))
        return tracemalloc.get_traced_memory()[1] - sum(r.nbytes for r in results)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("class_axis", [-1, 0], ids=["last", "first"])
@pytest.mark.parametrize("soft", [True, False], ids=["masses", "numbers"])
@pytest.mark.parametrize("classes", [10, 1000, 50_000])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
def test_rows_make_their_results(loss, way, classes, soft, class_axis):
    for dtype in ("float32", "float64"):
        function = partial(WAYS[way](LOSSES[loss]), class_axis=class_axis)
        first, labels = drawn(classes, class_axis, soft, dtype)
        assert beside(function, first, labels) <= MOST
