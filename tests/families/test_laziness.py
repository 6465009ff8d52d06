"""Nothing is computed before it is asked for, nor twice, and no size need be known."""

import itertools

import backends
import numpy as np
import pytest
from chunks import chunked, unknown
from expected import (
    LABELS,
    LOGITS,
    LOSSES,
    PER_SAMPLE,
    dtype_of,
    each,
    every_function,
    of_backend,
    wide,
)

import xploss

cross_entropy = xploss.sigmoid_cross_entropy
loss_of = pytest.mark.parametrize("loss", LOSSES, ids=str)
options_of = pytest.mark.parametrize(
    "optional", [False, True], ids=["plain", "options"]
)


def on_numpy(function, loss, options, dtype="float64"):
    """What another library's results have to be like."""
    first, labels = (a.astype(dtype) for a in (loss.first, loss.labels))
    return each(function(first, labels, **options))


def agree(results, expected):
    """Up to the order in which a sum is taken."""
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_array_max_ulp(np.asarray(result), np.asarray(right), 2)


# ---- Dask --------------------------------------------------------------------------


@pytest.mark.library("dask")
@loss_of
@options_of
def test_dask_computes_when_it_is_asked(computes, loss, optional):
    options = loss.options if optional else {}
    first, labels = (chunked(a, (1, 2)) for a in (loss.first, loss.labels))
    arrays = {
        name: chunked(option, 1) if isinstance(option, np.ndarray) else option
        for name, option in options.items()
    }
    for function in every_function(loss).values():
        results = each(function(first, labels, **arrays))
        assert computes == []
        expected = on_numpy(function, loss, options)
        for result, right in zip(results, expected, strict=True):
            assert (result.dtype, result.shape) == (right.dtype, right.shape)
        agree([result.compute() for result in results], expected)
        assert len(computes) == len(results)
        computes.clear()


CHUNKS = [(2, 3), (1, 3), (2, 1), (1, 1), ((1, 1), (1, 2))]
CHUNK_PAIRS = list(itertools.pairwise([*CHUNKS, *CHUNKS[:1]]))


@pytest.mark.library("dask")
@loss_of
@pytest.mark.parametrize("chunks", CHUNK_PAIRS, ids=str)
def test_dask_blocks_do_not_matter(loss, chunks):
    """Nor that the labels' are others."""
    first, labels = (
        chunked(a, c) for a, c in zip((loss.first, loss.labels), chunks, strict=True)
    )
    options = {k: v for k, v in loss.options.items() if k != "where"}
    arrays = {k: chunked(v, 2) if np.ndim(v) else v for k, v in options.items()}
    for function in every_function(loss).values():
        results = each(function(first, labels, **arrays))
        numbers = [result.compute(scheduler="synchronous") for result in results]
        agree(numbers, on_numpy(function, loss, options))


SIZELESS = {
    "all": lambda a, rows: unknown(a),
    "rows beside known ones": lambda a, rows: unknown(a) if rows else chunked(a, 1),
    "known ones": lambda a, rows: chunked(a, 1) if rows else unknown(a),
}


@pytest.mark.library("dask")
@loss_of
@options_of
@pytest.mark.parametrize("sizes", SIZELESS)
def test_dask_needs_no_sizes(computes, loss, optional, sizes):
    """N is counted when it is computed; what fits by a size of 1 has it known."""
    options = loss.options if optional else {}
    first = SIZELESS[sizes](loss.first, True)
    labels = SIZELESS[sizes](loss.labels, False)
    arrays = {
        name: SIZELESS[sizes](option, False) if len(option) > 1 else chunked(option, 3)
        for name, option in options.items()
        if isinstance(option, np.ndarray)
    }
    given = {name: arrays.get(name, option) for name, option in options.items()}
    for function in every_function(loss).values():
        results = each(function(first, labels, **given))
        assert computes == []
        agree([r.compute() for r in results], on_numpy(function, loss, options))
        computes.clear()


@pytest.mark.library("dask")
def test_dask_counts_what_it_did_not_know():
    """Of rows that are dropped, N is not."""
    logits, labels = (chunked(a, 1) for a in (LOGITS, LABELS))
    kept = chunked(np.array([False, True]), 1)
    mean = cross_entropy(logits[kept], labels[kept]).compute(scheduler="synchronous")
    np.testing.assert_array_max_ulp(mean, cross_entropy(LOGITS[1:], LABELS[1:]), 2)
    none = cross_entropy(logits[kept & ~kept], 1).compute(scheduler="synchronous")
    assert np.isnan(none)


@pytest.mark.library("dask")
@pytest.mark.parametrize("option", ["labels", "weights", "where", "pos_weight"])
def test_dask_spreads_no_size_that_it_did_not_know(option):
    """One label a block of two would broadcast; it is refused when it is seen."""
    logits = chunked(np.zeros(4), 2)
    rows = chunked(np.array([True, False, True, False]), 2)
    other = (rows if option == "where" else logits)[rows]
    arguments = {"labels": logits, option: other}
    loss = cross_entropy(logits, **arguments)
    with pytest.raises(ValueError, match=r"blocks of shapes \(2,\) and \(1,\) do not"):
        loss.compute(scheduler="synchronous")


@pytest.mark.library("dask")
def test_dask_cannot_cut_what_it_does_not_know():
    logits, labels = unknown(LOGITS, 1), unknown(LABELS, 2)
    with pytest.raises(ValueError, match=r"blocks of sizes .*compute_chunk_sizes"):
        cross_entropy(logits, labels)


# ---- PyTorch -----------------------------------------------------------------------


@pytest.mark.library("torch")
@loss_of
@options_of
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_meta_tensors(loss, optional, dtype):
    """They have no values: shapes and dtypes follow from shapes and dtypes."""
    options = loss.options if optional else {}
    (backend,) = (b for b in backends.variants("torch") if not b.has_values)
    first, labels = (backend.array(a, dtype) for a in (loss.first, loss.labels))
    given = of_backend(backend, dtype, options)
    for name, function in every_function(loss).items():
        results = each(function(first, labels, **given))
        expected = on_numpy(function, loss, options)
        for k, (result, right) in enumerate(zip(results, expected, strict=True)):
            reduced = k == 0 and "none" not in name and "hess" not in name
            assert result.is_meta
            assert dtype_of(result) == (wide(dtype) if reduced else dtype)
            assert result.shape == right.shape
    for function in (xploss.sigmoid, xploss.softplus, xploss.log_sigmoid):
        assert function(first).is_meta
        assert function(first).dtype == first.dtype


def together(loss):
    """All functions of a loss as one, that they are compiled as one."""
    functions = list(every_function(loss).values())
    return lambda *args, **options: [
        result for f in functions for result in each(f(*args, **options))
    ]


@pytest.mark.library("torch")
@loss_of
@options_of
@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.filterwarnings("ignore:.*not be instantiated:DeprecationWarning")
def test_torch_compiles_once_and_in_full(loss, optional):
    """One graph for any number of rows; those two warnings are PyTorch's own."""
    options = loss.options if optional else {}
    import torch
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    function = together(loss)
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    arrays = {"first": loss.first, "labels": loss.labels} | options
    for times in (1, 2, 5):
        tensors = {
            name: torch.tensor(np.tile(array, (times, 1)) if len(array) > 1 else array)
            for name, array in arrays.items()
            if isinstance(array, np.ndarray)
        }
        given = arrays | tensors
        first, labels = given.pop("first"), given.pop("labels")
        results = compiled(first, labels, **given)
        expected = function(first, labels, **given)
        for result, right in zip(results, expected, strict=True):
            assert (result.dtype, result.shape) == (right.dtype, right.shape)
        agree(results, expected)
    assert counter.frame_count == 1


# ---- JAX ---------------------------------------------------------------------------


@pytest.mark.library("jax")
@loss_of
@pytest.mark.parametrize(
    ("dtype", "given"), [("bfloat16", "arrays"), ("float32", "numbers")]
)
def test_jax_traces_every_option(loss, dtype, given):
    """Under the promotion that refuses what is not of one dtype and rank."""
    import jax

    function = together(loss)
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        first, labels, weights = (
            jax.numpy.asarray(a).astype(dtype)
            for a in (loss.first, loss.labels, PER_SAMPLE)
        )
        own = {k: jax.numpy.asarray(v).astype(dtype) for k, v in loss.own.items()}
        numbers = {k: float(np.ravel(v)[0]) for k, v in loss.own.items()}
        traced = {
            "arrays": own | {"weights": weights, "where": first >= 0.25},
            "numbers": numbers | {"weights": 0.5},
        }[given]
        results = jax.jit(function)(first, labels, **traced)
        expected = function(first, labels, **traced)
    within = 8 * float(jax.numpy.finfo(dtype).eps)
    for result, right in zip(results, expected, strict=True):
        assert isinstance(result, jax.Array)
        assert (result.dtype, result.shape) == (right.dtype, right.shape)
        pair = (np.float64(result), np.float64(right))
        np.testing.assert_allclose(*pair, rtol=within, atol=0.0)
