"""NumPy: by the compiled formulas, or block by block, so that all stays in cache.

Without the compiled ones (`compiled.py`) a formula is carried out operation by
operation, and arrays as large as its arguments would cost page faults and memory
traffic.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._arrays import Array, computing_dtype
from ..formulas.record import Formula
from . import compiled
from .base import Backend
from .classes import MOST_NUMBERS, Classes
from .compiled import plan_of
from .job import Job, are_per_class, of_label

# What `out` may be given for; another subclass of arrays has arithmetic of its own.
OWN_TYPES = (np.ndarray, np.memmap)
WHOLE = (np.dtype(np.float32), np.dtype(np.float64))  # of 16 bits sums are wider

# Bytes a block of one array: a formula makes twenty of them, which stay in a cache of
# 1 or 2 MiB, and the calls of the ufuncs hardly show.
BLOCK = 1 << 17

Slices = tuple[slice, ...]


class NumPy(Backend):
    taken_by_boosters = True
    compiled = compiled.BEST

    # ---- its arrays ------------------------------------------------------------------

    def on_host(self, array: Any) -> Any:
        return array

    # ---- running ---------------------------------------------------------------------

    def enter(self, like: Array, function: Callable[..., Any], *args: Any) -> Any:
        """What may warn is run for itself; the compiled formulas do not."""
        return function(*args)

    def at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Array,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
    ) -> Any:
        dtype, given = first.dtype, (first, labels, *options)
        plan = plan_of(getattr(formula, quantity), given)
        if (
            self.compiled is None
            or plan is None
            or type(labels) is not np.ndarray
            or type(first) is not np.ndarray
            or dtype not in WHOLE
            or labels.dtype is not dtype
            or labels.shape != first.shape
            or not first.size
            or not first.ndim
        ):
            return None
        total, made = self.compiled.at_once(plan, plan.arguments(*given), reduction)
        results = made if total is None else [dtype.type(total), *made]
        return results[0] if len(results) == 1 else tuple(results)

    def rows_at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Array,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
        class_axis: Any,
        ignored: Any,
    ) -> Any:
        if (
            self.compiled is None
            or type(labels) is not np.ndarray
            or type(first) is not np.ndarray
            or type(class_axis) is not int
            or class_axis not in (-1, first.ndim - 1)
            or first.dtype not in WHOLE
            or not first.size
            or first.ndim < 2
        ):
            return None
        are_numbers = labels.ndim < first.ndim
        if are_numbers and not _are_numbers(first, labels, ignored):
            return None
        if not are_numbers and not _are_masses(first, labels, ignored):
            return None
        label = of_label(labels[..., None] if are_numbers else labels, are_numbers)
        given = (first, *label, *options)
        plan: Any = plan_of(getattr(formula, quantity), given)
        kinds = are_per_class(formula, quantity, plan.results)
        arguments = plan.arguments(*given)
        total, made = self.compiled.at_once(plan, arguments, reduction, kinds)
        results = [] if total is None else [first.dtype.type(total)]
        for array, per_class in zip(made, kinds[len(results) :], strict=True):
            results.append(array if per_class else array[..., 0])
        return results[0] if len(results) == 1 else tuple(results)

    def elementwise(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
    ) -> Any:
        # A number where a 0-d array is made, as NumPy's own sums return it.
        return self.run(None, super().elementwise, function, arguments, dtype)[()]

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """The outputs; of a sum, no array of what is added is made."""
        first = job.arguments[0]
        own = first.ndim and first.size and type(first) in OWN_TYPES
        if own and self.compiled is not None:
            made = self.compiled.evaluate(job)
            if made is not None:
                return made
        evaluate = self.by_blocks if own else super().evaluate
        outputs: tuple[Any, ...] = self.run(first, evaluate, job)
        return outputs

    def applied(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        """Nothing is differentiated here."""
        return self.formula(job.undifferentiated(), arguments, job.formula.class_axis)

    def by_blocks(self, job: Job) -> tuple[Any, ...]:
        if job.formula.class_axis is not None:
            return self.with_sum(job, _in_rows(job))
        c_contiguous = job.arguments[0].flags.c_contiguous
        in_order = _in_order if c_contiguous else _in_memory_order
        made, total = in_order(job)
        return (_finished(job, total), *made) if job.summed else tuple(made)

    def within_rows(self, axis: int) -> Classes:
        return _Classes(self, axis)


def _are_numbers(first: Array, labels: Array, ignored: Any) -> bool:
    """Of classes, and none of them to be ignored."""
    classes = first.shape[-1]
    fit = labels.shape == first.shape[:-1] and classes <= MOST_NUMBERS
    fit = fit and labels.dtype.kind in "iu" and labels.dtype.isnative
    return fit and (ignored is None or (type(ignored) is int and ignored not in labels))


def _are_masses(first: Array, labels: Array, ignored: Any) -> bool:
    alike = labels.shape == first.shape and labels.dtype is first.dtype
    return alike and ignored is None


class _Classes(Classes):
    """Indexed, as nothing is differentiated here."""

    def pick(self, values: Array, numbers: Array) -> Array:
        if not numbers.ndim:  # of all rows
            return super().pick(values, numbers)
        last = self.class_count(values) - 1
        index = np.clip(np.nan_to_num(numbers), 0, last).astype(np.intp)
        return np.take_along_axis(values, index, axis=self.axis)


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
    """The outputs per element, and the sum, which keeps its axes, as of size 1.

    The blocks' partial sums are merged in the order of the blocks.
    """
    shape = job.arguments[0].shape
    computing = np.dtype(computing_dtype(np, job.arguments[0]))
    most = BLOCK // computing.itemsize
    made = [np.empty(shape, dtype) for dtype in job.dtypes[job.summed :]]
    total: Any = np.zeros(_kept(shape, job.axis), _accumulator(job, computing, most))
    wide = job._replace(dtypes=(computing,) * len(job.dtypes))
    for slices in _slices(shape, most):
        part = _one_block(wide, slices, made)
        if job.summed:
            place = total if job.axis is None else _block(total, slices)
            np.add(place, part, out=place)
    return made, total


def _one_block(job: Job, slices: Slices, made: list[Array]) -> Any:
    """The partial sum; the outputs per element are written to their places."""
    traced = tuple([_block(a, slices) if _is_spread(a) else a for a in job.traced()])
    results = BACKEND.per_element(job.with_traced(traced))
    for array, result in zip(made, results[job.summed :], strict=True):
        array[slices] = result
    return _partial_sum(job, results[0])


def _in_rows(job: Job) -> tuple[Array, ...]:
    """The outputs of a formula of rows, some rows at a time, whichever way they lie."""
    axis: Any = job.formula.class_axis
    traced = [np.moveaxis(a, axis, -1) if _is_spread(a) else a for a in job.traced()]
    rows = job.with_traced(tuple(traced))
    *outer, classes = traced[0].shape
    rows = rows._replace(formula=job.formula._replace(class_axis=len(outer)))
    made = [
        np.empty((*outer, classes if per_class else 1), dtype)
        for per_class, dtype in zip(job.per_class(), job.dtypes, strict=True)
    ]
    computing = np.dtype(computing_dtype(np, traced[0]))
    most = max(BLOCK // computing.itemsize // classes, 1)
    for slices in _slices(tuple(outer), most):
        block = [_block(a, slices) if _is_spread(a) else a for a in traced]
        results = BACKEND.per_element(rows.with_traced(tuple(block)))
        for array, result in zip(made, results, strict=True):
            array[slices] = result
    return tuple([np.moveaxis(a, -1, axis) for a in made])


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
