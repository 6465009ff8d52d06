"""Ours beside torch's, optax' and CuPy's own lines on a GPU: times, launches, copies.

    python benchmarks/gpu.py --write           into gpu.json and backends.md
    python benchmarks/gpu.py --device=cpu      a few small ones, to see that it runs

Microseconds a call and the ratio are medians of rounds in which both take their turn;
launches and copies between host and device are those that PyTorch's profiler sees, of
the smallest size, after all has been timed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

import xploss
from xploss.backends import torch_private

HERE = Path(__file__).parent
SIZES, SMALL = (10**4, 10**6, 10**8), (10**4,)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MARKS = "<!-- gpu -->\n", "<!-- end of gpu -->\n"
ROUNDS = 15
Call = Callable[[], Any]


class Case(NamedTuple):
    name: str
    ours: Call
    theirs: Call
    least: int  # bytes of what is read and written
    wait: Call


# ---- what is measured ----------------------------------------------------------------


def stepped(loss: Callable[..., Any], leaf: Any, labels: Any) -> Call:
    def step() -> None:
        leaf.grad = None
        loss(leaf, labels).backward()

    return step


def of_torch(n: int, dtype: Any, device: str) -> Iterator[Case]:
    x, leaf = (torch.randn(n, device=device).to(dtype) for _ in range(2))
    y, leaf = torch.rand(n, device=device).to(dtype), leaf.requires_grad_()
    size = x.element_size() * n
    pairs = {
        "mean": (
            xploss.sigmoid_cross_entropy,
            functional.binary_cross_entropy_with_logits,
        ),
        "focal mean": (xploss.sigmoid_focal_loss, focal_by_hand),
    }
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for name, (ours, theirs) in pairs.items():
        calls = (lambda f=f: f(x, y) for f in (ours, theirs))
        yield Case(name, *calls, 2 * size, wait)
        steps = (stepped(f, leaf, y) for f in (ours, theirs))
        yield Case(f"{name}, backward", *steps, 5 * size, wait)
    classes = 1000 if n >= 10**6 else 10
    rows, row_leaf = (a.detach().view(-1, classes) for a in (x, leaf))
    row_leaf.requires_grad_()
    numbers = torch.randint(0, classes, (n // classes,), device=device)
    both = xploss.softmax_cross_entropy, functional.cross_entropy
    calls = (lambda f=f: f(rows, numbers) for f in both)
    yield Case("rows of classes", *calls, size, wait)
    steps = (stepped(f, row_leaf, numbers) for f in both)
    yield Case("rows of classes, backward", *steps, 3 * size, wait)


def focal_by_hand(x: Any, y: Any) -> Any:
    """As torchvision has it, of the loss's own probabilities."""
    p = torch.sigmoid(x)
    loss = functional.binary_cross_entropy_with_logits(x, y, reduction="none")
    return (loss * (1 - (p * y + (1 - p) * (1 - y))) ** 2).mean()


def of_jax(n: int, dtype: Any, device: str) -> Iterator[Case]:
    import jax
    import jax.numpy as jnp
    import optax

    name = str(dtype).removeprefix("torch.")
    x = jax.random.normal(jax.random.key(0), (n,)).astype(name)
    y = jax.random.uniform(jax.random.key(1), (n,)).astype(name)
    size = x.nbytes

    def mean_of_optax(x: Any, y: Any) -> Any:
        return jnp.mean(optax.sigmoid_binary_cross_entropy(x, y))

    ways = {"mean": (lambda f: f, 2), "value and gradient": (jax.value_and_grad, 3)}
    for title, (transformed, arrays) in ways.items():
        both = (
            jax.jit(transformed(f))
            for f in (xploss.sigmoid_cross_entropy, mean_of_optax)
        )
        calls = (lambda f=f: jax.block_until_ready(f(x, y)) for f in both)
        yield Case(f"JAX, jitted: {title}", *calls, arrays * size, lambda: None)


def of_cupy(n: int, dtype: Any, device: str) -> Iterator[Case]:
    import cupy

    if dtype is torch.bfloat16:
        return
    name = str(dtype).removeprefix("torch.")
    x = cupy.random.standard_normal(n, dtype="float32").astype(name)
    y = cupy.random.random(n, dtype="float32").astype(name)

    def by_hand(x: Any, y: Any) -> Any:
        losses = cupy.maximum(x, 0) - x * y + cupy.log1p(cupy.exp(-cupy.abs(x)))
        return losses.mean()

    pair = (lambda f=f: f(x, y) for f in (xploss.sigmoid_cross_entropy, by_hand))
    yield Case("CuPy: mean", *pair, 2 * x.nbytes, cupy.cuda.Device().synchronize)


def cases(n: int, dtype: Any, device: str) -> Iterator[Case]:
    yield from of_torch(n, dtype, device)
    if device == "cuda":
        yield from of_jax(n, dtype, device)
        yield from of_cupy(n, dtype, device)


# ---- measuring -----------------------------------------------------------------------


def microseconds(case: Case) -> tuple[float, float, float]:
    """Ours, theirs, and the ratio."""
    taken: tuple[list[float], list[float]] = ([], [])
    for call in (case.ours, case.theirs) * 3:
        call()
    for _ in range(ROUNDS):
        for call, times in zip((case.ours, case.theirs), taken, strict=True):
            case.wait()
            start = time.perf_counter()
            call()
            case.wait()
            times.append(1e6 * (time.perf_counter() - start))
    ratio = statistics.median(a / b for a, b in zip(*taken, strict=True))
    ours, theirs = map(statistics.median, taken)
    return ours, theirs, ratio


def launches(call: Call, wait: Call) -> tuple[int, int]:
    """Kernels, and copies between host and device."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    wait()
    with torch.profiler.profile(activities=kinds) as profile:
        call()
        wait()
    on_device = torch.autograd.DeviceType.CUDA
    names = [e.name for e in profile.events() if e.device_type == on_device]
    copies = [n for n in names if n.startswith("Memcpy")]
    apart = [n for n in copies if "HtoD" in n or "DtoH" in n]
    kernels = [n for n in names if not n.startswith(("Memcpy", "Memset"))]
    return len(kernels), len(apart)


def timed(case: Case, n: int, dtype: Any) -> dict[str, Any]:
    ours, theirs, ratio = microseconds(case)
    return {
        "case": case.name, "n": n, "dtype": str(dtype).removeprefix("torch."),
        "ours": ours, "theirs": theirs, "ratio": ratio, "GB/s": case.least / ours / 1e3,
    }  # fmt: skip


def counted(case: Case) -> dict[str, Any]:
    own, copies = launches(case.ours, case.wait)
    others, _ = launches(case.theirs, case.wait)
    return {"launches": [own, others], "copies": copies}


def installed() -> dict[str, str]:
    found = {}
    for name in ("torch", "jax", "cupy-cuda13x", "optax"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def found_on(device: str) -> dict[str, Any]:
    on_gpu = device == "cuda"
    sizes = SIZES if on_gpu else SMALL
    name = torch.cuda.get_device_name() if on_gpu else "CPU, to see it run"
    if on_gpu and not torch_private.takes_kernels(torch.device("cuda", 0)):
        raise RuntimeError("this PyTorch does not compile kernels for this GPU")
    every = [(n, dtype) for n in sizes for dtype in DTYPES]
    rows = [timed(c, n, dtype) for n, dtype in every for c in cases(n, dtype, device)]
    counts = {}
    for dtype in DTYPES if on_gpu else ():
        for case in cases(sizes[0], dtype, device):
            counts[case.name] = counted(case)
    rows = [row | counts.get(row["case"], {}) for row in rows]
    date = datetime.now(UTC).date().isoformat()
    return {"device": name, "date": date, "versions": installed(), "rows": rows}


# ---- told ----------------------------------------------------------------------------


def table(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in found["versions"].items())
    lines = [
        f"On one {found['device']}, {found['date']}; {versions}. Microseconds a call;",
        "GB/s is what has to be read and written over our time; kernels are launches.",
        "",
        "| case | dtype | elements | ours | theirs | ratio | GB/s | kernels |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found["rows"]:
        own, others = row.get("launches", ("?", "?"))
        lines.append(
            f"| {row['case']} | {row['dtype']} | {row['n']:,} | {row['ours']:,.0f} | "
            f"{row['theirs']:,.0f} | {row['ratio']:.2f} | {row['GB/s']:,.0f} | "
            f"{own}, {others} |"
        )
    copies = sum(row.get("copies", 0) for row in found["rows"])
    return "\n".join([*lines, "", f"Copies between host and device: {copies}.", ""])


def written(page: str, text: str) -> str:
    """The page, with the text between its marks."""
    begin, end = (page.index(mark) for mark in MARKS)
    return page[: begin + len(MARKS[0])] + text + page[end:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    found = found_on(given.device)
    print(table(found))
    if given.write:
        (HERE / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        page = HERE.parent / "backends.md"
        page.write_text(written(page.read_text(), table(found)))


if __name__ == "__main__":
    main()
