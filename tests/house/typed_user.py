"""A user's file, for two type checkers beside the libraries: `nox -s examples`.

It is not run.  What they have to refuse is in `wrongly_typed_user.py`.
"""

from functools import partial
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import torch

import xploss
from xploss import metrics, objectives
from xploss.compat import keras, optax, sklearn, tensorflow
from xploss.compat import torch as like_torch


def numpy_loss(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    xploss.check_labels(labels, where=logits > 0)
    each: npt.NDArray[np.float64] = xploss.sigmoid_cross_entropy(
        logits, labels, pos_weight=3.0, weights=np.ones((4, 1)), reduction="none"
    )
    softplus: npt.NDArray[np.float64] = xploss.softplus(logits)
    return each + softplus


def torch_step(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    loss: torch.Tensor = xploss.sigmoid_focal_loss(
        model(x), y, gamma=1.5, alpha=0.25, axis=(0, 1)
    )
    (slope,) = torch.autograd.grad(loss, x)
    return float(
        slope.sum() + loss + like_torch.BCEWithLogitsLoss(reduction="sum")(model(x), y)
    )


def jax_gradient(logits: jax.Array, labels: jax.Array) -> jax.Array:
    loss = partial(xploss.sigmoid_cross_entropy, labels=labels, reduction="sum")
    slope: jax.Array = jax.jit(jax.grad(loss))(logits)
    each: jax.Array = optax.sigmoid_binary_cross_entropy(logits, jnp.ones(4))
    return slope + each


def closed_forms(probs: npt.NDArray[np.float32]) -> None:
    pair = xploss.value_and_grad(xploss.binary_cross_entropy)(probs, 1, eps=1e-7)
    assert_type(pair, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]])
    print(xploss.__version__.upper())


def transforms(logits: torch.Tensor, labels: torch.Tensor, gamma: torch.Tensor) -> None:
    derivatives = xploss.grad_and_hess(xploss.sigmoid_focal_loss)
    both = derivatives(logits, labels, gamma=gamma, label_smoothing=torch.tensor(0.1))
    assert_type(both, tuple[torch.Tensor, torch.Tensor])
    weighted = partial(xploss.sigmoid_cross_entropy, pos_weight=3.0)
    value, gradient = xploss.value_and_grad(weighted)(logits, 1, reduction="sum")
    print(value, gradient, xploss.sigmoid(logits).requires_grad)


def many_classes(logits: torch.Tensor, numbers: torch.Tensor) -> None:
    mean = xploss.softmax_cross_entropy(logits, numbers, ignore_index=-1, class_axis=1)
    assert_type(mean, torch.Tensor)
    product = xploss.hessian_product(xploss.softmax_cross_entropy)
    assert_type(product(logits, numbers, logits), torch.Tensor)
    assert_type(xploss.logsumexp(logits, axis=0), torch.Tensor)


def over_batches(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    mean = metrics.Mean(partial(xploss.sigmoid_cross_entropy, pos_weight=3.0))
    for logits, labels in batches:
        mean.update(logits, labels, weights=0.5)
    assert_type(mean.state, tuple[float, ...])
    again = metrics.Mean.from_state(mean.loss, mean.state).merge(mean)
    return again.result() + again.standard_error()


def other_spellings(y: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> None:
    keras.BinaryCrossentropy(from_logits=True, reduction="sum")(y, p, 0.5)
    tensorflow.weighted_cross_entropy_with_logits(y, p, 2.0)
    sklearn.log_loss(["ham", "spam"], [0.1, 0.9])
    objective = objectives.xgboost(pos_weight=3.0, hessian_floor=1e-6)
    assert_type(objective(y, p), tuple[Any, Any])
