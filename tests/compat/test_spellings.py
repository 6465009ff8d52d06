"""The spellings of `xploss.compat` on every backend: values, refusals."""

import copy
import inspect
import pickle
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from chunks import chunked, unknown
from expected import dtype_of
from focal_reference import from_logit_focal
from grid import logits_and_labels, probs_and_labels, rounded
from mpmath import mp, mpf
from reference import flushed, from_logit, from_probability, ulps

from xploss import compat
from xploss.compat._shared import in_callers_words
from xploss.compat.keras._losses import REDUCTIONS

keras, optax, sklearn = compat.keras, compat.optax, compat.sklearn
tensorflow, torch = compat.tensorflow, compat.torch

EPS = np.finfo("float64").eps

# ---- values per element --------------------------------------------------------------


def cut_off(prob, label):
    """Both logarithms at least -100."""
    parts = [from_probability(prob, float(k)).value for k in (1, 0)]
    hit, miss = (p if mp.isnan(p) else min(p, mpf(100)) for p in parts)
    return mpf(label) * hit + (1 - mpf(label)) * miss


def focal(x, y, alpha=None, gamma=2.0):
    return from_logit_focal(x, y, gamma, alpha).value


LOGITS = {
    "tensorflow": (
        lambda x, y: tensorflow.weighted_cross_entropy_with_logits(y, x, 3.0),
        lambda x, y: from_logit(x, y, 3.0).value,
    ),
    "torch": (
        lambda x, y: torch.binary_cross_entropy_with_logits(x, y, reduction="none"),
        lambda x, y: from_logit(x, y).value,
    ),
    "torchvision": (
        torch.sigmoid_focal_loss,
        lambda x, y: focal(x, y, 0.25),
    ),
    "torchvision without alpha": (
        lambda x, y: torch.sigmoid_focal_loss(x, y, -1, 0.5),
        lambda x, y: focal(x, y, gamma=0.5),
    ),
    "optax": (
        optax.sigmoid_binary_cross_entropy,
        lambda x, y: from_logit(x, y).value,
    ),
    "optax focal": (optax.sigmoid_focal_loss, focal),
    "optax focal with alpha": (
        lambda x, y: optax.sigmoid_focal_loss(x, y, alpha=0.25, gamma=0.5),
        lambda x, y: focal(x, y, 0.25, 0.5),
    ),
}


def assert_close(backend, dtype, result, inputs, exact, most):
    """Within `most` ulp, but for terms that are subnormal."""
    lost = 1024.0 if backend.flushes or dtype == "float64" else 128.0
    for number, *pair in zip(backend.numpy(result), *inputs, strict=True):
        away = ulps(number, exact(*pair), dtype, lost=lost)
        assert away <= most(*pair), (pair, number, exact(*pair), away)


def seen(backend, values, dtype):
    """Float16 is widened first, to normal numbers."""
    if not backend.flushes or dtype == "float16":
        return values
    return flushed(values, dtype)


@pytest.mark.parametrize("name", LOGITS)
def test_per_element_of_logits(backend, dtype, name):
    loss, exact = LOGITS[name]
    x, y = logits_and_labels(dtype, 60)
    if "focal" in name or "torchvision" in name:  # whose infinities test_focal.py has
        x, y = x[np.isfinite(x)], y[np.isfinite(x)]
    result = backend.call(loss, backend.array(x, dtype), backend.array(y, dtype))
    assert dtype_of(result) == dtype

    def most(logit, label):
        narrow = dtype in ("float16", "bfloat16")
        return 1 if narrow else 16 * (1 + 2 * from_logit_focal(logit, label).power)

    assert_close(backend, dtype, result, (x, seen(backend, y, dtype)), exact, most)


def test_per_element_of_probabilities(backend, dtype):
    p, y = probs_and_labels(dtype, 60)
    loss = partial(torch.binary_cross_entropy, reduction="none")
    result = backend.call(loss, backend.array(p, dtype), backend.array(y, dtype))
    assert dtype_of(result) == dtype
    p, y = (seen(backend, values, dtype) for values in (p, y))
    inside = ~((p < 0) | (p > 1))
    most = 1 if dtype in ("float16", "bfloat16") else 4
    kept = [values[inside] for values in (backend.numpy(result), p, y)]
    for number, prob, label in zip(*kept, strict=True):
        away = ulps(number, cut_off(prob, label), dtype, lost=1024.0)
        assert away <= most, (prob, label, number)


# ---- weights, classes and reductions ------------------------------------------------

X = np.array([[-3.0, 0.5, 20.0], [0.0, -40.0, 2.0]])
Y = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.25]])
P = np.array([[0.25, 0.5, 1.0], [0.0, 0.125, 0.75]])
W = np.array([[0.5, 2.0, 1.0], [1.5, 0.25, 3.0]])


def arrays(backend, dtype, *values):
    return [backend.array(a, dtype) for a in values]


KERAS_NEEDS, SKLEARN_NEEDS = "`y_pred` has a size along", "`y_proba` has a length"


def are_refused(backend, message, loss, *args, **options):
    """Of a spelling that needs sizes, arrays whose are not known."""
    if backend.knows_sizes:
        return False
    with pytest.raises(ValueError, match=message):
        backend.call(loss, *args, **options)
    return True


def exact_losses(loss, *matrices):
    """Row by row, of the numbers at one place of each of the matrices."""
    rows = zip(*matrices, strict=True)
    return [[loss(*numbers) for numbers in zip(*row, strict=True)] for row in rows]


def matches(backend, dtype, result, exact):
    """Each of `result` within 16 ulp of `exact`, nested lists of mpmath's numbers."""
    wide = dtype if dtype_of(result) == dtype else "float32"
    result, exact = backend.numpy(result), np.array(exact, dtype=object)
    assert result.shape == exact.shape
    for number, expected in zip(result.ravel(), exact.ravel(), strict=True):
        assert ulps(number, expected, wide) <= 16, (number, expected)


def reduce(losses, reduction):
    flat = [loss for row in losses for loss in row]
    if reduction == "none":
        return losses
    return mp.fsum(flat) / (len(flat) if reduction == "mean" else 1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (2, 1), (3,), (1,), ()], ids=str)
@pytest.mark.parametrize("logits", [True, False])
def test_torch_weights_broadcast_by_trailing_axes(backend, logits, shape, reduction):
    weights = W[tuple(slice(n) for n in (1, 1)[len(shape) :] + shape)].reshape(shape)
    spread = np.broadcast_to(weights, (2, 3))
    first = X if logits else P
    x, y, w = arrays(backend, "float32", first, Y, weights)
    if logits:
        loss = partial(torch.binary_cross_entropy_with_logits, reduction=reduction)
        result = backend.call(loss, x, y, w, pos_weight=w)
        exact = exact_losses(
            lambda a, b, c: from_logit(a, b, c, weight=c).value, X, Y, spread
        )
    else:
        loss = partial(torch.binary_cross_entropy, reduction=reduction)
        result = backend.call(loss, x, y, w)
        exact = exact_losses(lambda a, b, c: mpf(c) * cut_off(a, b), P, Y, spread)
    matches(backend, "float32", result, reduce(exact, reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torchvision_reductions(backend, dtype, reduction):
    loss = partial(torch.sigmoid_focal_loss, reduction=reduction)
    result = backend.call(loss, *arrays(backend, dtype, X, Y))
    exact = exact_losses(lambda x, y: focal(x, y, 0.25), X, Y)
    matches(backend, dtype, result, reduce(exact, reduction))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (2, 3), (1,), ()], ids=str)
def test_tensorflow_pos_weight_broadcasts_by_trailing_axes(backend, shape):
    weights = W[tuple(slice(n) for n in (1, 1)[len(shape) :] + shape)].reshape(shape)
    x, y, w = arrays(backend, "float32", X, Y, weights)
    result = backend.call(tensorflow.weighted_cross_entropy_with_logits, y, x, w)
    spread = np.broadcast_to(weights, (2, 3))
    exact = exact_losses(lambda a, b, c: from_logit(a, b, c).value, X, Y, spread)
    matches(backend, "float32", result, exact)


def clipped(prob, dtype):
    low, high = rounded(np.array([1e-7, 1 - 1e-7]), dtype)
    return min(max(prob, low), high)


def keras_focal(prob, label, wide):
    """Clipped in the loss, and not in the factor."""
    left = mpf(label) * (1 - mpf(prob)) + (1 - mpf(label)) * mpf(prob)
    alpha = mpf(0.25) * mpf(label) + mpf(0.75) * (1 - mpf(label))
    loss = from_probability(clipped(prob, wide), label).value
    return alpha * mp.sqrt(left) * loss


def keras_cases(dtype):
    """Options of a class, its losses per element and what it takes."""
    wide = "float64" if dtype == "float64" else "float32"
    focused = {"apply_class_balancing": True, "gamma": 0.5}
    return {
        "probabilities": (
            keras.BinaryCrossentropy, {}, P,
            lambda p, y: from_probability(clipped(p, wide), y).value,
        ),
        "logits": (
            keras.BinaryCrossentropy, {"from_logits": True, "label_smoothing": 0.25}, X,
            lambda x, y: from_logit(x, y, smoothing=0.25).value,
        ),
        "focal": (
            keras.BinaryFocalCrossentropy, {"from_logits": True}, X, focal,
        ),
        "focal probabilities": (
            keras.BinaryFocalCrossentropy, focused, P,
            lambda p, y: keras_focal(p, y, wide),
        ),
    }  # fmt: skip


def keras_reduced(losses, weights, reduction):
    """The mean over the last axis, times the weights, reduced."""
    means = [mp.fsum(row) / len(row) for row in losses]
    weighted = [mpf(w) * mean for w, mean in zip(weights, means, strict=True)]
    if reduction in (None, "none"):
        return weighted
    divisors = {"sum": 1, "mean_with_sample_weight": mp.fsum(map(mpf, weights))}
    return mp.fsum(weighted) / divisors.get(reduction, len(weighted))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, 2.0, [0.75, 0.25], [[0.75], [0.25]]])
def test_keras_reductions(backend, weights, reduction):
    loss = keras.BinaryCrossentropy(from_logits=True, reduction=reduction)
    given = {}
    if isinstance(weights, list):
        given = {"sample_weight": backend.array(np.array(weights), "float32")}
    elif weights is not None:
        loss = partial(loss, sample_weight=weights)
    values = arrays(backend, "float32", Y, X)
    needed = reduction in ("sum", "none", None)
    if needed and are_refused(backend, KERAS_NEEDS, loss, *values, **given):
        return
    result = backend.call(loss, *values, **given)
    numbers = np.broadcast_to(np.ravel(1.0 if weights is None else weights), (2,))
    losses = exact_losses(lambda x, y: from_logit(x, y).value, X, Y)
    matches(backend, "float32", result, keras_reduced(losses, numbers, reduction))


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("case", keras_cases("float32"))
def test_keras_classes(backend, dtype, case, reduction):
    cls, options, first, loss = keras_cases(dtype)[case]
    y_true, y_pred, w = arrays(backend, dtype, Y, first, np.array([0.75, 0.25]))
    called = cls(reduction=reduction, **options)
    given = (called, y_true, y_pred, w)
    if reduction == "none" and are_refused(backend, KERAS_NEEDS, *given):
        return
    result = backend.call(*given)
    exact = keras_reduced(exact_losses(loss, first, Y), (0.75, 0.25), reduction)
    matches(backend, dtype, result, exact)


@pytest.mark.parametrize("case", ["focal", "focal probabilities"])
def test_keras_focal_function(backend, dtype, case):
    _, options, first, loss = keras_cases(dtype)[case]
    function = partial(keras.binary_focal_crossentropy, **options)
    result = backend.call(function, *arrays(backend, dtype, Y, first))
    exact = keras_reduced(exact_losses(loss, first, Y), (1, 1), None)
    matches(backend, dtype, result, exact)


@pytest.mark.parametrize(
    ("labels", "predictions", "losses"),
    [
        ((6,), (6, 1), (6,)),
        ((6, 1), (6,), (6,)),
        ((2, 3, 1), (2, 3), (2,)),
        ((2, 3), (2, 3, 1), (2,)),
        ((6,), (6,), ()),
        ((2, 3, 1), (2, 3, 1), (2, 3)),
    ],
    ids=str,
)
def test_keras_trailing_axes_of_size_1(backend, labels, predictions, losses, shapes):
    y_true = backend.array(Y.reshape(labels), "float32")
    y_pred = backend.array(P.reshape(predictions), "float32")
    loss = keras.BinaryCrossentropy(reduction=None)
    needed = losses == (2,)  # how many are reduced, of some axes
    if needed and are_refused(backend, KERAS_NEEDS, loss, y_true, y_pred):
        return
    assert tuple(backend.call(loss, y_true, y_pred).shape) == losses
    if losses:
        weights = backend.array(np.ones((*losses, 1)), "float32")
        assert tuple(loss(y_true, y_pred, weights).shape) == losses


def test_keras_other_axis():
    loss = keras.BinaryCrossentropy(from_logits=True, axis=0, reduction="sum")
    weights = np.array([1.0, 2.0, 4.0])
    rows = keras.binary_crossentropy(Y, X, from_logits=True, axis=0)
    np.testing.assert_allclose(
        loss(Y, X, weights), np.sum(weights * rows), rtol=8 * EPS
    )


def test_keras_dtype_that_the_library_lacks():
    loss = keras.BinaryCrossentropy(dtype="bfloat16")
    with pytest.raises(TypeError, match="`dtype` is 'bfloat16', which numpy does not"):
        loss(Y, P)


def test_keras_cast_is_no_floating_point_error():
    """Of what is beyond the dtype, or below it."""
    loss = keras.BinaryCrossentropy(from_logits=True, dtype="float16")
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss(np.zeros((1, 2)), np.array([[1e6, 1e-300]])) == np.inf


@pytest.mark.library("dask")
def test_keras_casts_dask_as_it_computes():
    loss = keras.BinaryCrossentropy(from_logits=True, dtype="float16")
    y_true, y_pred = (chunked(np.array([a]), 1) for a in ([0.0, 0.0], [1e6, 1e-300]))
    with np.errstate(all="raise"):
        result = loss(y_true, y_pred)
        assert result.dtype == "float32"
        assert result.compute(scheduler="synchronous") == np.inf


def test_keras_names_the_argument_that_is_wrong():
    masked = np.ma.masked_array(np.ones(3))
    with pytest.raises(TypeError, match=r"`y_true` is a numpy\.ma"):
        keras.BinaryCrossentropy()(masked, np.ones((3, 1)) / 2)


@pytest.mark.library("dask")
def test_sizes_that_dask_does_not_know():
    p, y = unknown(P), unknown(Y)
    for function in (torch.binary_cross_entropy, torch.sigmoid_focal_loss):
        mean = function(p, y, reduction="mean").compute(scheduler="synchronous")
        np.testing.assert_allclose(mean, function(P, Y, reduction="mean"), rtol=8 * EPS)
    message = "`y_pred` has a size .* is not known; call Dask's"
    for cls in (keras.BinaryCrossentropy, keras.BinaryFocalCrossentropy):
        for reduction in ("sum", "none"):
            with pytest.raises(ValueError, match=message):
                cls(axis=0, reduction=reduction)(y, p)
        for weights in (None, np.ones(3), 2.0):
            mean = cls(reduction="mean_with_sample_weight", axis=0)(y, p, weights)
            right = cls(reduction="mean_with_sample_weight", axis=0)(Y, P, weights)
            mean = mean.compute(scheduler="synchronous")
            np.testing.assert_allclose(mean, right, rtol=8 * EPS)
        with pytest.raises(ValueError, match="Dask cannot cut anew where it does not"):
            cls()(y, p, np.ones(len(Y)))
        for rows in (np.array([0.75, 0.25]), np.array([[0.75], [0.25]])):
            for reduction in ("mean", "sum", "none", "mean_with_sample_weight"):
                loss = cls(reduction=reduction)
                result = loss(y, p, unknown(rows)).compute(scheduler="synchronous")
                np.testing.assert_allclose(result, loss(Y, P, rows), rtol=8 * EPS)
    column = keras.BinaryCrossentropy()(unknown(Y[:, 0]), unknown(P[:, :1]))
    right = keras.BinaryCrossentropy()(Y[:, 0], P[:, :1])
    np.testing.assert_allclose(column.compute(), right, rtol=8 * EPS)
    with pytest.raises(ValueError, match="`y_proba` has a length that is not known"):
        sklearn.log_loss([0, 1], p[:, :2])


def test_keras_dtype():
    loss = keras.BinaryCrossentropy(dtype="float32")
    assert loss(Y, P).dtype == np.float32
    policy = SimpleNamespace(compute_dtype="float64")
    loss = keras.BinaryCrossentropy(dtype=policy)
    assert loss(Y, P.astype("float32")).dtype == np.float64
    assert loss.get_config()["dtype"] == "float64"


# ---- Keras: configuration, and what lies on the host ---------------------------------

CONFIGURED = [
    keras.BinaryCrossentropy(True, 0.1, 0, "sum", "mine", "float64"),
    keras.BinaryFocalCrossentropy(True, 0.5, 3.0, True, 0.1, 0, None, "f", "float16"),
]


@pytest.mark.parametrize("loss", CONFIGURED, ids=lambda loss: type(loss).__name__)
def test_keras_configuration_keeps_everything(loss):
    config = loss.get_config()
    assert config.keys() == inspect.signature(type(loss)).parameters.keys()
    defaults = inspect.signature(type(loss)).parameters
    assert all(config[name] != defaults[name].default for name in config)
    for other in (
        type(loss).from_config(config),
        pickle.loads(pickle.dumps(loss)),
        copy.deepcopy(loss),
    ):
        assert type(other) is type(loss)
        assert other.get_config() == config


KERAS = {
    "binary_crossentropy": keras.binary_crossentropy,
    "binary_focal_crossentropy": keras.binary_focal_crossentropy,
    "BinaryCrossentropy": keras.BinaryCrossentropy(),
    "BinaryFocalCrossentropy": keras.BinaryFocalCrossentropy(),
    "backend_binary_crossentropy": keras.backend_binary_crossentropy,
}
HOST = {
    "NumPy": np.asarray,
    "integers": lambda y: y.astype("int64"),
    "booleans": lambda y: y.astype(bool),
    "read-only": lambda y: np.frombuffer(y.tobytes()).reshape(y.shape),
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("kind", HOST)
@pytest.mark.parametrize("name", KERAS)
def test_keras_takes_labels_of_the_host(backend, name, kind, shapes):
    """Beside predictions of any library: the same as of labels of that library."""
    hard = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    y_true, y_pred = arrays(backend, "float32", hard, P)
    result = KERAS[name](HOST[kind](hard), y_pred)
    right = KERAS[name](y_true, y_pred)
    assert (type(result), result.dtype) == (type(right), right.dtype)
    if backend.has_values:
        np.testing.assert_array_equal(*map(backend.numpy, (result, right)))


@pytest.mark.parametrize("kind", HOST)
def test_keras_takes_weights_of_the_host(backend, kind, shapes):
    y_true, y_pred = arrays(backend, "float32", Y, P)
    weights, loss = np.array([1.0, 0.0]), keras.BinaryCrossentropy()
    result = loss(y_true, y_pred, HOST[kind](weights))
    right = loss(y_true, y_pred, *arrays(backend, "float32", weights))
    assert type(result) is type(right)
    if backend.has_values:
        np.testing.assert_array_equal(*map(backend.numpy, (result, right)))


def test_errors_of_another_kind_are_left_as_they_are():
    """They may be made of more than a message, as Python's of encodings are."""

    @in_callers_words(labels="y_true")
    def raising(error):
        raise error

    error = UnicodeDecodeError("utf-8", b"`labels`", 0, 1, "of `labels`")
    with pytest.raises(UnicodeDecodeError) as caught:
        raising(error)
    assert caught.value is error
    with pytest.raises(ValueError, match="`y_true` is wrong"):
        raising(ValueError("`labels` is wrong"))


@pytest.mark.parametrize("from_logits", [False, True])
def test_keras_takes_options_that_are_0d_arrays(backend, from_logits):
    y_true, first = arrays(backend, "float32", Y, X if from_logits else P)
    numbers = {"alpha": 0.25, "gamma": 1.5, "label_smoothing": 0.125}
    zero_d = {k: backend.array(np.array(v), "float32") for k, v in numbers.items()}
    function = partial(
        keras.binary_focal_crossentropy, y_true, first, True, from_logits=from_logits
    )
    result, right = (backend.numpy(function(**given)) for given in (zero_d, numbers))
    np.testing.assert_allclose(result, right, rtol=8 * np.finfo("float32").eps)


def test_keras_takes_predictions_of_the_host(backend):
    """Beside labels of any library, in their dtype; lists alone are NumPy's."""
    y_true, y_pred = arrays(backend, "float32", Y, P)
    right = backend.numpy(keras.binary_crossentropy(y_true, y_pred))
    for host in (P.astype("float32"), P.astype("float32").tolist()):
        result = keras.binary_crossentropy(y_true, host)
        assert type(result) is type(y_true) or isinstance(result, np.ndarray)
        np.testing.assert_allclose(backend.numpy(result), right, rtol=8 * 2.0**-23)
    of_lists = keras.BinaryCrossentropy()(Y.tolist(), P.tolist())
    assert of_lists == keras.BinaryCrossentropy()(Y, P)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.ma.masked_array(Y), TypeError, "`y_true` is a numpy.ma"),
        (Y.astype(object), TypeError, "`y_true` must be boolean"),
        (Y.astype(str).tolist(), TypeError, "`y_true` must be boolean"),
        ([[0.0], [0.0, 1.0]], ValueError, "`y_true` must have rows of one length"),
        (Y[:1].tolist(), ValueError, "`y_true` must have the shape of `y_pred`"),
    ],
)
def test_keras_refuses_other_labels_of_the_host(backend, labels, error, message):
    (y_pred,) = arrays(backend, "float32", P)
    for name in KERAS:
        with pytest.raises(error, match=message):
            KERAS[name](labels, y_pred)


# ---- scikit-learn --------------------------------------------------------------------

NAMES = ["ham", "spam", "spam", "ham"]
PROBA = np.array([0.0, 0.75, 1e-9, 1.0])


def log_loss(dtype, weights=(1, 1, 1, 1)):
    eps = mpf(2) ** {"float16": -10, "bfloat16": -7, "float32": -23}.get(dtype, -52)
    probs = [min(max(mpf(float(p)), eps), 1 - eps) for p in rounded(PROBA, dtype)]
    terms = zip(weights, probs, NAMES, strict=True)
    return mp.fsum(-w * mp.log(p if name == "spam" else 1 - p) for w, p, name in terms)


@pytest.mark.parametrize("columns", [0, 1, 2])
@pytest.mark.parametrize(
    "y_true", [NAMES, np.array(NAMES), np.array([-1, 7, 7, -1])], ids=str
)
def test_sklearn_log_loss(backend, dtype, y_true, columns):
    proba = rounded(PROBA, dtype)
    if columns:
        proba = np.stack([1 - proba, proba][2 - columns :], axis=-1)
    proba = backend.array(proba, dtype)
    if are_refused(backend, SKLEARN_NEEDS, partial(sklearn.log_loss, y_true), proba):
        return
    with mp.workprec(200):
        result = backend.call(partial(sklearn.log_loss, y_true), proba)
        matches_sklearn(backend, dtype, result, log_loss(dtype) / 4)
        weights = [1.0, 0.5, 0.0, 2.0]
        call = partial(sklearn.log_loss, y_true, sample_weight=weights)
        total = log_loss(dtype, weights)
        matches_sklearn(backend, dtype, backend.call(call, proba), total / 3.5)
        result = backend.call(partial(call, normalize=False), proba)
        matches_sklearn(backend, dtype, result, total)


def matches_sklearn(backend, dtype, result, exact):
    """A float for NumPy; else an array, on the device."""
    assert isinstance(result, float) == (backend.library == "numpy")
    if not isinstance(result, float):
        result = float(backend.numpy(result))
    wide = dtype if dtype == "float64" else "float32"
    assert ulps(result, exact, wide) <= 16


def test_sklearn_labels_and_weights_beside_the_probabilities(backend):
    labels = backend.array(np.array([0.0, 1.0, 1.0]), "float32")
    if backend.name.startswith(("strict", "jax-jit")):
        labels = np.array([0.0, 1.0, 1.0])  # it refuses to be looked at
    proba = backend.array(np.array([0.25, 0.5, 0.75]), "float32")
    weights = backend.array(np.array([1.0, 2.0, 3.0]), "float32")
    loss = partial(sklearn.log_loss, labels, sample_weight=weights)
    if are_refused(backend, SKLEARN_NEEDS, loss, proba):
        return
    result = backend.call(partial(sklearn.log_loss, labels), proba,
                          sample_weight=weights)  # fmt: skip
    expected = -(np.log(0.75) + 2 * np.log(0.5) + 3 * np.log(0.75)) / 6
    result = result if isinstance(result, float) else backend.numpy(result)
    np.testing.assert_allclose(result, expected, rtol=8 * np.finfo("float32").eps)


def test_sklearn_out_of_range_is_nan_where_looking_would_wait(backend):
    proba = backend.array(np.array([0.5, 1.5]), "float32")
    if backend.library == "numpy":
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            sklearn.log_loss([0, 1], proba)
        return
    if are_refused(backend, SKLEARN_NEEDS, partial(sklearn.log_loss, [0, 1]), proba):
        return
    result = backend.call(partial(sklearn.log_loss, [0, 1]), proba)
    assert np.isnan(backend.numpy(result))


def test_sklearn_weight_is_a_number():
    loss = partial(sklearn.log_loss, [0, 1], np.array([0.25, 0.5]), normalize=False)
    for weight in (2.0, np.float64(2.0), np.int64(2)):
        assert loss(sample_weight=weight) == 2 * loss()


def test_sklearn_lists_and_labels():
    rows = [[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]]
    names = ["spam", "ham", "ham", "spam"]
    approx = partial(pytest.approx, rel=8 * EPS)
    expected = approx(-np.mean(np.log([0.9, 0.9, 0.8, 0.65])))
    assert sklearn.log_loss(names, rows) == expected
    half = sklearn.log_loss([1, 1], [0.5, 1], labels=[0, 1])
    assert half == approx(np.log(2) / 2)
    with pytest.warns(UserWarning, match="sorted order"):
        assert sklearn.log_loss([1], [0.5], labels=[1, 0]) == approx(np.log(2))


@pytest.mark.parametrize(
    ("y_true", "y_proba", "options", "error", "match"),
    [
        (["a", "a"], [0.1, 0.2], {}, ValueError, "only one label \\(a\\)"),
        (["a"], [0.1], {"labels": ["a"]}, ValueError, "labels contains only one"),
        (["a", "c"], [0.1, 0.2], {"labels": ["a", "b"]}, ValueError, r"values \['c'\]"),
        (
            [0, 1, 1],
            [0.1, 0.2],
            {},
            ValueError,
            r"`y_true` must have shape \(2,\); got \(3,\)",
        ),
        ([0], np.ones((2, 2)) / 2, {"labels": [0, 1]}, ValueError, r"got \(1,\)"),
        ([0, 1], [0.1, 0.2], {"sample_weight": [1.0]}, ValueError, r"got \(1,\)"),
        (
            [0, 1],
            [0.1, 0.2],
            {"sample_weight": np.ones((2, 1))},
            ValueError,
            r"`sample_weight` must have shape \(2,\); got \(2, 1\)",
        ),
        ([0, 1], np.ones((2, 0)), {}, ValueError, "number of classes: 2 vs 0"),
        ([0, 1], np.array([0.1, 1.2]), {}, ValueError, "got 1 outside, the first 1.2"),
        (
            [0, 1],
            [0.1, 0.2],
            {"labels": [[0, 1]]},
            ValueError,
            "`labels` must",
        ),
        ([0, 1], [0.1, 0.2], {"sample_weight": [0, 0]}, ValueError, "0 throughout"),
        ([0, 1, 2], [0.1, 0.2, 0.3], {}, ValueError, "number of classes: 3 vs 2"),
        ([0, 1], np.ones((2, 3)) / 3, {}, ValueError, "number of classes: 2 vs 3"),
        ([0.3, 0.7], [0.1, 0.2], {}, ValueError, "soft labels"),
        ([[0, 1], [1, 0]], [0.1, 0.2], {}, NotImplementedError, r"shape \(2, 2\)"),
        ([0, 1], [0.1, 1.2], {}, ValueError, r"`y_proba` must be in \[0, 1\]"),
        ([0, 1], [0.1, np.nan], {}, ValueError, "and not NaN"),
        ([0, 1], np.ones((2, 1, 1)), {}, ValueError, "1 or 2 axes"),
        (
            [0, 1],
            np.array([0, 1j]),
            {},
            TypeError,
            "`y_proba` must be boolean, integer",
        ),
        ([0, 1], ["0.1", "0.2"], {}, TypeError, "`y_proba` must be .* got <U3"),
        (
            [0, 1],
            [[0.1], [0.2, 0.8]],
            {},
            ValueError,
            "`y_proba`.* one length",
        ),
        ([0, 1], [0.1, 0.2], {"sample_weight": ["1", "2"]}, TypeError, "_weight`.*<U1"),
    ],
)
def test_sklearn_refusals(y_true, y_proba, options, error, match):
    with pytest.raises(error, match=match):
        sklearn.log_loss(y_true, y_proba, **options)


# ---- every spelling keeps shape, dtype and device, unseen ----------------------------

SHAPED = {
    "tensorflow": (
        lambda a, b: tensorflow.weighted_cross_entropy_with_logits(b, a, 2), (2, 3)
    ),
    "torch": (partial(torch.binary_cross_entropy, reduction="none"), (2, 3)),
    "torch logits": (torch.binary_cross_entropy_with_logits, ()),
    "torchvision": (torch.sigmoid_focal_loss, (2, 3)),
    "optax": (optax.sigmoid_binary_cross_entropy, (2, 3)),
    "optax focal": (optax.sigmoid_focal_loss, (2, 3)),
    "keras": (lambda a, b: keras.BinaryCrossentropy()(b, a), ()),
    "keras focal": (lambda a, b: keras.BinaryFocalCrossentropy()(b, a), ()),
    "keras function": (lambda a, b: keras.binary_focal_crossentropy(b, a), (2,)),
    "sklearn": (lambda a, _: sklearn.log_loss([0, 1], a[:, 0]), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPED)
def test_shape_dtype_and_device(backend, dtype, name, shapes):
    loss, shape = SHAPED[name]
    first, labels = arrays(backend, dtype, P, Y)
    if name == "sklearn" and are_refused(backend, SKLEARN_NEEDS, loss, first, labels):
        return
    result = backend.call(loss, first, labels)
    if isinstance(result, float):
        return
    assert tuple(result.shape) == shape
    reduced = name.startswith("keras") or shape == ()
    narrow = dtype in ("float16", "bfloat16")
    expected = "float32" if narrow and reduced else dtype
    assert dtype_of(result) == expected
    if backend.library in ("strict", "torch"):
        assert result.device == first.device


# ---- PyTorch -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [
        (None, True, "mean"),
        (None, False, "none"),
        (True, None, "mean"),
        (True, False, "none"),
        (False, None, "sum"),
        (False, True, "sum"),
        (False, False, "none"),
    ],
)
@pytest.mark.parametrize(
    "loss", [torch.binary_cross_entropy, torch.binary_cross_entropy_with_logits]
)
def test_torch_old_reductions(loss, size_average, reduce, reduction):
    with pytest.warns(UserWarning, match=f"use reduction='{reduction}'") as caught:
        result = loss(P, Y, None, size_average, reduce, "unread")
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(result, loss(P, Y, reduction=reduction))


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
@pytest.mark.parametrize("shape", [(2,), (3, 1), (4, 2, 3), (1, 2, 3), (2, 2)], ids=str)
def test_torch_weights_enlarge_nothing(name, shape):
    with pytest.raises(RuntimeError, match=f"`{name}` of shape .* does not broadcast"):
        torch.binary_cross_entropy_with_logits(X, Y, **{name: np.ones(shape)})


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"target": Y[:, :1]}, ValueError, r"\(2, 1\)\) must be the same as .*\(2, 3"),
        ({"target": 1.0}, TypeError, "`target` must be an array"),
        ({"target": [1.0]}, TypeError, "`target` is a list"),
        ({"input": [1.0]}, TypeError, "`input` is a list"),
        ({"weight": 2.0}, TypeError, "`weight` must be an array"),
        ({"reduction": "avg"}, ValueError, "avg is not a valid value for reduction"),
        ({"reduction": "weighted_mean"}, ValueError, "is not a valid value"),
        ({"reduction": None}, ValueError, "None is not a valid value"),
    ],
)
@pytest.mark.parametrize(
    "loss", [torch.binary_cross_entropy, torch.binary_cross_entropy_with_logits]
)
def test_torch_refusals(loss, options, error, match):
    with pytest.raises(error, match=match):
        loss(**{"input": P, "target": Y} | options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"alpha": -0.5}, ValueError, "`alpha` must be from 0 to 1"),
        ({"gamma": -1.0}, ValueError, "`gamma` must be at least 0"),
        ({"reduction": "avg"}, ValueError, "avg is not a valid value"),
        ({"targets": Y[:, :1]}, ValueError, "must be the same as input size"),
    ],
)
def test_torchvision_refusals(options, error, match):
    with pytest.raises(error, match=match):
        torch.sigmoid_focal_loss(**{"inputs": X, "targets": Y} | options)


def test_torch_module_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "xploss.compat.torch._module", raising=False)
    with pytest.raises(ImportError, match=r"pip install torch"):
        _ = torch.BCEWithLogitsLoss
    with pytest.raises(AttributeError, match="no attribute 'BCELoss'"):
        _ = torch.BCELoss


@pytest.mark.library("torch")
def test_torch_module():
    import torch as pytorch

    x, y = pytorch.tensor(X), pytorch.tensor(Y)
    buffers = {"weight": pytorch.tensor(W), "pos_weight": pytorch.tensor(W[0])}
    ours = torch.BCEWithLogitsLoss(**buffers)
    theirs = pytorch.nn.BCEWithLogitsLoss(**buffers)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == [*buffers]
    expected = torch.binary_cross_entropy_with_logits(x, y, **buffers)
    assert ours(x, y) == expected
    blank = torch.BCEWithLogitsLoss(
        weight=pytorch.zeros(2, 3), pos_weight=pytorch.zeros(3)
    ).double()
    blank.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert blank(x, y) == expected == pickle.loads(pickle.dumps(ours))(x, y)
    assert list(torch.BCEWithLogitsLoss().state_dict()) == []
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert torch.BCEWithLogitsLoss(reduce=False)(x, y).shape == (2, 3)


@pytest.mark.library("torch")
def test_torch_gradients_of_what_is_cut_off():
    """That of the loss that is returned: 0 beyond the limit, right up to it."""
    import torch as pytorch

    double = {"dtype": pytorch.float64}
    p = pytorch.tensor([0.0, 0.0, 1.0, 1.0, 1e-50, 0.25], requires_grad=True, **double)
    y = pytorch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0], **double)
    torch.binary_cross_entropy(p, y, reduction="sum").backward()
    assert p.grad.tolist() == [1.0, 0.0, 0.0, -1.0, 0.0, -4.0]


# Dynamo makes an instance of every autograd.Function that it traces; that warns:
# https://github.com/pytorch/pytorch/blob/v2.13.0/torch/autograd/function.py#L548
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.library("torch")
@pytest.mark.parametrize("name", sorted(SHAPED.keys() - {"sklearn"}))
def test_spellings_compile_in_full(name):
    import torch as pytorch

    loss, _ = SHAPED[name]
    p, y = pytorch.tensor(P), pytorch.tensor(Y)
    compiled = pytorch.compile(loss, fullgraph=True, backend="eager")
    pytorch.testing.assert_close(compiled(p, y), loss(p, y), rtol=8 * EPS, atol=0)


# ---- other refusals ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tensorflow.weighted_cross_entropy_with_logits(Y[:, :1], X, 2.0),
         ValueError, r"must have the same shape, received \(\(2, 3\) vs \(2, 1\)\)"),
        (lambda: tensorflow.weighted_cross_entropy_with_logits(Y, X, np.ones((2, 2))),
         ValueError, "`pos_weight` must be a number, have one value a class"),
        (lambda: tensorflow.weighted_cross_entropy_with_logits(Y, X, None),
         TypeError, "`pos_weight` must be an array"),
        (lambda: optax.sigmoid_binary_cross_entropy(np.zeros((4, 1)), np.zeros(4)),
         ValueError, r"\(4, 1\), or be a number; got shape \(4,\)"),
        (lambda: optax.sigmoid_binary_cross_entropy(np.zeros(4, int), np.zeros(4)),
         TypeError, "`logits` must be float16"),
        (lambda: optax.sigmoid_focal_loss(X, Y, 0.25),
         TypeError, "takes 2 positional arguments"),
        (lambda: keras.BinaryCrossentropy(reduction="average"),
         ValueError, "Invalid value for argument `reduction`"),
        (lambda: keras.BinaryCrossentropy(dtype="float8"),
         ValueError, "`dtype` must be one of .* got 'float8'"),
        (lambda: keras.BinaryCrossentropy()(Y[:, :1], P),
         ValueError, r"`y_true` must have the shape"),
        (lambda: keras.BinaryCrossentropy()(Y, P, np.ones(3)),
         ValueError, r"`sample_weight` must .* of shape \(2,\); got shape \(3,\)"),
        (lambda: keras.BinaryCrossentropy()(Y, P, np.ones((2, 2))),
         ValueError, r"`sample_weight` must .* got shape \(2, 2\)"),
        (lambda: keras.BinaryCrossentropy()(Y[0], P[0], np.ones(3)),
         ValueError, r"which are of shape \(\); got shape \(3,\)"),
        (lambda: keras.BinaryCrossentropy()(Y, P, ["1", "1"]),
         TypeError, "`sample_weight` must be boolean, integer"),
        (lambda: keras.BinaryCrossentropy()(Y, 0.5),
         TypeError, "`y_pred` must be an array"),
        (lambda: keras.binary_focal_crossentropy(Y, P, gamma=-1),
         ValueError, "`gamma` must be at least 0"),
        (lambda: keras.binary_focal_crossentropy(Y, P, gamma="2"),
         TypeError, "`gamma` must be a number or an array.*str, '2'"),
        (lambda: keras.binary_focal_crossentropy(Y, P, True, 2.0),
         ValueError, "`alpha` must be from 0 to 1"),
        (lambda: keras.binary_focal_crossentropy(Y, P, label_smoothing=2),
         ValueError, "`label_smoothing` must be from 0 to 1"),
    ],
)  # fmt: skip
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
