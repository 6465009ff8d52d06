"""Mixed calls for minutes: neither memory nor any compiler's cache may grow.

python tests/support/soak.py --backend=numpy --seconds=300

Memory, arrays and caches are measured after a third of the time and at the end.
"""

import argparse
import gc
import itertools
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import backends
import numpy as np
from expected import OPTIONS, each, of_backend

import xploss

# What may be more at the end: malloc keeps freed pages by the MiB, and the measuring
# itself takes some; one float kept of each call would be 100 KiB and more.
ALLOWED = {"MiB resident": 8.0, "KiB traced": 8.0}
SHAPES = ((2, 3), (300, 3), (20_000, 3))

# ---- the calls ---------------------------------------------------------------------


def functions() -> list[Callable[..., Any]]:
    losses = (
        xploss.sigmoid_cross_entropy,
        xploss.binary_cross_entropy,
        xploss.sigmoid_focal_loss,
    )
    made: list[Callable[..., Any]] = []
    for loss in losses:
        derived = xploss.value_and_grad(loss)
        made += [loss, derived, partial(loss, reduction="none"), partial(loss, axis=0)]
    return [*made, xploss.grad_and_hess(losses[0]), xploss.grad_and_hess(losses[2])]


def functions_of_rows() -> list[Callable[..., Any]]:
    """Of logits, or probabilities, and masses."""
    losses = (
        xploss.softmax_cross_entropy,
        xploss.softmax_focal_loss,
        xploss.categorical_cross_entropy,
    )
    made: list[Callable[..., Any]] = []
    for loss in losses:
        made += [loss, xploss.value_and_grad(loss), partial(loss, reduction="none")]
    return [*made, *map(xploss.grad_and_hess, losses[:2])]


def calls(backend: backends.Backend) -> list[Callable[[], Any]]:
    """Every function on each dtype and shape, with options and without."""
    rng = np.random.default_rng(40)
    made = []
    for dtype, shape in itertools.product(backend.dtypes, SHAPES):
        x, y = (backend.array(rng.uniform(0, 1, shape), dtype) for _ in range(2))
        given = of_backend(backend, dtype, options(shape, rng))
        for function in functions():
            made.append(partial(jitted(backend, function), x, y))
            if "focal" not in str(getattr(function, "__name__", function)):
                made.append(partial(jitted(backend, partial(function, **given)), x, y))
        made += rows(backend, dtype, x, y, rng)
    return made + varied(backend) + differentiated(backend) + refused(backend)


def rows(
    backend: backends.Backend, dtype: str, x: Any, y: Any, rng: np.random.Generator
) -> list[Callable[[], Any]]:
    """The same arrays as rows of three classes, which have masses, or a number."""
    numbers = backend.array(rng.integers(0, 3, x.shape[:1]), "int32")
    weights = backend.array(rng.uniform(0.5, 2, 3), dtype)
    entropy = xploss.softmax_cross_entropy
    weighed = partial(entropy, class_weights=weights, label_smoothing=0.1)
    product = xploss.hessian_product(entropy)
    return [
        *(partial(jitted(backend, f), x, y) for f in functions_of_rows()),
        partial(jitted(backend, weighed), x, y),
        partial(jitted(backend, partial(entropy, ignore_index=1)), x, numbers),
        partial(jitted(backend, xploss.value_and_grad(entropy)), x, numbers),
        partial(jitted(backend, product), x, numbers, y),
        partial(jitted(backend, xploss.logsumexp), x),
    ]


def options(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Any]:
    kept = {"label_smoothing": OPTIONS["label_smoothing"]}
    weights = rng.uniform(0, 1, (shape[0], 1))
    return kept | {"pos_weight": np.ones((1, 3)), "weights": weights}


def jitted(backend: backends.Backend, function: Callable[..., Any]) -> Any:
    """Compiled once, as a user does it; other backends as they are."""
    if backend.library != "jax":
        return function
    import jax

    COMPILED.append(jax.jit(function))
    return COMPILED[-1]


COMPILED: list[Any] = []


def varied(backend: backends.Backend) -> list[Callable[[], Any]]:
    """Eager calls with another number for each option each time: nothing compiles."""
    rng = np.random.default_rng(41)
    x, y = (backend.array(rng.uniform(0, 1, (300, 3)), "float32") for _ in range(2))
    numbers = {
        xploss.sigmoid_cross_entropy: ("label_smoothing", "pos_weight", "weights"),
        xploss.binary_cross_entropy: ("label_smoothing", "pos_weight", "eps"),
        xploss.sigmoid_focal_loss: ("label_smoothing", "gamma", "alpha", "weights"),
        xploss.softmax_cross_entropy: ("label_smoothing", "z_loss", "weights"),
        xploss.softmax_focal_loss: ("label_smoothing", "gamma"),
        xploss.categorical_cross_entropy: ("label_smoothing", "eps", "weights"),
    }

    def call(loss: Callable[..., Any], names: tuple[str, ...]) -> Any:
        drawn = rng.uniform(0.01, 0.5, len(names)).tolist()
        return loss(x, y, **dict(zip(names, drawn, strict=True)))

    return [partial(call, loss, names) for loss, names in numbers.items()]


def differentiated(backend: backends.Backend) -> list[Callable[[], Any]]:
    """PyTorch's `backward`, eager and compiled."""
    if backend.library != "torch":
        return []
    import torch

    x = torch.linspace(-4, 4, 3000, requires_grad=True)
    compiled = torch.compile(xploss.sigmoid_cross_entropy, fullgraph=True)
    losses = (xploss.sigmoid_cross_entropy, xploss.sigmoid_focal_loss, compiled)

    def backward(loss: Any) -> Any:
        return torch.autograd.grad(loss(x, 1.0), x)

    table, numbers = x.reshape(1000, 3), torch.arange(1000) % 3
    rows = (xploss.softmax_cross_entropy, torch.compile(xploss.softmax_cross_entropy))

    def backward_of_rows(loss: Any) -> Any:
        return torch.autograd.grad(loss(table, numbers), x)

    return [
        *(partial(backward, loss) for loss in losses),
        *(partial(backward_of_rows, loss) for loss in rows),
    ]


def refused(backend: backends.Backend) -> list[Callable[[], Any]]:
    """Wrong calls, whose tracebacks must not keep their arrays."""
    x, y = (backend.array(np.ones(shape), "float32") for shape in ((900, 9), (9, 900)))

    def wrong(loss: Callable[..., Any]) -> tuple[()]:
        try:
            loss(x, y)
        except ValueError:
            return ()
        raise AssertionError("labels of another shape are refused")

    losses = (xploss.sigmoid_cross_entropy, xploss.softmax_cross_entropy)
    return [partial(wrong, loss) for loss in losses]


# ---- what is measured --------------------------------------------------------------


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def caches(backend: backends.Backend) -> dict[str, int]:
    """Entries of whatever the library, or ours, keeps of what it compiled."""
    from xploss import _arrays

    held = {"names of dtypes": _arrays._numpy_name.cache_info().currsize}
    if backend.library == "jax":
        from xploss.backends import jax

        jitted = (*COMPILED, jax._compiled, jax._elementwise)
        held["programs of jax.jit"] = sum(f._cache_size() for f in jitted)
    if backend.library == "torch":
        import torch

        counters = torch._dynamo.utils.counters
        held["graphs of torch.compile"] = counters["stats"]["unique_graphs"]
        held["recompilations"] = counters["recompiles"].total()
    if backend.library == "cupy":
        from xploss.backends import cupy

        kernels = (cupy._kernel, cupy._mean_of_sums)
        held["kernels of cupy.fuse"] = sum(k.cache_info().currsize for k in kernels)
    return held


def alive(backend: backends.Backend) -> int:
    """Arrays of the library that the garbage collector, or the library, knows."""
    if backend.library == "jax":
        import jax

        return len(jax.live_arrays())
    kind = type(backend.array(np.zeros(1), "float32"))
    return sum(type(held) is kind for held in gc.get_objects())


def measured(backend: backends.Backend) -> dict[str, Any]:
    gc.collect()
    held: dict[str, Any] = {"MiB resident": resident(), **caches(backend)}
    if backend.library == "numpy":  # whose arrays only its allocator knows
        held["KiB traced"] = tracemalloc.get_traced_memory()[0] / 1024
    else:
        held["arrays"] = alive(backend)
    return held


# ---- the run -----------------------------------------------------------------------


def call_all(backend: backends.Backend, made: list[Any], seed: int) -> None:
    """In another order each time."""
    for k in np.random.default_rng(seed).permutation(len(made)):
        for result in each(made[k]()):
            backend.numpy(result)


def soak(backend: backends.Backend, seconds: float) -> None:
    """Measures after two rounds and a third of the time, and at the end."""
    if backend.library == "numpy":
        tracemalloc.start()
    made, start, early, number = calls(backend), time.monotonic(), None, 0
    while (passed := time.monotonic() - start) < seconds or number < 4:
        call_all(backend, made, number)
        number += 1
        if early is None and number >= 2 and passed > seconds / 3:
            early = measured(backend)
    late = measured(backend)
    assert early is not None, "too short to be measured twice"
    print(f"{backend}: {number * len(made)} calls in {time.monotonic() - start:.0f} s")
    for name, last in late.items():
        print(f"  {name}: {early[name]:.6g} after a third, {last:.6g} at the end")
        assert last - early[name] <= ALLOWED.get(name, 0), f"{name} grew"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", required=True, choices=list(backends.LIBRARIES))
    parser.add_argument("--seconds", type=float, default=300)
    asked = parser.parse_args()
    backend = backends.variants(asked.backend)[0]
    with backend.around():
        soak(backend, asked.seconds)


if __name__ == "__main__":
    sys.exit(main())
