"""The most memory that a call holds at once, in arrays of the logits' size.

The bounds are what was measured, rounded up to whole arrays: they may only go down.
The two inputs are not counted, the results are.
"""

from functools import partial

import numpy as np
import pytest
from checks import peak

import xploss

cross_entropy = xploss.sigmoid_cross_entropy
per_element = partial(cross_entropy, reduction="none")

# Measured: 5.5, 5.5, 7.5; 6.25, 6.25, 5.25; 7.25, 7.25.
BOUNDS = [
    pytest.param(per_element, 6, id="per element"),
    pytest.param(cross_entropy, 6, id="mean"),
    pytest.param(partial(cross_entropy, pos_weight=3.0), 8, id="pos_weight"),
    pytest.param(xploss.value_and_grad(per_element), 7, id="value_and_grad none"),
    pytest.param(xploss.value_and_grad(cross_entropy), 7, id="value_and_grad mean"),
    pytest.param(xploss.grad_and_hess(cross_entropy), 6, id="grad_and_hess"),
    pytest.param(xploss.binary_cross_entropy, 8, id="probabilities"),
    pytest.param(
        xploss.value_and_grad(xploss.binary_cross_entropy), 8, id="their value_and_grad"
    ),
]


@pytest.mark.parametrize(("function", "most"), BOUNDS)
def test_peak(function, most):
    rng = np.random.default_rng(5)
    # In (0, 1), so that they are logits and probabilities alike.
    first, labels = rng.uniform(0.01, 0.99, (2, 1_000_000)).astype("float32")
    assert peak(function, first, labels) <= most
