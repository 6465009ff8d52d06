"""Sizes and ranks that a graph does not know, and tensors that are none of ours."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import xploss

pytestmark = pytest.mark.library("tensorflow")

X = np.array([[-3.0, 0.5, 20.0], [0.0, -0.25, 2.0]])
Y = np.array([[0.0, 1.0, 1.0], [1.0, 0.25, 0.0]])
NUMBERS = np.array([2, 0])
entropy = xploss.sigmoid_cross_entropy
graphs = pytest.mark.parametrize("how", [{}, {"jit_compile": True}], ids=["", "XLA"])


def traced(function, *shapes, **how):
    specs = [tf.TensorSpec(shape, tf.float64) for shape in shapes]
    return tf.function(function, specs, **how)


def tensors(*arrays):
    return [tf.constant(a, tf.float64) for a in arrays]


# ---- sizes -------------------------------------------------------------------------


@graphs
def test_one_trace_is_of_any_size(how):
    traces = []

    def mean(x, y):
        traces.append(x.shape)
        return entropy(x, y)

    run = traced(mean, [None, 3], [None, 3], **how)
    for times in (1, 2, 5):
        x, y = np.tile(X, (times, 1)), np.tile(Y, (times, 1))
        np.testing.assert_array_max_ulp(run(*tensors(x, y)).numpy(), entropy(x, y), 8)
    assert len(traces) == 1
    assert np.isnan(run(*tensors(X[:0], Y[:0])))


WRONG = {
    "labels": (entropy, X, Y[:1]),
    "labels, one": (entropy, X[:1], Y),
    "weights": (lambda x, w: entropy(x, 1.0, weights=w), X, Y[:1]),
    "pos_weight": (lambda x, w: entropy(x, 1.0, pos_weight=w), X, Y[:1]),
    "masses": (xploss.softmax_cross_entropy, X, Y[:1]),
    "vector": (
        lambda x, v: xploss.hessian_product(entropy)(x, 1.0, v),
        X,
        Y[:1],
    ),
    "one axis": (entropy, X[0], Y[0, :1]),
}


@graphs
@pytest.mark.parametrize("case", WRONG)
def test_sizes_that_differ_are_refused_when_they_are_known(case, how):
    """None is spread in silence, nor does one spread the logits."""
    function, x, other = WRONG[case]
    run = traced(function, [None] * x.ndim, [None] * x.ndim, **how)
    run(*tensors(x, np.ones(x.shape)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="_of_other_sizes"):
        run(*tensors(x, other))


@graphs
def test_a_size_of_1_that_is_known_is_spread(how):
    def weighted(x, w):
        return entropy(x, 1.0, weights=w, reduction="sum")

    run = traced(weighted, [None, 3], [None, 1], **how)
    w = np.array([[2.0], [0.5]])
    right = entropy(X, 1.0, weights=w, reduction="sum")
    np.testing.assert_array_max_ulp(run(*tensors(X, w)).numpy(), right, 8)


@graphs
def test_as_many_classes_as_there_are(how):
    def losses(x, y):
        options = {"label_smoothing": 0.125, "reduction": "none"}
        return xploss.softmax_cross_entropy(x, tf.cast(y, tf.int32), **options)

    run = traced(losses, [None, None], [None], **how)
    for x in (X, X[:, :1], np.tile(X, (1, 40))):
        y = np.minimum(NUMBERS, x.shape[1] - 1)
        right = xploss.softmax_cross_entropy(
            x, y, label_smoothing=0.125, reduction="none"
        )
        np.testing.assert_allclose(run(*tensors(x, y)), right, rtol=2.0**-48)


# ---- what is refused ---------------------------------------------------------------


def test_a_rank_that_is_not_known():
    for place, name in enumerate(("logits", "labels")):
        shapes = [[2, 3], [2, 3]]
        shapes[place] = None
        with pytest.raises(TypeError, match=f"`{name}` is .*its rank is not known"):
            traced(entropy, *shapes).get_concrete_function()


REFUSED = {
    "sparse": (tf.sparse.from_dense(X), TypeError, r"`tf.sparse.to_dense\(...\)` of"),
    "ragged": (
        tf.ragged.constant([[1.0, 2.0], [3.0]]),
        TypeError,
        r"rows differ in length; pass `.to_tensor\(\)`",
    ),
    "strings": (tf.constant([["a"] * 3] * 2), TypeError, "got <dtype: 'string'>"),
    "complex": (tf.constant(X + 0j), TypeError, "got <dtype: 'complex128'>"),
    "NumPy": (Y, TypeError, "one of numpy"),
    "list": (X.tolist(), TypeError, "pass an array"),
    "shape": (tf.constant(Y[:, :1]), ValueError, r"got shape \(2, 1\)"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_refused(case, run):
    labels, error, message = REFUSED[case]
    call = run(lambda: entropy(tf.constant(X), labels))
    with pytest.raises(error, match=f"(?s)`labels` .*{message}"):
        call()


def test_labels_are_not_looked_at_in_a_graph():
    with pytest.raises(TypeError):
        tf.function(xploss.check_labels)(tf.constant(Y))
    with pytest.raises(
        ValueError, match=r"`labels` must be in \[0, 1\]; got 1 outside"
    ):
        xploss.check_labels(tf.constant([0, 2, 1]))


# ---- variables, devices ------------------------------------------------------------


def test_a_variable_is_what_it_holds():
    x, y = tf.Variable(X), tf.Variable(Y)
    expected = entropy(X, Y)
    np.testing.assert_array_equal(entropy(x, y), expected)
    x.assign(-X)
    np.testing.assert_array_equal(entropy(x, y), entropy(-X, Y))
    run = tf.function(partial(entropy, x))
    np.testing.assert_array_max_ulp(run(y).numpy(), entropy(-X, Y), 4)


def test_results_do_not_share_memory_with_the_inputs():
    x, y = tensors(X, Y)
    losses = entropy(x, y, reduction="none")
    assert not np.shares_memory(np.asarray(losses), np.asarray(x))
    assert losses.device == x.device
