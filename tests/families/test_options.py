"""Each option means what it says: held to exact numbers, element by element."""

import itertools
from functools import partial

import backends
import layouts
import numpy as np
import pytest
from expected import (
    LABELS,
    LOGITS,
    LOSSES,
    MASK,
    PER_CLASS,
    PER_ELEMENT,
    PER_SAMPLE,
    REDUCTIONS,
    WEIGHED_LOSSES,
    dtype_of,
    each,
    every_function,
    gradient,
    is_close,
    is_like,
    of_backend,
    value,
    wide,
)

import xploss

LOGIT_LOSS = LOSSES[0]
weighed_of = pytest.mark.parametrize("loss", WEIGHED_LOSSES, ids=str)
NUMPY = backends.variants("numpy")[0]
loss_of = pytest.mark.parametrize("loss", LOSSES, ids=str)


def shape_of(option):
    kind = type(option).__name__
    return f"{kind}{option.shape}" if isinstance(option, np.ndarray) else kind


def check(backend, dtype, loss, reductions=("none",), labels=None, **options):
    """The calls' results; labels are of their own dtype if it is given."""

    def reduced(first, labels, **options):
        return [
            loss.function(first, labels, reduction=r, **options) for r in reductions
        ]

    first = backend.array(loss.first, dtype)
    y = backend.array(loss.labels, labels or dtype)
    results = backend.call(reduced, first, y, **of_backend(backend, dtype, options))
    for reduction, result in zip(reductions, results, strict=True):
        exact = value(loss, options | {"reduction": reduction})
        kind = dtype if reduction == "none" else wide(dtype)
        is_like(first, result, kind, exact.shape)
        is_close(backend.numpy(result), exact, kind, loss.bound)


# ---- masses ------------------------------------------------------------------------

NUMBERS = [3.0, 3, True, np.float64(3), np.float32(0.5), np.int64(3), np.array(3.0)]
ARRAYS = [PER_CLASS, PER_SAMPLE, PER_ELEMENT]


@weighed_of
@pytest.mark.parametrize("pos_weight", [*NUMBERS, PER_CLASS[0], *ARRAYS], ids=shape_of)
def test_pos_weight(backend, loss, pos_weight):
    check(backend, "float32", loss, pos_weight=pos_weight)


def test_pos_weight_beside_one_axis(backend):
    """(3,) on logits of shape (3,) is one an element."""
    row = LOGIT_LOSS._replace(first=LOGITS[0], labels=LABELS[0])
    check(backend, "float32", row, pos_weight=PER_CLASS[0])


@pytest.mark.parametrize(
    "smoothing", [0, 0.25, np.float64(0.5), 1, *map(np.array, (0.0, 0.25, 1.0))]
)
@pytest.mark.parametrize("optional", [False, True], ids=["alone", "beside others"])
@loss_of
def test_label_smoothing(backend, loss, smoothing, optional):
    """It comes before the positive weight."""
    inner = loss._replace(first=np.clip(loss.first, -3.0, 0.875) / 2 + 0.25)
    loss = loss if loss.of_logits else inner
    own = loss.own if optional else {}
    check(backend, "float32", loss, label_smoothing=smoothing, **own)


# ---- labels ------------------------------------------------------------------------


@loss_of
@pytest.mark.parametrize("label", [1, 0.25, True, np.float64(0.5), np.int8(1)])
def test_labels_are_a_number(backend, loss, label):
    first = backend.array(loss.first, "float32")
    result = backend.call(partial(loss.function, labels=label, reduction="none"), first)
    is_like(first, result, "float32", loss.first.shape)
    everywhere = loss._replace(labels=np.full(loss.first.shape, float(label)))
    exact = value(everywhere, {"reduction": "none"})
    is_close(backend.numpy(result), exact, "float32", max(4, loss.bound / 2))


@pytest.mark.parametrize("kind", ["float32", "bool", "int32", "uint8"])
@loss_of
def test_labels_are_a_0d_array(backend, loss, kind):
    """With and without what is spread beside it, and a sum that is fused with it."""
    everywhere = loss._replace(labels=np.ones(loss.first.shape))
    one = loss._replace(labels=np.ones(()))
    for options in ({}, {"weights": PER_SAMPLE, "where": MASK}):
        arrays = of_backend(backend, "float32", options)
        first, label = (
            backend.array(one.first, "float32"),
            backend.array(one.labels, kind),
        )
        for reduction in REDUCTIONS:
            call = partial(loss.function, reduction=reduction)
            result = backend.numpy(backend.call(call, first, label, **arrays))
            exact = value(everywhere, options | {"reduction": reduction})
            is_close(result, exact, "float32", loss.bound)


@pytest.mark.parametrize("eps", [0.0, 0.125, 0.5])
def test_eps_is_a_0d_array(backend, eps):
    """0 clips nothing: what is outside [0, 1] stays NaN."""
    probs = backend.array(
        np.array([-0.25, 0.0, 0.0625, 0.125, 0.25, 0.9375, 1.0]), "float32"
    )
    labels = backend.array(np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), "float32")
    call = partial(xploss.value_and_grad(xploss.binary_cross_entropy), reduction="none")
    number = backend.call(partial(call, eps=eps), probs, labels)
    array = backend.call(
        call, probs, labels, eps=backend.array(np.array(eps), "float32")
    )
    for one, other in zip(number, array, strict=True):
        np.testing.assert_array_max_ulp(*map(backend.numpy, (one, other)), maxulp=2)


@loss_of
def test_labels_are_integers(backend, loss):
    hard = loss._replace(labels=np.where(LABELS == 0.25, 0.0, LABELS))
    for labels in ("bool", *backend.integers):
        check(backend, "float32", hard, labels=labels)


@loss_of
def test_labels_of_another_dtype(backend, loss):
    """The widest labels beside the narrowest logits, and the reverse."""
    narrowest, widest = backend.dtypes[0], backend.dtypes[-1]
    check(backend, narrowest, loss, labels=widest)
    check(backend, widest, loss, labels=narrowest)


@pytest.mark.parametrize("name", ["labels", "weights", "pos_weight"])
def test_what_is_wider_is_rounded(backend, name):
    """Of float64 beside logits of float32: as the docstring says."""
    if "float64" not in backend.dtypes:
        return
    near, rounded = np.full((2, 3), 1.0 - 2.0**-30), np.ones((2, 3))
    results = []
    for values in (near, rounded):
        given = {"labels": backend.array(LABELS, "float32")}
        given[name] = backend.array(values, "float64")
        call = partial(xploss.sigmoid_cross_entropy, reduction="none")
        first = backend.array(LOGITS, "float32")
        results.append(backend.numpy(backend.call(call, first, **given)))
    np.testing.assert_array_equal(*results)


# ---- weights -----------------------------------------------------------------------


@pytest.mark.parametrize("weights", NUMBERS, ids=shape_of)
def test_weights(backend, weights):
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS, weights=weights)


@pytest.mark.parametrize("weights", ARRAYS, ids=shape_of)
def test_weights_spread(backend, weights):
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS, weights=weights)
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS[1:], weights=weights, axis=1)


@pytest.mark.parametrize("kind", ["bool", "int32", "uint8"])
def test_weights_are_integers(backend, kind):
    """As counts are."""
    x, y = (backend.array(a, "float32") for a in (LOGITS, LABELS))
    counts = np.array([[8], [1]], kind)
    result = backend.call(
        xploss.sigmoid_cross_entropy, x, y,
        weights=backend.array(counts, kind), reduction="weighted_mean",
    )  # fmt: skip
    is_like(x, result, "float32", ())
    options = {"weights": counts.astype(float), "reduction": "weighted_mean"}
    is_close(backend.numpy(result), value(LOGIT_LOSS, options), "float32", 8)


# ---- the mask ----------------------------------------------------------------------

MASKS = [True, np.bool_(True), np.array(True), MASK[:, :1], MASK[:1], MASK]


@pytest.mark.parametrize("where", MASKS, ids=shape_of)
def test_where(backend, where):
    """N is counted after the mask is spread."""
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS, where=where)


@pytest.mark.parametrize("where", [True, MASK[:, :1], MASK], ids=shape_of)
def test_where_with_weights(backend, where):
    options = {"where": where, "weights": PER_SAMPLE}
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS, **options)


@pytest.mark.parametrize("axis", [0, 1])
def test_where_along_an_axis(backend, axis):
    options = {"where": MASK, "weights": PER_CLASS, "axis": axis}
    check(backend, "float32", LOGIT_LOSS, REDUCTIONS[1:], **options)


def clean(loss):
    own = {name: np.broadcast_to(a, MASK.shape) for name, a in loss.own.items()}
    return own | {"weights": PER_ELEMENT, "where": MASK}


def poisoned(backend, loss, poison):
    """Arguments and options with the poison in all that is left out."""
    arrays = {"first": loss.first, "labels": loss.labels} | clean(loss)
    arrays = {name: np.where(MASK, array, poison) for name, array in arrays.items()}
    given = of_backend(backend, "float32", arrays | {"where": MASK})
    return given.pop("first"), given.pop("labels"), given


def is_0_where_left_out(backend, first, derivative):
    is_like(first, derivative, "float32", MASK.shape)
    numbers = backend.numpy(derivative)
    assert np.all(np.isfinite(numbers))
    assert np.all(numbers[~MASK] == 0.0)
    assert np.any(numbers[MASK] != 0.0)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@loss_of
def test_what_is_left_out_counts_nowhere(backend, loss, poison):
    first, labels, given = poisoned(backend, loss, poison)

    def reduced(*args, **options):
        derived = xploss.value_and_grad(loss.function)
        return [derived(*args, reduction=r, **options) for r in REDUCTIONS]

    results = backend.call(reduced, first, labels, **given)
    for reduction, (result, slope) in zip(REDUCTIONS, results, strict=True):
        exact = value(loss, clean(loss) | {"reduction": reduction})
        is_like(first, result, "float32", exact.shape)
        is_close(backend.numpy(result), exact, "float32", loss.bound)
        is_0_where_left_out(backend, first, slope)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_left_out_has_no_derivatives(backend, poison):
    first, labels, given = poisoned(backend, LOGIT_LOSS, poison)
    function = xploss.grad_and_hess(LOGIT_LOSS.function)
    for derivative in backend.call(function, first, labels, **given):
        is_0_where_left_out(backend, first, derivative)


def test_an_infinite_logit_is_counted(backend):
    """And costs nothing on its label's side."""
    logits = np.where(LOGITS == 20.0, np.inf, LOGITS)
    infinite = LOGIT_LOSS._replace(first=logits)
    masked = {"weights": PER_SAMPLE, "where": MASK}
    given = of_backend(backend, "float32", {"x": logits, "y": LABELS} | masked)
    x, y = given.pop("x"), given.pop("y")

    def reduced(*args, **options):
        derived = xploss.value_and_grad(xploss.sigmoid_cross_entropy)
        return [derived(*args, reduction=r, **options) for r in REDUCTIONS]

    results = backend.call(reduced, x, y, **given)
    for reduction, (result, slope) in zip(REDUCTIONS, results, strict=True):
        options = masked | {"reduction": reduction}
        is_close(backend.numpy(result), value(infinite, options), "float32", 8)
        exact, terms = gradient(infinite, options)
        is_close(backend.numpy(slope), exact, "float32", 8, unit=terms)


@pytest.mark.parametrize("per_class", [False, True])
@weighed_of
def test_a_positive_weight_of_0_is_no_mass(backend, loss, per_class):
    """0 * inf is 0 of what is certain, or almost, and so are the slopes."""
    firsts = [0.0, 1e-40, 1.0] if loss is not LOGIT_LOSS else [-np.inf, -100.0, np.inf]
    wrong = 1.0 if loss is LOGIT_LOSS else np.inf
    arrays = [backend.array(np.array(a), "float32") for a in (firsts, [1.0, 1.0, 0.0])]
    weight = backend.array(np.zeros(3), "float32") if per_class else 0.0

    def derived(first, labels, pos_weight):
        function = partial(loss.function, reduction="none", pos_weight=pos_weight)
        return xploss.value_and_grad(function)(first, labels)

    losses, slopes = backend.call(derived, *arrays, pos_weight=weight)
    np.testing.assert_array_equal(backend.numpy(losses), [0.0, 0.0, np.inf])
    np.testing.assert_array_equal(backend.numpy(slopes), [0.0, 0.0, wrong])


@weighed_of
def test_a_mass_that_underflows_when_it_is_weighed(backend, loss):
    """Is mass all the same, and an infinite loss of it infinite."""
    first = -np.inf if loss is LOGIT_LOSS else 0.0
    derived = xploss.value_and_grad(partial(loss.function, pos_weight=0.25))
    for dtype in ("float32", "float64"):
        if dtype in backend.dtypes:
            label = np.finfo(dtype).smallest_subnormal
            arrays = (backend.array(np.array([a]), dtype) for a in (first, label))
            total, slope = map(backend.numpy, backend.call(derived, *arrays))
            assert total == (0.0 if backend.flushes else np.inf)
            if loss is not LOGIT_LOSS and not backend.flushes:
                assert slope == -np.inf


# ---- reductions --------------------------------------------------------------------


@loss_of
def test_reduction_is_the_mean_unless_said(backend, loss):
    first, y = (backend.array(a, "float32") for a in (loss.first, loss.labels))
    result = backend.call(loss.function, first, y)
    is_like(first, result, "float32", ())
    is_close(backend.numpy(result), value(loss, {}), "float32", loss.bound)


AXES = [0, -1, (1,), (2, 0), (-1, 0), (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_axis(backend, axis):
    cube = LOGIT_LOSS._replace(
        first=np.stack([LOGITS, LOGITS + 1.0], axis=-1),
        labels=np.stack([LABELS, 1.0 - LABELS], axis=-1),
    )
    weights = np.stack([PER_ELEMENT, PER_ELEMENT + 1.0], axis=-1) + 1.0
    check(backend, "float32", cube, REDUCTIONS[2:], axis=axis, weights=weights)


HOW = [
    ("none", None, (2, 3)),
    ("sum", None, ()),
    ("mean", 1, (2,)),
    ("weighted_mean", (0, 1), ()),
]


@loss_of
def test_dtypes(backend, dtype, shapes, loss):
    """Per element the first argument's; reduced, float32 from 16 bits."""
    x, y = (backend.array(a, dtype) for a in (loss.first, loss.labels))

    def reduced(*args):
        derived = xploss.value_and_grad(loss.function)
        return [derived(*args, reduction=r, axis=axis) for r, axis, _ in HOW]

    results = backend.call(reduced, x, y)
    for (reduction, _, shape), (result, slope) in zip(HOW, results, strict=True):
        is_like(x, result, dtype if reduction == "none" else wide(dtype), shape)
        is_like(x, slope, dtype, x.shape)


def test_sum_of_many_16_bit_losses(backend):
    """1e5 * log(2), which float16 does not reach."""
    dtype = backend.dtypes[0]
    x = backend.array(np.zeros((1000, 100)), dtype)
    total = partial(xploss.sigmoid_cross_entropy, labels=0, reduction="sum")
    result = backend.call(total, x)
    is_like(x, result, wide(dtype), ())
    one = value(LOGIT_LOSS._replace(first=np.zeros(1), labels=np.zeros(1)), {})
    is_close(backend.numpy(result), 100_000 * one, wide(dtype), backend.sum_ulps)


# ---- nothing to reduce -------------------------------------------------------------

NOTHING = [
    pytest.param((0,), {}, id="empty"),
    pytest.param((0, 3), {"axis": 0}, id="empty axis"),
    pytest.param((0, 3), {"weights": np.ones((1, 3))}, id="empty weighted"),
    pytest.param((2, 3), {"where": False}, id="left out"),
    pytest.param((2, 3), {"where": np.zeros((2, 1), bool)}, id="left out by mask"),
    pytest.param((2, 3), {"where": np.zeros((2, 3), bool), "axis": 1}, id="along axis"),
]
NO_WEIGHT = [
    pytest.param((2, 3), {"weights": 0}, id="weight 0"),
    pytest.param((2, 3), {"weights": np.zeros((1, 3)), "axis": 1}, id="weights 0"),
]


def values_and_gradients(backend, loss, shape, options, reductions):
    x, y = (backend.array(np.full(shape, a), "float32") for a in (0.25, 1.0))

    def reduced(*args, **options):
        derived = xploss.value_and_grad(loss.function)
        return [derived(*args, reduction=r, **options) for r in reductions]

    given = of_backend(backend, "float32", options)
    for result, slope in backend.call(reduced, x, y, **given):
        is_like(x, result, "float32", np.zeros(shape).sum(options.get("axis")).shape)
        is_like(x, slope, "float32", shape)
        yield backend.numpy(result), backend.numpy(slope)


@loss_of
@pytest.mark.parametrize(("shape", "options"), NOTHING)
def test_nothing_has_no_mean(backend, loss, shape, options):
    means = ("mean", "weighted_mean")
    for mean, slope in values_and_gradients(backend, loss, shape, options, means):
        assert np.all(np.isnan(mean))
        np.testing.assert_array_equal(slope, np.zeros(shape))


@loss_of
@pytest.mark.parametrize(("shape", "options"), [*NOTHING, *NO_WEIGHT])
def test_nothing_sums_to_0(backend, loss, shape, options):
    for total, slope in values_and_gradients(backend, loss, shape, options, ["sum"]):
        np.testing.assert_array_equal(total, np.zeros_like(total))
        np.testing.assert_array_equal(slope, np.zeros(shape))


@loss_of
@pytest.mark.parametrize(("shape", "options"), NO_WEIGHT)
def test_no_weight_has_no_weighted_mean(backend, loss, shape, options):
    means = ["weighted_mean"]
    for mean, slope in values_and_gradients(backend, loss, shape, options, means):
        assert np.all(np.isnan(mean))
        np.testing.assert_array_equal(slope, np.zeros(shape))


# ---- arrays of any layout ----------------------------------------------------------


@loss_of
def test_no_axes(backend, loss):
    point = loss._replace(first=loss.first[0, 0], labels=loss.labels[0, 0])
    options = {"weights": np.array(2.0), "where": np.array(True)}
    own = {name: float(np.ravel(option)[0]) for name, option in loss.own.items()}
    check(backend, "float32", point, REDUCTIONS, **options, **own)


SLICES = {
    "every other": lambda a: a[:, ::2],
    "transposed": layouts.transposed,
}
NUMPY_SLICES = SLICES | {
    "one column": lambda a: a[:, 1:2],
    "backwards": lambda a: a[::-1, ::-1],
    "column by column": np.asfortranarray,
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "spread": lambda a: np.broadcast_to(a[:1], a.shape),
    "unaligned": lambda a: np.frombuffer(b"-" + a.tobytes(), a.dtype, offset=1),
}


def check_layout(backend, dtype, loss, view):
    first, y = (view(backend.array(a, dtype)) for a in (loss.first, loss.labels))
    shown = loss._replace(first=backend.numpy(first), labels=backend.numpy(y))
    function = xploss.value_and_grad(partial(loss.function, reduction="none"))
    result, gradient = backend.call(function, first, y)
    is_like(first, gradient, dtype, first.shape)
    is_like(first, result, dtype, first.shape)
    exact = value(shown, {"reduction": "none"})
    is_close(backend.numpy(result), exact, dtype, loss.bound)


@loss_of
@pytest.mark.parametrize("view", SLICES.values(), ids=SLICES)
def test_layouts(backend, loss, view):
    check_layout(backend, "float32", loss, view)


@loss_of
@pytest.mark.parametrize("dtype", NUMPY.dtypes)
@pytest.mark.parametrize("view", NUMPY_SLICES.values(), ids=NUMPY_SLICES)
def test_numpy_layouts(dtype, loss, view):
    check_layout(NUMPY, dtype, loss, view)


# ---- inputs, warnings --------------------------------------------------------------

FUNCTIONS = (xploss.sigmoid, xploss.softplus, xploss.log_sigmoid)
# Each underflows somewhere, or would overflow if it were not widened.
TAILS = np.array([[-60000.0, -100.0, -18.0], [60000.0, np.inf, 12.0]])
TINY_OWN = {
    "pos_weight": np.array([[6e-5, 1.0, 60000.0]]),
    "gamma": 60.0,
    "alpha": np.array([[6e-5, 1.0, 0.0]]),
}
TINY = {
    "label_smoothing": 1e-7,
    "weights": np.array([[6e-5], [1.0]]),
    "where": MASK,
}


def of(*libraries):
    """For what can go wrong with a few libraries alone."""
    return pytest.mark.parametrize(
        "backend_of",
        [pytest.param(name, marks=pytest.mark.library(name)) for name in libraries],
    )


def runs(library):
    for backend in backends.variants(library):
        if backend.has_values:
            with backend.around():
                yield from ((backend, dtype) for dtype in backend.dtypes)


@loss_of
@of("numpy", "strict", "torch", "cupy")
def test_inputs_are_not_written_to(loss, backend_of):
    arguments = {"first": loss.first, "labels": loss.labels} | loss.options
    for backend, dtype in runs(backend_of):
        given, before = (of_backend(backend, dtype, arguments) for _ in range(2))
        first, labels = given["first"], given["labels"]
        options = {name: given[name] for name in loss.options}
        for function in every_function(loss).values():
            for result in each(function(first, labels, **options)):
                assert dtype_of(result) in (dtype, wide(dtype))
        for name in before.keys() - {"label_smoothing", "gamma"}:
            held = backend.numpy(given[name])
            np.testing.assert_array_equal(held, backend.numpy(before[name]))


@loss_of
@of("numpy", "strict", "dask")
@pytest.mark.parametrize("optional", [False, True], ids=["plain", "options"])
def test_valid_input_is_no_floating_point_error(loss, backend_of, optional):
    """Not on Dask either, where NumPy computes it later."""
    options = TINY | {name: TINY_OWN[name] for name in loss.own} if optional else {}
    first = TAILS if loss.of_logits else np.clip(TAILS, 6e-5, 1.0)
    labels = np.array([[0.0, 1.0, 6e-5], [1.0, 1.0, 0.5]])
    functions = list(every_function(loss).values())
    functions += [lambda x, *_, f=f, **k: f(x) for f in FUNCTIONS]
    for backend, dtype in runs(backend_of):
        x, y = (backend.array(a, dtype) for a in (first, labels))
        given = of_backend(backend, dtype, options)
        with np.errstate(all="raise"):
            for function, y_or_tiny in itertools.product(functions, (y, 1e-60)):
                for result in each(function(x, y_or_tiny, **given)):
                    assert not np.any(np.isnan(backend.numpy(result)))


@of("numpy", "strict", "dask")
def test_a_sum_that_overflows_is_no_floating_point_error(backend_of):
    for backend, dtype in runs(backend_of):
        largest = float(np.finfo(wide(dtype)).max)
        x = backend.array(np.full((4, 3), largest), wide(dtype))
        with np.errstate(all="raise"):
            total = xploss.sigmoid_cross_entropy(x, 0, reduction="sum")
            is_like(x, total, wide(dtype), ())
            assert backend.numpy(total) == np.inf


def test_a_partial_of_a_partial_is_a_loss_too():
    """Python flattens them, but not one that has an attribute."""
    inner = partial(xploss.sigmoid_cross_entropy, pos_weight=3.0)
    inner.name = "weighted"
    outer = partial(inner, reduction="sum")
    assert outer.func is inner
    value, _ = xploss.value_and_grad(outer)(np.zeros(2), 1)
    assert value == outer(np.zeros(2), 1) == 2 * inner(np.zeros(2), 1)
    with pytest.raises(TypeError, match="takes no `reduction`"):
        xploss.grad_and_hess(outer)
