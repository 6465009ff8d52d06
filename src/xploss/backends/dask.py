"""Dask: all that is per element, and sums, block by block, in the blocks' library.

Lazy operations of Dask's would do as well, but each would warn or raise, under the
caller's `numpy.errstate`, of underflow in a tail; and a block of CuPy's or a host
block would not be evaluated as such arrays are elsewhere.

Rows of classes that are cut into several blocks stay where they are, and are gone over
in passes (`passes.py`), each of which merges a few numbers a row.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import dask.array
import numpy as np
from array_api_compat.dask import array as dask_namespace

from .._arrays import instead_of
from .base import Backend, mean
from .job import Job
from .passes import Cut, Pass, merged, output_of, passes_of, share_of

BackendOf = Callable[[Any], Any]  # of a block


class Dask(Backend):
    def __init__(self, backend_of: BackendOf) -> None:
        super().__init__(dask_namespace)
        self.backend_of = backend_of

    # ---- its arrays ------------------------------------------------------------------

    def device(self, array: Any) -> Any:
        return None

    def instead_of(self, array: Any) -> str | None:
        return instead_of(array._meta)

    def dtype(self, name: str) -> Any:
        return getattr(np, name, None)

    def on_host(self, array: Any) -> Any:
        return array

    def in_memory(self, *arrays: Any) -> Any:
        """The blocks of each put together, of their own library; others as they are."""
        return dask.compute(*arrays)

    def in_parts(self, function: Callable[..., Any], *arrays: Any) -> list[Any]:
        """Where each block is, in its own library."""
        blocked, given = self._given(arrays)
        of_parts = zip(*(a.to_delayed().ravel() for a in blocked), strict=True)
        run = dask.delayed(given.run)
        return list(dask.compute(*(run(function, list(part)) for part in of_parts)))

    # ---- running ---------------------------------------------------------------------

    def run(self, like: Any, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """The outputs, each block by the way of its own library."""
        if job.formula.class_axis is not None:
            return self.with_sum(job, self.rows(job, job.formula.class_axis))
        dtypes = job.dtypes[:1] * len(job.dtypes)
        block = job.without_traced()._replace(dtypes=dtypes, summed=False, axis=None)
        results = self.blockwise(partial(_evaluated, block), job.traced(), job.dtypes)
        if not job.summed:
            return results
        total = self.partial_sum(results[0], job.axis, job.keepdims)
        return self.finished(total, job.n, total.dtype), *results[1:]

    def rows(self, job: Job, axis: int) -> tuple[Any, ...]:
        """The outputs of a formula of rows, of which each is whole within a block.

        One that is one a row has another shape than one that is one a class, so they
        are not stacked, and each block is evaluated for each of them.
        """
        first = job.arguments[0]
        # Of a size that Dask does not know, nobody knows which classes a block has.
        if first.numblocks[axis] > 1 and first.shape[axis] == first.shape[axis]:
            return self.rows_in_parts(job, axis)
        whole = job.with_traced(
            tuple(
                a.rechunk({axis: -1}) if getattr(a, "ndim", 0) else a
                for a in job.traced()
            )
        )
        block = job.without_traced()._replace(summed=False, axis=None)
        return tuple(
            self.blockwise(
                partial(_output_of_rows, block, k),
                whole.traced(),
                (dtype,),
                () if per_class else (axis,),
            )[0]
            for k, (per_class, dtype) in enumerate(
                zip(job.per_class(), job.dtypes, strict=True)
            )
        )

    def rows_in_parts(self, job: Job, axis: int) -> tuple[Any, ...]:
        """The outputs of a formula of rows that are cut into several blocks."""
        starts = (0, *accumulate(job.arguments[0].chunks[axis]))
        cut = Cut(axis, starts, passes_of(job))
        known: tuple[Any, ...] = ()
        block = job.without_traced()._replace(summed=False, axis=None)
        share = partial(share_of, block, cut)
        for found in cut.passes:
            arguments = (*job.traced(), *known)
            shares = self.blocks_by_place(share, arguments, np.float64, (axis,))
            known += (self.merged(shares, found, axis),)
        # What is one a row needs any class of it, and not all blocks in memory.
        one = (*(slice(None),) * axis, slice(0, 1), ...)
        of_one = [a[one] if getattr(a, "ndim", 0) else a for a in job.traced()]
        return tuple(
            self.blocks_by_place(
                partial(output_of, block, cut, k),
                (*(job.traced() if per_class else of_one), *known),
                dtype,
            )
            for k, (per_class, dtype) in enumerate(
                zip(job.per_class(), job.dtypes, strict=True)
            )
        )

    def merged(self, shares: Any, found: Pass, axis: int) -> Any:
        """Of what a pass found, in trees; what Dask takes for one number a row is as
        many as are found."""
        part = partial(_merged_block, self.backend_of, found)
        return dask.array.reduction(
            shares, _as_it_is, part, combine=part,
            axis=(axis,), keepdims=True, dtype=shares.dtype, meta=shares._meta,
        )  # fmt: skip

    def elementwise(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
    ) -> Any:
        """function(xp, *arguments) per block: a lazy array."""
        of_block = partial(_as_tuple, function)
        (result,) = self.blockwise(of_block, arguments, (dtype,))
        return result

    def blockwise(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        dtypes: tuple[Any, ...],
        of_one: tuple[int, ...] = (),
    ) -> tuple[Any, ...]:
        """function(backend, *arguments) per block: lazy arrays, one of each dtype.

        Its results are stacked and have to be of one dtype, that of the first, and of
        the blocks' shape but for axes that are of size 1.
        """
        arrays, given = self._given(arguments)
        meta = arrays[0]._meta
        stacked = dask.array.map_blocks(
            _stacked, function, given, *arrays,
            dtype=dtypes[0], meta=meta[None].astype(dtypes[0]),
            new_axis=0, chunks=((len(dtypes),), *_chunks(arrays[0], of_one)),
        )  # fmt: skip
        return tuple(
            self._output(stacked, k, dtype, meta) for k, dtype in enumerate(dtypes)
        )

    def blocks_by_place(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        dtype: Any,
        of_one: tuple[int, ...] = (),
    ) -> Any:
        """function(backend, the block's place, *arguments) per block: a lazy array."""
        arrays, given = self._given(arguments)
        return dask.array.map_blocks(
            _by_place, function, given, *arrays, dtype=dtype,
            meta=arrays[0]._meta.astype(dtype), chunks=_chunks(arrays[0], of_one),
        )  # fmt: skip

    def _given(self, arguments: tuple[Any, ...]) -> tuple[list[Any], "_Given"]:
        """The arrays in blocks that are cut alike, and what these are given with."""
        arrays = [a for a in arguments if isinstance(a, dask.array.Array)]
        arrays = [_aligned(a, arrays[0]) for a in arrays]
        open_ = tuple(... if isinstance(a, dask.array.Array) else a for a in arguments)
        spread = [tuple(n == 1 for n in a.shape) for a in arrays]
        return arrays, _Given(self.backend_of, open_, spread)

    def _output(self, stacked: Any, k: int, dtype: Any, meta: Any) -> Any:
        output, meta = partial(_output_of_block, self.backend_of), meta.astype(dtype)
        options = {"dtype": dtype, "meta": meta, "drop_axis": 0}
        return dask.array.map_blocks(output, k, dtype, stacked, **options)

    # ---- sums ------------------------------------------------------------------------

    def partial_sum(
        self,
        values: Any,
        axis: tuple[int, ...] | None,
        keepdims: bool = False,
        from_16_bits: bool = False,
    ) -> Any:
        """Of the blocks, merged in trees, and rounded once.

        Rounded at each step, it would depend on the chunks: by 4 ulp with 4,096.
        """
        part = partial(_partial_sum_of_block, self.backend_of)
        return dask.array.reduction(
            values, part, partial(part, to=values.dtype), combine=part,
            axis=axis, keepdims=keepdims, dtype=values.dtype,
        )  # fmt: skip

    def finished(self, total: Any, n: int | None, dtype: Any) -> Any:
        return total if n is None else self.elementwise(mean, (total, n), dtype)

    def counted_of(self, first: Any, axis: Any, *options: Any) -> tuple[Any, int]:
        """Blocks that the count needs as well would be sent about."""
        return dask_namespace.zeros_like(first), 1


# ---- blocks --------------------------------------------------------------------------


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


def _chunks(first: Any, of_one: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Those of the first, but of size 1 along some axes."""
    return [(1,) * len(c) if k in of_one else c for k, c in enumerate(first.chunks)]


class _Given(NamedTuple):
    """What a function is given besides blocks."""

    backend_of: BackendOf
    arguments: tuple[Any, ...]  # an Ellipsis in the place of a block
    spread: list[tuple[bool, ...]]  # along which axes an array is of size 1

    def run(
        self, function: Callable[..., Any], blocks: tuple[Any, ...], *place: Any
    ) -> Any:
        _check_sizes(self.spread, blocks)
        first, remaining = blocks[0], iter(blocks)
        filled = [next(remaining) if a is ... else a for a in self.arguments]
        backend = self.backend_of(first)
        return backend.run(first, function, backend, *place, *filled)


def _stacked(function: Callable[..., Any], given: _Given, *blocks: Any) -> Any:
    results = given.run(function, blocks)
    if len(results) == 1:
        return results[0][None]
    return given.backend_of(blocks[0]).xp.stack(results)


def _by_place(
    function: Callable[..., Any],
    given: _Given,
    *blocks: Any,
    block_id: tuple[int, ...] = (),
) -> Any:
    return given.run(function, blocks, block_id)


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


def _output_of_block(backend_of: BackendOf, k: int, dtype: Any, block: Any) -> Any:
    return _cast(backend_of(block), block[k, ...], dtype)


def _cast(backend: Backend, block: Any, dtype: Any) -> Any:
    cast = partial(backend.xp.astype, copy=False)
    return backend.run(block, cast, block, dtype)


def _evaluated(job: Job, backend: Backend, *traced: Any) -> tuple[Any, ...]:
    return backend.evaluate(job.with_traced(traced))


def _output_of_rows(job: Job, k: int, backend: Backend, *traced: Any) -> Any:
    return backend.evaluate(job.with_traced(traced))[k : k + 1]


def _as_it_is(block: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    return block


def _merged_block(
    backend_of: BackendOf,
    found: Pass,
    block: Any,
    axis: tuple[int, ...],
    keepdims: bool,
) -> Any:
    backend = backend_of(block)
    return backend.run(block, merged, backend, found, block, *axis)


def _as_tuple(
    function: Callable[..., Any], backend: Backend, *arguments: Any
) -> tuple[Any]:
    return (function(backend.xp, *arguments),)


def _partial_sum_of_block(
    backend_of: BackendOf,
    block: Any,
    axis: tuple[int, ...],
    keepdims: bool,
    to: Any = None,
) -> Any:
    """The sum over `axis` as it was added, or rounded to a dtype."""
    backend = backend_of(block)
    total = backend.run(block, backend.partial_sum, block, axis, keepdims)
    return total if to is None else _cast(backend, total, to)
