"""Sums and means of up to ten million losses within 4 ulp of the exact ones.

(51 ulp on a JAX before 0.10.2.)
"""

from functools import cache, partial

import numpy as np
import pytest
from expected import is_close, is_like
from mpmath import mp, mpf
from reference import from_logit

import xploss

cross_entropy = xploss.sigmoid_cross_entropy
MANY = 1_000_000
MOST = 10_000_000

# Each runs the same code on the same numbers as another variant.
ALIKE = ("numpy-read-only", "torch-default-float64", "jax")


def widths(backend):
    return [dtype for dtype in ("float32", "float64") if dtype in backend.dtypes]


def many(backend):
    """CuPy on the host takes a minute for ten million."""
    return MANY // 10 if backend.name == "cupy-on-host" else MANY


def most(backend):
    return many(backend) if backend.name in (*ALIKE, "cupy-on-host") else MOST


def check(backend, dtype, call, arrays, exact):
    arrays = [backend.array(array, dtype) for array in arrays]
    result = backend.call(call, *arrays)
    is_like(arrays[0], result, dtype, exact.shape)
    is_close(backend.numpy(result), exact, dtype, backend.sum_ulps)


# ---- one loss, many times ----------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_logits_of_0(backend, reduction):
    """As a layer starts that is initialised with zeros."""
    n = most(backend)
    total = partial(cross_entropy, labels=0, reduction=reduction)
    exact = np.asarray(from_logit(0.0, 0.0).value * (n if reduction == "sum" else 1))
    for dtype in widths(backend):
        check(backend, dtype, total, [np.zeros(n)], exact)


@pytest.mark.parametrize("logit", [-2.125, -0.3125, 0.6875, 1.375, 2.5625])
def test_logits_of_another_number(backend, logit):
    """As it starts with a bias: the same rounding, over and over."""
    mean = partial(cross_entropy, labels=0)
    exact = np.array(from_logit(logit, 0.0).value)
    for dtype in widths(backend):
        check(backend, dtype, mean, [np.full(many(backend), logit)], exact)


def test_logits_of_0_along_an_axis(backend):
    means = partial(cross_entropy, labels=0, axis=0)
    exact = np.full(3, from_logit(0.0, 0.0).value)
    for dtype in widths(backend):
        check(backend, dtype, means, [np.zeros((many(backend), 3))], exact)


@pytest.mark.parametrize("shape", [(MANY // 10, 1), (1, 3), (MANY // 10, 3), ()])
@pytest.mark.parametrize("axis", [None, 0])
def test_equal_weights(backend, shape, axis):
    """Spread, or added, as it drifts most easily; their mean is that of the losses."""

    def means(logits, weights):
        how = {"weights": weights, "reduction": "weighted_mean", "axis": axis}
        return cross_entropy(logits, 0, **how)

    exact = np.full(() if axis is None else 3, from_logit(0.0, 0.0).value)
    arrays = [np.zeros((MANY // 10, 3)), np.full(shape, 0.1)]
    for dtype in widths(backend):
        check(backend, dtype, means, arrays, exact)


# ---- a thousand losses, shuffled ---------------------------------------------------

LOGITS = np.random.default_rng(7).uniform(-20, 20, 1000).astype("float32")
LABELS = np.random.default_rng(8).choice([0.0, 1.0, 0.25], 1000)
WEIGHTS = np.random.default_rng(9).integers(1, 64, 1000) / 16


@cache
def exact_mean(weighted):
    weights = WEIGHTS if weighted else np.ones(1000)
    columns = (map(float, array) for array in (LOGITS, LABELS, weights))
    with mp.workprec(200):
        losses = [w * from_logit(x, y).value for x, y, w in zip(*columns, strict=True)]
        return mp.fsum(losses) / mpf(float(weights.sum()))


@cache
def shuffled(n, columns):
    """The thousand as often in every column."""
    index = np.tile(np.arange(1000, dtype="int16"), (columns, n // 1000))
    return np.random.default_rng(10).permuted(index, axis=1).T


def test_many_losses(backend):
    index = shuffled(most(backend), 1)[:, 0]
    exact = np.array(exact_mean(weighted=False))
    for dtype in widths(backend):
        arrays = LOGITS[index], LABELS[index]
        check(backend, dtype, cross_entropy, arrays, exact)


def test_many_weighted_losses_along_an_axis(backend):
    def means(logits, labels, weights):
        how = {"weights": weights, "reduction": "weighted_mean", "axis": 0}
        return cross_entropy(logits, labels, **how)

    index = shuffled(MANY // 10, 3)
    exact = np.full(3, exact_mean(weighted=True))
    arrays = LOGITS[index], LABELS[index], WEIGHTS[index]
    for dtype in widths(backend):
        check(backend, dtype, means, arrays, exact)


@pytest.mark.parametrize("axis", [None, 0])
def test_many_losses_left_out(backend, axis):
    """Every other row, and so half of N."""

    def means(logits, labels):
        return cross_entropy(logits, labels, where=logits < 100, axis=axis)

    index = shuffled(MANY // 10, 3)
    kept = np.arange(2 * len(index)) % 2 == 0
    logits = np.full((2 * len(index), 3), 300.0)
    logits[kept] = LOGITS[index]
    labels = np.repeat(LABELS[index], 2, axis=0)
    exact = np.full(() if axis is None else 3, exact_mean(weighted=False))
    for dtype in widths(backend):
        check(backend, dtype, means, [logits, labels], exact)
