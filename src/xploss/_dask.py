"""Dask: all that is per element, and sums, block by block, in the blocks' library.

Lazy operations of Dask's would do as well, but each would warn or raise, under the
caller's `numpy.errstate`, of underflow in a tail; and a block of CuPy's or a host
block would not be evaluated as such arrays are elsewhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array

from . import _arrays
from ._plain import Evaluation, mean_of, quietly


def _on_block(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    spread: list[tuple[bool, ...]],
    *blocks: Any,
) -> Any:
    """`arguments` with the blocks in the places that hold an Ellipsis."""
    _check_sizes(spread, blocks)
    xp, remaining = _arrays.namespace("block", blocks[0]), iter(blocks)
    filled = [next(remaining) if a is ... else a for a in arguments]
    results = quietly(xp, function, xp, *filled)
    return results[0][None] if len(results) == 1 else xp.stack(results)


def _check_sizes(spread: list[tuple[bool, ...]], blocks: tuple[Any, ...]) -> None:
    """Sizes that Dask did not know would broadcast in silence where one is 1."""
    first = blocks[0].shape
    for ones, block in zip(spread, blocks, strict=True):
        sizes = zip(ones, block.shape, first, strict=False)  # none of a 0-d block
        if any(n != m and not one for one, n, m in sizes):
            raise ValueError(
                f"blocks of shapes {first} and {block.shape} do not match: sizes that "
                f"Dask did not know differ; pass arrays of one shape"
            )


def _aligned(array: Any, like: Any) -> Any:
    """`array` in the blocks of `like`, along the axes where both sizes are known."""
    if array.ndim == 0:
        return array
    chunks = tuple(
        own if n == 1 or n != n or m != m else wanted
        for n, m, own, wanted in zip(
            array.shape, like.shape, array.chunks, like.chunks, strict=True
        )
    )
    array = array.rechunk(chunks)
    for n, own, wanted in zip(array.shape, array.chunks, like.chunks, strict=True):
        if n != 1 and len(own) != len(wanted):
            raise ValueError(
                f"blocks of sizes {wanted} and {own} do not match, and Dask cannot cut "
                f"anew where it does not know a size; call `.compute_chunk_sizes()`"
            )
    return array


def _output_of_block(k: int, dtype: Any, block: Any) -> Any:
    xp = _arrays.namespace("block", block)
    return quietly(xp, partial(xp.astype, copy=False), block[k, ...], dtype)


def blockwise(
    function: Callable[..., Any], arguments: tuple[Any, ...], dtypes: tuple[Any, ...]
) -> tuple[Any, ...]:
    """function(xp, *arguments) per block: lazy arrays, one of each dtype.

    Its results are stacked and have to be of one dtype, that of the first.
    """
    arrays = [a for a in arguments if isinstance(a, dask.array.Array)]
    arrays = [_aligned(a, arrays[0]) for a in arrays]
    open_ = tuple(... if isinstance(a, dask.array.Array) else a for a in arguments)
    spread = [tuple(n == 1 for n in a.shape) for a in arrays]
    meta = arrays[0]._meta
    stacked = dask.array.map_blocks(
        _on_block, function, open_, spread, *arrays,
        dtype=dtypes[0], meta=meta[None].astype(dtypes[0]),
        new_axis=0, chunks=((len(dtypes),), *arrays[0].chunks),
    )  # fmt: skip
    return tuple(_output(stacked, k, dtype, meta) for k, dtype in enumerate(dtypes))


def _output(stacked: Any, k: int, dtype: Any, meta: Any) -> Any:
    meta = meta.astype(dtype)
    options = {"dtype": dtype, "meta": meta, "drop_axis": 0}
    return dask.array.map_blocks(_output_of_block, k, dtype, stacked, **options)


def elementwise(
    function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
) -> Any:
    """function(xp, *arguments) per block: a lazy array."""
    (result,) = blockwise(partial(_as_tuple, function), arguments, (dtype,))
    return result


def _as_tuple(function: Callable[..., Any], *arguments: Any) -> tuple[Any]:
    return (function(*arguments),)


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs, each block by the way of its own library."""
    dtypes = e.dtypes[:1] * len(e.dtypes)
    block = e._replace(arguments=(), dtypes=dtypes, summed=False, axis=None)
    results = blockwise(partial(_evaluated, block), e.arguments, e.dtypes)
    if not e.summed:
        return results
    first = total(results[0], e.axis, e.keepdims)
    if e.n is not None:
        first = elementwise(mean_of, (first, e.n), first.dtype)
    return first, *results[1:]


def _evaluated(e: Evaluation, xp: Any, *arguments: Any) -> tuple[Any, ...]:
    from ._evaluate import evaluate

    return evaluate(xp, e._replace(arguments=arguments))


def _total_of_block(
    block: Any, axis: tuple[int, ...], keepdims: bool, to: Any = None
) -> Any:
    """The sum over `axis` as it was added, or rounded to a dtype."""
    xp = _arrays.namespace("block", block)
    total = quietly(xp, _arrays.unrounded_total, xp, block, axis, keepdims)
    if to is None:
        return total
    return quietly(xp, partial(xp.astype, copy=False), total, to)


def total(values: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """The sum over `axis`: of the blocks, then of their sums, and rounded once.

    Rounded at each step, it would depend on the chunks: by 4 ulp with 4,096 of them.
    """
    return dask.array.reduction(
        values, _total_of_block, partial(_total_of_block, to=values.dtype),
        combine=_total_of_block, axis=axis, keepdims=keepdims, dtype=values.dtype,
    )  # fmt: skip


def in_memory(*arguments: Any) -> Any:
    """The blocks of each put together, of their own library; others as they are."""
    return dask.compute(*arguments)
