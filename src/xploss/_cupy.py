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

from . import _arrays
from ._arrays import Array
from ._plain import Evaluation, per_element, plainly, with_sum

LONGEST_ROW, SHORTEST_ROW = 4096, 64


def _astype(array: Array, dtype: Any, copy: bool = True) -> Array:
    return array.astype(dtype)


# What a formula may ask for within a kernel; `array_api_compat` does not trace.
NAMESPACE = types.SimpleNamespace(
    __name__="cupy", astype=_astype, float32=cupy.float32, float64=cupy.float64,
    where=cupy.where, exp=cupy.exp, log=cupy.log, log1p=cupy.log1p, isinf=cupy.isinf,
    # Not `array * 0.0 + 1.0`, which is NaN at an infinite logit.
    ones_like=lambda array: (array == array).astype(array.dtype) * 0.0 + 1.0,
)  # fmt: skip


@functools.cache
def _kernel(
    formula: Callable[..., Any],
    layout: tuple[Any, ...],
    dtypes: tuple[Any, ...],
    scaled: tuple[bool, ...],
    by_rows: bool,
) -> Any:
    """Of the arguments that have an Ellipsis in `layout`, and of the scales."""

    def kernel(*given: Any) -> Any:
        remaining = iter(given)
        arguments = tuple(next(remaining) if a is ... else a for a in layout)
        scales = tuple(next(remaining) if s else None for s in scaled)
        e = Evaluation(formula, arguments, dtypes, scales=scales)
        results = per_element(NAMESPACE, e)
        if by_rows:
            return _sum_rows(results[0])
        return results if len(results) > 1 else results[0]

    return cupy.fuse(kernel)


def _run(e: Evaluation, by_rows: bool = False) -> tuple[Array, ...]:
    """In one launch.  All that is built in is which options there are."""
    layout = tuple(None if a is None else ... for a in e.arguments)
    given = [a for a in e.arguments if a is not None]
    given += [scale for scale in e.scales if scale is not None]
    scaled = tuple(scale is not None for scale in e.scales)
    # A kernel takes numbers of Python's for the narrowest type, to three digits.
    computing = _arrays.computing_dtype(cupy, e.arguments[0])
    given = [computing(a) if type(a) is float else a for a in given]
    kernel = _kernel(e.formula, layout, e.dtypes, scaled, by_rows)
    results = kernel(*given)
    return results if isinstance(results, tuple) else (results,)


def _is_array(argument: Any) -> bool:
    return isinstance(argument, cupy.ndarray)


def _sum_rows(rows: Array) -> Array:
    return cupy.sum(rows.astype(cupy.float64), axis=1)


@functools.cache
def _mean_of_sums(dtype: Any) -> Any:
    def kernel(sums: Array, n: float) -> Array:
        return (cupy.sum(sums) / n).astype(dtype)

    return cupy.fuse(kernel)


_sums_of_rows = cupy.fuse(_sum_rows)


def _row(size: int) -> int:
    """The length of rows that the size divides into, as most do; 0 if it does not."""
    if size <= SHORTEST_ROW:
        return size
    row = math.gcd(size, 2**12 * 3**4 * 5**4)
    for prime in (5, 3, 2):
        while row > LONGEST_ROW and row % prime == 0:
            row //= prime
    return row if row >= SHORTEST_ROW else 0


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs: one launch, and another for a sum or two for slopes besides."""
    logits = e.arguments[0]
    if not logits.size:
        return plainly(xp, e)
    row = _row(logits.size)
    if not e.summed or e.axis is not None or not row:
        return with_sum(xp, e, _run(e))
    arrays = [a for a in e.arguments if _is_array(a)]
    alike = all(a.shape == logits.shape and a.flags.c_contiguous for a in arrays)
    rest: list[Array] = []
    if alike and len(e.dtypes) == 1:
        arguments = [a.reshape(-1, row) if _is_array(a) else a for a in e.arguments]
        (sums,) = _run(e._replace(arguments=tuple(arguments)), by_rows=True)
    else:
        values, *rest = _run(e)
        sums = _sums_of_rows(values.reshape(-1, row))
    n = cupy.float64(1 if e.n is None else e.n)
    return _mean_of_sums(e.dtypes[0])(sums, n), *rest
