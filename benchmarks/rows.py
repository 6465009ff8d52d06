"""Rows of many classes beside what one would write or call instead.

    python benchmarks/rows.py             a small table, to see that it runs
    python benchmarks/rows.py --whole     three of a few million logits, in float32

Nanoseconds a logit, on one thread where no other number is said; ours over theirs is
the median of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import paired

import xploss

SMALL = ((1000, 10),)
SHAPES = ((100_000, 10), (4096, 1000), (256, 50_000))

loss = xploss.softmax_cross_entropy
Row = tuple[str, Any, Any]  # name, ours, theirs


def by_hand(x: np.ndarray, y: np.ndarray) -> Any:
    z = x - x.max(axis=1, keepdims=True)
    logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(y)), y].mean()


def of_numpy(x: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    from scipy.special import log_softmax
    from sklearn._loss import HalfMultinomialLoss

    classes = np.arange(len(y))
    theirs, codes = HalfMultinomialLoss(n_classes=x.shape[1]), y.astype(x.dtype)
    both = xploss.value_and_grad(loss)
    yield "NumPy mean / by hand", lambda: loss(x, y), lambda: by_hand(x, y)
    yield (
        "NumPy mean / SciPy",
        lambda: loss(x, y),
        lambda: -log_softmax(x, axis=1)[classes, y].mean(),
    )
    yield (
        "NumPy losses / sklearn",
        lambda: loss(x, y, reduction="none"),
        lambda: theirs.loss(codes, x),
    )
    yield (
        "loss, gradient / sklearn",
        lambda: both(x, y, reduction="none"),
        lambda: theirs.loss_gradient(codes, x),
    )


def of_torch(x: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    import torch

    plain, numbers = torch.tensor(x), torch.tensor(y)
    masses = torch.nn.functional.one_hot(numbers, x.shape[1]).to(plain.dtype)
    leaf, native = plain.clone().requires_grad_(), torch.nn.functional.cross_entropy

    def step(function: Any, labels: Any) -> Any:
        def taken() -> None:
            leaf.grad = None
            function(leaf, labels).backward()

        return taken

    def mean(function: Any, labels: Any) -> Any:
        return lambda: function(plain, labels)

    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, labels in (("numbers", numbers), ("masses", masses)):
            of = f"{name}, {threads} thread{'s' * (threads > 1)}"
            yield f"PyTorch mean, {of}", mean(loss, labels), mean(native, labels)
            yield f"PyTorch step, {of}", step(loss, labels), step(native, labels)
    torch.set_num_threads(1)
    ours, peer = (torch.compile(f) for f in (_ours, _native))
    yield "PyTorch compiled, step", step(ours, numbers), step(peer, numbers)


def _ours(x: Any, y: Any) -> Any:
    return loss(x, y)


def _native(x: Any, y: Any) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(x, y)


def of_jax(x: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    import jax
    import optax

    def theirs(logits: Any, labels: Any) -> Any:
        peer = optax.softmax_cross_entropy_with_integer_labels
        return peer(logits, labels).mean()

    arrays = jax.numpy.asarray(x), jax.numpy.asarray(y, "int32")
    ours, peer = (jax.jit(jax.value_and_grad(f)) for f in (loss, theirs))
    yield (
        "JAX jit, gradient / optax",
        lambda: jax.block_until_ready(ours(*arrays)),
        lambda: jax.block_until_ready(peer(*arrays)),
    )


def table(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=shape).astype("float32")
    y = draw.integers(0, shape[1], shape[0])
    print(f"\nfloat32, {shape[0]:,} x {shape[1]:,}")
    print(f"{'':34}{'theirs, ns':>12}{'ours, ns':>12}{'ratio':>8}")
    for rows in (of_numpy, of_torch, of_jax):
        for name, ours, theirs in rows(x, y):
            taken = paired.times({"ours": ours, "theirs": theirs}, 9)
            ratio, *_ = paired.ratios(taken, "ours", "theirs")
            mine, their = (statistics.median(t) / x.size * 1e9 for t in taken.values())
            print(f"{name:34}{their:12.2f}{mine:12.2f}{ratio:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.worker:  # in a process whose allocator keeps what it has freed
        command = [sys.executable, *sys.argv, "--worker"]
        subprocess.run(command, env={**os.environ, **paired.WARM}, check=True)
        return
    for shape in SHAPES if options.whole else SMALL:
        table(shape)


if __name__ == "__main__":
    main()
