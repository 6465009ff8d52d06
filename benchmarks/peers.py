"""The calls that are compared: by case, of each library ours first, then its peers.

A peer is called as its documentation has it.  The limit line is no loss: exp and log1p
in blocks that stay in cache, each input read once and one output written.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import xploss

CASES = ("elementwise", "mean", "mean and gradient", "gradient and Hessian",
         "mean of probabilities")  # fmt: skip
Call = Callable[[], Any]
Calls = dict[str, Callable[..., Any]]  # of (first, labels)

OURS: Calls = {
    "elementwise": partial(xploss.sigmoid_cross_entropy, reduction="none"),
    "mean": xploss.sigmoid_cross_entropy,
    "mean and gradient": xploss.value_and_grad(xploss.sigmoid_cross_entropy),
    "gradient and Hessian": xploss.grad_and_hess(xploss.sigmoid_cross_entropy),
    "mean of probabilities": xploss.binary_cross_entropy,
}


def data(case: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=n) * 4, rng.random(n) < 0.5
    return (xploss.sigmoid(x) if case == "mean of probabilities" else x), y * 1.0


def calls(case: str, dtype: str, n: int) -> Iterator[tuple[str, dict[str, Call]]]:
    """Of each library, ours and its peers', ready to be timed."""
    arrays = data(case, n)
    found = {}
    for library, bind in {"NumPy": numpy, "PyTorch": torch, "JAX": jax}.items():
        if bound := bind(case, dtype, *arrays):
            found[library] = bound
    return found


# ---- NumPy -------------------------------------------------------------------------


def textbook(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) - x * y + np.log(1 + np.exp(-np.abs(x)))


def limit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    result = np.empty_like(x)
    size = (1 << 18) // x.itemsize
    block = np.empty(min(size, x.size), x.dtype)
    for i in range(0, x.size, size):
        part = slice(i, i + size)
        space = block[: x[part].size]
        np.copyto(space, y[part])
        np.exp(x[part], out=space)
        np.log1p(space, out=result[part])
    return result


def log_expit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.special import log_expit

    return -y * log_expit(x) - (1 - y) * log_expit(-x)


def half_binomial(method: str) -> Callable[..., Any]:
    from sklearn._loss import HalfBinomialLoss

    bound = getattr(HalfBinomialLoss(), method)
    return lambda x, y: bound(y, x)


def log_loss(p: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.metrics import log_loss

    return log_loss(y, p)


def numpy_peers(case: str, dtype: str, n: int) -> Calls:
    if case == "mean of probabilities":
        return {"log_loss": log_loss} if n > 1 else {}
    names = {"elementwise": "loss", "mean and gradient": "loss_gradient"}
    names["gradient and Hessian"] = "gradient_hessian"
    theirs: Calls = {}
    if case == "elementwise":
        theirs = {"textbook": textbook, "limit line": limit, "log_expit": log_expit}
    if case == "mean":
        theirs = {"textbook": lambda x, y: textbook(x, y).mean()}
    if case in names and dtype in ("float32", "float64"):
        theirs["HalfBinomialLoss"] = half_binomial(names[case])
    return theirs


def numpy(case: str, dtype: str, x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    if dtype == "bfloat16":
        return {}
    # Of exp(-|x|) alone the limit line is made, so that nothing overflows.
    first, labels, negative = (a.astype(dtype) for a in (x, y, -np.abs(x)))
    functions = {"xploss": OURS[case]} | numpy_peers(case, dtype, x.size)
    return {
        name: partial(f, negative if f is limit else first, labels)
        for name, f in functions.items()
    }


# ---- PyTorch -----------------------------------------------------------------------


def torch(case: str, dtype: str, x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import torch
    from torch.nn import functional

    if case == "gradient and Hessian":
        return {}
    first, labels = (torch.tensor(a, dtype=getattr(torch, dtype)) for a in (x, y))
    theirs = functional.binary_cross_entropy_with_logits
    ours = xploss.sigmoid_cross_entropy
    if case == "mean of probabilities":
        theirs, ours = functional.binary_cross_entropy, xploss.binary_cross_entropy
    if case == "elementwise":
        theirs, ours = (partial(f, reduction="none") for f in (theirs, ours))
    if case == "mean and gradient":
        first.requires_grad_()
        theirs, ours = partial(step, theirs), partial(step, ours)
    found = {"xploss": partial(ours, first, labels)}
    found["torch"] = partial(theirs, first, labels)
    if case != "mean of probabilities" and x.size == 1 << 22:
        torch._dynamo.reset()
        pair = zip(("xploss compiled", "torch compiled"), (ours, theirs), strict=True)
        for name, function in pair:
            found[name] = partial(torch.compile(function, dynamic=False), first, labels)
    return found


def step(loss: Callable[..., Any], x: Any, y: Any) -> Any:
    x.grad = None
    loss(x, y).backward()
    return x.grad


# ---- JAX ---------------------------------------------------------------------------


def jax(case: str, dtype: str, x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import jax
    import keras
    import optax

    if case in ("gradient and Hessian", "mean of probabilities"):
        return {}
    first, labels = (jax.numpy.asarray(a, dtype=dtype) for a in (x, y))

    def from_keras(x: Any, y: Any) -> Any:
        return keras.ops.binary_crossentropy(y, x, from_logits=True)

    def finished(loss: Callable[..., Any]) -> Callable[..., Any]:
        if case == "elementwise":
            return jax.jit(loss)

        def mean(x: Any, y: Any) -> Any:
            return loss(x, y).mean()

        return jax.jit(mean if case == "mean" else jax.value_and_grad(mean))

    ours = OURS[case]
    if case == "mean and gradient":
        ours = jax.value_and_grad(xploss.sigmoid_cross_entropy)
    functions = {
        "xploss": jax.jit(ours),
        "optax": finished(optax.sigmoid_binary_cross_entropy),
        "Keras": finished(from_keras),
    }
    return {
        name: partial(ready, jax, f, first, labels) for name, f in functions.items()
    }


def ready(jax: Any, function: Callable[..., Any], x: Any, y: Any) -> Any:
    return jax.block_until_ready(function(x, y))
