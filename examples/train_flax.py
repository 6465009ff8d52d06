"""Flax: a convolutional network, trained with ours and with optax' loss.

    python examples/train_flax.py [float32 bfloat16]

scikit-learn's 1,797 digits of 8 x 8 pixels, and ten yes or no labels each: is it a 0,
is it a 1, and so on.  What is minimised, over the digits i and the labels k, is

    mean of  y_ik * softplus(-x_ik)  +  (1 - y_ik) * softplus(x_ik)

where x = network(pixels), computed in float32 or in bfloat16.  A jitted step wants
batches of one shape: the last one is filled up, and `where` leaves the filling out.
Both losses start from the same weights and see the same batches.  Printed are the
losses of the trained networks on the whole table, by NumPy's logaddexp in float64; the
seconds include compiling.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import xploss

EPOCHS = 30
BATCH = 256
CLOSE = 1e-3  # largest difference of the trained losses
VARIANTS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Table(NamedTuple):
    pixels: Any  # (1797, 8, 8, 1), from 0 to 1
    labels: Any  # (1797, 10)


def load_table() -> Table:
    pixels, digits = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    return Table(pixels, (digits[:, None] == np.arange(10)).astype(np.float32))


# ---- training ----------------------------------------------------------------------


def theirs(logits: Any, labels: Any, where: Any) -> Any:
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels), where=where)


def ours(logits: Any, labels: Any, where: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels, where=where)


class Network(nnx.Module):
    def __init__(self, dtype: Any) -> None:
        rngs = nnx.Rngs(0)
        self.convolution = nnx.Conv(1, 16, (3, 3), strides=2, dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(4 * 4 * 16, 10, dtype=dtype, rngs=rngs)

    def __call__(self, pixels: Any) -> Any:
        features = nnx.relu(self.convolution(pixels))
        return self.head(features.reshape(len(pixels), -1))


def batches(table: Table, shuffle: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Pixels, labels and what is no filling, of shape (BATCH, 1)."""
    n = len(table.labels)
    filling = -n % BATCH
    rows = np.pad(shuffle.permutation(n), (0, filling)).reshape(-1, BATCH)
    real = (np.arange(n + filling) < n).reshape(-1, BATCH, 1)
    for batch, where in zip(rows, real, strict=True):
        yield table.pixels[batch], table.labels[batch], where


def train(loss: Callable[..., Any], table: Table, dtype: Any) -> Network:
    model = Network(dtype)
    optimizer = nnx.Optimizer(model, optax.adam(0.005), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, pixels: Any, labels: Any, where: Any) -> Any:
        def forward(model: Any) -> Any:
            return loss(model(pixels), labels, where)

        value, gradients = nnx.value_and_grad(forward)(model)
        optimizer.update(model, gradients)
        return value

    shuffle = np.random.default_rng(0)
    for _ in range(EPOCHS):
        for batch in batches(table, shuffle):
            step(model, optimizer, *batch)
    return model


# ---- what is printed ---------------------------------------------------------------


def exact_loss(model: Network, table: Table) -> float:
    """On the whole table, in float64."""
    with jax.enable_x64(True):
        wide = Network(jnp.float64)
        nnx.update(wide, nnx.state(model))
        x = np.asarray(wide(table.pixels))
    losses = np.where(table.labels == 1, np.logaddexp(0, -x), np.logaddexp(0, x))
    return float(losses.mean())


def run(name: str, table: Table) -> tuple[float, float]:
    """Train with both and print; their loss and ours."""
    losses, seconds = [], []
    for loss in (theirs, ours):
        started = time.perf_counter()
        model = train(loss, table, VARIANTS[name])
        seconds.append(time.perf_counter() - started)
        losses.append(exact_loss(model, table))
    columns = *losses, abs(losses[1] - losses[0]), *seconds
    print("{:16}{:10.6f}{:10.6f}{:12.1e}{:12.2f}{:10.2f}".format(name, *columns))
    return losses[0], losses[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One network, two losses: Flax")
    parser.add_argument("variants", nargs="*", metavar="variant")
    named = parser.parse_args(arguments).variants
    if unknown := set(named) - set(VARIANTS):
        parser.error(f"no such variant: {unknown}; choose from {', '.join(VARIANTS)}")

    table = load_table()
    start = exact_loss(Network(jnp.float32), table)
    print(f"Ten labels of {len(table.labels)} digits, {EPOCHS} epochs.  The loss is")
    print(f"{start:.6f} before, and after, with the seconds:\n")
    header = ("", "theirs", "ours", "difference", "theirs", "ours")
    print("{:16}{:>10}{:>10}{:>12}{:>12}{:>10}".format(*header))
    pairs = [run(name, table) for name in named or VARIANTS]
    return int(not all(abs(b - a) <= CLOSE for a, b in pairs))


if __name__ == "__main__":
    sys.exit(main())
