"""Arrays on the CPU beside what one would write or call instead: options, small sizes,
one thread and two, and a processor without AVX-512.

    python benchmarks/host.py             small arrays, to see that it runs
    python benchmarks/host.py --whole     all of it, some ten minutes
    python benchmarks/host.py --laptop    held to AVX2, all three libraries

Each row is one process's, its two calls take turns, and the allocator keeps what it
has freed.  Ours over theirs is the median of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import paired

import xploss
from xploss.backends.compiled import INSTRUCTION_SETS, Compiled
from xploss.backends.numpy import NumPy

SIZES = (10, 1000, 100_000, 4_000_000)
LAPTOP = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ATEN_CPU_CAPABILITY": "avx2",
}
Call = Callable[[], Any]
Rows = Iterator[tuple[str, Call, Call]]  # name, ours, theirs

loss = xploss.sigmoid_cross_entropy
focal = partial(xploss.sigmoid_focal_loss, gamma=2.0, alpha=0.25)

# ---- NumPy ---------------------------------------------------------------------------


def textbook(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def weighed_by_hand(x: np.ndarray, y: np.ndarray, pos_weight: Any) -> Any:
    log_sigmoid = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
    return (1 - y) * x + (1 + (pos_weight - 1) * y) * log_sigmoid


def focal_by_hand(x: np.ndarray, y: np.ndarray) -> Any:
    p = 1 / (1 + np.exp(-x))
    p_t, alpha_t = p * y + (1 - p) * (1 - y), 0.25 * y + 0.75 * (1 - y)
    return alpha_t * (1 - p_t) ** 2.0 * textbook(x, y)


def probabilities_by_hand(p: np.ndarray, y: np.ndarray) -> Any:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return -(y * np.log(clipped) + (1 - y) * np.log1p(-clipped))


def derivatives_by_hand(x: np.ndarray, y: np.ndarray) -> Any:
    p = 1 / (1 + np.exp(-x))
    return p - y, p * (1 - p)


def of_numpy(n: int, dtype: str) -> Rows:
    from sklearn._loss import HalfBinomialLoss

    rng = np.random.default_rng(0)
    x = (rng.normal(size=n) * 3).astype(dtype)
    y, w = rng.random(n).astype(dtype), rng.random(n).astype(dtype)
    two, theirs = x.dtype.type(2.0), HalfBinomialLoss()
    yield "mean", lambda: loss(x, y), lambda: textbook(x, y).mean()
    elementwise = partial(loss, reduction="none")
    yield "elementwise", lambda: elementwise(x, y), lambda: textbook(x, y)
    yield (
        "pos_weight",
        lambda: loss(x, y, pos_weight=2.0),
        lambda: weighed_by_hand(x, y, two).mean(),
    )
    yield (
        "weights",
        lambda: loss(x, y, weights=w),
        lambda: (w * textbook(x, y)).mean(),
    )
    yield (
        "label_smoothing",
        lambda: loss(x, y, label_smoothing=0.1),
        lambda: textbook(x, y * x.dtype.type(0.9) + x.dtype.type(0.05)).mean(),
    )
    yield "focal", lambda: focal(x, y), lambda: focal_by_hand(x, y).mean()
    probs = xploss.sigmoid(x)
    yield (
        "probabilities, eps",
        lambda: xploss.binary_cross_entropy(probs, y, eps=1e-6),
        lambda: probabilities_by_hand(probs, y).mean(),
    )
    both = xploss.grad_and_hess(loss)
    yield (
        "gradient, Hessian",
        lambda: both(x, y),
        lambda: derivatives_by_hand(x, y),
    )
    pair = xploss.value_and_grad(loss)
    yield (
        "loss, gradient / sklearn",
        lambda: pair(x, y, reduction="none"),
        lambda: theirs.loss_gradient(y, x),
    )
    yield "elementwise / x + y", lambda: elementwise(x, y), lambda: x + y


# ---- PyTorch -------------------------------------------------------------------------


def torchvisions(x: Any, y: Any) -> Any:
    """Its formula, written out."""
    import torch

    p = torch.sigmoid(x)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        x, y, reduction="none"
    )
    p_t, alpha_t = p * y + (1 - p) * (1 - y), 0.25 * y + 0.75 * (1 - y)
    return (alpha_t * (losses * (1 - p_t) ** 2.0)).mean()


def step(function: Callable[..., Any], x: Any, y: Any) -> Call:
    def taken() -> None:
        x.grad = None
        function(x, y).backward()

    return taken


def of_torch(n: int, dtype: str) -> Rows:
    import torch

    theirs = torch.nn.functional.binary_cross_entropy_with_logits
    x = (torch.randn(n) * 3).to(getattr(torch, dtype))
    y, two = torch.rand(n).to(x.dtype), torch.tensor(2.0, dtype=x.dtype)
    leaf = x.clone().requires_grad_()
    yield "mean", lambda: loss(x, y), lambda: theirs(x, y)
    yield "with backward", step(loss, leaf, y), step(theirs, leaf, y)
    ours, native = partial(loss, pos_weight=2.0), partial(theirs, pos_weight=two)
    yield "pos_weight, backward", step(ours, leaf, y), step(native, leaf, y)
    yield "focal, backward", step(focal, leaf, y), step(torchvisions, leaf, y)


# ---- JAX -----------------------------------------------------------------------------


def of_jax(n: int, dtype: str) -> Rows:
    import jax
    import optax

    rng = np.random.default_rng(0)
    x = jax.numpy.asarray(rng.normal(size=n) * 3, dtype)
    y = jax.numpy.asarray(rng.random(n), dtype)
    ready = jax.block_until_ready
    yield (
        "mean, not jitted",
        lambda: ready(loss(x, y)),
        lambda: ready(optax.sigmoid_binary_cross_entropy(x, y).mean()),
    )


# ---- what is printed -----------------------------------------------------------------


def calls_at_a_time(call: Call) -> int:
    """So many that the clock does not matter."""
    call()
    start = time.perf_counter()
    call()
    return max(1, int(1e-3 / max(time.perf_counter() - start, 1e-7)))


def over_and_over(call: Call, times: int) -> Call:
    def called() -> None:
        for _ in range(times):
            call()

    return called


def row(name: str, ours: Call, theirs: Call, rounds: int) -> str:
    times = calls_at_a_time(theirs)
    calls = {
        key: over_and_over(call, times)
        for key, call in {"ours": ours, "theirs": theirs}.items()
    }
    taken = paired.times(calls, rounds)
    ratio, *_ = paired.ratios(taken, "ours", "theirs")
    mine, their = (statistics.median(t) / times * 1e6 for t in taken.values())
    return f"{name:25}{their:12.1f}{mine:12.1f}{ratio:8.2f}"


def table(title: str, rows: Any, sizes: tuple[int, ...], dtypes: str) -> None:
    for n in sizes:
        for dtype in dtypes.split():
            print(f"\n{title}, {dtype}, {n:,} elements")
            print(f"{'':25}{'theirs, us':>12}{'ours, us':>12}{'ratio':>8}")
            for given in rows(n, dtype):
                print(row(*given, rounds=9 if n > 1e6 else 25), flush=True)


def in_process(*options: str, **environment: str) -> None:
    command = [sys.executable, __file__, *options]
    whole = dict(os.environ, **paired.WARM, **environment)
    subprocess.run(command, env=whole, check=True)


LIBRARIES = {"NumPy": of_numpy, "PyTorch": of_torch, "JAX": of_jax}


def worker(library: str, threads: int, sizes: tuple[int, ...], best: str) -> None:
    if best in INSTRUCTION_SETS:
        NumPy.compiled = Compiled(best)
    title, dtypes = f"{library}, {best}", "float32 float64"
    if library == "PyTorch":
        import torch

        torch.set_num_threads(threads)
        title, dtypes = f"{title}, threads: {threads}", f"{dtypes} bfloat16"
    if library == "JAX":
        title, dtypes = library, "float32"
    table(title, LIBRARIES[library], sizes, dtypes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--laptop", action="store_true")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        library, threads, sizes, best = options.worker
        worker(library, int(threads), tuple(map(int, sizes.split(","))), best)
        return
    best = (*INSTRUCTION_SETS, "not compiled")[max(len(INSTRUCTION_SETS) - 1, 0)]
    sizes = SIZES if options.whole or options.laptop else SIZES[:2]
    chosen, environment = best, {}
    if options.laptop:
        sizes, chosen, environment = SIZES[2:], "avx2", LAPTOP
    given = ",".join(map(str, sizes))
    for library, threads in (("NumPy", 1), ("PyTorch", 1), ("PyTorch", 2), ("JAX", 1)):
        if options.laptop and library == "JAX":
            continue
        in_process("--worker", library, str(threads), given, chosen, **environment)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
