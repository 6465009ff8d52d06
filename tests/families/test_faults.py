"""What goes wrong outside: an interrupt or no memory at any line, threads, copies."""

import contextlib
import copy
import itertools
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from expected import LABELS, LOGITS, OPTIONS, each, of_backend

import xploss
from xploss.backends.table import known

cross_entropy = xploss.sigmoid_cross_entropy
PACKAGE = str(Path(xploss.__file__).parent)

CALLS = {
    "mean": cross_entropy,
    "per element": partial(cross_entropy, reduction="none"),
    "axis": partial(cross_entropy, axis=0),
    "value_and_grad": xploss.value_and_grad(cross_entropy),
    "grad_and_hess": xploss.grad_and_hess(cross_entropy),
    "focal": xploss.value_and_grad(xploss.sigmoid_focal_loss),
}


def contents(backend, results):
    return [backend.numpy(array).tobytes() for array in each(results)]


# ---- interrupted -------------------------------------------------------------------


@contextlib.contextmanager
def raising(error, line):
    """Raise it where the package is about to run so many lines."""
    lines = 0

    def at_line(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        if lines == line:
            raise error
        return at_line

    def at_call(frame, event, argument):
        return at_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(before)


def interrupted(error, function):
    """Calls it over and over, stopped a line later each time."""
    for line in itertools.count(1):
        try:
            with raising(error, line):
                function()
        except type(error):
            yield line
        else:
            return


def arguments(backend, dtype, name):
    """Inputs with an infinite logit that costs nothing, which host blocks do again."""
    logits = np.where(LOGITS == 20.0, np.inf, LOGITS)
    arrays = [backend.array(a, dtype) for a in (logits, LABELS)]
    given = {} if name == "focal" else of_backend(backend, dtype, OPTIONS)
    return arrays, {"plain": {}, "options": given}


@pytest.mark.library("numpy")
@pytest.mark.library("torch")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_stopped_at_any_line(backend, name, error):
    """Inputs and the caller's `errstate` are as before, and the next call is right.

    Of the libraries that are evaluated on the host, in place.
    """
    for dtype in ("float32", "float64"):
        if dtype not in backend.dtypes:
            continue
        arrays, given = arguments(backend, dtype, name)
        for options in given.values():
            check_stopped(backend, partial(CALLS[name], *arrays, **options), error)


def check_stopped(backend, function, error):
    inputs = [*function.args, *function.keywords.values()]
    inputs = tuple(a for a in inputs if hasattr(a, "dtype"))
    call = partial(backend.call, function.func, *function.args, **function.keywords)
    held, right = contents(backend, inputs), contents(backend, call())
    stops = 0
    with np.errstate(divide="raise", under="warn"):
        before = np.geterr(), np.geterrcall(), np.getbufsize()
        for _ in interrupted(error, call):
            stops += 1
            assert (np.geterr(), np.geterrcall(), np.getbufsize()) == before
            assert contents(backend, inputs) == held
            assert contents(backend, call()) == right
    assert stops > 30  # lines, as every call has


# ---- threads -----------------------------------------------------------------------


def test_threads_give_the_same_bits(backend):
    """In blocks and in one, of several dtypes at once, and as one thread does."""
    sizes = (6, 40_000, 150_000) if backend.library in ("numpy", "torch") else (6, 999)
    rng = np.random.default_rng(12)
    work = []
    for dtype, size in itertools.product(backend.dtypes, sizes):
        x = backend.array(rng.normal(scale=9, size=size), dtype)
        y = backend.array(rng.integers(0, 2, size).astype(float), dtype)
        work += [partial(backend.call, f, x, y) for f in CALLS.values()]

    def result(k):
        with backend.around(), np.errstate(all="raise"):
            return contents(backend, work[k]())

    alone = [result(k) for k in range(len(work))]
    order = rng.permutation(np.tile(np.arange(len(work)), 4)).tolist()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(result, order))
    finally:
        sys.setswitchinterval(interval)
    assert together == [alone[k] for k in order]


# ---- pickled, copied, hashed -------------------------------------------------------

WAYS = {
    "pickle": lambda array: pickle.loads(pickle.dumps(array)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "hash": lambda array: hash(array) and array,
    "size": lambda array: len(pickle.dumps(array)) and array,
}


def outcome(backend, way, array):
    """The type of what comes out and its numbers, or the error's type."""
    try:
        made = way(array)
    except Exception as error:
        return type(error), None
    return type(made), backend.numpy(made).tobytes() == backend.numpy(array).tobytes()


def own(array):
    """The library's own: a sum, and as many elements."""
    xp = known(array).xp
    return xp.sum(array), array * 1.0


@pytest.mark.parametrize("way", WAYS)
def test_results_are_the_librarys(backend, way):
    for dtype in ("float32", "float64"):
        if dtype not in backend.dtypes:
            continue
        x = backend.array(LOGITS, dtype)
        y = backend.array(LABELS, dtype)
        results = xploss.value_and_grad(cross_entropy)(x, y)
        for result, theirs in zip(results, own(x), strict=True):
            assert type(result) is type(theirs)
            expected = outcome(backend, WAYS[way], theirs)
            assert outcome(backend, WAYS[way], result) == expected
            assert expected[1] in (True, None)


@pytest.mark.library("numpy")
def test_reduced_numpy_results_are_scalars():
    """As `numpy.sum` returns them: hashed and pickled as numbers."""
    for dtype, kind in (("float16", np.float32), ("float64", np.float64)):
        mean = cross_entropy(LOGITS.astype(dtype), LABELS)
        assert type(mean) is kind
        assert hash(mean) == hash(float(mean))
        assert pickle.loads(pickle.dumps(mean)) == mean
