"""The compiled formulas of rows: each instruction set, beside the formulas carried out
operation by operation; along rows and across them, in chunks, in every layout."""

import itertools
from functools import partial

import numpy as np
import pytest
from expected import each
from mpmath import mp, mpf
from reference import ulps

import xploss
from xploss.backends import numpy as host
from xploss.backends.compiled import BFLOAT16, INSTRUCTION_SETS, PLANS, Compiled
from xploss.backends.job import Job
from xploss.formulas.softmax import SOFTMAX_CROSS_ENTROPY
from xploss.kernels.catalogue import ROW_RECORDS, row_kernels

pytestmark = [
    pytest.mark.library("numpy"),
    pytest.mark.skipif(not INSTRUCTION_SETS, reason="built without a compiler"),
]
of_sets = pytest.mark.parametrize("name", INSTRUCTION_SETS)
of_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
ENTROPY = xploss.softmax_cross_entropy

# Shapes with a class axis: of few classes and of many, a tile's and one more, of few
# rows and of many, in chunks, apart in memory.
SHAPES = [
    ((70, 10), 1), ((3, 10), 1), ((130, 2), 1), ((5, 1), 1), ((7,), 0), ((90,), 0),
    ((17, 32), 1), ((9, 64), 1), ((3, 65), 1), ((2, 1000), 1), ((1, 5000), 1),
    ((10, 70), 0), ((70, 40), 0), ((300, 3), 0), ((4, 6, 5), 1), ((3, 40, 21), 1),
    ((2, 70, 40), 1), ((2, 3, 100), 2),
]  # fmt: skip


def values_of(shape, axis, seed):
    """Of all arguments of all records."""
    rng = np.random.default_rng(seed)
    row = tuple(1 if k == axis else n for k, n in enumerate(shape))
    spread = tuple(n if k == axis else 1 for k, n in enumerate(shape))
    classes = shape[axis]
    logits = rng.normal(size=shape, scale=4)
    probs = rng.uniform(0, 1, shape)
    return {
        "logits": logits,
        "probs": probs / probs.sum(axis, keepdims=True),
        "labels": rng.uniform(0, 1, shape),
        "numbers": rng.integers(0, classes, row),
        "class_weights": rng.uniform(0.5, 2, spread),
        "smoothing": np.array(0.125),
        "z": np.array(0.01),
        "gamma": np.array(1.5),
        "eps": np.array(0.0625),
        "log_eps": np.array(np.log(0.0625)),
        "log_rest": np.array(np.log1p(-0.0625)),
    }


def choices(record, function):
    """Which arguments are there, as the engine takes them."""
    return [there for f, there in PLANS if f is function]


def jobs(values, axis, dtype):
    """Of each quantity of each record, with each choice of options."""
    for title, record in ROW_RECORDS.items():
        formula = record._replace(class_axis=axis)
        slope = record.slopes.get(record.traced[0])
        quantities = {
            "value": (formula, 1),
            "value_and_slope": (formula, 2),
            "slope_and_curvature": (formula, 2),
            "value_and_statistic": (formula, 3),
            "slope": (formula._replace(value=slope, per_class=True), 1),
        }
        for quantity, (of, outputs) in quantities.items():
            of_job = "value" if quantity == "slope" else quantity
            function = getattr(of, of_job)
            if function is None:
                continue
            for there in choices(record, function):
                names = zip(record.traced, there, strict=True)
                arguments = tuple(
                    values[a].astype(dtype) if given else None for a, given in names
                )
                scales = (None,) * outputs
                job = Job(of, arguments, (dtype,) * outputs, of_job, scales=scales)
                yield f"{title} {quantity} {there}", job


def plainly(job):
    """Operation by operation, in float64."""
    wide = [None if a is None else a.astype("float64") for a in job.arguments]
    axis = job.formula.class_axis
    return each(
        host.BACKEND.run(None, host.BACKEND.formula, job.function(), wide, axis)
    )


@of_sets
@of_dtypes
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_kernels_of_rows_are_their_formulas(shape, axis, dtype, name):
    values = values_of(shape, axis, sum(shape))
    count = 0
    for title, job in jobs(values, axis, dtype):
        # float32 is compared with what float64 makes of the same numbers.
        results, expected = Compiled(name).evaluate(job), plainly(job)
        for result, right in zip(results, expected, strict=True):
            assert result.shape == right.shape, title
            size = np.maximum(np.abs(right), 1.0)
            away = np.abs(result - right) / (np.finfo(dtype).eps * size)
            assert np.max(away) <= 16.0, title
        count += 1
    kernels = [k for k in row_kernels() if not k.name.endswith("_by_statistic")]
    assert count >= 40
    assert len(kernels) >= 40


def test_each_quantity_of_rows_is_compiled():
    for record in ROW_RECORDS.values():
        made = (
            record.value, record.value_and_slope, record.slope_and_curvature,
            record.value_and_statistic, record.slope_by_statistic,
            record.slopes.get(record.traced[0]),
        )  # fmt: skip
        for function in filter(None, made):
            assert choices(record, function)


# ---- exp(x - m) ----------------------------------------------------------------------

# Of any size, about where the origin is moved (elementary.h), and powers of 2 apart.
LARGEST = [0.0, 0.1, -3.7, 88.0, -150.25, *(s * x for s in (1, -1) for x in (
    223.999, 224.0, 224.001, 1519.99, 1520.0, 1520.01, 5e3, 1.7e6, 3e30,
))]  # fmt: skip


@of_sets
@of_dtypes
@pytest.mark.parametrize("axis", [0, 1])
def test_exponentials_of_differences(axis, dtype, name):
    """The slope of the other of two classes, down to where it is subnormal, and 0."""
    rng = np.random.default_rng(5)
    least = -np.log(float(np.finfo(dtype).smallest_subnormal))
    gaps = np.concatenate([rng.uniform(0, least + 3, 60), 10 ** rng.uniform(-9, 1, 20)])
    largest = np.repeat(np.array(LARGEST, dtype), len(gaps))
    others = (largest - np.tile(gaps, len(LARGEST)).astype(dtype)).astype(dtype)
    x = np.stack([largest, others, np.full_like(others, -np.inf)], axis)
    row = [len(others), len(others)]
    row[axis] = 1
    slope = SOFTMAX_CROSS_ENTROPY.slopes["logits"]
    formula = SOFTMAX_CROSS_ENTROPY._replace(
        value=slope, class_axis=axis, per_class=True
    )
    arguments = (x, None, np.zeros(row, dtype), None, None, None)
    (slopes,) = Compiled(name).evaluate(Job(formula, arguments, (dtype,)))
    of_other, of_none = np.take(slopes, 1, axis), np.take(slopes, 2, axis)
    for m, other, made in zip(largest, others, of_other, strict=True):
        with mp.workdps(60):
            e = mp.exp(mpf(float(other)) - mpf(float(m)))
            away = ulps(float(made), e / (1 + e), dtype)
        assert away <= 4.0, f"exp({other} - {m}): {away} ulp"
    assert (of_none == 0.0).all()


NANS = {
    "float32": [0x7FC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF],
    "float64": [0x7FF8000000000000, 0x7FF00000000007A2, 2**64 - 1],
}


@of_sets
@of_dtypes
@pytest.mark.parametrize("classes", [3, 40])
def test_nans_of_any_bits(classes, dtype, name):
    """Of a GPU's and of R's, at the label and elsewhere: loss and gradient."""
    bits, places = NANS[dtype], [0, 1]
    x = np.zeros((len(bits) * len(places), classes), dtype)
    x[:, 2] = 1.0
    for row, (one, place) in enumerate(itertools.product(bits, places)):
        x.view(dtype.replace("float", "uint"))[row, place] = one
    assert np.isnan(x).any(1).all()
    numbers = np.zeros((len(x), 1), dtype)
    arguments = (x, None, numbers, None, None, None)
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=1)
    job = Job(formula, arguments, (dtype, dtype), "value_and_slope")
    for result in Compiled(name).evaluate(job):
        assert np.isnan(result).all()


# ---- what is known of a row ----------------------------------------------------------


@of_sets
@of_dtypes
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_the_first_of_the_largest(shape, axis, dtype, name):
    """Among many that are equal, wherever they lie; beside a NaN, that of no class."""
    rng = np.random.default_rng(3)
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=axis)
    for hidden in (0.0, 0.02):
        x = rng.integers(0, 4, shape).astype(dtype)
        x[rng.random(shape) < hidden] = np.nan
        arguments = (x, np.zeros_like(x), None, None, None, None)
        job = Job(formula, arguments, (dtype,)).with_statistic(dtype)
        _, top, _ = Compiled(name).evaluate(job)
        right = np.argmax(x, axis=axis, keepdims=True).astype(dtype)
        right[np.isnan(x).any(axis=axis, keepdims=True)] = np.nan
        np.testing.assert_array_equal(top, right)


@of_sets
@of_dtypes
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("label", ["labels", "numbers"])
@pytest.mark.parametrize("options", [(), ("class_weights", "smoothing", "z")], ids=str)
def test_the_slope_of_a_statistic_is_the_slope(
    options, label, shape, axis, dtype, name
):
    """Bit for bit: nothing is known of the row but the two numbers."""
    values = values_of(shape, axis, 5)
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=axis)
    given = ("logits", label, *options)
    arguments = tuple(
        values[a].astype(dtype) if a in given else None for a in formula.traced
    )
    job = Job(formula, arguments, (dtype,)).with_statistic(dtype)
    _, top, others = Compiled(name).evaluate(job)
    known = formula._replace(value=formula.slope_by_statistic, per_class=True)
    slope = formula._replace(value=formula.slopes["logits"], per_class=True)
    (by_statistic,) = Compiled(name).evaluate(
        Job(known, (*arguments, top, others), (dtype,))
    )
    (anew,) = Compiled(name).evaluate(Job(slope, arguments, (dtype,)))
    np.testing.assert_array_equal(by_statistic, anew)


# ---- weighed, masked, scaled, of every type ------------------------------------------


@of_sets
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_weights_masks_and_scales(shape, axis, name):
    values = values_of(shape, axis, 7)
    rng = np.random.default_rng(8)
    row = values["numbers"].shape
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=axis)
    arguments = (values["logits"], None, values["numbers"], None, None, None)
    bare = Job(formula, arguments, (np.float64,) * 2, "value_and_slope")
    loss, slope = Compiled(name).evaluate(bare)
    weights, where = rng.uniform(0, 2, row), rng.random(row) < 0.6
    for w, m, scale in itertools.product(
        (None, weights, 3.0), (None, where), (1, 0.25)
    ):
        job = bare._replace(weights=w, where=m, scales=(None, scale))
        right = [a * (1.0 if w is None else w) for a in (loss, slope)]
        right = [a if m is None else np.where(m, a, 0.0) for a in right]
        got = Compiled(name).evaluate(job)
        np.testing.assert_array_equal(got[0], right[0])
        np.testing.assert_array_equal(got[1], right[1] * scale)
        total, _ = Compiled(name).evaluate(job._replace(summed=True, n=4))
        np.testing.assert_allclose(total, right[0].sum() / 4, rtol=1e-14)


@pytest.mark.parametrize("engine", ["compiled", "plain"])
def test_a_statistic_is_not_weighed(engine):
    """Nor masked: it is of the row, not of the loss."""
    values = values_of((9, 40), 1, 6)
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=1)
    arguments = (values["logits"], None, values["numbers"], None, None, None)
    run = (
        Compiled(INSTRUCTION_SETS[-1]).evaluate
        if engine == "compiled"
        else host.BACKEND.per_element
    )
    bare = Job(formula, arguments, (np.float64,)).with_statistic(np.float64)
    weights, where = np.full((9, 1), 3.0), np.arange(9)[:, None] > 0
    loss, *statistic = run(bare)
    weighed, *same = run(bare._replace(weights=weights))
    np.testing.assert_array_equal(weighed, loss * 3.0)
    np.testing.assert_array_equal(same, statistic)
    masked, *same = run(bare._replace(where=where))
    np.testing.assert_array_equal(masked, np.where(where, loss, 0.0))
    np.testing.assert_array_equal([a[1:] for a in same], [a[1:] for a in statistic])


def test_a_masked_row_of_nan_is_0():
    for shape in ((80, 10), (80, 100), (3, 100)):
        x = np.full(shape, np.nan)
        x[0] = 1.0
        where = np.arange(shape[0]) == 0
        both = xploss.value_and_grad(ENTROPY)
        loss, slope = both(x, np.zeros(shape[0], int), where=where, reduction="none")
        assert (loss[1:] == 0).all()
        assert (slope[1:] == 0).all()
        assert loss[0] > 0


@pytest.mark.parametrize("shape", [(70, 10), (3, 100), (2, 5000)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logits_and_labels_of_every_kind(shape, dtype):
    """Scattered in memory, backwards, not on a boundary, of every integer type."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=shape).astype(dtype)
    y = rng.integers(0, min(shape[1], 120), shape[0])
    both = partial(xploss.value_and_grad(ENTROPY), reduction="none")
    right = both(x, y)
    kinds = [f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)]
    for kind in kinds:
        for got, expected in zip(both(x, y.astype(kind)), right, strict=True):
            np.testing.assert_array_equal(got, expected)
    raw = np.zeros(x.nbytes + 1, "u1")
    raw[1:] = x.view("u1").reshape(-1)
    unaligned = raw[1:].view(dtype).reshape(shape)
    layouts = [
        np.repeat(x, 2, axis=1)[:, ::2], x[::-1].copy()[::-1], unaligned,
        np.repeat(x, 3, axis=0)[::3], x[:, ::-1].copy()[:, ::-1],
    ]  # fmt: skip
    for layout in layouts:
        for got, expected in zip(both(layout, y), right, strict=True):
            np.testing.assert_array_equal(got, expected)
    # Class by class in memory the sums are taken in another order.
    eps = np.finfo(dtype).eps
    for got, expected in zip(both(np.asfortranarray(x), y), right, strict=True):
        np.testing.assert_allclose(got, expected, rtol=8 * eps, atol=8 * eps)


def test_bfloat16_is_rounded_once():
    rng = np.random.default_rng(10)
    wide = rng.normal(size=(40, 30)).astype("float32")
    x = (wide.view("uint32") >> 16).astype("uint16").view(BFLOAT16)
    exact = (x.view("uint16").astype("uint32") << 16).view("float32")
    formula = SOFTMAX_CROSS_ENTROPY._replace(class_axis=1)
    y = rng.integers(0, 30, (40, 1))

    def slope(x, dtype):
        of = formula._replace(value=formula.slopes["logits"], per_class=True)
        job = Job(of, (x, None, y, None, None, None), (dtype,))
        return Compiled(INSTRUCTION_SETS[-1]).evaluate(job)[0]

    got, right = slope(x, BFLOAT16), slope(exact, np.float32).view("uint32")
    even = (right >> 16) & 1
    np.testing.assert_array_equal(got.view("uint16"), (right + 0x7FFF + even) >> 16)


# ---- the same bits -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(40_000, 10), (500, 1000), (40, 20_000)])
def test_bits_of_rows_do_not_depend_on_threads(shape, dtype, monkeypatch):
    rng = np.random.default_rng(11)
    x = rng.normal(size=shape, scale=5).astype(dtype)
    y, w = rng.integers(0, shape[1], shape[0]), rng.random(shape[0])
    for options in (
        {},
        {"weights": w},
        {"reduction": "none"},
        {"label_smoothing": 0.1},
    ):
        given = []
        for threads in (1, 2, 8):
            engine = Compiled(INSTRUCTION_SETS[-1])
            engine.evaluate = partial(engine.evaluate, threads=threads)
            monkeypatch.setattr(host.NumPy, "compiled", engine)
            results = xploss.value_and_grad(ENTROPY)(x, y, **options)
            given.append([np.asarray(a).tobytes() for a in results])
        assert given[0] == given[1] == given[2]


def test_what_is_one_a_row_has_no_classes():
    """It would be read, or written, for the first class alone."""
    from xploss.kernels import _compiled

    x = np.zeros((3, 4))
    plan = PLANS[SOFTMAX_CROSS_ENTROPY.value, (True, False, True, False, False, False)]
    for numbers, output in ((x, x[:, :1].copy()), (x[:, :1], x.copy())):
        taken = _compiled.evaluate(
            0, plan.kernel, (x, numbers), None, None, (None,), (output,), None, 1.0, 1,
            0, 1,
        )  # fmt: skip
        assert taken is NotImplemented
