"""Losses of many classes: exact, masked, weighed and reduced, on every backend."""

import itertools
from functools import partial

import numpy as np
import pytest
from backends import Backend
from categorical_reference import row_loss, softmax
from class_rows import rows
from expected import dtype_of
from grid import rounded
from mpmath import mp, mpf
from reference import FORMATS, flushed, ulps

import xploss

ENTROPY = xploss.softmax_cross_entropy
INF, NAN = float("inf"), float("nan")
OPTIONS = [{}, {"label_smoothing": 0.125}, {"z_loss": 2.0**-10}]


def derivatives(backend, x, y, **options):
    """(value, gradient, diagonal of the Hessian, gradient beside it) per row, as
    NumPy's."""
    per_row = partial(ENTROPY, reduction="none", **options)
    value, gradient = backend.call(xploss.value_and_grad(per_row), x, y)
    of_loss = xploss.grad_and_hess(partial(ENTROPY, **options))
    slope, hessian = backend.call(of_loss, x, y)
    return tuple(map(backend.numpy, (value, gradient, hessian, slope)))


def bounds(dtype, options):
    if dtype in ("float16", "bfloat16"):
        return 0.51, 0.51 if not options else 1.0, 0.51 if not options else 1.0
    return 4.0, 6.0, 6.0


def check_rows(backend, dtype, x, y, results, options):
    names = {"label_smoothing": "smoothing", "z_loss": "z"}
    given = {names[name]: value for name, value in options.items()}
    lost = x.shape[1] * backend.flushes
    for k, (logits, label) in enumerate(zip(x, y, strict=True)):
        label = int(label) if np.ndim(label) == 0 else label.tolist()
        exact = row_loss(logits.tolist(), label, **given)
        value, gradient, hessian, slope = (part[k] for part in results)
        of_value, of_gradient, of_hessian = bounds(dtype, options)
        away = ulps(float(value), exact.value, dtype, lost=lost)
        assert away <= of_value, f"loss of {logits}, {label}: {away} ulp"
        for j, made in itertools.product(range(len(logits)), (gradient, slope)):
            number, right, term = float(made[j]), exact.gradient[j], exact.term[j]
            away = ulps(number, right, dtype, term, lost)
            assert away <= of_gradient, f"slope {j} of {logits}, {label}: {away} ulp"
            if isinstance(label, int) and not options:  # nothing cancels
                away = ulps(number, right, dtype, lost=lost)
                assert away <= 4.0, f"slope {j} of {logits}, {label}: {away} ulp"
        for j in range(len(logits)):
            away = ulps(float(hessian[j]), exact.hessian[j], dtype, lost=lost)
            assert away <= of_hessian, f"curvature {j} of {logits}, {label}: {away} ulp"


@pytest.mark.parametrize(
    ("classes", "options"),
    [*((n, {}) for n in (1, 2, 10)), *((3, options) for options in OPTIONS)],
    ids=str,
)
@pytest.mark.parametrize("soft", [True, False], ids=["masses", "numbers"])
def test_exact(backend, dtype, classes, soft, options):
    x, y = rows(classes, dtype, 40, soft)
    labels = backend.array(y, dtype if soft else "int32")
    results = derivatives(backend, backend.array(x, dtype), labels, **options)
    y = flushed(y, dtype) if backend.flushes and soft and dtype != "float16" else y
    check_rows(backend, dtype, x, y, results, options)


@pytest.mark.parametrize("options", [{}], ids=str)
def test_rows_of_the_matrix(backend, dtype, options, matrix):
    """Worst of masses and numbers: from the exact ones, and from NumPy's."""
    plain = Backend("numpy", "numpy", (), np.array, np.asarray)
    away, apart = np.zeros(3), np.zeros(3)
    lost = 3 * backend.flushes
    for soft in (True, False):
        x, y = rows(3, dtype, 60, soft)
        labels = backend.array(y, dtype if soft else "int32")
        results = derivatives(backend, backend.array(x, dtype), labels)
        numpys = "float32" if dtype == "bfloat16" else dtype
        theirs = derivatives(plain, x.astype(numpys), y.astype(numpys) if soft else y)
        y = flushed(y, dtype) if backend.flushes and soft and dtype != "float16" else y
        for k, (logits, label) in enumerate(zip(x, y, strict=True)):
            exact = row_loss(logits.tolist(), label.tolist() if soft else int(label))
            numbers = ([exact.value], exact.gradient, exact.hessian)
            for q, right in enumerate(numbers):
                units = exact.term if q == 1 else right
                made, other = (np.atleast_1d(r[q][k]) for r in (results, theirs))
                for j, unit in enumerate(units):
                    one, numpys_own = float(made[j]), mpf(float(other[j]))
                    away[q] = max(away[q], ulps(one, right[j], dtype, unit, lost))
                    apart[q] = max(apart[q], ulps(one, numpys_own, dtype, unit, lost))
    assert (away <= bounds(dtype, {})).all()
    assert (apart <= 8).all()
    matrix[f"{backend} {dtype} rows"] = [*away.tolist(), *apart.tolist()]


@pytest.mark.parametrize(("classes", "n"), [(1000, 3), (50_000, 1), (50_000, 2)])
@pytest.mark.one_of(4)
def test_exact_of_many(backend, dtype, classes, n):
    """A row alone is summed another way by some compilers."""
    x, _ = rows(classes, dtype, n, False)
    x[:] = np.where(np.arange(classes) == 7, rounded(12.0, dtype), x * 0.125)
    x[:] = rounded(x, dtype)
    label = np.full(n, 7)
    per_row = xploss.value_and_grad(partial(ENTROPY, reduction="none"))
    arguments = backend.array(x, dtype), backend.array(label, "int32")
    value, gradient = map(backend.numpy, backend.call(per_row, *arguments))
    of_value, of_gradient, _ = bounds(dtype, {})
    for k in range(n):
        with mp.workprec(200):
            e = [mp.exp(mpf(a) - mpf(x[k, 7])) for a in x[k].tolist()]
            others = mp.fsum(e) - 1
            assert ulps(float(value[k]), mp.log1p(others), dtype) <= of_value
            for j in (0, 7, 8):
                p = e[j] / (1 + others) if j != 7 else -others / (1 + others)
                assert ulps(float(gradient[k, j]), p, dtype) <= min(of_gradient, 4.0)


# ---- at infinite logits --------------------------------------------------------------

SPECIAL = {
    "-inf without mass": ([-INF, 1.0, 2.0], [0.0, 0.5, 0.5]),
    "-inf with mass": ([-INF, 1.0, 2.0], [0.25, 0.5, 0.25]),
    "all but one at -inf": ([-INF, 1.0, -INF], [0.0, 1.0, 0.0]),
    "+inf on the label": ([0.0, INF, 2.0], [0.0, 1.0, 0.0]),
    "+inf elsewhere": ([0.0, INF, 2.0], [1.0, 0.0, 0.0]),
    "+inf and -inf": ([-INF, INF, 2.0], [0.0, 1.0, 0.0]),
    "two at +inf": ([INF, INF, 2.0], [0.0, 1.0, 0.0]),
    "all at -inf": ([-INF, -INF, -INF], [0.0, 1.0, 0.0]),
    "NaN on the label": ([0.0, NAN, 2.0], [0.0, 1.0, 0.0]),
    "NaN elsewhere": ([NAN, 0.0, 2.0], [0.0, 0.0, 1.0]),
    "no mass": ([1.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
    "no mass at +inf": ([INF, 0.0, 2.0], [0.0, 0.0, 0.0]),
    "far apart": ([-3e4, 3e4, 0.0], [0.5, 0.5, 0.0]),
}


def test_special(backend, dtype):
    x, y = (np.array(part) for part in zip(*SPECIAL.values(), strict=True))
    results = derivatives(backend, backend.array(x, dtype), backend.array(y, dtype))
    check_rows(backend, dtype, rounded(x, dtype), y, results, {})
    hard = [k for k, row in enumerate(y) if row.max() == 1.0]
    numbers = y[hard].argmax(1)
    results = derivatives(
        backend, backend.array(x[hard], dtype), backend.array(numbers, "int32")
    )
    check_rows(backend, dtype, rounded(x[hard], dtype), numbers, results, {})


def test_one_class_alone_is_free(backend, dtype):
    logits = np.array([[0.0], [3.0], [INF], [-INF], [NAN]])
    x, y = backend.array(logits, dtype), backend.array(np.zeros(5), "int8")
    losses = backend.numpy(backend.call(partial(ENTROPY, reduction="none"), x, y))
    np.testing.assert_array_equal(losses, np.where(np.isnan(logits[:, 0]), NAN, 0.0))


def test_a_class_that_is_none_is_nan(backend, dtype):
    """Loss and gradient, and never another class's."""
    numbers = np.array([-1, 3, 100, -100, 1])
    x = backend.array(np.array([[0.5, 1.0, 2.0]] * 5), dtype)
    value, gradient, *_ = derivatives(backend, x, backend.array(numbers, "int8"))
    assert np.isnan(value[:4]).all()
    assert np.isnan(gradient[:4]).all()
    assert np.isfinite([value[4], *gradient[4]]).all()


# ---- two classes ---------------------------------------------------------------------


def test_two_classes_are_the_binary_loss(backend, dtype):
    logits = rounded(np.linspace(-60.0, 60.0, 49), dtype)
    pairs = np.stack([np.zeros(49), logits], 1)
    y = np.arange(49) % 2
    binary = xploss.value_and_grad(
        partial(xploss.sigmoid_cross_entropy, reduction="none")
    )
    x, number = backend.array(logits, dtype), backend.array(y, "int8")
    value, slope = map(backend.numpy, backend.call(binary, x, number))
    of_two, gradient, *_ = derivatives(backend, backend.array(pairs, dtype), number)
    for ours, theirs in ((of_two, value), (gradient[:, 1], slope)):
        for one, other in zip(ours, theirs, strict=True):
            lost = float(backend.flushes)
            assert ulps(float(one), mpf(float(other)), dtype, lost=lost) <= 1


# ---- options, by what they mean ------------------------------------------------------

X = np.array([[0.5, 1.0, -2.0], [3.0, 0.25, 0.0], [0.0, 0.0, 4.0], [-1.0, 2.0, 2.5]])
Y = np.array([1, 0, 2, 1])
CLASS_WEIGHTS = np.array([0.5, 2.0, 0.25])
WEIGHTS = np.array([1.0, 0.5, 3.0, 0.0])
WHERE = np.array([True, True, False, True])


def exact_losses(**options):
    return np.array(
        [float(row_loss(x, int(y), **options).value) for x, y in zip(X, Y, strict=True)]
    )


def close(backend, result, expected, dtype):
    bits, _ = FORMATS[dtype]
    result = np.asarray(backend.numpy(result), "float64")
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=16 * 2.0**-bits, atol=0)


def test_class_weights(backend, dtype):
    x, y = backend.array(X, dtype), backend.array(Y, "int32")
    w = backend.array(CLASS_WEIGHTS, dtype)
    expected = exact_losses(class_weights=CLASS_WEIGHTS.tolist())
    losses = backend.call(partial(ENTROPY, reduction="none", class_weights=w), x, y)
    close(backend, losses, expected, dtype)
    mean = backend.call(partial(ENTROPY, class_weights=w), x, y)
    close(backend, mean, expected.mean(), dtype)
    weighted = partial(ENTROPY, class_weights=w, reduction="weighted_mean")
    divided = expected.sum() / CLASS_WEIGHTS[Y].sum()
    close(backend, backend.call(weighted, x, y), divided, dtype)


def test_weighted_mean_of_masses_with_every_option(backend, dtype):
    masses = np.eye(3)[Y] * 0.5 + 0.125
    arguments = backend.array(X, dtype), backend.array(masses, dtype)
    weights, where = backend.array(WEIGHTS, dtype), backend.array(WHERE, "bool")
    options = {"weights": weights, "where": where, "label_smoothing": 0.125}
    loss = partial(
        ENTROPY, class_weights=backend.array(CLASS_WEIGHTS, dtype), **options
    )
    given = {"class_weights": CLASS_WEIGHTS.tolist(), "smoothing": 0.125}
    exact = [
        float(row_loss(x, m.tolist(), **given).value)
        for x, m in zip(X, masses, strict=True)
    ]
    counted = WHERE * WEIGHTS
    total = (counted * exact).sum()
    by = (counted * (masses * CLASS_WEIGHTS).sum(1)).sum()
    result = backend.call(partial(loss, reduction="weighted_mean"), *arguments)
    close(backend, result, total / by, dtype)
    value, gradient = backend.call(xploss.value_and_grad(loss), *arguments)
    close(backend, value, total / WHERE.sum(), dtype)
    assert (backend.numpy(gradient)[2:] == 0).all()


def test_ignored_labels_count_nowhere(backend, dtype):
    x = X.copy()
    x[2] = NAN
    y = np.where(np.arange(4) == 2, -100, Y)
    arguments = backend.array(x, dtype), backend.array(y, "int32")
    loss = partial(ENTROPY, ignore_index=-100)
    value, gradient = backend.call(xploss.value_and_grad(loss), *arguments)
    close(backend, value, exact_losses()[[0, 1, 3]].mean(), dtype)
    assert (backend.numpy(gradient)[2] == 0).all()


def test_an_ignored_number_that_the_dtype_has_not(backend, dtype):
    """-100 is 156 in 8 bits without a sign, and is no label there."""
    x, y = np.zeros((2, 200)), np.array([156, 3])
    arguments = backend.array(x, dtype), backend.array(y, "uint8")
    losses = partial(ENTROPY, ignore_index=-100, reduction="none")
    assert (backend.numpy(backend.call(losses, *arguments)) > 5).all()


@pytest.mark.parametrize("class_axis", [0, 1, 2, -1])
def test_class_axis_and_reduced_axes(backend, class_axis):
    """Of every axis the same losses, wherever it lies, and sums over the others."""
    dtype = backend.dtypes[-1]
    draw = np.random.default_rng(3)
    x = rounded(draw.normal(size=(2, 4, 3)), dtype)
    y = draw.integers(0, 3, (2, 4))
    whole = np.array(
        [
            [float(row_loss(x[i, j].tolist(), int(y[i, j])).value) for j in range(4)]
            for i in range(2)
        ]
    )
    moved = backend.array(np.moveaxis(x, -1, class_axis), dtype)
    labels = backend.array(y, "int16")
    loss = partial(ENTROPY, class_axis=class_axis)
    losses = backend.call(partial(loss, reduction="none"), moved, labels)
    close(backend, losses, whole, dtype)
    for axis in (0, 1, -1, (0, 1)):
        mean = backend.call(partial(loss, axis=axis), moved, labels)
        close(backend, mean, whole.mean(axis=axis), dtype)
    _, gradient = backend.call(xploss.value_and_grad(loss), moved, labels)
    assert backend.numpy(gradient).shape == np.moveaxis(x, -1, class_axis).shape


def test_a_row_alone(backend, dtype):
    """Logits of one axis have a loss of none."""
    x, y = backend.array(X[0], dtype), backend.array(np.array(1), "int32")
    expected = float(row_loss(X[0], 1).value)
    for labels in (y, 1):
        for reduction in ("none", "sum", "mean"):
            loss = partial(ENTROPY, reduction=reduction)
            close(backend, backend.call(loss, x, labels), expected, dtype)


# ---- the functions -------------------------------------------------------------------


def test_functions(backend, dtype):
    x = rounded(np.vstack([X, X * 8, [[0.0, -INF, 3.0]]]), dtype)
    array, bound = backend.array(x, dtype), bounds(dtype, {})[0]
    p, logs, sums = (
        backend.numpy(backend.call(f, array))
        for f in (xploss.softmax, xploss.log_softmax, xploss.logsumexp)
    )
    assert sums.shape == x.shape[:1]
    with mp.workprec(400):
        for k, row in enumerate(x.tolist()):
            exact = softmax(row)
            # logsumexp is a sum of two, and either may be the larger.
            unit = max(abs(exact.log_sum), mpf(max(map(abs, row[:1]))), mpf(1))
            assert ulps(float(sums[k]), exact.log_sum, dtype, unit) <= 2
            for j in range(3):
                probability, cost = exact.probabilities[j], exact.costs[j]
                assert ulps(float(p[k, j]), probability, dtype) <= bound
                assert ulps(float(logs[k, j]), -cost, dtype) <= bound


# ---- the Hessian times a vector ------------------------------------------------------


def exact_product(x, label, v, z):
    """From the definition; and the sum of the absolute terms, by which it is judged."""
    with mp.workprec(900):
        f, z = softmax(x), mpf(z)
        p, v = f.probabilities, [mpf(number) for number in v]
        products, terms = [], []
        for j in range(len(x)):
            # Only differences of v matter, and small ones must not be lost.
            apart = [p[i] * (v[j] - v[i]) for i in range(len(x))]
            mean = mp.fsum(p[i] * v[i] for i in range(len(x)))
            part = (1 + 2 * z * f.log_sum) * p[j] * mp.fsum(apart)
            products.append(part + 2 * z * p[j] * mean)
            size = 1 + abs(2 * z * f.log_sum)
            beside = abs(2 * z * p[j] * mean)
            terms.append(size * p[j] * mp.fsum(map(abs, apart)) + beside)
    return products, terms


@pytest.mark.parametrize("z", [0.0, 0.125], ids=["plain", "z"])
def test_hessian_product(backend, dtype, z):
    x, y = rows(3, dtype, 30, False)
    draw = np.random.default_rng(5)
    v = rounded(draw.normal(size=x.shape), dtype)
    v[::3] = 1.0  # of which nothing is left
    v[1::3, 0] = 1.0
    product = xploss.hessian_product(partial(ENTROPY, z_loss=z))
    arguments = backend.array(x, dtype), backend.array(y, "int32")
    result = backend.numpy(backend.call(product, *arguments, backend.array(v, dtype)))
    assert result.shape == x.shape
    narrow = dtype in ("float16", "bfloat16")
    for k in range(len(x)):
        exacts, terms = exact_product(x[k].tolist(), y[k], v[k].tolist(), z)
        for j in range(3):
            away = ulps(
                float(result[k, j]), exacts[j], dtype, terms[j], 3 * backend.flushes
            )
            assert away <= (1.0 if narrow else 12.0)


@pytest.mark.parametrize(
    "loss", [xploss.sigmoid_cross_entropy, xploss.sigmoid_focal_loss]
)
def test_hessian_product_of_two_classes(backend, dtype, loss):
    """Of a loss of its own logit alone; weighed and masked as the Hessian."""
    x, y = backend.array(X, dtype), backend.array((X > 1) * 1.0, dtype)
    v = backend.array(np.full(X.shape, 2.0), dtype)
    options = {"weights": backend.array(WEIGHTS[:, None], dtype)}
    options["where"] = backend.array(WHERE[:, None], "bool")
    loss = partial(loss, label_smoothing=0.125, **options)
    _, hessian = backend.call(xploss.grad_and_hess(loss), x, y)
    product = backend.call(xploss.hessian_product(loss), x, y, v)
    pairs = zip(backend.numpy(product).flat, backend.numpy(hessian).flat, strict=True)
    for made, number in pairs:
        lost = float(backend.flushes)
        assert ulps(float(made), 2 * mpf(float(number)), dtype, lost=lost) <= 4


def test_a_vector_of_another_kind_is_refused():
    product = xploss.hessian_product(ENTROPY)
    for vector, error in (
        (np.zeros(3), ValueError),
        (np.zeros((4, 3), int), TypeError),
        (1.0, TypeError),
    ):
        with pytest.raises(error, match="`vector`"):
            product(ZEROS, NUMBERS, vector)
    for option in ("axis", "reduction"):
        with pytest.raises(TypeError, match="`hessian_product` is per element"):
            product(ZEROS, NUMBERS, ZEROS, **{option: "sum"})
    with pytest.raises(TypeError, match="`hessian_product` takes a loss of logits"):
        xploss.hessian_product(xploss.binary_cross_entropy)


# ---- refusals ------------------------------------------------------------------------

ZEROS = np.zeros((4, 3))
NUMBERS = np.zeros(4, int)
ENDLESS = np.broadcast_to(np.zeros((4, 1), "float16"), (4, 2**24 + 1))
WRONG = {
    "float numbers": (TypeError, {"labels": np.zeros(4)}, "masses have the shape"),
    "boolean numbers": (TypeError, {"labels": np.zeros(4, bool)}, "must be integers"),
    "a float": (TypeError, {"labels": 1.0}, "the number of a class"),
    "a boolean": (TypeError, {"labels": True}, "the number of a class"),
    "a list": (TypeError, {"labels": [0, 1, 2, 0]}, "pass an array"),
    "a number beyond": (ValueError, {"labels": 3}, "from 0 to 2; got 3"),
    "another length": (
        ValueError,
        {"labels": np.zeros(3, int)},
        r"\(4,\), for num",
    ),
    "other masses": (ValueError, {"labels": np.zeros((4, 4))}, r"\(4, 3\), for m"),
    "spread masses": (
        ValueError,
        {"labels": np.zeros((1, 3))},
        r"\(4, 3\), for m",
    ),
    "an axis beyond": (ValueError, {"class_axis": 2}, "`class_axis` must be axes of a"),
    "no axis": (TypeError, {"class_axis": None}, "`class_axis` must be an int"),
    "axes": (TypeError, {"class_axis": (1,)}, "`class_axis` must be an int"),
    "a class weight": (TypeError, {"class_weights": 2.0}, "`weights`"),
    "class weights": (ValueError, {"class_weights": np.ones(4)}, r"shape \(3,\)"),
    "smoothing": (ValueError, {"label_smoothing": 1.5}, "from 0 to 1"),
    "z": (ValueError, {"z_loss": -1.0}, "at least 0"),
    "weights": (ValueError, {"weights": np.ones((4, 3))}, r"`losses`, \(4,\)"),
    "where": (ValueError, {"where": np.ones((4, 3), bool)}, r"`losses`, \(4,\)"),
    "an ignored float": (TypeError, {"ignore_index": 1.0}, "must be an int"),
    "ignored masses": (
        ValueError,
        {"labels": np.zeros((4, 3)), "ignore_index": 1},
        "pass `where`",
    ),
    "an axis of the losses": (ValueError, {"axis": 1}, "axes of a 1-d array"),
    "a reduction": (ValueError, {"reduction": "avg"}, "`reduction` must be one of"),
    "no class": (ValueError, {"logits": np.zeros((4, 0))}, "at least one class"),
    "no axis at all": (ValueError, {"logits": np.zeros(())}, "must have a class axis"),
    "integers": (TypeError, {"logits": np.zeros((4, 3), int)}, "float16, bfloat16"),
    "more classes than float32 counts": (ValueError, {"logits": ENDLESS}, "float64"),
}


@pytest.mark.parametrize(("error", "changed", "words"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_call_is_refused(error, changed, words):
    arguments = {"logits": ZEROS, "labels": NUMBERS} | changed
    for function in (ENTROPY, xploss.value_and_grad(ENTROPY)):
        with pytest.raises(error, match=words):
            function(**arguments)


def test_more_classes_than_float32_counts():
    """Three of them round to the number of the largest."""
    largest = 2**24 + 9
    x = np.zeros(largest + 3, "float32")
    x[largest] = 3.0
    p = xploss.softmax(x)
    with mp.workprec(100):
        total = mpf(len(x) - 1) + mp.exp(3)
        assert ulps(float(p[largest]), mp.exp(3) / total, "float32") <= 4
        for k in (largest - 2, largest - 1, largest + 1):
            assert ulps(float(p[k]), 1 / total, "float32") <= 4


@pytest.mark.parametrize("axis", [None, 2, (0,), "1"])
def test_a_wrong_axis_of_a_function_is_refused(axis):
    for function in (xploss.softmax, xploss.log_softmax, xploss.logsumexp):
        with pytest.raises((TypeError, ValueError), match="`axis`"):
            function(ZEROS, axis=axis)


# ---- kinds of results ----------------------------------------------------------------


def test_dtypes_and_shapes(backend, dtype, shapes):
    x, y = backend.array(X, dtype), backend.array(Y, "int32")
    wide = "float64" if dtype == "float64" else "float32"
    losses = backend.call(partial(ENTROPY, reduction="none"), x, y)
    mean = backend.call(ENTROPY, x, y)
    value, gradient = backend.call(xploss.value_and_grad(ENTROPY), x, y)
    for result, name, shape in (
        (losses, dtype, (4,)),
        (mean, wide, ()),
        (value, wide, ()),
        (gradient, dtype, (4, 3)),
        (backend.call(xploss.softmax, x), dtype, (4, 3)),
        (backend.call(xploss.logsumexp, x), dtype, (4,)),
    ):
        assert dtype_of(result) == name
        assert tuple(result.shape) == shape


def test_integers_of_any_kind(backend):
    dtype = backend.dtypes[-1]
    x = backend.array(X, dtype)
    for name in backend.integers:
        losses = backend.call(
            partial(ENTROPY, reduction="none"), x, backend.array(Y, name)
        )
        close(backend, losses, exact_losses(), dtype)
