"""Dask: the whole call per element, block by block, as the blocks' own library has it.

Some twenty lazy operations would do as well, but each would warn or raise, under the
caller's `numpy.errstate`, of underflow in a tail; and a block of CuPy's or a host
block would not be evaluated as such arrays are elsewhere.
"""

from collections.abc import Callable
from typing import Any

import dask.array

from ._arrays import namespace


def _on_block(
    function: Callable[..., Any], arguments: tuple[Any, ...], *blocks: Any
) -> Any:
    """`arguments` with the blocks in the places that hold an Ellipsis."""
    from ._problem import quiet

    xp, remaining = namespace("block", blocks[0]), iter(blocks)
    filled = [next(remaining) if a is ... else a for a in arguments]
    with quiet(xp):
        results = function(xp, *filled)
        return xp.stack(results) if isinstance(results, tuple) else results


def _aligned(array: Any, like: Any) -> Any:
    """`array` in the blocks of `like`, along the axes where it has their size."""
    axes = zip(array.shape, array.chunks, like.chunks[-array.ndim :], strict=False)
    return array.rechunk(tuple(own if n == 1 else c for n, own, c in axes))


def blockwise(
    function: Callable[..., Any], arguments: tuple[Any, ...], outputs: int, dtype: Any
) -> Any:
    """function(xp, *arguments) per block: a lazy array, or a tuple of `outputs`."""
    arrays = [a for a in arguments if isinstance(a, dask.array.Array)]
    arrays = [_aligned(a, arrays[0]) if a.ndim else a for a in arrays]
    open_ = tuple(... if isinstance(a, dask.array.Array) else a for a in arguments)
    options = {"dtype": dtype, "meta": arrays[0]._meta.astype(dtype)}
    if outputs == 1:
        return dask.array.map_blocks(_on_block, function, open_, *arrays, **options)
    stacked = dask.array.map_blocks(
        _on_block, function, open_, *arrays, new_axis=0,
        chunks=((outputs,), *arrays[0].chunks), **options,
    )  # fmt: skip
    return tuple(stacked[k] for k in range(outputs))
