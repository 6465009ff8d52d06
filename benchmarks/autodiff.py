"""Value and gradient under JAX and PyTorch, beside optax and PyTorch's own loss.

    python benchmarks/autodiff.py [--cold] [--n 4194304]

One core; ratios are medians over interleaved rounds, with the least and the most.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import paired

import xploss

DTYPES = ("float32", "float64", "bfloat16")
Pair = tuple[Callable[[], Any], Callable[[], Any]]  # ours, theirs


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=n) * 4, rng.random(n) < 0.5


def jax_pairs(n: int, dtype: str) -> Iterator[tuple[str, Pair, str]]:
    import jax
    import jax.numpy as jnp
    import optax

    x, y = (jnp.asarray(a).astype(dtype) for a in data(n))

    def ready(f: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(f(x, y))

    def arrays(f: Any) -> float:
        memory = f.lower(x, y).compile().memory_analysis()
        return memory.temp_size_in_bytes / x.nbytes

    theirs = optax.sigmoid_binary_cross_entropy
    ours = xploss.sigmoid_cross_entropy
    forward = [jax.jit(partial(ours, reduction="none")), jax.jit(theirs)]
    yield "forward", tuple(map(ready, forward)), ""
    both = [
        jax.jit(jax.value_and_grad(f)) for f in (ours, lambda x, y: theirs(x, y).mean())
    ]
    memory = "arrays kept: {:.1f}, optax {:.1f}".format(*map(arrays, both))
    yield "value and gradient", tuple(map(ready, both)), memory


def torch_pairs(n: int, dtype: str) -> Iterator[tuple[str, Pair, str]]:
    import torch

    kind = getattr(torch, dtype)
    x, y = (torch.tensor(a, dtype=kind) for a in data(n))
    x.requires_grad_()

    def step(f: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            x.grad = None
            f(x, y).backward()

        return run

    theirs = torch.nn.functional.binary_cross_entropy_with_logits
    losses = (lambda x, y: xploss.sigmoid_cross_entropy(x, y), theirs)
    compiled = [torch.compile(f, fullgraph=True) for f in losses]
    yield "compiled, mean with backward", tuple(map(step, compiled)), ""
    yield "eager, mean with backward", tuple(map(step, losses)), ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--n", type=int, default=1 << 22)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    paired.restart(cores=1, warm=not options.cold)
    import jax

    jax.config.update("jax_enable_x64", True)
    for library, pairs in (("jax", jax_pairs), ("torch", torch_pairs)):
        for dtype in DTYPES:
            for name, (ours, theirs), note in pairs(options.n, dtype):
                taken = paired.times({"ours": ours, "theirs": theirs}, options.rounds)
                each = dict(paired.nanoseconds(taken, options.n))
                middle, least, most = paired.ratios(taken, "ours", "theirs")
                print(
                    f"{library:5} {dtype:8} {name:28} {each['ours']:6.2f} "
                    f"{each['theirs']:6.2f} ns {middle:6.3f} ({least:.3f}-{most:.3f}) "
                    f"{note}"
                )


if __name__ == "__main__":
    main()
