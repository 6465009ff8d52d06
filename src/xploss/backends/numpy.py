"""NumPy: block by block, so that all stays in cache, and fused with the sum.

Whole-array temporaries cost page faults and memory traffic.  A call without options is
carried out in place (`in_place.py`); with options the formula itself is applied.

Infinite logits are not looked for: where one meets no mass, 0 * inf is an invalid
operation, of which the processor tells, and what is NaN is done again by the formula.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._arrays import Array, computing_dtype
from .base import Backend
from .in_place import IN_PLACE, Lines
from .job import Job

# What `out` may be given for; another subclass of arrays has arithmetic of its own.
OWN_TYPES = (np.ndarray, np.memmap)

# Bytes a block of one array: a few of these stay in a cache of 1 or 2 MiB, and the
# calls of the ufuncs hardly show.  Half as many are no faster, twice as many slower.
BLOCK = 1 << 18

Slices = tuple[slice, ...]


class NumPy(Backend):
    taken_by_boosters = True

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """The outputs; of a sum, no array of what is added is made."""
        first = job.arguments[0]
        if not first.ndim or not first.size or type(first) not in OWN_TYPES:
            return super().evaluate(job)
        in_order = _in_order if first.flags.c_contiguous else _in_memory_order
        made, total = in_order(job)
        return (_finished(job, total), *made) if job.summed else tuple(made)


BACKEND = NumPy(np)


def _finished(job: Job, total: Any) -> Any:
    """A merged sum divided, and rounded once, to its dtype."""
    if job.axis is None:
        return job.dtypes[0](total if job.n is None else total / job.n)
    if job.n is not None:
        total /= job.n
    total = total if job.keepdims else total.squeeze(job.axis)
    return total.astype(job.dtypes[0], copy=False)[()]


# ---- blocks --------------------------------------------------------------------------


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


def _in_memory_order(job: Job) -> tuple[list[Array], Any]:
    """Along the axes as they lie in memory; the results are laid out alike."""
    strides = job.arguments[0].strides
    order = tuple(sorted(range(len(strides)), key=lambda k: -abs(strides[k])))
    traced = tuple(a.transpose(order) if _is_spread(a) else a for a in job.traced())
    axis = job.axis and tuple(order.index(k) for k in job.axis)
    made, total = _in_order(job.with_traced(traced)._replace(axis=axis))
    back = tuple(order.index(k) for k in range(len(order)))
    total = total if axis is None else total.transpose(back)
    return [array.transpose(back) for array in made], total


def _in_order(job: Job) -> tuple[list[Array], Any]:
    """The outputs per element, and the sum, which keeps its axes, as of size 1."""
    first, lines = job.arguments[0], _lines(job)
    computing = np.dtype(computing_dtype(np, first))
    # The formula itself makes twenty arrays of a block's size and more.
    most = (BLOCK if lines else BLOCK // 2) // computing.itemsize
    scratch = _Scratch(job, lines, computing)
    with np.errstate(invalid="call", call=scratch):
        if first.size > most:
            return _by_blocks(job, scratch, most)
        space = scratch.of(first.shape)
        scratch.carry_out(job, space)
        outputs = range(job.summed, len(job.dtypes))
        made = [space[k].astype(job.dtypes[k], copy=False) for k in outputs]
        return made, _partial_sum(job, space[0])


def _by_blocks(job: Job, scratch: "_Scratch", most: int) -> tuple[list[Array], Any]:
    """The blocks' partial sums are merged in the order of the blocks."""
    shape = job.arguments[0].shape
    made = [np.empty(shape, dtype) for dtype in job.dtypes[job.summed :]]
    total: Any = np.zeros(
        _kept(shape, job.axis), _accumulator(job, scratch.dtype, most)
    )
    for slices in _slices(shape, most):
        part = _one_block(job, slices, made, scratch)
        if job.summed:
            place = total if job.axis is None else _block(total, slices)
            np.add(place, part, out=place)
    return made, total


def _one_block(job: Job, slices: Slices, made: list[Array], scratch: "_Scratch") -> Any:
    """The partial sum; the outputs per element are written to their places."""
    traced = tuple([_block(a, slices) if _is_spread(a) else a for a in job.traced()])
    block = job.with_traced(traced)
    places = [array[slices] for array in made]
    space = scratch.of(block.arguments[0].shape)
    # What has to be rounded is not written to its place at once.
    direct = [place.dtype == scratch.dtype for place in places]
    for k, place in enumerate(places):
        if direct[k]:
            space[job.summed + k] = place
    scratch.carry_out(block, space)
    for k, place in enumerate(places):
        if not direct[k]:
            place[...] = space[job.summed + k]
    return _partial_sum(block, space[0])


# ---- sums ----------------------------------------------------------------------------


def _accumulator(job: Job, computing: Any, most: int) -> Any:
    """The dtype of the total: as wide as it has to be, since it may have many elements.

    Along axes that are not cut each is of one block.
    """
    shape = job.arguments[0].shape
    if job.axis is None:
        return np.longdouble
    whole = next(k for k in range(len(shape) + 1) if math.prod(shape[k:]) <= most)
    if min(job.axis) >= whole:
        return computing
    return np.float64 if computing == np.float32 else np.longdouble


def _kept(shape: tuple[int, ...], axis: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of a sum over `axis`."""
    if axis is None:
        return ()
    return tuple(1 if k in axis else n for k, n in enumerate(shape))


def _partial_sum(job: Job, values: Array) -> Any:
    if not job.summed:
        return None
    if job.axis is not None:
        part = BACKEND.partial_sum(values, job.axis, keepdims=True)
        return part.astype(values.dtype, copy=False)
    values = values.reshape(-1)
    if values.itemsize == 4 and values.size % 8 == 0:
        # Converting each of them to float64 would take as long as the exponentials.
        eighths = np.add.reduce(values.reshape(8, -1), axis=0)
        total = np.add.reduce(eighths, dtype=np.float64)
        if np.isfinite(total):
            return total
    return np.add.reduce(values, dtype=np.float64)  # pairwise


# ---- one block -----------------------------------------------------------------------


def _lines(job: Job) -> Lines | None:
    """What does the formula in place, of a call without options."""
    if job.weights is not None or job.where is not None:
        return None
    for option in job.arguments[2:]:
        if option is not None:
            return None
    return IN_PLACE.get(job.function())


class _Scratch:
    """What one thread needs: arrays of a block's size, and whether an operation was
    invalid, as 0 * inf is."""

    def __init__(self, job: Job, lines: Lines | None, dtype: Any) -> None:
        self.lines, self.dtype = lines, dtype
        # One for each output, and two more, of which what is summed may have one.
        self.arrays, self.shared = len(job.dtypes) + 2, job.summed
        self.buffers: list[Array] = []
        self.invalid = False

    def __call__(self, kind: str, flag: int) -> None:
        """As `numpy.errstate` calls it."""
        self.invalid = True

    def of(self, shape: tuple[int, ...]) -> list[Array]:
        """The same ones for each block but the last, which may be smaller."""
        if not self.buffers or self.buffers[0].shape != shape:
            self.buffers = [
                np.empty(shape, self.dtype) for _ in range(self.arrays - self.shared)
            ]
            if self.shared:
                self.buffers.insert(0, self.buffers[-2])
        return self.buffers.copy()

    def carry_out(self, job: Job, space: list[Array]) -> None:
        """Each output, in the computing dtype, into the first arrays of `space`."""
        if self.lines is None:
            for result, answer in zip(space, self.answers(job), strict=False):
                result[...] = answer
            return
        self.lines(*[_cast(a, self.dtype) for a in job.arguments[:2]], *space)
        for k, scale in enumerate(job.scales):
            if scale is not None:
                space[k] *= scale
        if self.invalid:
            self.invalid = False
            self.carry_out_again(job, space)

    def carry_out_again(self, job: Job, space: list[Array]) -> None:
        """What is NaN, by the formula."""
        wrong = np.isnan(space[0])
        first, second = (a[wrong] if _is_spread(a) else a for a in job.arguments[:2])
        arguments = (first, second, *job.arguments[2:])
        answers = self.answers(job._replace(arguments=arguments))
        for result, answer in zip(space, answers, strict=False):
            result[wrong] = answer

    def answers(self, job: Job) -> tuple[Array, ...]:
        """By the formula, in the computing dtype."""
        dtypes = (self.dtype,) * len(job.dtypes)
        return BACKEND.per_element(job._replace(dtypes=dtypes))


def _cast(argument: Any, dtype: Any) -> Any:
    is_array = not isinstance(argument, float)
    return argument.astype(dtype, copy=False) if is_array else argument
