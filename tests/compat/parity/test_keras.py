"""Keras' losses and ours by its names, on the backend that KERAS_BACKEND names."""

import contextlib
import copy
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from parity.harness import (
    Call,
    Deviation,
    Exact,
    Function,
    Peer,
    array,
    call,
    calls,
    check,
    each,
    floats,
    focal_elements,
    logit_elements,
    logits,
    moderate_logits,
    probabilities,
    probability_elements,
    reduced,
)
from parity.page import check_page
from parity.row_deviations import common
from reference import from_logit, masses, ulps

from xploss.compat import keras as ours

BACKEND = keras.backend.backend()
LIBRARY = {
    "jax": "JAX", "torch": "PyTorch", "tensorflow": "TensorFlow", "numpy": "NumPy"
}  # fmt: skip
DTYPES = ["float16", "bfloat16", "float32", "float64"]
if BACKEND == "numpy":
    DTYPES.remove("bfloat16")


pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:(keras|numpy)")
    for kind in ("RuntimeWarning", "DeprecationWarning")
]


@contextlib.contextmanager
def float64():
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def tensor(values, dtype):
    return keras.ops.convert_to_tensor(values, dtype)


def numpy(values):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(values, "float64")))


def value_and_gradient(loss, x):
    """On NumPy Keras has no gradients."""
    if BACKEND == "jax":
        import jax

        value, backward = jax.vjp(loss, x)
        return {"value": value, "gradient": backward(keras.ops.ones_like(value))[0]}
    if BACKEND == "torch":
        import torch

        value = loss(x.requires_grad_())
        return {"value": value, "gradient": torch.autograd.grad(value.sum(), x)[0]}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        return {"value": value, "gradient": tape.gradient(value, x)}
    return {"value": loss(x)}


def by_function(module):
    def run(made: Call):
        function = getattr(module, made.function)
        with float64():
            x, y = (tensor(a, made.dtype) for a in (made.x, made.y))
            if made.function == "binary_focal_crossentropy":
                return {"value": numpy(function(y, x, **made.options))}
            results = value_and_gradient(lambda x: function(y, x, **made.options), x)
            return {name: numpy(result) for name, result in results.items()}

    return run


def by_class(module):
    def run(made: Call):
        options = dict(made.options)
        with float64():
            weight = options.pop("sample_weight", None)
            if weight is not None:
                weight = tensor(weight, made.dtype)
            x, y = (tensor(a, made.dtype) for a in (made.x, made.y))
            loss = getattr(module, made.function)(**options)
            return {"value": numpy(loss(y, x, weight))}

    return run


# ---- what is exact -------------------------------------------------------------------


def clip_bounds(dtype):
    """1e-7 and 1 - 1e-7 as the dtype that is computed in has them."""
    wide = "float64" if dtype == "float64" else "float32"
    return [float(np.array(bound, wide)) for bound in (1e-7, 1 - 1e-7)]


def focal_of_probabilities(made, smoothing, gamma, alpha):
    """Keras clips the probability in the loss, and not in (1 - p_t)**gamma."""
    loss = probability_elements(made.x, made.y, 1e-7, smoothing)

    def factor(p, y):
        pos, neg = masses(y, 1.0, smoothing)
        balance = 1 if alpha is None else alpha * pos + (1 - mpf(alpha)) * neg
        left = pos * (1 - mpf(p)) + neg * mpf(p)
        return balance * left**gamma

    with mp.workprec(200):
        value = loss["value"].numbers * each(factor, made.x, made.y)
        return Exact(value, value * (1 + mpf(gamma)))  # which amplifies an error


def elements(made):
    options = made.options
    smoothing = options.get("label_smoothing", 0.0)
    if "focal" not in made.function.lower():
        if options.get("from_logits"):
            return logit_elements(made.x, made.y, 1.0, smoothing)
        return probability_elements(made.x, made.y, 1e-7, smoothing)
    balanced, gamma = options.get("apply_class_balancing"), options.get("gamma", 2.0)
    alpha = options.get("alpha", 0.25) if balanced else None
    if options.get("from_logits"):
        focal = focal_elements(made.x, made.y, gamma, alpha, smoothing)
        return {"value": focal["value"]}
    return {"value": focal_of_probabilities(made, smoothing, gamma, alpha)}


def mean(exact, axis):
    with mp.workprec(200):
        n = exact.numbers.shape[axis]
        return Exact(*(np.array(part.sum(axis) / n, object) for part in exact))


def exact_of_function(made):
    results = elements(made)
    axis = made.options.get("axis", -1)
    n = made.x.shape[axis]
    exact = {"value": mean(results["value"], axis)}
    if "gradient" in results and BACKEND != "numpy":
        with mp.workprec(200):
            exact["gradient"] = Exact(*(part / n for part in results["gradient"]))
    return exact


REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "weighted_mean",
    "sum": "sum",
    "none": "none",
    None: "none",
}


def exact_of_class(made):
    losses = mean(elements(made)["value"], made.options.get("axis", -1))
    if losses.numbers.shape == ():
        return {"value": losses}
    weights = made.options.get("sample_weight", 1.0)
    reduction = made.options.get("reduction", "sum_over_batch_size")
    return reduced({"value": losses}, weights, REDUCTIONS[reduction])


# ---- the calls -----------------------------------------------------------------------

FUNCTIONS = ["binary_crossentropy", "binary_focal_crossentropy"]
CLASSES = ["BinaryCrossentropy", "BinaryFocalCrossentropy"]
NARROW = ("float16", "bfloat16")


def of_logits(made):
    return "from_logits" in made.options


OF_CLASSES = Deviation(
    "float64",
    "what a class is given is float32",
    ("value",),
    (*CLASSES,),
    lambda made: made.dtype == "float64",
    call(CLASSES[0], "float64", [[0.3]], [[1.0]]),
)
OF_ALL = Deviation(
    "float64",
    "the mean over `axis`, and what a class is given, are float32",
    ("value", "gradient"),
    (*FUNCTIONS, *CLASSES),
    lambda made: made.dtype == "float64",
    call(FUNCTIONS[0], "float64", 0.3, 1.0),
)
FOCAL_OF_CLIPPED = Deviation(
    "focal of logits",
    "focal loss of logits: they are made probabilities, and those are clipped",
    ("value",),
    (FUNCTIONS[1], CLASSES[1]),
    of_logits,
    call(FUNCTIONS[1], "float32", 40.0, 0.0, from_logits=True),
)
# It looks up what the sigmoid was taken of.
FOCAL_BY_SIGMOID = Deviation(
    "focal of logits",
    "focal loss of logits: 1 - p_t is taken of a rounded sigmoid",
    ("value",),
    (FUNCTIONS[1], CLASSES[1]),
    of_logits,
    call(FUNCTIONS[1], "float32", -20.0, 0.0, from_logits=True),
)
EVERYWHERE = [
    OF_CLASSES if BACKEND == "tensorflow" else OF_ALL,
    Deviation(
        "clip in 16 bits",
        "16-bit probabilities: 1e-7 and 1 - 1e-7 are rounded, as is 1 - p",
        ("value", "gradient"),
        (*FUNCTIONS, *CLASSES),
        lambda made: made.dtype in NARROW and not of_logits(made),
        call(FUNCTIONS[0], "float16", 0.0, 1.0),
    ),
    Deviation(
        "clip at 1",
        "float32 probabilities above 1 - 1e-7: it is rounded, to 1 - 1.2e-7",
        ("value",),
        (FUNCTIONS[0], CLASSES[0]),
        lambda made: (not of_logits(made)) & (made.x > 1 - 1e-7),
        call(FUNCTIONS[0], "float32", 1.0, 0.0),
    ),
    Deviation(
        "smoothed label",
        "smoothing: 1 - y is taken of the smoothed label, which is rounded",
        ("value", "gradient"),
        (*FUNCTIONS, *CLASSES),
        lambda made: made.options.get("label_smoothing", 0.0) > 0,
        call(
            FUNCTIONS[0], "float32", 40.0, 1.0, from_logits=True, label_smoothing=1e-6
        ),
    ),
    FOCAL_BY_SIGMOID if BACKEND == "tensorflow" else FOCAL_OF_CLIPPED,
    Deviation(
        "focal factor",
        "focal loss of probabilities: 1 - p_t is taken of a rounded p_t",
        ("value",),
        (FUNCTIONS[1], CLASSES[1]),
        lambda made: not of_logits(made),
        call(FUNCTIONS[1], "float32", 1e-4, 0.0),
    ),
    Deviation(
        "weights of sum 0",
        "a mean by weights that are all 0: 0, where it has no value",
        ("value",),
        (*CLASSES,),
        lambda made: not np.any(made.options.get("sample_weight", 1.0)),
        call(
            CLASSES[0],
            "float32",
            [[0.3]],
            [[1.0]],
            reduction="mean_with_sample_weight",
            sample_weight=np.array([0.0]),
        ),
    ),
]
INFINITE_LOGIT = Deviation(
    "infinite logit",
    "0 * inf, or inf - inf",
    ("value",),
    (FUNCTIONS[0], CLASSES[0]),
    lambda made: of_logits(made) & np.isinf(made.x),
    call(FUNCTIONS[0], "float32", np.inf, 1.0, from_logits=True),
)
ROUNDED_1_MINUS_P = Deviation(
    "rounded 1 - p",
    "probabilities below 0.5: log(1 - p)",
    ("value",),
    (FUNCTIONS[0], CLASSES[0]),
    lambda made: (not of_logits(made)) & (made.x < 0.5),
    call(FUNCTIONS[0], "float32", 1e-4, 0.0),
)
BY_BACKEND = {
    "jax": [
        INFINITE_LOGIT,
        ROUNDED_1_MINUS_P,
        Deviation(
            "gradient in the tails",
            "logits from 4 on: sigmoid(x) comes from exp(x - softplus(x))",
            ("gradient",),
            (FUNCTIONS[0],),
            lambda made: of_logits(made) & (np.abs(made.x) >= 4),
            call(FUNCTIONS[0], "float32", 11.0, 0.1, from_logits=True),
        ),
        Deviation(
            "gradient at the clip",
            "probabilities of 1e-7 and 1 - 1e-7 themselves: half the gradient",
            ("gradient",),
            (FUNCTIONS[0],),
            lambda made: np.isin(made.x, clip_bounds(made.dtype)),
            call(FUNCTIONS[0], "float32", 1e-7, 0.0),
        ),
    ],
    "torch": [
        INFINITE_LOGIT,
        Deviation(
            "lost loss",
            "negative logits: (1 - y) * x cancels log_sigmoid(x)",
            ("value",),
            (FUNCTIONS[0], CLASSES[0]),
            lambda made: of_logits(made) & (made.x < 0),
            call(FUNCTIONS[0], "float32", -40.0, 0.0, from_logits=True),
        ),
        Deviation(
            "lost gradient",
            "positive logits: y is subtracted from sigmoid(x)",
            ("gradient",),
            (FUNCTIONS[0],),
            lambda made: of_logits(made) & (made.x > 0),
            call(FUNCTIONS[0], "float32", 40.0, 1.0, from_logits=True),
        ),
    ],
    "tensorflow": [
        INFINITE_LOGIT,
        ROUNDED_1_MINUS_P,
        Deviation(
            "cancelled loss",
            "positive logits and a label near 1: x - x * y",
            ("value",),
            (FUNCTIONS[0], CLASSES[0]),
            lambda made: of_logits(made) & (made.x > 0) & (made.y > 0),
            call(FUNCTIONS[0], "float32", 100.0, 1 - 2.0**-24, from_logits=True),
        ),
        Deviation(
            "gradient at the clip",
            "probabilities of 1e-7 and 1 - 1e-7 themselves: as of what is not clipped",
            ("gradient",),
            (FUNCTIONS[0],),
            lambda made: np.isin(made.x, clip_bounds(made.dtype)),
            call(FUNCTIONS[0], "float64", 1 - 1e-7, 0.0),
        ),
        Deviation(
            "cancelled gradient",
            "positive logits and a label near 1: g - g * y, of g = 1/n that is rounded",
            ("gradient",),
            (FUNCTIONS[0],),
            lambda made: of_logits(made) & (made.x > 0) & (made.y > 0),
            call(
                FUNCTIONS[0],
                "float32",
                [[7.5, 7.5, 7.5]],
                [[0.999, 0.999, 0.999]],
                from_logits=True,
            ),
        ),
    ],
    "numpy": [
        ROUNDED_1_MINUS_P,
        Deviation(
            "clipped logits",
            "logits: they are made probabilities, and those are clipped",
            ("value",),
            (FUNCTIONS[0], CLASSES[0]),
            of_logits,
            call(FUNCTIONS[0], "float32", 40.0, 0.0, from_logits=True),
        ),
    ],
}
DEVIATIONS = EVERYWHERE + BY_BACKEND[BACKEND]

PEER = Peer(
    f"Keras on {LIBRARY[BACKEND]}",
    keras.__version__,
    {
        **{
            name: Function(
                by_function(keras.losses), by_function(ours), exact_of_function
            )
            for name in FUNCTIONS
        },
        **{
            name: Function(by_class(keras.losses), by_class(ours), exact_of_class)
            for name in CLASSES
        },
    },
    DEVIATIONS,
)


def drawn_options(from_logits, focal, of_class):
    def drawn(draw, dtype, shape):
        options = {"from_logits": True} if from_logits else {}
        optional = {
            "label_smoothing": st.sampled_from([0.0, 1e-6, 0.1, 1.0]),
            "axis": st.integers(-len(shape), len(shape) - 1),
        }
        if focal:
            optional["gamma"] = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])
            optional["apply_class_balancing"] = st.booleans()
            optional["alpha"] = st.sampled_from([0.25, 0.75])
        if of_class:
            optional["reduction"] = st.sampled_from(list(REDUCTIONS))
            optional["dtype"] = st.just(dtype)
        options |= draw(st.fixed_dictionaries({}, optional=optional))
        if of_class and len(shape) > 1 and draw(st.booleans()):
            axis = options.get("axis", -1) % len(shape)
            onto = shape[:axis] + shape[axis + 1 :]
            onto = draw(st.sampled_from([onto, (onto[0],) + (1,) * len(onto[1:])]))
            kinds = [st.sampled_from([0.0, 0.5, 1.0]), floats(dtype, 0.125, 8)]
            options["sample_weight"] = array(draw, dtype, onto, kinds)
        return options

    return drawn


def of(function, from_logits):
    focal = "focal" in function.lower()
    kinds = probabilities
    if from_logits:
        kinds = moderate_logits if focal else logits
    options = drawn_options(from_logits, focal, of_class=function in CLASSES)
    return calls(function, DTYPES, kinds, options=options)


# JAX takes a tenth of a second to differentiate what it has not compiled.
some = settings(
    max_examples=settings.default.max_examples // (3 if BACKEND == "jax" else 2)
)


@some
@given(made=of("binary_crossentropy", False) | of("binary_crossentropy", True))
def test_function(made):
    check(PEER, made)


@some
@given(made=of(FUNCTIONS[1], False) | of(FUNCTIONS[1], True))
def test_focal_function(made):
    check(PEER, made)


@some
@given(made=of("BinaryCrossentropy", False) | of("BinaryCrossentropy", True))
def test_class(made):
    check(PEER, made)


@some
@given(made=of(CLASSES[1], False) | of(CLASSES[1], True))
def test_focal_class(made):
    check(PEER, made)


# ---- shapes, errors, training --------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("shapes", [((6,), (6, 1)), ((6, 1), (6,)), ((6, 1), (6, 1))])
def test_trailing_axis(name, shapes):
    """Of size 1, and of one of labels and predictions alone; 1 - p is exact."""
    x, y = np.linspace(0.5, 0.9, 6), np.array([0, 1, 1, 0, 1, 0])
    losses = []
    for module in (keras.losses, ours):
        loss = getattr(module, name)(reduction="none")
        with float64():
            labels, probs = tensor(y, "float32"), tensor(x, "float32")
            shaped = map(keras.ops.reshape, (labels, probs), shapes)
            result = loss(*shaped)
            losses.append(numpy(result))
    np.testing.assert_allclose(*losses, rtol=4 * np.finfo("float32").eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_that_differ(name):
    y, x = tensor(np.ones((4, 2)), "float32"), tensor(np.ones((4, 3)), "float32")
    for module in (keras.losses, ours):
        with pytest.raises((ValueError, RuntimeError, TypeError)):
            getattr(module, name)(y, x)


@pytest.mark.parametrize("name", CLASSES)
def test_unknown_reduction(name):
    for module in (keras.losses, ours):
        with pytest.raises(ValueError, match="reduction"):
            getattr(module, name)(reduction="average")


@pytest.mark.parametrize("name", CLASSES)
def test_config_goes_there_and_back(name):
    theirs, our = (
        getattr(module, name)(
            from_logits=True, label_smoothing=0.1, axis=0, reduction="sum", name="bce"
        )
        for module in (keras.losses, ours)
    )
    config = our.get_config()
    config["name"] = config["name"].removeprefix("xploss>")  # for "bce" is Keras' own
    assert theirs.get_config().items() <= config.items()
    again = type(our).from_config(our.get_config())
    assert again.get_config() == our.get_config()


def trained(loss, weights):
    """Weights of a linear model after some epochs."""
    x = np.linspace(-1, 1, 64, dtype="float32").reshape(32, 2)
    y = (x.sum(axis=1, keepdims=True) > 0.25).astype("float32")
    model = keras.Sequential(
        [keras.layers.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
    history = model.fit(
        x, y, sample_weight=weights, epochs=5, batch_size=8, shuffle=False, verbose=0
    )
    return history.history["loss"], np.concatenate(
        [w.ravel() for w in model.get_weights()]
    )


@pytest.mark.skipif(BACKEND == "numpy", reason="Keras does not train on NumPy")
def test_compile_and_fit():
    """Ordinary logits, where theirs is right: the same losses, the same model."""
    weights = np.linspace(0, 2, 32, dtype="float32")
    options = {"from_logits": True}
    losses, model = trained(ours.BinaryCrossentropy(**options), weights)
    expected = trained(keras.losses.BinaryCrossentropy(**options), weights)
    unweighted, _ = trained(ours.BinaryCrossentropy(**options), None)
    # 5 epochs of 4 batches, each of whose steps may be off by 4 ulp.
    tolerance = 20 * 4 * np.finfo("float32").eps
    np.testing.assert_allclose(losses, expected[0], rtol=tolerance)
    np.testing.assert_allclose(model, expected[1], rtol=tolerance)
    assert abs(unweighted[-1] - losses[-1]) > 0.01


# ---- a step that is not jitted, with what lies on the host ---------------------------

host = keras.ops.convert_to_numpy
TRAINS = pytest.mark.skipif(BACKEND == "numpy", reason="Keras does not train on NumPy")
OURS = pytest.mark.parametrize("name", CLASSES)
ROWS = np.linspace(-1, 1, 64, dtype="float32").reshape(32, 2)
TARGETS = {
    "float32": (ROWS.sum(axis=1, keepdims=True) > 0.25).astype("float32"),
    "int64": (ROWS.sum(axis=1, keepdims=True) > 0.25).astype("int64"),
    "bool": ROWS.sum(axis=1, keepdims=True) > 0.25,
}
SAMPLES = np.linspace(0, 2, 32)  # of float64, as NumPy makes them
STEPS = {
    "eager": {"run_eagerly": True},
    "not jitted": {"jit_compile": False},
    **({"jitted": {"jit_compile": True}} if BACKEND in ("jax", "tensorflow") else {}),
}


def compiled(loss, **how):
    keras.utils.set_random_seed(0)
    head = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Sequential([keras.layers.Input((2,)), head])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss, **how)
    return model


def every_call(model, y):
    """The losses that each way of asking for them gives, one after the other."""
    fit = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    weights = {"sample_weight": SAMPLES}
    by_class = {"class_weight": {0: 1.0, 1: 3.0}}
    if BACKEND != "numpy":
        for given in ({}, weights, by_class):
            yield from model.fit(ROWS, y, **fit, **given).history["loss"]
            yield model.train_on_batch(ROWS, y, **given)
    y_pred = model(ROWS)
    for given in ({}, weights):
        yield model.evaluate(ROWS, y, verbose=0, **given)
        yield model.test_on_batch(ROWS, y, **given)
        yield host(model.compute_loss(ROWS, y, y_pred, **given))
        yield host(model.loss(y, y_pred, *given.values()))
    yield host(model.loss(keras.Variable(TARGETS["float32"]), y_pred))
    yield host(model.loss(y, keras.ops.convert_to_numpy(y_pred), SAMPLES.tolist()))


@OURS
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("step", STEPS)
def test_every_step(name, step, kind):
    """The losses of Keras' own class, where that is right."""
    losses = [
        np.array(list(map(float, every_call(model, TARGETS[kind]))))
        for module in (keras.losses, ours)
        for model in [compiled(getattr(module, name)(from_logits=True), **STEPS[step])]
    ]
    # Some fifty steps, each of which may be off by 4 ulp.
    np.testing.assert_allclose(*losses, rtol=200 * np.finfo("float32").eps)


@TRAINS
@OURS
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy):
    """Predictions of 16 bits: within what those hold, the losses of Keras' own."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        losses = [
            compiled(loss(from_logits=True)).fit(
                ROWS, TARGETS["float32"], sample_weight=SAMPLES, epochs=2, verbose=0
            ).history["loss"]
            for loss in (getattr(keras.losses, name), getattr(ours, name))
        ]  # fmt: skip
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_allclose(*losses, rtol=2.0**-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_what_keras_takes(name):
    y, p = [[0, 1], [1, 1]], [[0.25, 0.75], [0.5, 0.875]]
    theirs, our = getattr(keras.losses, name), getattr(ours, name)
    of_keras = tensor(p, "float32")
    right = host(theirs(y, of_keras))
    for labels in (y, np.array(y), np.array(y, bool), tensor(y, "int32"),
                   keras.Variable(np.array(y, "float32"))):  # fmt: skip
        for probs in (of_keras, np.array(p, "float32"), keras.Variable(of_keras)):
            result = host(our(labels, probs))
            np.testing.assert_allclose(result, right, rtol=2.0**-20)


REDUCED = ("sum_over_batch_size", "mean_with_sample_weight", "sum", "none", None)


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("weights", [None, [[0.5, 1.5, 2.5]]])
def test_masks(weights, reduction):
    """What a layer masked counts in no mean; where its logit is NaN too."""
    x, y = np.array([[[-2.0], [np.nan], [1.0]]]), np.array([[[1.0], [0.0], [0.0]]])
    y_pred = tensor(x, "float32")
    mask = tensor(np.array([[True, False, True]]), "bool")
    keras.src.backend.common.masking.set_keras_mask(y_pred, mask)
    loss = ours.BinaryCrossentropy(from_logits=True, reduction=reduction)
    result = host(loss(y, y_pred, weights))
    w = [0.5, 2.5] if weights else [1.0, 1.0]
    parts = [mpf(w[0]) * from_logit(-2.0, 1.0).value,
             mpf(w[1]) * from_logit(1.0, 0.0).value]  # fmt: skip
    divisor = {"sum": 1, "mean_with_sample_weight": sum(w)}.get(reduction, 2)
    exact = [mp.fsum(parts) / divisor]
    if reduction in (None, "none"):
        exact = [parts[0], mpf(0), parts[1]]
    for one, number in zip(np.ravel(result), exact, strict=True):
        assert ulps(one, number, "float32") <= 8


# ---- saved and loaded --------------------------------------------------------------


@pytest.fixture(params=CLASSES)
def made(request):
    cls = getattr(ours, request.param)
    return cls(from_logits=True, label_smoothing=0.125, name="mine")


def same(one, other):
    assert type(one) is type(other)
    assert isinstance(one, keras.losses.Loss)
    assert one.get_config() == other.get_config()
    y, x = np.array([[1.0]]), np.array([[-40.0]])
    assert one(y, x) == other(y, x)


def test_a_loss_of_keras(made):
    assert isinstance(made, keras.losses.Loss)
    assert isinstance(type(made), type)
    assert keras.losses.get(made) is made


def test_serialized(made):
    same(keras.losses.deserialize(keras.losses.serialize(made)), made)
    same(pickle.loads(pickle.dumps(made)), made)
    same(copy.deepcopy(made), made)
    same(type(made).from_config(made.get_config()), made)


@pytest.mark.parametrize("name", CLASSES)
def test_serialized_by_default(name):
    """One logit of -40, label 1, by the focal loss: 40, and not 16.1 of Keras' own."""
    loss = getattr(ours, name)(from_logits=True)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    same(again, loss)
    assert again.name == loss.name
    value = float(again(np.ones((1, 1)), np.full((1, 1), -40.0)))
    assert abs(value - 40.0) <= 4 * np.spacing(40.0)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_saved(made, suffix, tmp_path):
    model = compiled(made)
    model.evaluate(ROWS, TARGETS["float32"], verbose=0)
    model.save(tmp_path / f"model.{suffix}")
    loaded = keras.saving.load_model(tmp_path / f"model.{suffix}", safe_mode=True)
    same(loaded.loss, made)
    data = ROWS, TARGETS["float32"]
    right = model.evaluate(*data, verbose=0)
    assert loaded.evaluate(*data, verbose=0) == right


def test_cloned_and_pickled(made):
    model = compiled(made)
    same(keras.models.clone_model(model).loss, made)
    same(pickle.loads(pickle.dumps(model)).loss, made)
    same(copy.deepcopy(model).loss, made)


@TRAINS
def test_a_subclass_may_have_losses_of_its_own():
    """By `call`, as one of Keras'; Keras weighs and reduces them."""

    class Squared(ours.BinaryCrossentropy):
        def call(self, y_true, y_pred):
            return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)

    losses = [
        list(map(float, every_call(compiled(loss), TARGETS["float32"])))
        for loss in (keras.losses.MeanSquaredError(), Squared())
    ]
    np.testing.assert_allclose(*losses, rtol=200 * np.finfo("float32").eps)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_axes_are_saved(suffix, tmp_path):
    loss = ours.BinaryCrossentropy(axis=(-1,), from_logits=True)
    compiled(loss).save(tmp_path / f"model.{suffix}")
    same(keras.saving.load_model(tmp_path / f"model.{suffix}").loss, loss)


@OURS
def test_whole_predictions(name):
    y, x = np.array([[1.0, 0.0]]), np.array([[1, -2]])
    theirs, our = (getattr(m, name)(from_logits=True) for m in (keras.losses, ours))
    np.testing.assert_allclose(host(our(y, x)), host(theirs(y, x)), rtol=2.0**-20)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_saved(name, suffix, tmp_path):
    function = getattr(ours, name)
    model = compiled(function)
    model.save(tmp_path / f"model.{suffix}")
    assert keras.saving.load_model(tmp_path / f"model.{suffix}").loss is function
    assert keras.models.clone_model(model).loss is function
    assert keras.losses.deserialize(keras.losses.serialize(function)) is function


@keras.saving.register_keras_serializable("tests")
class Scaled(ours.BinaryCrossentropy):
    """A user's, with an argument of its own and state."""

    def __init__(self, scale=1.0, **options):
        super().__init__(**options)
        self.scale = scale
        self.seen = []

    def __call__(self, y_true, y_pred, sample_weight=None):
        self.seen.append(len(self.seen))
        return self.scale * super().__call__(y_true, y_pred, sample_weight)

    def get_config(self):
        return super().get_config() | {"scale": self.scale}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_registered_subclass(suffix, tmp_path):
    loss = Scaled(2.5, from_logits=True)
    model = compiled(loss)
    model.save(tmp_path / f"model.{suffix}")
    same(keras.saving.load_model(tmp_path / f"model.{suffix}").loss, loss)
    same(keras.models.clone_model(model).loss, loss)
    copies = copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))
    for copied in copies:
        assert copied.seen == loss.seen
        assert copied.seen is not loss.seen
    for copied in copies:
        same(copied, loss)


IMPORTS = (
    "import keras, xploss.compat.keras",
    "import xploss.compat.keras",
    "from xploss.compat.keras import BinaryFocalCrossentropy",
)
LOADED = """
import keras, sys
assert not any("xploss" in type(finder).__module__ for finder in sys.meta_path)
for path in sys.argv[1:]:
    try:
        loss = keras.saving.load_model(path).loss
    except Exception:
        print("refused")
    else:
        print(type(loss).__module__, type(loss).__name__)
"""


def saved_models(folder):
    """With our loss, by both formats, under both kinds of name."""
    for suffix in ("keras", "h5"):
        for name in ("bce", None):
            loss = ours.BinaryFocalCrossentropy(from_logits=True, name=name)
            assert loss.name == (name or "binary_focal_crossentropy")
            path = folder / f"{name}.{suffix}"
            compiled(loss).save(path)
            yield str(path)


def loading(imports, paths):
    """What a new process finds in models that it loads, a line each."""
    run = [sys.executable, "-W", "ignore", "-c", imports + LOADED, *paths]
    done = subprocess.run(run, capture_output=True, text=True)
    return done.stdout.splitlines() or [done.stderr]


@pytest.mark.parametrize("imports", ["", *IMPORTS], ids=["none", *IMPORTS])
def test_loaded_by_another_process(imports, tmp_path):
    """Ours once it is imported; before that nothing, rather than Keras' own."""
    kind = type(ours.BinaryFocalCrossentropy(from_logits=True))
    expected = f"{kind.__module__} {kind.__name__}" if imports else "refused"
    assert loading(imports, list(saved_models(tmp_path))) == [expected] * 4


ORDERS = """
from xploss.compat.keras import BinaryCrossentropy
import copy, pickle
import numpy as np
early, saved = BinaryCrossentropy(from_logits=True), None
class Early(BinaryCrossentropy):
    pass
saved = pickle.dumps(early)
import keras
late = BinaryCrossentropy(from_logits=True)
assert isinstance(late, keras.losses.Loss) and isinstance(late, BinaryCrossentropy)
assert not isinstance(early, keras.losses.Loss)
assert isinstance(pickle.loads(saved), keras.losses.Loss)
import xploss.compat.keras
class Late(xploss.compat.keras.BinaryCrossentropy):
    pass
assert isinstance(Late(), keras.losses.Loss)
one = np.ones((1, 1))
xploss.compat.keras.binary_crossentropy(one, one)
assert keras.losses.serialize(xploss.compat.keras.binary_crossentropy)["config"] == (
    "xploss>binary_crossentropy"
)
assert late(one, one) == early(one, one) == Late(from_logits=True)(one, one)
try:
    Early()
except TypeError as error:
    print(error)
"""


def test_ours_imported_before_keras():
    """It becomes Keras' as soon as that is there; what cannot, is refused."""
    run = [sys.executable, "-W", "ignore", "-c", ORDERS]
    done = subprocess.run(run, capture_output=True, text=True)
    assert "`Early` was derived before Keras was imported" in done.stdout, done.stderr


# ---- many classes: moderate numbers, where Keras is right to a few ulp of float32 ----

CLASS_ROWS = np.random.default_rng(1).normal(size=(2, 4, 3)).astype("float32")
ROW_PROBS = np.random.default_rng(2).dirichlet(np.ones(3), (2, 4)).astype("float32")
ROW_MASSES = np.random.default_rng(3).dirichlet(np.ones(3), (2, 4)).astype("float32")


def rows_alike(name, y, x, **options):
    theirs = getattr(keras.losses, name)(y, keras.ops.convert_to_tensor(x), **options)
    theirs = keras.ops.convert_to_numpy(theirs)
    made = getattr(ours, name)(y, x, **options)
    assert made.dtype == theirs.dtype
    assert made.shape == theirs.shape
    np.testing.assert_allclose(made, theirs, rtol=64 * EPS32, atol=4 * EPS32)


EPS32 = float(np.finfo("float32").eps)
BOTH_INPUTS = pytest.mark.parametrize(
    ("x", "from_logits"),
    # Keras on TensorFlow clips numbers above 1 before it divides them by their sum.
    [(CLASS_ROWS, True), (ROW_PROBS / 2, False)],
    ids=["logits", "p"],
)


@BOTH_INPUTS
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_categorical(x, from_logits, smoothing):
    options = {"from_logits": from_logits, "label_smoothing": smoothing}
    rows_alike("categorical_crossentropy", ROW_MASSES, x, **options)


@BOTH_INPUTS
def test_categorical_along_another_axis(x, from_logits):
    y, x = (np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (ROW_MASSES, x))
    options = {"from_logits": from_logits, "axis": 1}
    rows_alike("categorical_crossentropy", y, x, **options)


@BOTH_INPUTS
@pytest.mark.parametrize("ignored", [None, 1])
def test_sparse_categorical(x, from_logits, ignored):
    numbers = ROW_MASSES.argmax(-1)
    options = {"from_logits": from_logits, "ignore_class": ignored}
    for y in (numbers, numbers[..., None], numbers.astype("float32")):
        rows_alike("sparse_categorical_crossentropy", y, x, **options)


@BOTH_INPUTS
@pytest.mark.parametrize("alpha", [0.25, [0.5, 0.25, 0.125]], ids=["one", "each"])
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_categorical_focal(x, from_logits, alpha, smoothing):
    options = {"from_logits": from_logits, "label_smoothing": smoothing, "gamma": 1.5}
    name = "categorical_focal_crossentropy"
    rows_alike(name, ROW_MASSES, x, alpha=alpha, **options)


ROW_CLASSES = {
    "masses": ("CategoricalCrossentropy", {"label_smoothing": 0.125}, ROW_MASSES),
    "numbers": ("SparseCategoricalCrossentropy", {}, ROW_MASSES.argmax(-1)),
    "numbers, ignored": (
        "SparseCategoricalCrossentropy",
        {"ignore_class": 1},
        ROW_MASSES.argmax(-1),
    ),
    "focal": ("CategoricalFocalCrossentropy", {"alpha": [0.5, 0.25, 1.0]}, ROW_MASSES),
}


@BOTH_INPUTS
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ROW_CLASSES)
def test_classes_of_rows(x, from_logits, kind, weighted, reduction):
    name, options, y = ROW_CLASSES[kind]
    options = options | {"from_logits": from_logits, "reduction": reduction}
    weights = np.linspace(0.5, 2.0, 8).reshape(2, 4).astype("float32")
    weights = weights if weighted else None
    theirs = getattr(keras.losses, name)(**options)
    made = getattr(ours, name)(**options)
    assert isinstance(made, keras.losses.Loss)
    assert made.get_config().keys() >= theirs.get_config().keys()
    tensor = keras.ops.convert_to_tensor(x)
    results = [
        np.asarray(keras.ops.convert_to_numpy(loss(y, tensor, weights)))
        for loss in (theirs, made)
    ]
    assert results[0].shape == results[1].shape
    np.testing.assert_allclose(results[1], results[0], rtol=64 * EPS32, atol=4 * EPS32)


@pytest.mark.skipif(BACKEND == "numpy", reason="Keras does not train on NumPy")
@pytest.mark.parametrize("kind", ["masses", "numbers", "focal"])
def test_a_model_of_many_classes_is_trained_saved_and_loaded(kind, tmp_path):
    name, _, y = ROW_CLASSES[kind]
    x, y = CLASS_ROWS.reshape(8, 3), y.reshape(8, -1).squeeze()
    histories = []
    for losses in (keras.losses, ours):
        keras.utils.set_random_seed(0)
        head = keras.layers.Dense(3, kernel_initializer="zeros")
        model = keras.Sequential([keras.layers.Input((3,)), head])
        loss = getattr(losses, name)(from_logits=True)
        model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
        weights = np.linspace(0.5, 2.0, 8)
        fit = model.fit(x, y, sample_weight=weights, epochs=3, verbose=0, shuffle=False)
        histories.append(fit.history["loss"])
    np.testing.assert_allclose(*histories, rtol=64 * EPS32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").loss
    assert type(loaded) is type(loss)
    assert loaded.get_config() == loss.get_config()


def test_what_it_loses_of_many_classes():
    x, y = np.array([[30.0, 0.0]], "float32"), np.array([[1.0, 0.0]], "float32")
    theirs = keras.losses.categorical_crossentropy(y, x, from_logits=True)
    assert keras.ops.convert_to_numpy(theirs)[0] == 0
    loss = ours.categorical_crossentropy(y, x, from_logits=True)[0]
    assert abs(float(loss) / np.exp(-30.0) - 1) <= 4 * EPS32


def test_labels_of_another_shape_are_refused():
    for losses in (keras.losses, ours):
        with pytest.raises(ValueError, match=r"same (shape|rank)"):
            losses.categorical_crossentropy(np.zeros(2), np.zeros((2, 3), "float32"))


def of_row(name):
    """Theirs and ours."""

    def run(losses, given):
        function = getattr(losses, name)

        def first(x, y):
            loss = function(y, given(x), from_logits=True)
            return keras.ops.convert_to_numpy(loss).reshape(-1)[0]

        return first

    theirs = run(keras.losses, keras.ops.convert_to_tensor)
    return name, theirs, run(ours, lambda x: x)


ROW_DEVIATIONS = [
    *common(
        of_row("sparse_categorical_crossentropy"),
        of_row("categorical_crossentropy"),
        None,
    ),
]


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"), ROW_DEVIATIONS)
