"""Derivatives of losses of many classes by each framework's own means."""

from functools import partial

import numpy as np
import pytest
from mpmath import mp, mpf

import xploss

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),
    pytest.mark.filterwarnings("ignore:.*not be instantiated:DeprecationWarning"),
]

ENTROPY = xploss.softmax_cross_entropy
INF = float("inf")
EPS = 2.0**-52
# At ties, at infinities, and where the answer is sure.
POINTS = {
    "apart": [0.5, -1.0, 2.0],
    "two tied": [1.0, 1.0, -2.0],
    "three tied": [0.25, 0.25, 0.25],
    "-inf": [0.5, -INF, 0.25],
    "sure": [40.0, 0.0, -3.0],
    "wrong": [0.0, 40.0, -3.0],
}


def tensors(x):
    """(gradient, Hessian, third derivatives) of the loss of class 0, by definition.

    Cumulants of the classes: p, diag(p) - p p', and so on.
    """
    with mp.workprec(400):
        e = [mp.exp(mpf(a)) for a in x]
        p = [a / mp.fsum(e) for a in e]
        n = range(len(x))
        same = np.eye(len(x), dtype=int).tolist()
        first = [p[i] - (i == 0) for i in n]
        if p[0] > 0.5:  # whose difference from 1 cancels in float64 only
            first[0] = -mp.fsum(p[1:])
        second = [[p[i] * (same[i][j] - p[j]) for j in n] for i in n]
        third = [
            [
                [
                    p[i]
                    * (
                        same[i][j] * same[j][k]
                        - same[i][j] * p[k]
                        - same[i][k] * p[j]
                        - same[j][k] * p[j]
                        + 2 * p[j] * p[k]
                    )
                    for k in n
                ]
                for j in n
            ]
            for i in n
        ]
    return tuple(np.array(part, dtype=float) for part in (first, second, third))


def near(results, x):
    for result, exact in zip(results, tensors(x), strict=True):
        np.testing.assert_allclose(result, exact, rtol=64 * EPS, atol=2 * EPS)
        assert np.isfinite(np.asarray(result)).all()


@pytest.mark.library("jax")
@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("masses", [True, False], ids=["masses", "numbers"])
def test_jax_to_order_3(point, masses):
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        x = jnp.asarray(POINTS[point], "float64")
        y = jnp.asarray([1.0, 0.0, 0.0], "float64") if masses else jnp.asarray(0)
        loss = partial(ENTROPY, labels=y)
        second = jax.jacfwd(jax.grad(loss))
        results = jax.grad(loss)(x), second(x), jax.jit(jax.jacfwd(second))(x)
        near(results, POINTS[point])


@pytest.mark.library("torch")
@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("masses", [True, False], ids=["masses", "numbers"])
def test_torch_to_order_3(point, masses):
    import torch
    from torch.func import grad, jacfwd, jacrev

    x = torch.tensor(POINTS[point], dtype=torch.float64)
    y = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    y = y if masses else torch.tensor(0)

    def loss(x):
        return ENTROPY(x, y)

    second = jacfwd(grad(loss))
    near((grad(loss)(x), second(x), jacrev(second)(x)), POINTS[point])
    # By the tape, under the rule.
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    rows = [torch.autograd.grad(part, leaf, create_graph=True)[0] for part in first]
    third = [
        [torch.autograd.grad(part, leaf, retain_graph=True)[0] for part in row]
        for row in rows
    ]
    third = torch.stack([torch.stack(part) for part in third])
    near((first.detach(), torch.stack(rows).detach(), third), POINTS[point])


OPTIONS = {
    "class_weights": np.array([0.5, 2.0, 0.25]),
    "label_smoothing": np.array(0.125),
    "z_loss": np.array(0.0625),
    "weights": np.array([1.0, 0.5]),
}
X = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, 0.5]])
Y = np.array([[0.25, 0.5, 0.25], [0.125, 0.25, 0.625]])


STEP = 2.0**-16  # whose square is as large as EPS / STEP nearly is: both errors
FROM_DIFFERENCES = {"rtol": 8 * STEP**2, "atol": 8 * STEP**2}


def differences(name, reduction):
    """Of the loss by each number of an argument, in the middle."""
    given = {"logits": X, "labels": Y, **OPTIONS}
    step, made = STEP, np.empty(given[name].shape)
    for index in np.ndindex(made.shape):
        sides = []
        for sign in (1, -1):
            moved = given[name].copy()
            moved[index] += sign * step
            sides.append(ENTROPY(**(given | {name: moved}), reduction=reduction))
        made[index] = (sides[0] - sides[1]) / (2 * step)
    return made


@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("name", ["logits", "labels", *OPTIONS])
@pytest.mark.library("torch")
def test_torch_by_every_argument(name, reduction):
    import torch

    given = {"logits": X, "labels": Y, **OPTIONS}
    given = {k: torch.tensor(v) for k, v in given.items()}
    given[name].requires_grad_()
    ENTROPY(**given, reduction=reduction).backward()
    exact = differences(name, reduction)
    np.testing.assert_allclose(given[name].grad, exact, **FROM_DIFFERENCES)


@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("name", ["logits", "labels", *OPTIONS])
@pytest.mark.library("jax")
def test_jax_by_every_argument(name, reduction):
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        given = {"logits": X, "labels": Y, **OPTIONS}
        given = {k: jnp.asarray(v) for k, v in given.items()}

        def loss(argument):
            return ENTROPY(**(given | {name: argument}), reduction=reduction)

        exact = differences(name, reduction)
        for derivative in (jax.grad(loss), jax.jit(jax.jacfwd(loss))):
            result = derivative(given[name])
            np.testing.assert_allclose(result, exact, **FROM_DIFFERENCES)


@pytest.mark.library("torch")
def test_torch_compiled():
    """In one graph, forward and backward, with the numbers of the eager one."""
    import torch

    x, y = torch.tensor(X, requires_grad=True), torch.tensor([2, 0])
    compiled = torch.compile(lambda x, y: ENTROPY(x, y), fullgraph=True)
    (slope,) = torch.autograd.grad(compiled(x, y), x)
    (eager,) = torch.autograd.grad(ENTROPY(x, y), x)
    np.testing.assert_allclose(slope, eager, rtol=8 * EPS)
    np.testing.assert_allclose(
        compiled(x, y).detach(), ENTROPY(x, y).detach(), rtol=8 * EPS
    )


@pytest.mark.library("torch")
def test_torch_keeps_no_array_for_backward():
    """But its arguments: of what is saved nothing else has the logits' size."""
    import torch

    x = torch.tensor(np.zeros((64, 32)), requires_grad=True)
    y, kept = torch.zeros(64, dtype=torch.int64), []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ENTROPY(x, y)
    own = {x.data_ptr(), y.data_ptr()}
    assert sum(t.numel() for t in kept if t.data_ptr() not in own) <= 2 * 64
    assert kept


NAN_ROW = np.array([[0.5, -1.0, 2.0], [np.nan, INF, 0.5], [1.0, 0.0, 0.25]])


@pytest.mark.library("torch")
@pytest.mark.parametrize("weighted", [True, False])
def test_torch_is_told_nothing_of_ignored_rows(weighted):
    """0 * NaN would be NaN."""
    import torch

    x = torch.tensor(NAN_ROW, requires_grad=True)
    labels = torch.tensor([0, -1, 2])
    weights = torch.tensor([1.0, 2.0, 0.5]) if weighted else None
    ENTROPY(x, labels, ignore_index=-1, weights=weights).backward()
    assert (x.grad[1] == 0).all()
    assert torch.isfinite(x.grad).all()
    again = torch.func.grad(lambda x: ENTROPY(x, labels, ignore_index=-1))(x.detach())
    assert (again[1] == 0).all()
    assert torch.isfinite(again).all()


@pytest.mark.library("jax")
def test_jax_is_told_nothing_of_ignored_rows():
    import jax
    import jax.numpy as jnp

    labels = jnp.asarray([0, -1, 2])

    def loss(x):
        return ENTROPY(x, labels, ignore_index=-1)

    for derivative in (jax.grad(loss), jax.jacfwd(loss)):
        slopes = derivative(jnp.asarray(NAN_ROW, "float32"))
        assert (slopes[1] == 0).all()
        assert jnp.isfinite(slopes).all()
