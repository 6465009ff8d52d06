"""Dask: any blocks, cut anywhere, on processes that have no room for the data.

NumPy's blocks of the other two losses are tested in test_laziness.py.
"""

import time
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
import reference
from categorical_reference import row_loss
from chunks import chunked, unknown
from class_rows import rows
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


# ---- rows of classes that are cut ------------------------------------------------

softmax_cross_entropy = xploss.softmax_cross_entropy
RNG = np.random.default_rng(17)
ROWS_OF = {
    5: ((3, 1, 4), (1, 2, 2)),
    1000: ((5, 3), (1, 7, 492, 500)),
    50_000: ((1, 7), (20_000, 1, 29_999)),
}
cut_rows = pytest.mark.parametrize("classes", ROWS_OF)


def drawn_rows(classes, dtype):
    """Rows of which some are sure, some tied over blocks, some infinite."""
    x = (4.0 * RNG.normal(size=(8, classes))).astype(dtype)
    x[1], x[2] = np.round(x[1]), 0.5
    x[3, -1], x[4, 1] = 60.0, 30.0
    x[5, ::2], x[6, -2] = -np.inf, np.inf
    return x


def options_of_rows(classes, dtype):
    return {
        "class_weights": RNG.uniform(0.5, 2.0, classes).astype(dtype),
        "weights": RNG.uniform(0.5, 2.0, 8).astype(dtype),
        "where": np.arange(8) != 5,
        "label_smoothing": 0.125,
    }


def labels_of_rows(classes, dtype):
    """Masses of 0 and 1 and what is between; numbers, of which one is of no class."""
    masses = RNG.dirichlet(np.full(classes, 0.3), 8)
    numbers = RNG.integers(0, classes, 8)
    numbers[[3, 4, 5, 7]] = classes - 1, 1, 1, -100
    hot = numbers[:, None] == np.arange(classes)
    masses[[0, 4, 5]] = hot[[0, 4, 5]]  # of the last, none at -inf
    return {"masses": masses.astype(dtype), "numbers": numbers}


def of_rows(classes, dtype):
    """Functions of logits and of labels, and by which name each of them is called."""
    for loss in (softmax_cross_entropy, xploss.softmax_focal_loss):
        for kind, labels in labels_of_rows(classes, dtype).items():
            for optional in (False, True):
                given = options_of_rows(classes, dtype) if optional else {}
                name = f"{loss.__name__} of {kind}, {sorted(given)}"
                yield f"{name}, none", partial(loss, reduction="none"), labels, given
                kept = {k: v for k, v in given.items() if k != "where"}
                weighted = partial(loss, reduction="weighted_mean", where=None)
                yield f"{name}, weighted", weighted, labels, kept
                yield f"{name}, slopes", xploss.value_and_grad(loss), labels, given
                yield f"{name}, Hessian", xploss.grad_and_hess(loss), labels, given


def close(part, whole, within):
    """To so many ulp of the whole; of what cancels, of a unit, the largest term."""
    part, whole = np.asarray(part), np.asarray(whole)
    assert (part.dtype, part.shape) == (whole.dtype, whole.shape)
    eps = np.finfo(whole.dtype).eps
    np.testing.assert_allclose(part, whole, rtol=within * eps, atol=within * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@cut_rows
def test_rows_are_cut(computes, classes, dtype):
    """Nothing is computed before it is asked for; then it is what whole rows give."""
    chunks, x = ROWS_OF[classes], drawn_rows(classes, dtype)
    for name, function, labels, options in of_rows(classes, dtype):
        cut = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        cut = {k: chunked(v, -(-len(v) // 2)) for k, v in cut.items()}
        other = chunked(labels, (3, -(-classes // 3))[: labels.ndim])
        results = each(function(chunked(x, chunks), other, **options | cut))
        assert computes == []
        wholes = each(function(x, labels, **options))
        for result, whole in zip(results, wholes, strict=True):
            assert result.shape == whole.shape, name
            close(result.compute(), whole, 6)
        computes.clear()


@cut_rows
def test_functions_of_rows_that_are_cut(classes):
    x = drawn_rows(classes, "float32")
    for function in (xploss.softmax, xploss.log_softmax, xploss.logsumexp):
        result = function(chunked(x, ROWS_OF[classes])).compute()
        np.testing.assert_array_max_ulp(result, function(x), 6)


@pytest.mark.parametrize("class_axis", [0, 1, 2])
def test_rows_are_cut_along_any_axis(class_axis):
    """And their losses are reduced along the others."""
    x = np.moveaxis(4.0 * RNG.normal(size=(2, 4, 30)), -1, class_axis)
    y = RNG.integers(0, 30, (2, 4))
    logits = chunked(x, tuple(-(-n // 3) for n in x.shape))
    for axis in (None, 0, 1):
        mean = partial(softmax_cross_entropy, class_axis=class_axis, axis=axis)
        lazy = xploss.value_and_grad(mean)(logits, chunked(y, 2))
        wholes = xploss.value_and_grad(mean)(x, y)
        for result, whole in zip(dask.compute(*lazy), wholes, strict=True):
            close(result, whole, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [5, 1000])
@pytest.mark.parametrize("soft", [True, False], ids=["masses", "numbers"])
def test_rows_that_are_cut_are_exact(classes, soft, dtype):
    x, y = rows(classes, dtype, 12, soft)
    per_row = partial(softmax_cross_entropy, reduction="none")
    logits = chunked(x.astype(dtype), ((5, 7), ROWS_OF[classes][1]))
    labels = chunked(y.astype(dtype) if soft else y, 4)
    value, gradient = dask.compute(*xploss.value_and_grad(per_row)(logits, labels))
    for k, row in enumerate(x.tolist()):
        exact = row_loss(row, y[k].tolist() if soft else int(y[k]))
        assert reference.ulps(float(value[k]), exact.value, dtype) <= 4
        for j in range(0, classes, -(-classes // 20)):
            slope, term = exact.gradient[j], exact.term[j]
            assert reference.ulps(float(gradient[k, j]), slope, dtype, term) <= 6


def test_two_classes_that_are_cut_are_the_binary_loss():
    """To an ulp more than of whole rows: blocks of NumPy's take its own exponential."""
    x, y = np.linspace(-60.0, 60.0, 2401, dtype="float32"), np.arange(2401) % 2
    losses = softmax_cross_entropy, cross_entropy
    of_two, binary = (
        xploss.value_and_grad(partial(f, reduction="none")) for f in losses
    )
    logits = chunked(np.stack([np.zeros_like(x), x], 1), (801, 1))
    value, gradient = dask.compute(*of_two(logits, chunked(y, 801)))
    for ours, theirs in zip((value, gradient[:, 1]), binary(x, y), strict=True):
        np.testing.assert_array_max_ulp(ours, theirs, 2)


@pytest.mark.library("cupy")
@pytest.mark.parametrize("classes", [5, 1000])
def test_rows_of_another_library_are_cut(classes):
    x = drawn_rows(classes, "float32")
    array = arrays_of("cupy")
    for _, function, labels, options in of_rows(classes, "float32"):
        cut = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
        cut = {k: chunked(array(v), -1) for k, v in cut.items()}
        logits = chunked(array(x), ROWS_OF[classes])
        results = each(function(logits, chunked(array(labels), 3), **options | cut))
        wholes = each(function(x, labels, **options))
        for result, whole in zip(results, wholes, strict=True):
            part = result.compute()
            assert type(part).__module__.startswith("cupy")
            close(on_host(part), whole, 6)


def largest(*arrays):
    """Bytes of the largest array that a task makes."""
    sizes = []
    with Callback(posttask=lambda key, made, *_: sizes.append(_nbytes(made))):
        dask.compute(*arrays, scheduler="synchronous")
    return max(sizes)


def _nbytes(made):
    return getattr(made, "nbytes", 0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_block_is_larger_than_those_of_the_logits(reduction):
    logits = periodic.rows_in_blocks(100, 9970, (50, 997))
    weights = da.ones(100, chunks=30, dtype=np.float32)
    loss = partial(softmax_cross_entropy, weights=weights, reduction=reduction)
    value, gradient = xploss.value_and_grad(loss)(logits, 7)
    assert gradient.chunks == logits.chunks
    assert largest(loss(logits, 7), value, (gradient**2).sum()) == 4 * 50 * 997
    whole = logits.rechunk({1: -1})
    assert largest(loss(whole, 7)) == 4 * 50 * 9970


@pytest.mark.parametrize(("rows", "parts"), [(1, 4), (2, 4), (4, 8), (4, 64)])
def test_tasks_of_rows_that_are_cut(rows, parts):
    """A block is made, and gone over twice for a mean; once more for its gradient."""
    n = rows * parts
    logits = periodic.rows_in_blocks(10 * rows, 20 * parts, (10, 20))
    of_rows = rows * (2 * sums_of_sums(parts) + 3) + sums_of_sums(rows)
    of_mean = tasks(softmax_cross_entropy(logits, 0))
    assert of_mean <= 3 * n + of_rows
    value, gradient = xploss.value_and_grad(softmax_cross_entropy)(logits, 0)
    assert tasks(value, (gradient**2).sum()) <= of_mean + 2 * n


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


CLASSES = 1000 * periodic.PERIOD


def test_rows_of_a_million_classes(client, tell):
    n, chunks = 400, (20, CLASSES // 10)
    logits = periodic.rows_in_blocks(n, CLASSES, chunks)
    assert logits.nbytes > 1.4 * 2 * LIMIT
    numbers = np.arange(n) * 7919 % CLASSES
    before = sum(client.run(bytes_received).values())
    start = time.monotonic()
    mean = softmax_cross_entropy(logits, da.from_array(numbers, 20)).compute()
    seconds = time.monotonic() - start
    exact, _ = periodic.of_rows(np.arange(n), numbers, CLASSES)
    assert mean.dtype == np.float32
    assert reference.ulps(mean, exact, "float32") <= 4
    memory = client.run(most_memory).values()
    assert max(memory) < LIMIT
    bytes_moved = sum(client.run(bytes_received).values()) - before
    tell(
        f"Dask, {n:,} rows of {CLASSES:,} classes in {logits.npartitions} blocks: "
        f"{seconds:.0f} s, at most {max(memory) / 2**20:.0f} MiB held, "
        f"{bytes_moved / 2**20:.2f} MiB of {logits.nbytes / 2**20:.0f} moved"
    )


def test_a_gradient_of_rows_that_is_not_gathered(client):
    n, chunks = 100, (20, CLASSES // 4)
    logits = periodic.rows_in_blocks(n, CLASSES, chunks)
    numbers = np.arange(n) * 7919 % CLASSES
    derived = xploss.value_and_grad(softmax_cross_entropy)
    value, gradient = derived(logits, da.from_array(numbers, 20))
    norm = da.sqrt((gradient.astype(np.float64) ** 2).sum())
    value, norm = dask.compute(value, norm)
    mean, exact = periodic.of_rows(np.arange(n), numbers, CLASSES)
    assert reference.ulps(value, mean, "float32") <= 4
    assert abs(norm / float(exact) - 1.0) <= 4 * np.finfo(np.float32).eps
    assert max(client.run(most_memory).values()) < LIMIT
