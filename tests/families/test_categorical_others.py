"""The focal loss of many classes, and the loss of their probabilities."""

from functools import partial

import numpy as np
import pytest
from categorical_reference import (
    row_focal,
    row_focal_hessian,
    row_of_probabilities,
)
from class_rows import rows
from reference import ulps
from test_categorical import NUMBERS, WRONG, ZEROS

import xploss

FOCAL = xploss.softmax_focal_loss
OF_PROBABILITIES = xploss.categorical_cross_entropy
INF, NAN = float("inf"), float("nan")


def derivatives(backend, loss, x, y):
    per_row = xploss.value_and_grad(partial(loss, reduction="none"))
    return [backend.numpy(a) for a in backend.call(per_row, x, y)]


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("soft", [True, False], ids=["masses", "numbers"])
def test_focal(backend, dtype, gamma, soft):
    """As near as gamma * log(1 - p) lets: its rounding is the power's error."""
    x, y = rows(3, dtype, 30, soft)
    labels = backend.array(y, dtype if soft else "int32")
    loss = partial(FOCAL, gamma=gamma, label_smoothing=0.125 if soft else 0.0)
    results = derivatives(backend, loss, backend.array(x, dtype), labels)
    narrow = dtype in ("float16", "bfloat16")
    for k, (logits, label) in enumerate(zip(x, y, strict=True)):
        label = label.tolist() if soft else int(label)
        exact = row_focal(logits.tolist(), label, gamma, 0.125 if soft else 0.0)
        # log(1 - p) is at most the distance of the largest two, and their powers
        # underflow after that.
        gap = np.sort(logits)[-1] - np.sort(logits)[-2]
        bound = 1.0 if narrow else 8.0 * (1.0 + gamma * (1.0 + gap))
        lost = 1e3 * max(backend.flushes, gamma > 2)
        assert ulps(float(results[0][k]), exact.value, dtype, lost=lost) <= bound
        for j in range(3):
            away = ulps(
                float(results[1][k, j]), exact.gradient[j], dtype, exact.term[j], lost
            )
            assert away <= bound, f"slope {j} of {logits}, {label}"


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("soft", [True, False], ids=["masses", "numbers"])
def test_focal_hessian(backend, dtype, gamma, soft):
    """Its diagonal, to digits of its larger terms, which may differ in sign."""
    x, y = rows(3, dtype, 20, soft)
    labels = backend.array(y, dtype if soft else "int32")
    smoothing = 0.125 if soft else 0.0
    of_loss = xploss.grad_and_hess(
        partial(FOCAL, gamma=gamma, label_smoothing=smoothing)
    )
    _, hessian = backend.call(of_loss, backend.array(x, dtype), labels)
    hessian, narrow = backend.numpy(hessian), dtype in ("float16", "bfloat16")
    for k, (logits, label) in enumerate(zip(x, y, strict=True)):
        label = label.tolist() if soft else int(label)
        exact, sizes = row_focal_hessian(logits.tolist(), label, gamma, smoothing)
        gap = np.sort(logits)[-1] - np.sort(logits)[-2]
        bound = 1.0 if narrow else 12.0 * (1.0 + gamma * (1.0 + gap))
        lost = 1e3 * max(backend.flushes, gamma > 2)
        for j in range(3):
            away = ulps(float(hessian[k, j]), exact[j], dtype, sizes[j], lost)
            assert away <= bound, f"curvature {j} of {logits}, {label}: {away}"


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_at_infinities(backend, dtype, gamma):
    x = np.array([[INF, 0.0, 1.0], [0.0, INF, 1.0], [-INF, 0.0, 0.0], [0.0, NAN, 1.0]])
    labels = backend.array(np.array([0, 0, 1, 0]), "int32")
    loss = partial(FOCAL, gamma=gamma)
    value, gradient = derivatives(backend, loss, backend.array(x, dtype), labels)
    np.testing.assert_array_equal(value[[0, 1, 3]], [0, INF, NAN])
    middle = row_focal([-INF, 0.0, 0.0], 1, gamma).value
    assert ulps(float(value[2]), middle, dtype) <= 8
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_array_equal(gradient[1], [-1, 1, 0])
    assert np.isfinite(gradient[2]).all()
    assert np.isnan(gradient[3]).all()


def test_focal_of_gamma_0_is_the_cross_entropy(backend, dtype):
    x, y = rows(3, dtype, 20, False)
    x, y = backend.array(x, dtype), backend.array(y, "int32")
    same = derivatives(backend, partial(FOCAL, gamma=0), x, y)
    hessians = [
        backend.numpy(backend.call(xploss.grad_and_hess(loss), x, y)[1])
        for loss in (partial(FOCAL, gamma=0), xploss.softmax_cross_entropy)
    ]
    np.testing.assert_array_equal(*hessians)
    for ours, plain in zip(
        same, derivatives(backend, xploss.softmax_cross_entropy, x, y), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


P = np.array([[0.25, 0.5, 0.25], [0.0, 1.0, 0.0], [0.125, 0.0, 0.875]])
MASSES = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])


@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_probabilities(backend, dtype, smoothing):
    p, y = backend.array(P, dtype), backend.array(MASSES, dtype)
    weights = np.array([1.0, 0.5, 2.0])
    loss = partial(
        OF_PROBABILITIES,
        label_smoothing=smoothing,
        class_weights=backend.array(weights, dtype),
    )
    value, gradient = derivatives(backend, loss, p, y)
    for k in range(3):
        exact = row_of_probabilities(
            P[k].tolist(), MASSES[k].tolist(), weights.tolist(), smoothing
        )
        assert ulps(float(value[k]), exact.value, dtype) <= 4
        for j in range(3):
            assert ulps(float(gradient[k, j]), exact.gradient[j], dtype) <= 4


def test_probabilities_of_numbers_clipped(backend, dtype):
    p, y = backend.array(P, dtype), backend.array(np.array([0, 0, 2]), "int32")
    value, gradient = derivatives(backend, partial(OF_PROBABILITIES, eps=1e-3), p, y)
    for made, p in zip(value, (0.25, 1e-3, 0.875), strict=True):
        assert ulps(float(made), row_of_probabilities([p], 0).value, dtype) <= 4
    assert gradient[1, 0] == 0
    assert (gradient[2, :2] == 0).all()
    slope = row_of_probabilities([0.875], 0).gradient[0]
    assert ulps(float(gradient[2, 2]), slope, dtype) <= 1


@pytest.mark.parametrize("wrong", [-0.25, 1.25, NAN])
def test_no_probability_is_nan(backend, dtype, wrong):
    p = backend.array(np.array([[0.5, wrong, 0.25]]), dtype)
    value, gradient = derivatives(
        backend, OF_PROBABILITIES, p, backend.array(np.array([0]), "int32")
    )
    assert np.isnan(value).all()
    assert np.isnan(gradient[0, 1])


@pytest.mark.parametrize(
    ("error", "changed", "words"),
    [case for case in WRONG.values() if not {"z_loss", "logits"} & case[1].keys()],
)
@pytest.mark.parametrize("loss", [FOCAL, OF_PROBABILITIES])
def test_a_wrong_call_is_refused(loss, error, changed, words):
    labels = changed.get("labels", NUMBERS)
    options = {k: v for k, v in changed.items() if k != "labels"}
    with pytest.raises(error, match=words):
        loss(ZEROS, labels, **options)


def test_wrong_options_of_their_own_are_refused():
    for gamma, error in ((-1.0, ValueError), (None, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="`gamma`"):
            FOCAL(ZEROS, NUMBERS, gamma=gamma)
    for eps, error in ((0.6, ValueError), (-0.1, ValueError), ("0", TypeError)):
        with pytest.raises(error, match="`eps`"):
            OF_PROBABILITIES(ZEROS, NUMBERS, eps=eps)
    with pytest.raises(TypeError, match="`grad_and_hess` takes a loss of logits"):
        xploss.grad_and_hess(OF_PROBABILITIES)


@pytest.mark.library("torch")
@pytest.mark.parametrize("name", ["logits", "labels", "gamma", "label_smoothing"])
def test_torch_differentiates_the_focal_loss_by_every_argument(name):
    import torch

    draw = np.random.default_rng(4)
    given = {
        "logits": draw.normal(size=(4, 3)),
        "labels": draw.dirichlet(np.ones(3), 4),
        "gamma": np.array(1.5),
        "label_smoothing": np.array(0.125),
        "class_weights": np.array([1.0, 0.5, 2.0]),
    }
    tensors = {k: torch.tensor(v) for k, v in given.items()}
    tensors[name].requires_grad_()

    def loss(argument):
        return FOCAL(**(tensors | {name: argument}))

    assert torch.autograd.gradcheck(loss, tensors[name])
    assert torch.autograd.gradgradcheck(loss, tensors[name])
