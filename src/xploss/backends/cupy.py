"""CuPy: the formula, its options, casts and sums of rows in one kernel, `cupy.fuse`d.

Operation by operation a mean is twenty launches and more.  A sum of everything is
taken of rows first: a kernel of CuPy's has one block of threads for each result, and
each thread adds one by one, which drifts.
"""

import functools
import math
import types
from collections.abc import Callable
from typing import Any

import cupy
from array_api_compat import cupy as cupy_namespace

from .._arrays import Array, computing_dtype
from .base import Backend
from .job import Job

LONGEST_ROW, SHORTEST_ROW = 4096, 64


class CuPy(Backend):
    taken_by_boosters = True

    def on_host(self, array: Array) -> Any:
        return array.get()

    def run(self, like: Array, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """One launch, and another for a sum or two for slopes besides."""
        first = job.arguments[0]
        if not first.size or job.formula.class_axis is not None:
            return super().evaluate(job)
        row = _row(first.size)
        if not job.summed or job.axis is not None or not row:
            return self.with_sum(job, _launched(job))
        sums, rest = _sums_of_rows(job, row)
        n = cupy.float64(1 if job.n is None else job.n)
        return _mean_of_sums(job.dtypes[0])(sums, n), *rest


BACKEND = CuPy(cupy_namespace)


def _astype(array: Array, dtype: Any, copy: bool = True) -> Array:
    return array.astype(dtype)


# What a formula may ask for within a kernel; `array_api_compat` does not trace.
_WITHIN = Backend(types.SimpleNamespace(
    __name__="cupy", astype=_astype, float32=cupy.float32, float64=cupy.float64,
    where=cupy.where, exp=cupy.exp, log=cupy.log, log1p=cupy.log1p, isinf=cupy.isinf,
    # Not `array * 0.0 + 1.0`, which is NaN at an infinite logit.
    ones_like=lambda array: (array == array).astype(array.dtype) * 0.0 + 1.0,
))  # fmt: skip


# A kernel is kept for each formula, quantity, set of options and of dtypes; more than
# a program needs, and never more than that.
@functools.lru_cache(256)
def _kernel(
    job: Job, present: tuple[bool, ...], scaled: tuple[bool, ...], by_rows: bool
) -> Any:
    """Of the arguments that are there, and of the scales."""

    def kernel(*given: Any) -> Any:
        remaining = iter(given)
        traced = tuple(next(remaining) if there else None for there in present)
        scales = tuple(next(remaining) if s else None for s in scaled)
        results = _WITHIN.per_element(job.with_traced(traced)._replace(scales=scales))
        if by_rows:
            return _sum_rows(results[0])
        return results if len(results) > 1 else results[0]

    return cupy.fuse(kernel)


def _launched(job: Job, by_rows: bool = False) -> tuple[Array, ...]:
    """In one launch.  All that is built in is which options there are."""
    traced = job.traced()
    given = [a for a in (*traced, *job.scales) if a is not None]
    # A kernel takes numbers of Python's for the narrowest type, to three digits.
    computing = computing_dtype(cupy, job.arguments[0])
    given = [computing(a) if type(a) is float else a for a in given]
    kernel = _kernel(
        Job(job.formula, (), job.dtypes, job.quantity),
        tuple(a is not None for a in traced),
        tuple(scale is not None for scale in job.scales),
        by_rows,
    )
    results = kernel(*given)
    return results if isinstance(results, tuple) else (results,)


# ---- sums ----------------------------------------------------------------------------


def _sums_of_rows(job: Job, row: int) -> tuple[Array, list[Array]]:
    """Partial sums, and the other outputs."""
    shape = job.arguments[0].shape
    arrays = [a for a in job.traced() if isinstance(a, cupy.ndarray)]
    alike = all(a.shape == shape and a.flags.c_contiguous for a in arrays)
    if alike and len(job.dtypes) == 1:
        rows = tuple(
            a.reshape(-1, row) if isinstance(a, cupy.ndarray) else a
            for a in job.traced()
        )
        (sums,) = _launched(job.with_traced(rows), by_rows=True)
        return sums, []
    values, *rest = _launched(job)
    return _summed_rows(values.reshape(-1, row)), rest


def _sum_rows(rows: Array) -> Array:
    return cupy.sum(rows.astype(cupy.float64), axis=1)


_summed_rows = cupy.fuse(_sum_rows)


@functools.lru_cache(4)
def _mean_of_sums(dtype: Any) -> Any:
    """The sums merged, divided and rounded."""

    def kernel(sums: Array, n: float) -> Array:
        return (cupy.sum(sums) / n).astype(dtype)

    return cupy.fuse(kernel)


def _row(size: int) -> int:
    """The length of rows that the size divides into, as most do; 0 if it does not."""
    if size <= SHORTEST_ROW:
        return size
    row = math.gcd(size, 2**12 * 3**4 * 5**4)
    for prime in (5, 3, 2):
        while row > LONGEST_ROW and row % prime == 0:
            row //= prime
    return row if row >= SHORTEST_ROW else 0
