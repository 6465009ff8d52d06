"""Keras' and TensorFlow's functions by their own names, on every library."""

import numpy as np
import pytest
import reference
from grid import rounded
from layouts import transposed
from mpmath import mp
from reference import from_logit, from_probability, ulps

from xploss import compat

LABELS = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.25, 1.0, 0.0]])
LOGITS = np.array([[-40.0, 0.0, 2.0], [-30.0, 30.0, 0.5], [-1.0, 88.0, -2.0]])
PROBS = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.25], [0.75, 0.125, 1.0]])


def clipped(dtype):
    """The probabilities that Keras goes on with, before they are rounded."""
    probs = rounded(PROBS, dtype).ravel()
    return np.array([reference.clipped(p, 1e-7) for p in probs], object)


def close(backend, result, exacts, dtype, bound):
    for number, exact in zip(backend.numpy(result).ravel(), exacts, strict=True):
        assert ulps(number, exact, dtype, lost=backend.flushes) <= bound


def pairs(first):
    return zip(first.ravel(), LABELS.ravel(), strict=True)


def mean_of_rows(exacts):
    return [sum(exacts[k : k + 3]) / 3 for k in (0, 3, 6)]


def arrays(backend, dtype, *values):
    return [backend.array(v, dtype) for v in values]


def kept(dtype):
    """Per element 16-bit results stay 16-bit; reduced, they are float32."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def test_backend_of_probabilities(backend, dtype):
    target, output = arrays(backend, dtype, LABELS, PROBS)
    result = backend.call(compat.keras.backend_binary_crossentropy, target, output)
    assert result.shape == output.shape
    assert result.dtype == output.dtype
    exacts = [from_probability(p, y).value for p, y in pairs(clipped(dtype))]
    close(backend, result, exacts, dtype, 4)


def test_backend_is_the_logit_formula_of_log_odds():
    """Keras goes back to the logit log(p / (1 - p)): exactly, it is the same loss."""
    with mp.workprec(200):
        for p, y in pairs(clipped("float64")):
            by_logit = from_logit(mp.log(p / (1 - p)), y).value
            by_probability = from_probability(p, y).value
            assert abs(by_logit - by_probability) <= mp.mpf(2) ** -180 * by_probability


@pytest.mark.parametrize("name", ["keras", "tensorflow"])
def test_per_element_of_logits(backend, dtype, name):
    labels, logits = arrays(backend, dtype, LABELS, LOGITS)
    if name == "keras":
        call, options = compat.keras.backend_binary_crossentropy, {"from_logits": True}
    else:
        call, options = compat.tensorflow.sigmoid_cross_entropy_with_logits, {}
    result = backend.call(call, labels, logits, **options)
    assert result.dtype == logits.dtype
    exacts = [from_logit(x, y).value for x, y in pairs(rounded(LOGITS, dtype))]
    close(backend, result, exacts, dtype, 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [False, True])
def test_keras_takes_the_mean_of_the_last_axis(backend, dtype, from_logits, smoothing):
    y_true, y_pred = arrays(backend, dtype, LABELS, LOGITS if from_logits else PROBS)
    result = backend.call(
        compat.keras.binary_crossentropy, y_true, y_pred,
        from_logits=from_logits, label_smoothing=smoothing,
    )  # fmt: skip
    assert result.shape == (3,)
    exact, values = (
        (from_logit, rounded(LOGITS, dtype))
        if from_logits
        else (from_probability, clipped(dtype))
    )
    exacts = [exact(v, y, smoothing=smoothing).value for v, y in pairs(values)]
    close(backend, result, mean_of_rows(exacts), kept(dtype), 8)


def test_keras_takes_another_axis(backend):
    y_true, y_pred = arrays(backend, "float32", LABELS, LOGITS)
    call = compat.keras.binary_crossentropy
    by_columns = call(y_true, y_pred, True, 0.0, 0)
    by_rows = call(*map(transposed, (y_true, y_pred)), from_logits=True)
    assert ulps_apart(backend.numpy(by_columns), backend.numpy(by_rows)) <= 2


def ulps_apart(one, other):
    return np.max(np.abs(one - other) / np.spacing(np.abs(one)))


def test_tensorflow_s_errors(backend):
    labels, logits = arrays(backend, "float32", LABELS[:, :1], LOGITS)
    call = compat.tensorflow.sigmoid_cross_entropy_with_logits
    message = (
        r"`logits` and `labels` must have the same shape, received "
        r"\(\(3, 3\) vs \(3, 1\)\)\."
    )
    with pytest.raises(ValueError, match=message):
        call(labels=labels, logits=logits)
    with pytest.raises(ValueError, match="`labels` is missing"):
        call(logits=logits)
    with pytest.raises(ValueError, match="`logits` is missing"):
        call(labels)


def test_tensorflow_refuses_lists():
    call = compat.tensorflow.sigmoid_cross_entropy_with_logits
    with pytest.raises(TypeError, match="`labels` is a list"):
        call(LABELS.tolist(), LOGITS)
    with pytest.raises(TypeError, match="`logits` is a list"):
        call(LABELS, LOGITS.tolist())


@pytest.mark.library("dask")
def test_tensorflow_of_sizes_that_dask_does_not_know():
    import dask.array as da

    labels, logits = (da.from_array(a.ravel(), chunks=4) for a in (LABELS, LOGITS))
    some = logits < 50
    call = compat.tensorflow.sigmoid_cross_entropy_with_logits
    result = call(labels[some], logits[some]).compute(scheduler="synchronous")
    kept = LOGITS < 50
    np.testing.assert_array_equal(result, call(LABELS[kept], LOGITS[kept]))


def test_tensorflow_equals_keras(backend, dtype):
    labels, logits = arrays(backend, dtype, LABELS, LOGITS)
    theirs = compat.tensorflow.sigmoid_cross_entropy_with_logits(labels, logits, "name")
    keras = compat.keras.backend_binary_crossentropy(labels, logits, from_logits=True)
    np.testing.assert_array_equal(backend.numpy(theirs), backend.numpy(keras))
