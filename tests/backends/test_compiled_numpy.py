"""The compiled formulas: each instruction set, held to mpmath; bits, threads, forks,
interrupts; what is not taken; that they are of the formulas that stand here."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import coefficients
import numpy as np
import pytest
from expected import each
from mpmath import mp
from reference import ulps
from test_slopes import RECORDS, exact_slopes, options_of
from transforms import python

import xploss
from xploss.backends import numpy as host
from xploss.backends.compiled import BFLOAT16, INSTRUCTION_SETS, PLANS, Compiled
from xploss.backends.job import Job
from xploss.formulas.record import Formula
from xploss.kernels import catalogue, trace, written

pytestmark = [
    pytest.mark.library("numpy"),
    pytest.mark.skipif(not INSTRUCTION_SETS, reason="built without a compiler"),
]
of_sets = pytest.mark.parametrize("name", INSTRUCTION_SETS)
of_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

cross_entropy = xploss.sigmoid_cross_entropy
HEADERS = Path(__file__).parents[2] / "src" / "xploss" / "kernels" / "host"


# ---- the text ------------------------------------------------------------------------


def test_it_is_of_these_formulas():
    """Or it was built before one of them changed."""
    from xploss.kernels import _compiled

    assert _compiled.digest == written.digest()


def test_coefficients_are_those_of_the_mathematics():
    if not HEADERS.exists():
        pytest.skip("tested without the sources of the extension")
    written = (HEADERS / "coefficients.h").read_text()
    assert written == coefficients.header()


def test_every_function_of_a_formula_is_compiled():
    for record in catalogue.RECORDS.values():
        made = [record.value, record.value_and_slope, record.slope_and_curvature]
        for function in filter(None, (*made, *record.slopes.values())):
            assert any(compiled is function for compiled, _ in PLANS)


def test_equal_parts_are_one():
    """An exponential and a logarithm, however often a formula asks for them."""
    by_name = {kernel.name: kernel for kernel in catalogue.kernels()}
    for name, most in {
        "cross_entropy_value": 12,
        "cross_entropy_value_and_slope": 19,
        "cross_entropy_slope_and_curvature": 15,
        "focal_value_gamma": 38,
    }.items():
        nodes = trace.operations(by_name[name].traced().outputs)
        made = [node.operation for node in nodes if node.operation != "input"]
        assert len(made) <= most, name
        assert made.count("exp") <= 2


def test_a_formula_that_looks_at_a_value_is_refused():
    def looks(xp, x):
        return x if x > 0.0 else -x

    with pytest.raises(TypeError, match="must not look at a value"):
        trace.trace(looks, ("x",))


def test_a_formula_may_not_ask_for_more():
    with pytest.raises(AttributeError, match="may ask for"):
        trace.trace(lambda xp, x: xp.tanh(x), ("x",))


# ---- exp, log, log1p -----------------------------------------------------------------


def points(function, dtype):
    """Dense where they are used, all scales, ends and subnormal results."""
    rng = np.random.default_rng(11)
    least = np.log(np.finfo(dtype).smallest_subnormal.astype("float64"))
    low = np.log10(np.finfo(dtype).smallest_subnormal.astype("float64"))
    if function == "exp":
        near = [-rng.uniform(0, 1, 3000), rng.uniform(-least / 2, -least, 3000) * -1]
        return [*near, -(10 ** rng.uniform(-12, 2, 3000)), least * np.ones(1), [0.0]]
    if function == "log1p":
        scales = 10 ** rng.uniform(low, 0, 3000)
        return [rng.uniform(-0.25, 1, 6000), scales, -scales / 4, [0.0, 0.5, 1.0]]
    scales = 10 ** rng.uniform(low, 38, 3000)
    return [rng.uniform(0.4, 3, 6000), scales, 1 + rng.normal(0, 1e-3, 3000), [1.0]]


@of_sets
@of_dtypes
@pytest.mark.parametrize("function", catalogue.ELEMENTARY)
def test_elementary_functions(function, dtype, name):
    x = np.concatenate([np.asarray(p) for p in points(function, dtype)]).astype(dtype)
    results = of_elementary(name, function, x)
    exactly = getattr(mp, function)
    away = [
        ulps(result, exactly(mp.mpf(float(a))), dtype)
        for a, result in zip(x, results, strict=True)
        if a != 0 or function != "log"
    ]
    assert max(away) <= 1.0


@of_sets
@of_dtypes
def test_ends_of_elementary_functions(dtype, name):
    inf, nan = np.inf, np.nan
    for function, ends in {
        "exp": {-inf: 0.0, -1e4: 0.0, nan: nan, -0.0: 1.0},
        "log": {0.0: -inf, inf: inf, -1.0: nan, -inf: nan, nan: nan},
        "log1p": {0.0: 0.0, nan: nan},
    }.items():
        x, expected = (np.array(a, dtype) for a in zip(*ends.items(), strict=True))
        np.testing.assert_array_equal(of_elementary(name, function, x), expected)


def of_elementary(name, function, x):
    formula = Formula(("x",), catalogue.ELEMENTARY[function])
    return evaluate(name, Job(formula, (x,), (x.dtype,)))


def evaluate(name, job):
    (result,) = Compiled(name).evaluate(job)
    return result


# ---- formulas ------------------------------------------------------------------------

SLOPES = [
    pytest.param(title, name, id=f"{title}-{name}")
    for title, (formula, *_) in RECORDS.items()
    for name in formula.slopes
]


@of_sets
@of_dtypes
@pytest.mark.parametrize(("title", "argument"), SLOPES)
def test_slopes_are_exact(title, argument, dtype, name):
    formula, *_ = RECORDS[title]
    slope = Formula(formula.traced, formula.slopes[argument])

    def compiled(arrays):
        return evaluate(name, Job(slope, tuple(options_of(formula, arrays)), (dtype,)))

    exact_slopes(title, argument, dtype, compiled)


@of_sets
@of_dtypes
def test_kernels_are_their_formulas(dtype, name):
    """Of each choice of options, and of numbers in the place of absent ones."""
    rng = np.random.default_rng(12)
    for title, record in catalogue.RECORDS.items():
        probs = title == "probability"
        values = {
            "logits": rng.normal(size=700, scale=4), "probs": rng.uniform(0, 1, 700),
            "labels": rng.uniform(0, 1, 700), "pos_weight": rng.uniform(1, 2, 700),
            "smoothing": np.full(700, 0.125), "gamma": rng.uniform(0, 3, 700),
            "alpha": rng.uniform(0, 1, 700), "eps": np.full(700, 0.0625),
            "log_eps": np.full(700, np.log(0.0625)),
            "log_rest": np.full(700, np.log1p(-0.0625)),
        }  # fmt: skip
        for (function, there), _ in PLANS.items():
            if not any(function is f for f in functions_of(record)):
                continue
            arrays = tuple(
                values[a].astype(dtype) if given else None
                for a, given in zip(record.traced, there, strict=True)
            )
            kinds = 2 if "_and_" in function.__name__ else 1
            job = Job(Formula(record.traced, function), arrays, (dtype,) * kinds)
            results = Compiled(name).evaluate(job)
            expected = each(function(np, *arrays))
            for result, right in zip(results, expected, strict=True):
                # Their terms may cancel; of probabilities near 0 they are large.
                size = np.abs(right) if probs else np.max(np.abs(right))
                unit = np.finfo(dtype).eps * np.maximum(size, 1.0)
                assert np.max(np.abs(result - right) / unit) <= 64.0


def functions_of(record):
    made = (record.value, record.value_and_slope, record.slope_and_curvature)
    return [*filter(None, made), *record.slopes.values()]


# ---- 16 bits -------------------------------------------------------------------------


@of_sets
def test_float16_is_read_exactly_and_rounded_once(name):
    """All of them; labels of 0, of which the slope by them is minus the logit."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    formula = RECORDS["cross-entropy"][0]
    slope = Formula(formula.traced, formula.slopes["labels"])
    result = evaluate(name, Job(slope, (x, 0.0, None, None), (np.float16,)))
    np.testing.assert_array_equal(result, -x)
    wide = np.linspace(-70000, 70000, 100003, dtype=np.float32)
    small = np.linspace(-1e-4, 1e-4, 100003, dtype=np.float32)
    for numbers in (wide, small, np.float32([np.inf, -np.inf, np.nan, 65519.9, 65520])):
        result = evaluate(name, Job(slope, (numbers, 0.0, None, None), (np.float16,)))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(result, -numbers.astype(np.float16))


@of_sets
def test_bfloat16_is_read_exactly_and_rounded_once(name):
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    bits, wide = bits[~np.isnan(wide)], wide[~np.isnan(wide)]
    formula = RECORDS["cross-entropy"][0]
    slope = Formula(formula.traced, formula.slopes["labels"])
    given = (bits.view(BFLOAT16), 0.0, None, None)
    result = evaluate(name, Job(slope, given, (np.float32,)))
    np.testing.assert_array_equal(result, -wide)
    # Halfway to the next, and a little less and more: to the even one, down, up.
    finite = wide[np.isfinite(wide) & (np.abs(wide) < 1e38)].view(np.uint32)
    for rest, up in ((0x8000, finite >> 16 & 1), (0x7FFF, 0), (0x8001, 1)):
        numbers = (finite + np.uint32(rest)).view(np.float32)
        job = Job(slope, (numbers, 0.0, None, None), (BFLOAT16,))
        expected = ((finite >> 16) + up).astype(np.uint16) ^ 0x8000
        np.testing.assert_array_equal(evaluate(name, job).view(np.uint16), expected)


# ---- the same bits -------------------------------------------------------------------


def bits(results):
    return [np.asarray(a).tobytes() for a in each(results)]


def by_threads(threads):
    """The engine of calls, by so many threads."""
    engine = Compiled(INSTRUCTION_SETS[-1])
    engine.evaluate = partial(engine.evaluate, threads=threads)
    engine.at_once = partial(engine.at_once, threads=threads)
    return engine


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype, monkeypatch):
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(70, 5000), scale=9).astype(dtype)
    labels = (rng.random((70, 5000)) < 0.5).astype(dtype)
    calls = [
        partial(xploss.value_and_grad(cross_entropy), **given)
        for given in (
            {}, {"axis": 0}, {"axis": 1}, {"reduction": "none"},
            {"weights": rng.random((70, 1)), "pos_weight": 2.0},
        )
    ]  # fmt: skip
    for call in calls:
        given = []
        for threads in (1, 2, 8):
            monkeypatch.setattr(host.NumPy, "compiled", by_threads(threads))
            given.append(bits(call(logits, labels)))
        assert given[0] == given[1] == given[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_is_the_same_whatever_is_beside_it(dtype):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=9999, scale=9).astype(dtype), rng.random(9999).astype(dtype)
    for loss in (cross_entropy, xploss.sigmoid_focal_loss):
        _, one = xploss.value_and_grad(loss)(x, y, reduction="none")
        other, _ = xploss.grad_and_hess(loss)(x, y)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_of_every_kind(dtype):
    """As numbers, in every dtype, spread, and scattered."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3, 700)).astype(dtype)
    hard = rng.integers(0, 2, x.shape)
    right = cross_entropy(x, hard.astype(dtype), reduction="none")
    kinds = ["bool", *(f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64))]
    for kind in [*kinds, "float16", "float32", "float64"]:
        given = cross_entropy(x, hard.astype(kind), reduction="none")
        np.testing.assert_array_equal(given, right, err_msg=kind)
    scattered = np.repeat(hard, 3, axis=1)[:, ::3]
    np.testing.assert_array_equal(cross_entropy(x, scattered, reduction="none"), right)
    ones = cross_entropy(x, np.ones_like(x), reduction="none")
    np.testing.assert_array_equal(cross_entropy(x, 1, reduction="none"), ones)
    np.testing.assert_array_equal(
        cross_entropy(x, np.array(True), reduction="none"), ones
    )


def test_what_is_not_taken_goes_the_plain_way():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=100), rng.random(100)
    right = cross_entropy(x, y, reduction="none")
    swapped = x.astype(">f8")
    given = cross_entropy(swapped, y, reduction="none")
    np.testing.assert_array_max_ulp(given, right, 4)
    raw = np.zeros(801, "u1")
    raw[1:] = x.view("u1")
    given = cross_entropy(raw[1:].view("f8"), y, reduction="none")
    np.testing.assert_array_equal(given, right)
    clipped = [
        xploss.binary_cross_entropy(y, np.round(x % 1), eps=eps)
        for eps in (np.array(0.125), 0.125)
    ]
    np.testing.assert_array_max_ulp(*clipped, 4)


def test_a_wrong_number_of_arrays_is_refused():
    from xploss.kernels import _compiled

    x = np.zeros(3)
    for arguments in ((x,), (x,) * 3):
        with pytest.raises(ValueError, match="so many arrays"):
            _compiled.evaluate(
                0, 3, arguments, None, None, (None,), (x.copy(),), None, 1.0, 1, 0, -1
            )
    rest = (None, None, (None,), (x,), None, 1.0, 1, 0)
    for axis in (-1, 0):
        with pytest.raises(ValueError, match="no kernel"):
            _compiled.evaluate(0, 10**6, (x, x), *rest, axis)
    with pytest.raises(ValueError, match="no kernel of rows"):
        _compiled.evaluate(0, 0, (x, x), *rest, 1)  # it has one axis
    with pytest.raises(ValueError, match="no such instruction set"):
        _compiled.evaluate(99, 0, (x,), *rest, -1)
    at = x.ctypes.data
    for classes in (2, -1):  # of three elements
        with pytest.raises(ValueError, match="type or shape"):
            _compiled.evaluate_flat(
                0, 0, 11, 3, (at, at), (at,), None, 1.0, 1.0, 1, 0, 11, classes
            )


# ---- processes and threads -----------------------------------------------------------


def test_in_threads_of_the_caller():
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=300_000), rng.random(300_000)
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda _: float(cross_entropy(x, y)), range(64)))
    assert len(results) == 1


LARGE = """
import threading, os, sys
import numpy as np
import xploss
from xploss.backends import numpy as host
from xploss.backends.compiled import INSTRUCTION_SETS, Compiled
from functools import partial
engine = Compiled(INSTRUCTION_SETS[-1])
engine.at_once = partial(engine.at_once, threads=4)
host.NumPy.compiled = engine
x = np.linspace(-9, 9, 1 << 20)
loss = lambda: float(xploss.sigmoid_cross_entropy(x, x))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork():
    script = """
right = loss()
child = os.fork()
if not child:
    os._exit(0 if loss() == right else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), loss() == right)
"""
    assert python(LARGE + script).split() == ["0", "True"]


def test_at_exit():
    """A thread in the middle of a call is no reason to crash, or to wait."""
    script = """
def over_and_over():
    while True:
        loss()
threading.Thread(target=over_and_over, daemon=True).start()
print(loss() == loss())
"""
    assert python(LARGE + script).split() == ["True"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_is_seen_within_a_call():
    script = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored without
x = np.broadcast_to(np.float64(1.0), (1 << 34,))  # minutes
print("now", flush=True)
try:
    loss()
except KeyboardInterrupt:
    print("interrupted", loss.__code__.co_argcount)
"""
    with subprocess.Popen(
        [sys.executable, "-c", LARGE + script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "now\n"
        threading.Event().wait(1.0)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert said == "interrupted 0\n"


def test_sums_are_exact():
    """Merged in two parts each: as rounded once, however many there are."""
    rng = np.random.default_rng(10)
    for dtype, n in itertools.product(("float32", "float64"), (3, 513, 1_000_003)):
        x = rng.normal(size=n, scale=3).astype(dtype)
        y = rng.random(n).astype(dtype)
        losses = cross_entropy(x, y, reduction="none")
        exact = np.sum(losses, dtype=np.longdouble)
        total = cross_entropy(x, y, reduction="sum")
        np.testing.assert_array_max_ulp(total, exact.astype(dtype), 1)
