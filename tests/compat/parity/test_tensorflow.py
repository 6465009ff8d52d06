"""TensorFlow's losses and ours by its names, on the same tensors."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from parity.harness import (
    Call,
    Deviation,
    Function,
    Peer,
    array,
    call,
    calls,
    check,
    floats,
    logit_elements,
    probabilities,
    probability_elements,
    raise_alike,
)
from parity.page import check_page
from parity.row_deviations import common

from xploss.compat import keras as our_keras
from xploss.compat import tensorflow as ours

DTYPES = ["float16", "float32", "float64"]


def run_of(function):
    """`function` of labels first, and the gradient of the sum of what it returns."""

    def run(made: Call):
        y, x = (tf.constant(a, made.dtype) for a in (made.y, made.x))
        options = dict(made.options)
        if "pos_weight" in options:
            options["pos_weight"] = tf.constant(options["pos_weight"], made.dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(y, x, **options)
        gradient = tape.gradient(value, x)
        assert value.dtype == gradient.dtype == x.dtype
        return {
            "value": value.numpy().astype(np.float64),
            "gradient": gradient.numpy().astype(np.float64),
        }

    return run


def exact_of_logits(made):
    return logit_elements(made.x, made.y, made.options.get("pos_weight", 1.0))


def exact_of_probabilities(made):
    return probability_elements(made.x, made.y, 1e-7)


PLAIN = "sigmoid_cross_entropy_with_logits"
WEIGHTED = "weighted_cross_entropy_with_logits"
KERAS = "backend_binary_crossentropy"
DEVIATIONS = [
    Deviation(
        "infinite logit",
        "0 * inf, or inf - inf",
        ("value",),
        (PLAIN, WEIGHTED),
        lambda made: np.isinf(made.x),
        call(PLAIN, "float32", np.inf, 1.0),
    ),
    Deviation(
        "cancelled loss",
        "positive logits and a label near 1: x - x * y",
        ("value",),
        (PLAIN,),
        lambda made: (made.x > 0) & (made.y > 0),
        call(PLAIN, "float32", 100.0, 1 - 2.0**-24),
    ),
    Deviation(
        "lost loss, weighted",
        "negative logits: (1 - y) * x cancels (1 + (pos_weight - 1) * y) * -x",
        ("value", "gradient"),
        (WEIGHTED,),
        lambda made: made.x < 0,
        call(WEIGHTED, "float32", -40.0, 0.0, pos_weight=np.array(1.0)),
    ),
    Deviation(
        "small weight",
        "a pos_weight below 1, which is rounded in 1 + (pos_weight - 1) * y",
        ("value", "gradient"),
        (WEIGHTED,),
        lambda made: made.options["pos_weight"] < 1,
        call(WEIGHTED, "float32", 1.0, 1.0, pos_weight=np.array(0.001)),
    ),
    Deviation(
        "gradient at 0, weighted",
        "at logits of 0: those of abs(x) and relu(-x) are taken for 0",
        ("gradient",),
        (WEIGHTED,),
        lambda made: made.x == 0,
        call(WEIGHTED, "float64", 0.0, 1.0, pos_weight=np.array(5.0)),
    ),
    Deviation(
        "1e-7 in the log",
        "everywhere: log(p + 1e-7) and log(1 - p + 1e-7), of a clipped p",
        ("value", "gradient"),
        (KERAS,),
        lambda made: True,
        call(KERAS, "float64", 0.5, 1.0),
    ),
]

PEER = Peer(
    "TensorFlow",
    tf.__version__,
    {
        PLAIN: Function(
            run_of(tf.nn.sigmoid_cross_entropy_with_logits),
            run_of(ours.sigmoid_cross_entropy_with_logits),
            exact_of_logits,
        ),
        WEIGHTED: Function(
            run_of(tf.nn.weighted_cross_entropy_with_logits),
            run_of(ours.weighted_cross_entropy_with_logits),
            exact_of_logits,
        ),
        KERAS: Function(
            run_of(tf.keras.backend.binary_crossentropy),
            run_of(our_keras.backend_binary_crossentropy),
            exact_of_probabilities,
        ),
    },
    DEVIATIONS,
)


def weighted_options(draw, dtype, shape):
    onto = draw(st.sampled_from([(), shape[-1:], shape]))
    kinds = [st.sampled_from([0.0, 0.5, 1.0]), floats(dtype, 0.125, 8)]
    return {"pos_weight": array(draw, dtype, onto, kinds)}


@given(made=calls(PLAIN, DTYPES))
def test_logits(made):
    check(PEER, made)


@given(made=calls(WEIGHTED, DTYPES, options=weighted_options))
def test_weighted(made):
    check(PEER, made)


@given(made=calls(KERAS, DTYPES, probabilities))
def test_keras_of_probabilities(made):
    check(PEER, made)


FOUR = np.zeros(4)
BAD = {
    "shapes": lambda f, *options: f(FOUR, np.zeros((4, 1)), *options),
    "an unknown name": lambda f, *options: f(FOUR, FOUR, *options, reduction="mean"),
}


@pytest.mark.parametrize(("name", "options"), [(PLAIN, ()), (WEIGHTED, (2.0,))])
@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_errors(name, options, bad):
    raise_alike(
        lambda: bad(getattr(tf.nn, name), *options),
        lambda: bad(getattr(ours, name), *options),
    )


def test_missing_argument():
    raise_alike(
        tf.nn.sigmoid_cross_entropy_with_logits, ours.sigmoid_cross_entropy_with_logits
    )


# ---- many classes: moderate logits in float64, where TensorFlow is right to a few eps

X = np.random.default_rng(1).normal(size=(2, 4, 3))
MASSES = np.random.default_rng(2).dirichlet(np.ones(3), (2, 4))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_cross_entropy_with_logits(axis):
    x, y = (np.moveaxis(a, -1, axis) for a in (X, MASSES))
    theirs = tf.nn.softmax_cross_entropy_with_logits(y, x, axis)
    made = ours.softmax_cross_entropy_with_logits(y, x, axis)
    assert made.dtype == theirs.dtype.as_numpy_dtype
    np.testing.assert_allclose(made, theirs.numpy(), rtol=64 * 2.0**-52)


def test_sparse_softmax_cross_entropy_with_logits():
    for x, y in ((X, MASSES.argmax(-1)), (X[0, 0], np.array(1))):
        theirs = tf.nn.sparse_softmax_cross_entropy_with_logits(y, x)
        made = ours.sparse_softmax_cross_entropy_with_logits(y, x)
        np.testing.assert_allclose(made, theirs.numpy(), rtol=64 * 2.0**-52)


def test_what_it_loses_of_many_classes():
    x = np.array([[50.0, 0.0]])
    assert tf.nn.sparse_softmax_cross_entropy_with_logits([0], x).numpy() == 0
    loss = ours.sparse_softmax_cross_entropy_with_logits(np.array([0]), x)
    assert abs(loss[0] / np.exp(-50.0) - 1) <= 8 * 2.0**-52


@pytest.mark.parametrize("labels", [np.zeros((2, 3), int), np.zeros(3, int)])
def test_other_rows_are_refused(labels):
    x = np.zeros((2, 3))
    kinds = (ValueError, tf.errors.InvalidArgumentError)
    for module in (tf.nn, ours):
        with pytest.raises(kinds):
            module.sparse_softmax_cross_entropy_with_logits(labels, x)


def of_row(name):
    """Theirs and ours."""

    def run(module):
        return lambda x, y: np.asarray(getattr(module, name)(labels=y, logits=x))[0]

    return name, run(tf.nn), run(ours)


ROW_DEVIATIONS = common(
    of_row("sparse_softmax_cross_entropy_with_logits"),
    of_row("softmax_cross_entropy_with_logits"),
    None,
)


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"), ROW_DEVIATIONS)
