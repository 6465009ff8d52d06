"""Formulas of calls without options, in place, as NumPy's fastest lines.

They take half to six tenths of the time of
`maximum(x, 0) - x*y + log(1 + exp(-abs(x)))`.  They are a transcription of `formulas/`,
held to it by a test.

`decay` and `scratch` are of a block's size; the first result may lie in `decay`.  What
leaves the cache is first written by a line that takes long anyway.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays import Array
from ..formulas import probability, sigmoid

Lines = Callable[..., None]


def _value(
    logits: Array, labels: Array, value: Array, decay: Array, scratch: Array
) -> None:
    """L = d * x + log1p(e), d = (x >= 0) - y."""
    _decay(logits, decay)
    np.greater_equal(logits, 0.0, out=scratch)
    scratch -= labels
    scratch *= logits
    np.log1p(decay, out=value)
    value += scratch


def _slope(
    logits: Array, labels: Array, slope: Array, decay: Array, scratch: Array
) -> None:
    """L' = d -/+ e / (1 + e)."""
    _decay(logits, decay)
    np.add(decay, 1.0, out=scratch)
    np.divide(decay, scratch, out=slope)
    _minus_back(logits, labels, slope, scratch)


def _value_and_slope(
    logits: Array,
    labels: Array,
    value: Array,
    slope: Array,
    decay: Array,
    scratch: Array,
) -> None:
    _slope(logits, labels, slope, decay, scratch)
    scratch *= logits
    np.log1p(decay, out=value)
    value += scratch


def _slope_and_curvature(
    logits: Array,
    labels: Array,
    slope: Array,
    curvature: Array,
    decay: Array,
    scratch: Array,
) -> None:
    """L'' = e / (1 + e) / (1 + e)."""
    _decay(logits, decay)
    np.add(decay, 1.0, out=scratch)
    np.divide(decay, scratch, out=slope)
    np.divide(slope, scratch, out=curvature)
    _minus_back(logits, labels, slope, scratch)


def _probability_value(
    probs: Array, labels: Array, value: Array, scratch: Array, more: Array
) -> None:
    """-(y * log(p) + (1 - y) * log1p(-p))."""
    hit = miss = probs
    if not (probs.min() > 0.0 and probs.max() < 1.0):  # log(0), times 0 too, is slow
        hit = probs + ((probs == 0.0) & (labels == 0.0))
        miss = probs - ((probs == 1.0) & (labels == 1.0))
    np.negative(miss, out=scratch)
    np.log1p(scratch, out=scratch)
    np.subtract(1.0, labels, out=more)
    scratch *= more
    np.log(hit, out=more)
    more *= labels
    np.add(more, scratch, out=value)
    np.subtract(0.0, value, out=value)


IN_PLACE: dict[Callable[..., Any], Lines] = {
    sigmoid.value: _value,
    sigmoid.slope: _slope,
    sigmoid.value_and_slope: _value_and_slope,
    sigmoid.slope_and_curvature: _slope_and_curvature,
    probability.value: _probability_value,
}

# Setting the sign bit is one pass for two; `copysign` takes as long as `exp`.
BITS: dict[int, Any] = {4: np.uint32, 8: np.uint64}
SIGN: dict[int, Any] = {4: np.uint32(1 << 31), 8: np.uint64(1 << 63)}


def _decay(logits: Array, decay: Array) -> None:
    """exp(-|x|)"""
    bits, sign = BITS[decay.itemsize], SIGN[decay.itemsize]
    np.bitwise_or(logits.view(bits), sign, out=decay.view(bits))
    np.exp(decay, out=decay)


def _minus_back(logits: Array, labels: Array, slope: Array, scratch: Array) -> None:
    """d -/+ slope, by the sign of x: -0 is on the negative side, for d too."""
    bits, sign = BITS[scratch.itemsize], SIGN[scratch.itemsize]
    x, back = logits.view(bits), slope.view(bits)
    np.bitwise_and(x, sign, out=scratch.view(bits))
    np.bitwise_or(back, scratch.view(bits), out=back)
    np.less(x, sign, out=scratch)
    scratch -= labels
    np.subtract(scratch, slope, out=slope)
