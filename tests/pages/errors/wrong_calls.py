"""Wrong calls, by what is wrong: the name that the refusal has to have, and the call.

They are text, so that `docs/errors.md` shows what was run: `test_errors_md.py`.
"""

import functools

import array_api_strict
import dask
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import torch

import xploss
from xploss import compat, metrics, objectives


class Frame:
    """As a table of pandas or Polars is."""

    def to_numpy(self):
        return np.zeros((2, 3))


def our_own(logits, labels):
    return xploss.sigmoid_cross_entropy(logits, labels) / 2


# Two samples of three classes.
x = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, -4.0]])
y = np.array([[1, 0, 1], [1, 0, 0]])

NAMES = {
    "np": np,
    "dask": dask,
    "torch": torch,
    "jax": jax,
    "jnp": jnp,
    "scipy": scipy,
    "strict": array_api_strict,
    "functools": functools,
    "Frame": Frame,
    "our_own": our_own,
    "x": x,
    "y": y,
    "compat": compat,
    "metrics": metrics,
    "objectives": objectives,
} | {name: getattr(xploss, name) for name in xploss.__all__}

WRONG_CALLS: dict[str, list[tuple[str, str]]] = {
    "Two libraries": [
        ("labels", "sigmoid_cross_entropy(torch.tensor(x), y)"),
        ("labels", "sigmoid_cross_entropy(x, jnp.asarray(y))"),
        ("weights", "sigmoid_focal_loss(jnp.asarray(x), 1, weights=np.ones((2, 1)))"),
        ("where", "value_and_grad(sigmoid_cross_entropy)(x, y, where=torch.ones(1))"),
        ("pos_weight", "binary_cross_entropy(x, y, pos_weight=torch.ones(3))"),
    ],
    "Two devices": [
        (
            "labels",
            "sigmoid_cross_entropy(torch.tensor(x), torch.tensor(y, device='meta'))",
        ),
        (
            "weights",
            "sigmoid_cross_entropy(strict.asarray(x), 1, "
            "weights=strict.ones((2, 1), device=strict.Device('device1')))",
        ),
    ],
    "Shapes and ranks": [
        ("labels", "sigmoid_cross_entropy(x[:, :1], y[:, 0])"),
        ("labels", "sigmoid_cross_entropy(x, y[:1])"),
        ("weights", "sigmoid_cross_entropy(x, y, weights=np.ones(3))"),
        ("weights", "sigmoid_cross_entropy(x[:1], y[:1], weights=np.ones((2, 3)))"),
        ("where", "sigmoid_cross_entropy(x, y, where=np.array([True, False]))"),
        ("pos_weight", "sigmoid_cross_entropy(x, y, pos_weight=np.ones(2))"),
        ("pos_weight", "sigmoid_cross_entropy(x, y, pos_weight=np.ones(1))"),
        (
            "pos_weight",
            "sigmoid_cross_entropy(np.zeros((2, 3, 4, 5)), 1, pos_weight=np.ones(3))",
        ),
        ("alpha", "sigmoid_focal_loss(x, y, alpha=np.ones((3, 1)))"),
    ],
    "Axes": [
        ("axis", "sigmoid_cross_entropy(x, y, axis=2)"),
        ("axis", "sigmoid_cross_entropy(x, y, axis=(0, -2))"),
        ("axis", "sigmoid_cross_entropy(x, y, axis=())"),
        ("axis", "sigmoid_cross_entropy(x, y, axis=0.0)"),
        ("axis", "sigmoid_cross_entropy(x, y, axis=True)"),
        ("axis", "sigmoid_cross_entropy(x, y, axis=0, reduction='none')"),
    ],
    "Names": [
        ("reduction", "sigmoid_cross_entropy(x, y, reduction='maen')"),
        ("reduction", "sigmoid_cross_entropy(x, y, reduction='average')"),
        ("reduction", "sigmoid_cross_entropy(x, y, reduction=None)"),
        ("label_smothing", "sigmoid_cross_entropy(x, y, label_smothing=0.1)"),
        ("from_logits", "binary_cross_entropy(x, y, from_logits=True)"),
        ("pos_weight", "sigmoid_focal_loss(x, y, pos_weight=3.0)"),
        ("labels", "sigmoid_cross_entropy(x)"),
        ("sigmoid_cross_entropy", "sigmoid_cross_entropy(x, y, 3.0)"),
    ],
    "No arrays": [
        ("logits", "sigmoid_cross_entropy([0.5, -1.0], 1)"),
        ("labels", "sigmoid_cross_entropy(x, [[1, 0], [1]])"),
        ("logits", "sigmoid_cross_entropy('0.5', y)"),
        ("labels", "sigmoid_cross_entropy(x, None)"),
        ("logits", "sigmoid_cross_entropy(dask.delayed(np.zeros)(3), 1)"),
        ("weights", "sigmoid_cross_entropy(x, y, weights='balanced')"),
        ("where", "sigmoid_cross_entropy(x, y, where=1)"),
        ("x", "sigmoid(0.5)"),
        ("logits", "sigmoid_cross_entropy(np.ndarray, y)"),
        ("logits", "sigmoid_cross_entropy(Frame(), y)"),
    ],
    "Kinds of arrays": [
        ("logits", "sigmoid_cross_entropy(np.ma.masked_less(x, 0), y)"),
        ("logits", "sigmoid_cross_entropy(np.matrix(x), y)"),
        ("logits", "sigmoid_cross_entropy(scipy.sparse.csr_matrix(x), y)"),
        (
            "labels",
            "sigmoid_cross_entropy(torch.tensor(x), torch.tensor(y).to_sparse())",
        ),
        (
            "logits",
            "sigmoid_cross_entropy(torch.nested.nested_tensor([torch.ones(2)]), 1)",
        ),
        (
            "logits",
            "sigmoid_cross_entropy(torch.masked.masked_tensor(torch.ones(1), "
            "torch.ones(1) > 0), 1)",
        ),
    ],
    "Dtypes": [
        ("logits", "sigmoid_cross_entropy(y, y)"),
        ("logits", "sigmoid_cross_entropy(x + 0j, y)"),
        ("labels", "sigmoid_cross_entropy(x, 1j)"),
        ("logits", "sigmoid_cross_entropy(x.astype(object), y)"),
        ("logits", "sigmoid_cross_entropy(np.array([['0.5']]), 1)"),
        ("labels", "sigmoid_cross_entropy(x, y.astype(np.longdouble))"),
        ("labels", "sigmoid_cross_entropy(x, y.astype('datetime64[D]'))"),
        ("weights", "sigmoid_cross_entropy(x, y, weights=np.timedelta64(3, 'D'))"),
        ("logits", "sigmoid_cross_entropy(jnp.asarray(x, jnp.float8_e4m3fn), 1)"),
        ("where", "sigmoid_cross_entropy(x, y, where=np.ones((2, 3)))"),
    ],
    "Values": [
        ("label_smoothing", "sigmoid_cross_entropy(x, y, label_smoothing=np.nan)"),
        ("label_smoothing", "sigmoid_cross_entropy(x, y, label_smoothing=1.5)"),
        ("label_smoothing", "sigmoid_cross_entropy(x, y, label_smoothing=np.ones(3))"),
        ("gamma", "sigmoid_focal_loss(x, y, gamma=-1)"),
        ("gamma", "sigmoid_focal_loss(x, y, gamma=None)"),
        ("alpha", "sigmoid_focal_loss(x, y, alpha=2.0)"),
        ("eps", "binary_cross_entropy(x, y, eps=0.6)"),
        ("gamma", "sigmoid_focal_loss(x, y, gamma=np.inf)"),
        ("pos_weight", "sigmoid_cross_entropy(x, y, pos_weight=-1)"),
        ("weights", "sigmoid_cross_entropy(x, y, weights=np.nan)"),
        ("weights", "sigmoid_cross_entropy(x, y, weights=10**400)"),
        ("labels", "check_labels(np.array([[0, 1], [2, 1]]))"),
        ("labels", "check_labels(torch.tensor([0.5, float('nan')]))"),
    ],
    "Transforms": [
        ("value_and_grad", "value_and_grad(our_own)"),
        ("value_and_grad", "value_and_grad(jax.jit(sigmoid_cross_entropy))"),
        ("value_and_grad", "value_and_grad(functools.partial(np.mean, axis=0))"),
        ("grad_and_hess", "grad_and_hess(binary_cross_entropy)"),
        ("reduction", "grad_and_hess(sigmoid_cross_entropy)(x, y, reduction='sum')"),
        (
            "axis",
            "grad_and_hess(functools.partial(sigmoid_cross_entropy, axis=0))",
        ),
        ("lables", "value_and_grad(sigmoid_cross_entropy)(x, lables=y)"),
    ],
    "Means over batches": [
        ("Mean", "metrics.Mean(np.mean)"),
        ("axis", "metrics.Mean(sigmoid_cross_entropy).update(x, y, axis=0)"),
        (
            "reduction",
            "metrics.Mean(functools.partial(sigmoid_cross_entropy, reduction='sum'))",
        ),
        ("labels", "metrics.Mean(sigmoid_cross_entropy).update(x, y[:1])"),
        (
            "logits",
            "jax.jit(metrics.Mean(sigmoid_cross_entropy).update)(jnp.asarray(x), 1)",
        ),
        ("other", "metrics.Mean(sigmoid_cross_entropy).merge(0.25)"),
        (
            "other",
            "metrics.Mean(sigmoid_cross_entropy).merge(metrics.Mean(sigmoid_focal_loss))",
        ),
        ("state", "metrics.Mean.from_state(sigmoid_cross_entropy, [0.25])"),
    ],
    "Objectives": [
        ("weights", "objectives.xgboost(weights=np.ones(2))"),
        ("hessian_floor", "objectives.lightgbm(hessian_floor=-1)"),
        ("gamma", "objectives.lightgbm(gamma=2)"),
        ("margins", "objectives.xgboost()(torch.tensor(y), torch.tensor(x))"),
        ("margins", "objectives.lightgbm()(y[0], y[0])"),
        ("weights", "objectives.lightgbm()(y[0], x[0], np.ones(2))"),
        ("labels", "objectives.lightgbm()(2 * y[0] - 1, x[0])"),
        ("objectives.xgboost", "objectives.xgboost(y[0], x[0])"),
        ("hessian_floor", "objectives.catboost(hessian_floor=np.inf)"),
    ],
    "Other libraries' names": [
        ("gamma", "compat.keras.binary_focal_crossentropy(y, x, gamma='2')"),
        ("reduction", "compat.keras.BinaryCrossentropy(reduction='maen')"),
        ("sample_weight", "compat.keras.BinaryCrossentropy()(y, x, np.ones(3))"),
        ("target", "compat.torch.binary_cross_entropy_with_logits(x, 1.0)"),
        ("logits", "compat.tensorflow.sigmoid_cross_entropy_with_logits(y)"),
        ("labels", "compat.optax.sigmoid_binary_cross_entropy(x[:, :1], y[:, 0])"),
        ("y_true", "compat.keras.binary_crossentropy([[0], [1, 1]], x)"),
        ("y_proba", "compat.sklearn.log_loss([0, 1], ['0.1', '0.9'])"),
        ("labels", "compat.sklearn.log_loss([0, 1], [0.1, 0.9], labels=[0, 1, 1])"),
        (
            "sample_weight",
            "compat.sklearn.log_loss([0, 1], [0.1, 0.9], sample_weight=[1, np.nan])",
        ),
    ],
}
