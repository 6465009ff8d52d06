"""A user's file, for `mypy --strict` beside the libraries: `nox -s examples`.

It is not run.  Each line that has to be refused says so: an ignore without an error is
one itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import torch

import xploss
from xploss import objectives
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
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss + like_torch.BCEWithLogitsLoss(reduction="sum")(model(x), y))


def jax_gradient(logits: jax.Array, labels: jax.Array) -> jax.Array:
    loss = partial(xploss.sigmoid_cross_entropy, labels=labels, reduction="sum")
    slope: jax.Array = jax.jit(jax.grad(loss))(logits)
    each: jax.Array = optax.sigmoid_binary_cross_entropy(logits, jnp.ones(4))
    return slope + each


def closed_forms(probs: npt.NDArray[np.float32]) -> None:
    value, gradient = xploss.value_and_grad(xploss.binary_cross_entropy)(probs, 1)
    print(xploss.__version__.upper(), value, gradient)
    derivatives = xploss.grad_and_hess(xploss.sigmoid_focal_loss)
    assert_type(derivatives, Callable[..., tuple[Any, Any]])


def other_spellings(y: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> None:
    keras.BinaryCrossentropy(from_logits=True, reduction="sum")(y, p, 0.5)
    tensorflow.weighted_cross_entropy_with_logits(y, p, 2.0)
    sklearn.log_loss(["ham", "spam"], [0.1, 0.9])
    objective = objectives.xgboost(pos_weight=3.0, hessian_floor=1e-6)
    assert_type(objective(y, p), tuple[Any, Any])


def wrong(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
    xploss.sigmoid_cross_entropy(x)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy(x, y, 3.0)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy(x, y, label_smothing=0.1)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy(x, y, label_smoothing="0.1")  # type: ignore[arg-type]
    xploss.binary_cross_entropy(x, y, axis=1.0)  # type: ignore[arg-type]
    xploss.sigmoid_focal_loss(x, y, reduction=None)  # type: ignore[arg-type]
    xploss.value_and_grad("sigmoid_cross_entropy")  # type: ignore[arg-type]
    xploss.check_labels(y, x)  # type: ignore[call-arg]
    objectives.lightgbm(hessian_floor="small")  # type: ignore[arg-type]
    xploss.sigmiod(x)  # type: ignore[attr-defined]
    like_torch.BCELoss()  # type: ignore[attr-defined]
