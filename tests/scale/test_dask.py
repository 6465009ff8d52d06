"""Dask: any blocks, cut anywhere, on processes that have no room for the data.

NumPy's blocks of the other two losses are tested in test_laziness.py.
"""

from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
import reference
from chunks import chunked, unknown
from dask.callbacks import Callback
from dask.distributed import Client, LocalCluster
from expected import (
    LABELS,
    LOGITS,
    LOSSES,
    dtype_of,
    each,
    every_function,
    is_like,
)
from scale import periodic
from scale.workers import bytes_received, most_memory

import xploss

import cupy_on_host  # isort: skip

cross_entropy = xploss.sigmoid_cross_entropy
value_and_grad = xploss.value_and_grad(cross_entropy)

# ---- blocks of NumPy's and of CuPy's ---------------------------------------------

FOCAL = LOSSES[2]
BLOCKS = [
    pytest.param("numpy", FOCAL, id="numpy-focal"),
    *(
        pytest.param("cupy", loss, marks=pytest.mark.library("cupy"), id=f"cupy-{loss}")
        for loss in LOSSES
    ),
]
SIZES = {"known": partial(chunked, chunks=(1, 2)), "unknown": unknown}


def arrays_of(library):
    """NumPy's array as the library's."""
    if library == "numpy":
        return np.asarray
    import cupy

    return cupy.asarray


def on_host(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("optional", [False, True], ids=["plain", "options"])
@pytest.mark.parametrize(("library", "loss"), BLOCKS)
def test_blocks_of_a_library(computes, library, loss, optional, sizes):
    """Nothing is computed before it is asked for; then it is what whole arrays give."""
    array = arrays_of(library)
    options = loss.options if optional else {}
    options |= {k: array(v) for k, v in options.items() if isinstance(v, np.ndarray)}
    first, labels = array(loss.first), array(loss.labels)

    def lazy(argument):
        if not hasattr(argument, "shape"):
            return argument
        return SIZES[sizes](argument) if len(argument) > 1 else chunked(argument, 1)

    lazily = {name: lazy(option) for name, option in options.items()}
    for function in every_function(loss).values():
        results = each(function(lazy(first), lazy(labels), **lazily))
        assert computes == []
        wholes = each(function(first, labels, **options))
        for result, whole in zip(results, wholes, strict=True):
            assert result.dtype == whole.dtype
            part = result.compute()
            is_like(first, part, dtype_of(whole), whole.shape)
            np.testing.assert_array_max_ulp(on_host(part), on_host(whole), 2)
        computes.clear()


@pytest.mark.library("cupy")
@pytest.mark.skipif(cupy_on_host.driver_present(), reason="a GPU is here")
def test_blocks_stay_on_the_device():
    """Nothing is copied from it, to it, or from one place on it to another."""
    logits, labels = (chunked(arrays_of("cupy")(a), 1) for a in (LOGITS, LABELS))
    results = value_and_grad(logits, labels)
    before = cupy_on_host.tally()
    dask.compute(*results, scheduler="synchronous")
    assert (cupy_on_host.tally() - before).keys() == {"launches"}


# ---- the value does not depend on the chunks -------------------------------------


def ties(levels):
    """4**levels losses, of label 0, of which each sum of four is half-way in float32.

    So are the sums of four such sums, and so on: rounded at each step, to even, all
    are rounded down, by half a unit.
    """
    losses = np.full(4**levels, 32.0)
    for level in range(levels):
        losses[:: 4 ** (level + 1)] += 2.0 ** (2 * level - 17)
    return losses.astype(np.float32)


TIES = ties(6)
ROWS = {"one each": 1, "sevens": 7, "uneven": (1, 4000, 95), "halves": 2048, "one": -1}
REDUCTIONS = ("sum", "mean", "weighted_mean")


def agree_to_2_ulp(values):
    values = np.stack(values)
    assert values.dtype == np.float32
    np.testing.assert_array_max_ulp(values.max(axis=0), values.min(axis=0), 2)


def computed(*arrays):
    return dask.compute(*arrays, scheduler="synchronous")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_chunks_of_rows_do_not_matter(reduction):
    """Where rounding is least favourable to sums of sums."""
    assert np.array_equal(cross_entropy(TIES, 0.0, reduction="none"), TIES)
    values = []
    for chunks in ROWS.values():
        logits = chunked(TIES, chunks)
        loss = cross_entropy(logits, 0.0, weights=1.0, reduction=reduction)
        values += computed(loss)
    agree_to_2_ulp(values)
    exact = TIES.sum(dtype=np.float64) / (1 if reduction == "sum" else TIES.size)
    assert abs(values[0] - exact) <= np.spacing(np.float32(exact))


GRIDS = [(1, 1), (1, 24), (24, 1), (5, 7), ((1, 22, 1), (20, 4)), (8, 8), (-1, -1)]
OPTIONAL = {
    **{name: partial(value_and_grad, reduction=name) for name in REDUCTIONS},
    "sum along rows": partial(value_and_grad, axis=0, reduction="sum"),
    "mean along columns": partial(value_and_grad, axis=1),
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_chunks_of_rows_and_columns_do_not_matter(name):
    """Nor those of the weights and the mask, nor for the gradient."""
    rng = np.random.default_rng(11)
    x, y, w = (rng.uniform(0.0, 1.0, (24, 24)).astype(np.float32) for _ in range(3))
    x = 40.0 * x - 20.0
    values, gradients = [], []
    for chunks, others in zip(GRIDS, GRIDS[::-1], strict=True):
        labels, weights = (chunked(a, others) for a in (y, w))
        options = {"weights": weights, "where": labels > 0.1}
        lazy = OPTIONAL[name](chunked(x, chunks), labels, **options)
        value, gradient = computed(*lazy)
        values.append(value)
        gradients.append(gradient)
    agree_to_2_ulp(values)
    agree_to_2_ulp(gradients)


# ---- what a graph takes ----------------------------------------------------------


def sums_of_sums(n, every=4):
    """How many tasks add n blocks' sums, so many at a time."""
    tasks = 0
    while not tasks or n > 1:
        n = -(-n // every)
        tasks += n
    return tasks


def tasks(*arrays):
    """How many are run when all of it is computed; another name for one is none."""
    run = []
    with Callback(pretask=lambda key, graph, state: run.append(graph[key])):
        dask.compute(*arrays, scheduler="synchronous")
    return sum(type(task).__name__ != "Alias" for task in run)


@pytest.mark.parametrize("n", [2, 4, 8, 64])
def test_tasks_a_block(n):
    """One for a mean; its gradient is made by the same task, and used by one more."""
    logits, labels = periodic.in_blocks(10 * n, 10)
    assert tasks(cross_entropy(logits, labels)) == n + sums_of_sums(n)
    value, gradient = value_and_grad(logits, labels)
    norm = (gradient**2).sum()
    assert tasks(value, norm) == 3 * n + 2 * sums_of_sums(n)


@pytest.mark.parametrize("n", [2, 4, 8, 64])
def test_a_sum_of_weights_needs_no_logits(n):
    """A block that two tasks need is sent from one process to another."""
    logits, labels = periodic.in_blocks(10 * n, 10)
    mean = cross_entropy(logits, 1, weights=labels, reduction="weighted_mean")
    assert tasks(mean) == 3 * n + 2 * sums_of_sums(n) + 1
    masked = cross_entropy(logits, 1, where=labels > 0.5)
    assert tasks(masked) == 3 * n + 2 * sums_of_sums(n) + 1


# ---- two processes without room for the data -------------------------------------

LIMIT = 512 << 20  # bytes a process
BLOCK = 8_000_000  # elements


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=LIMIT,
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_the_mean_of_a_thousand_million(client, tell):
    n = 1_000_000_000
    logits, labels = periodic.in_blocks(n, BLOCK)
    assert logits.nbytes + labels.nbytes == 8 * n > 7 * 2 * LIMIT
    mean = cross_entropy(logits, labels).compute()
    assert mean.dtype == np.float32
    assert reference.ulps(mean, periodic.mean(n), "float32") <= 4
    memory = client.run(most_memory).values()
    assert max(memory) < LIMIT
    bytes_moved = sum(client.run(bytes_received).values())
    blocks = logits.npartitions
    assert 0 < bytes_moved < 8 * (blocks + sums_of_sums(blocks))  # a float64 each
    tell(
        f"Dask, {n:,} elements in {blocks} blocks, 2 processes of {LIMIT >> 20} MiB: "
        f"at most {' and '.join(f'{m / 2**20:.0f}' for m in memory)} MiB held, "
        f"{bytes_moved} bytes moved"
    )


def test_a_gradient_that_is_not_gathered(client):
    n = 100_000_000
    value, gradient = value_and_grad(*periodic.in_blocks(n, BLOCK))
    norm = da.sqrt((gradient.astype(np.float64) ** 2).sum())
    value, norm = dask.compute(value, norm)
    assert reference.ulps(value, periodic.mean(n), "float32") <= 4
    away = 4 * np.finfo(np.float32).eps * periodic.norm_of_gradient(n, "term")
    assert abs(norm - periodic.norm_of_gradient(n)) <= away
    assert max(client.run(most_memory).values()) < LIMIT
