"""NumPy: the formulas in place, in blocks that stay in cache, fused with their sum.

Whole-array temporaries cost page faults and memory traffic.  The lines below take half
to six tenths of the time of `maximum(x, 0) - x*y + log(1 + exp(-abs(x)))`.  They are a
transcription of `_formula.py` for calls without options, held to it by a test; with
options the formula itself is applied, block by block.

Infinite logits are not looked for: where one meets no mass, 0 * inf is an invalid
operation, of which the processor tells, and what is NaN is done again by the formula.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from . import _arrays, _formula
from ._arrays import Array
from ._plain import Evaluation, per_element, plainly

# What `out` may be given for; another subclass of arrays has arithmetic of its own.
OWN_TYPES = (np.ndarray, np.memmap)

# Bytes a block of one array: a few of these stay in a cache of 1 or 2 MiB, and the
# calls of the ufuncs hardly show.  Half as many are no faster, twice as many slower.
BLOCK = 1 << 18

Lines = Callable[..., None]

# ---- the formulas, in place ----------------------------------------------------------
#
# `e` and `d` are scratch; the first result may lie in `e`.  What leaves the cache is
# first written by a line that takes long anyway.


def _value(logits: Array, labels: Array, value: Array, e: Array, d: Array) -> None:
    """L = d * x + log1p(e), d = (x >= 0) - y."""
    _decay(logits, e)
    np.greater_equal(logits, 0.0, out=d)
    d -= labels
    d *= logits
    np.log1p(e, out=value)
    value += d


def _slope(logits: Array, labels: Array, slope: Array, e: Array, d: Array) -> None:
    """L' = d -/+ e / (1 + e)."""
    _decay(logits, e)
    np.add(e, 1.0, out=d)
    np.divide(e, d, out=slope)
    _minus_back(logits, labels, slope, d)


def _value_and_slope(
    logits: Array, labels: Array, value: Array, slope: Array, e: Array, d: Array
) -> None:
    _slope(logits, labels, slope, e, d)
    d *= logits
    np.log1p(e, out=value)
    value += d


def _slope_and_curvature(
    logits: Array, labels: Array, slope: Array, curvature: Array, e: Array, d: Array
) -> None:
    """L'' = e / (1 + e) / (1 + e)."""
    _decay(logits, e)
    np.add(e, 1.0, out=d)
    np.divide(e, d, out=slope)
    np.divide(slope, d, out=curvature)
    _minus_back(logits, labels, slope, d)


def _probability_value(
    probs: Array, labels: Array, value: Array, e: Array, d: Array
) -> None:
    """-(y * log(p) + (1 - y) * log1p(-p))."""
    hit = miss = probs
    if not (probs.min() > 0.0 and probs.max() < 1.0):  # log(0), times 0 too, is slow
        hit = probs + ((probs == 0.0) & (labels == 0.0))
        miss = probs - ((probs == 1.0) & (labels == 1.0))
    np.negative(miss, out=e)
    np.log1p(e, out=e)
    np.subtract(1.0, labels, out=d)
    e *= d
    np.log(hit, out=d)
    d *= labels
    np.add(d, e, out=value)
    np.subtract(0.0, value, out=value)


IN_PLACE: dict[Callable[..., Any], Lines] = {
    _formula.value: _value,
    _formula.slope: _slope,
    _formula.value_and_slope: _value_and_slope,
    _formula.slope_and_curvature: _slope_and_curvature,
    _formula.probability_value: _probability_value,
}

# Setting the sign bit is one pass for two; `copysign` takes as long as `exp`.
BITS: dict[int, Any] = {4: np.uint32, 8: np.uint64}
SIGN: dict[int, Any] = {4: np.uint32(1 << 31), 8: np.uint64(1 << 63)}


def _decay(logits: Array, e: Array) -> None:
    """e = exp(-|x|)"""
    bits, sign = BITS[e.itemsize], SIGN[e.itemsize]
    np.bitwise_or(logits.view(bits), sign, out=e.view(bits))
    np.exp(e, out=e)


def _minus_back(logits: Array, labels: Array, slope: Array, d: Array) -> None:
    """d -/+ slope, by the sign of x: -0 is on the negative side, for d too."""
    bits, sign = BITS[d.itemsize], SIGN[d.itemsize]
    x, back = logits.view(bits), slope.view(bits)
    np.bitwise_and(x, sign, out=d.view(bits))
    np.bitwise_or(back, d.view(bits), out=back)
    np.less(x, sign, out=d)
    d -= labels
    np.subtract(d, slope, out=slope)


# ---- blocks --------------------------------------------------------------------------

Slices = tuple[slice, ...]


def _slices(shape: tuple[int, ...], most: int) -> Iterator[Slices]:
    """Along the leading axes, so that each block has at most so many elements."""
    if math.prod(shape) <= most:
        yield ()
        return
    length, *rest = shape
    rows = most // math.prod(rest)
    if rows:
        yield from ((slice(i, i + rows),) for i in range(0, length, rows))
        return
    for i in range(length):
        yield from ((slice(i, i + 1), *more) for more in _slices(tuple(rest), most))


def _is_spread(argument: Any) -> bool:
    """An array that is not 0-d has the logits' rank."""
    return isinstance(argument, np.ndarray) and argument.ndim > 0


def _block(array: Array, slices: Slices) -> Array:
    """Of an array, whole along its axes of size 1."""
    if 1 not in array.shape:
        return array[slices]
    sizes = zip(array.shape, slices, strict=False)
    return array[tuple(slice(None) if n == 1 else along for n, along in sizes)]


# ---- evaluation ----------------------------------------------------------------------


class _Invalid:
    """Whether an operation was, as 0 * inf is; `numpy.errstate` calls it."""

    seen = False

    def __call__(self, kind: str, flag: int) -> None:
        self.seen = True


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs; of a sum, no array of what is added is made."""
    logits, invalid = e.arguments[0], _Invalid()
    with np.errstate(all="ignore", invalid="call", call=invalid):
        if not logits.ndim or not logits.size or type(logits) not in OWN_TYPES:
            return plainly(xp, e)
        in_order = _in_order if logits.flags.c_contiguous else _in_memory_order
        made, total = in_order(xp, e, invalid)
        if not e.summed:
            return tuple(made)
        if e.axis is None:
            return e.dtypes[0](total if e.n is None else total / e.n), *made
        if e.n is not None:
            total /= e.n
        total = total if e.keepdims else total.squeeze(e.axis)
        return total.astype(e.dtypes[0], copy=False)[()], *made


def _in_memory_order(
    xp: Any, e: Evaluation, invalid: _Invalid
) -> tuple[list[Array], Any]:
    """Along the axes as they lie in memory; the results are laid out alike."""
    strides = e.arguments[0].strides
    order = tuple(sorted(range(len(strides)), key=lambda k: -abs(strides[k])))
    arguments = tuple(a.transpose(order) if _is_spread(a) else a for a in e.arguments)
    axis = e.axis and tuple(order.index(k) for k in e.axis)
    made, total = _in_order(xp, e._replace(arguments=arguments, axis=axis), invalid)
    back = tuple(order.index(k) for k in range(len(order)))
    total = total if axis is None else total.transpose(back)
    return [array.transpose(back) for array in made], total


def _in_order(xp: Any, e: Evaluation, invalid: _Invalid) -> tuple[list[Array], Any]:
    """The outputs per element, and the sum, which keeps its axes, as of size 1."""
    logits, lines = e.arguments[0], _lines(e)
    computing = np.dtype(_arrays.computing_dtype(xp, logits))
    # The formula itself makes twenty arrays of a block's size and more.
    most = (BLOCK if lines else BLOCK // 2) // computing.itemsize
    fill = _by_formula if lines is None else partial(_by_lines, lines, invalid)
    if logits.size > most:
        return _by_blocks(xp, e, fill, computing, most)
    space = _buffers(e, logits.shape, computing)
    fill(xp, e, e.arguments, space)
    outputs = range(e.summed, len(e.dtypes))
    made = [space[k].astype(e.dtypes[k], copy=False) for k in outputs]
    return made, _sum(xp, e, space[0])


def _by_blocks(
    xp: Any, e: Evaluation, fill: Callable[..., None], computing: Any, most: int
) -> tuple[list[Array], Any]:
    shape = e.arguments[0].shape
    spread = [k for k, a in enumerate(e.arguments) if _is_spread(a)]
    made = [np.empty(shape, dtype) for dtype in e.dtypes[e.summed :]]
    # What has to be rounded is not written to its place at once.
    direct = [array.dtype == computing for array in made]
    total: Any = np.zeros(_kept(shape, e.axis), _accumulator(e, computing, most))
    arguments = list(e.arguments)
    buffers: list[Array] = []
    for slices in _slices(shape, most):
        for k in spread:
            arguments[k] = _block(e.arguments[k], slices)
        block = arguments[0].shape
        if not buffers or buffers[0].shape != block:  # the first, and maybe the last
            buffers = _buffers(e, block, computing)
        places, space = [array[slices] for array in made], buffers.copy()
        for k, place in enumerate(places):
            if direct[k]:
                space[e.summed + k] = place
        fill(xp, e, arguments, space)
        for k, place in enumerate(places):
            if not direct[k]:
                place[...] = space[e.summed + k]
        if e.summed:
            part = total if e.axis is None else _block(total, slices)
            np.add(part, _sum(xp, e, space[0]), out=part)
    return made, total


def _accumulator(e: Evaluation, computing: Any, most: int) -> Any:
    """The dtype of the total: as wide as it has to be, since it may have many elements.

    Along axes that are not cut each is of one block.
    """
    shape = e.arguments[0].shape
    if e.axis is None:
        return np.longdouble
    whole = next(k for k in range(len(shape) + 1) if math.prod(shape[k:]) <= most)
    if min(e.axis) >= whole:
        return computing
    return np.float64 if computing == np.float32 else np.longdouble


def _buffers(e: Evaluation, shape: tuple[int, ...], dtype: Any) -> list[Array]:
    """For each output, and two more, of which what is summed may have one."""
    one, other = np.empty(shape, dtype), np.empty(shape, dtype)
    first = one if e.summed else np.empty(shape, dtype)
    return [first, *(np.empty(shape, dtype) for _ in e.dtypes[1:]), one, other]


def _kept(shape: tuple[int, ...], axis: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of a sum over `axis`."""
    if axis is None:
        return ()
    return tuple(1 if k in axis else n for k, n in enumerate(shape))


def _sum(xp: Any, e: Evaluation, values: Array) -> Any:
    if not e.summed:
        return None
    if e.axis is not None:
        return _arrays.total(xp, values, e.axis, keepdims=True)
    values = values.reshape(-1)
    if values.itemsize == 4 and values.size % 8 == 0:
        # Converting each of them to float64 would take as long as the exponentials.
        eighths = np.add.reduce(values.reshape(8, -1), axis=0)
        total = np.add.reduce(eighths, dtype=np.float64)
        if np.isfinite(total):
            return total
    return np.add.reduce(values, dtype=np.float64)  # pairwise


# ---- one block of each output, into the first arrays of `space` ----------------------


def _by_formula(xp: Any, e: Evaluation, arguments: Any, space: list[Array]) -> None:
    for result, answer in zip(space, _answers(xp, e, arguments, space), strict=False):
        result[...] = answer


def _answers(
    xp: Any, e: Evaluation, arguments: Any, space: list[Array]
) -> tuple[Array, ...]:
    dtypes = (space[0].dtype,) * len(e.dtypes)
    return per_element(xp, e._replace(arguments=tuple(arguments), dtypes=dtypes))


def _by_lines(
    lines: Lines,
    invalid: _Invalid,
    xp: Any,
    e: Evaluation,
    arguments: Any,
    space: list[Array],
) -> None:
    logits, labels, *options = arguments
    dtype = space[0].dtype
    lines(_cast(logits, dtype), _cast(labels, dtype), *space)
    for k, scale in enumerate(e.scales):
        if scale is not None:
            space[k] *= scale
    if invalid.seen:
        invalid.seen = False
        wrong = np.isnan(space[0])
        first, second = (a[wrong] if _is_spread(a) else a for a in (logits, labels))
        answers = _answers(xp, e, (first, second, *options), space)
        for result, answer in zip(space, answers, strict=False):
            result[wrong] = answer


def _lines(e: Evaluation) -> Lines | None:
    """What does the formula in place, of a call without options."""
    if e.formula not in IN_PLACE:
        return None
    _, _, *options = e.arguments
    ordinary = all(option is None for option in options)
    return IN_PLACE[e.formula] if ordinary else None


def _cast(argument: Any, dtype: Any) -> Any:
    is_array = not isinstance(argument, float)
    return argument.astype(dtype, copy=False) if is_array else argument
