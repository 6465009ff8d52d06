"""What each of several gloo processes runs, and how they are started and heard.

Not in the test file, as each process imports it anew.
"""

import itertools
import pickle
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as distributed
from torch.distributed.tensor import (
    DTensor,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
    init_device_mesh,
)
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

import xploss

SECONDS = 240  # after which what hangs has failed; alone on two cores it takes 20

cross_entropy = xploss.sigmoid_cross_entropy


# ---- starting ----------------------------------------------------------------------


def everywhere(function: Callable[[int], Any], world: int, folder: Path) -> list[Any]:
    """What `function(world)` returns in each of as many processes."""
    start = torch.multiprocessing.spawn
    context = start(_process, (function, world, folder), world, join=False)
    end = time.monotonic() + SECONDS
    while not context.join(timeout=1.0):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{world} processes took over {SECONDS} seconds")
    return [pickle.loads((folder / str(k)).read_bytes()) for k in range(world)]


def _process(
    rank: int, function: Callable[[int], Any], world: int, folder: Path
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=SECONDS),
    )
    try:
        (folder / str(rank)).write_bytes(pickle.dumps(function(world)))
        distributed.barrier()  # nobody leaves while another still listens
    finally:
        distributed.destroy_process_group()


# ---- DTensor -----------------------------------------------------------------------

EVEN, UNEVEN = (8, 4), (5, 7)  # of five rows the fourth process has none

LAYOUTS: dict[int, dict[str, tuple[tuple[int, ...], tuple[Placement, ...]]]] = {
    2: {
        "Shard(0)": ((2,), (Shard(0),)),
        "Shard(1)": ((2,), (Shard(1),)),
        "Replicate": ((2,), (Replicate(),)),
    },
    4: {
        "Shard(0)": ((4,), (Shard(0),)),
        "Shard(1)": ((4,), (Shard(1),)),
        "Replicate, Shard(0)": ((2, 2), (Replicate(), Shard(0))),
        "Shard(0), Shard(1)": ((2, 2), (Shard(0), Shard(1))),
    },
}


class Case(NamedTuple):
    """A loss with options; a name among these is that of an array which is drawn."""

    loss: Callable[..., Any]
    options: dict[str, Any]
    dtype: str = "float32"


CASES = {
    "none": Case(cross_entropy, {"reduction": "none"}),
    "mean": Case(cross_entropy, {}),
    "sum": Case(cross_entropy, {"reduction": "sum"}),
    "axis=0": Case(cross_entropy, {"axis": 0}),
    "axis=1": Case(cross_entropy, {"axis": 1}),
    "pos_weight": Case(cross_entropy, {"pos_weight": "classes"}),
    "weights": Case(cross_entropy, {"weights": "samples"}),
    "where": Case(cross_entropy, {"where": "mask"}),
    "where, sum": Case(cross_entropy, {"where": "mask", "reduction": "sum"}),
    "weighted_mean": Case(
        cross_entropy, {"weights": "samples", "reduction": "weighted_mean"}
    ),
    "all": Case(
        cross_entropy,
        {"where": "mask", "weights": "samples", "pos_weight": "classes", "axis": 0},
    ),
    "focal": Case(xploss.sigmoid_focal_loss, {}),
    "probabilities": Case(xploss.binary_cross_entropy, {}),
    "bfloat16": Case(cross_entropy, {}, "bfloat16"),
}
HESSIANS = {
    "Hessian": Case(cross_entropy, {}),
    "Hessian, options": Case(cross_entropy, {"where": "mask", "pos_weight": "classes"}),
}


def drawn(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Float64 numbers that bfloat16 holds; labels of 0 and 1, so nothing cancels."""
    rng = np.random.default_rng(11)
    return {
        "logits": rng.integers(-40, 40, shape) / 8,
        "probs": rng.integers(1, 64, shape) / 64,
        "labels": rng.integers(0, 2, shape) * 1.0,
        "mask": rng.random(shape) < 0.75,
        "classes": rng.integers(2, 9, shape[1]) / 4,
        "samples": rng.integers(2, 9, (shape[0], 1)) / 4,
    }


def given(case: Case, arrays: dict[str, Any]) -> dict[str, Any]:
    named = {k: v for k, v in case.options.items() if isinstance(v, str)}
    return case.options | {k: arrays[v] for k, v in named.items() if v in arrays}


def first(case: Case) -> str:
    return "probs" if case.loss is xploss.binary_cross_entropy else "logits"


class Record(NamedTuple):
    """Of one call: what it returned, and what was sent for it."""

    results: list[np.ndarray]
    dtypes: list[str]
    placements: list[tuple[Placement, ...]]  # before a value was asked for
    collectives: tuple[list[str], ...]  # of asking, of the call, of `backward`


def placed(array: np.ndarray, dtype: str, mesh: Any, placements: Any) -> DTensor:
    """Sharded as the logits are, where it has their axis and a size."""
    tensor = torch.tensor(array)
    if tensor.dtype != torch.bool:
        tensor = tensor.to(getattr(torch, dtype))
    absent = 2 - tensor.ndim

    def own(p: Placement) -> Placement:
        if (
            isinstance(p, Shard)
            and p.dim >= absent
            and tensor.shape[p.dim - absent] > 1
        ):
            return Shard(p.dim - absent)
        return Replicate()

    return distribute_tensor(tensor, mesh, list(map(own, placements)))


def counted(function: Callable[..., Any], *args: Any) -> tuple[Any, list[str]]:
    """What it returns, and the collectives that it took."""
    with CommDebugMode() as mode:
        result = function(*args)
    counts = {str(kind): n for kind, n in mode.get_comm_counts().items()}
    names = [name.rpartition(".")[2] for name, n in counts.items() for _ in range(n)]
    return result, names


def asked(tensor: DTensor) -> DTensor:
    """Its value where it is, summed up if that was put off."""
    whole = [Replicate() if p.is_partial() else p for p in tensor.placements]
    return tensor.redistribute(placements=whole)


def recorded(tensors: tuple[DTensor, ...], *collectives: list[str]) -> Record:
    placements = [tensor.placements for tensor in tensors]
    # All are waited for: what is not keeps threads at exit, and one run in 30 aborts.
    values, asking = counted(lambda: list(map(asked, tensors)))
    whole = [value.full_tensor().detach() for value in values]
    return Record(
        [value.double().numpy() for value in whole],
        [str(value.dtype).removeprefix("torch.") for value in whole],
        placements,
        (asking, *collectives),
    )


def record(called: Callable[[], Any]) -> Record:
    results, call = counted(called)
    return recorded(results if isinstance(results, tuple) else (results,), call)


def record_backward(called: Callable[[], Any], logits: DTensor) -> Record:
    """Of a value, and of the gradient that `backward` leaves."""
    value, call = counted(called)
    _, backward = counted(value.backward if value.ndim == 0 else value.sum().backward)
    return recorded((value, logits.grad), call, backward)


def of_case(case: Case, logits: Any, labels: Any, options: Any) -> Iterator[Record]:
    """By `xploss.value_and_grad`, and by `backward`."""
    derived = xploss.value_and_grad(case.loss)
    yield record(partial(derived, logits, labels, **options))
    logits = logits.requires_grad_()
    yield record_backward(partial(case.loss, logits, labels, **options), logits)


def of_layout(
    mesh: Any, placements: tuple[Placement, ...], shape: tuple[int, ...]
) -> Iterator[tuple[str, list[Record]]]:
    def arrays_of(dtype: str) -> dict[str, DTensor]:
        arrays = drawn(shape).items()
        return {k: placed(a, dtype, mesh, placements) for k, a in arrays}

    for name, case in CASES.items():
        arrays = arrays_of(case.dtype)
        pair = arrays[first(case)], arrays["labels"]
        yield name, list(of_case(case, *pair, given(case, arrays)))
    arrays = arrays_of("float32")
    logits, labels = arrays["logits"], arrays["labels"]
    for name, case in HESSIANS.items():
        derived = xploss.grad_and_hess(case.loss)
        options = given(case, arrays)
        yield name, [record(partial(derived, logits, labels, **options))]
    native = functional.binary_cross_entropy_with_logits
    yield "native", [record(partial(native, logits, labels))]


def dtensors(world: int) -> dict[tuple[str, tuple[int, ...], str], list[Record]]:
    """By layout, shape and case."""
    return {
        (layout, shape, case): records
        for layout, (sizes, placements) in LAYOUTS[world].items()
        for mesh in [init_device_mesh("cpu", sizes)]
        for shape in (EVEN, UNEVEN)
        for case, records in of_layout(mesh, placements, shape)
    }


# ---- DTensor: rows of classes --------------------------------------------------------


NOT_SENT = ("wait_tensor", "_wrap_tensor_autograd")


class Sent(TorchDispatchMode):
    """The kind of each collective, and of how many numbers it is."""

    def __init__(self) -> None:
        super().__init__()
        self.every: list[tuple[str, int]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if DTensor in types:
            return NotImplemented  # which then does it of plain tensors
        name = str(function).split(".")[1]
        if "c10d" in function.namespace and name not in NOT_SENT:
            self.every.append((name, args[0].numel()))
        return function(*args, **(kwargs or {}))


ROW_CASES: dict[str, dict[str, Any]] = {
    "none": {"reduction": "none"},
    "mean": {},
    "where": {"where": "mask"},
    "class_weights": {"class_weights": "classes"},
    "all": {
        "where": "mask",
        "weights": "samples",
        "class_weights": "classes",
        "label_smoothing": 0.125,
        "reduction": "weighted_mean",
    },
}
ROW_LABELS = ("numbers", "masses")
ROW_WAYS = ("value_and_grad", "backward", "grad_and_hess")


class RowRecord(NamedTuple):
    results: list[np.ndarray]
    placements: list[tuple[Placement, ...]]
    sent: list[tuple[str, int]]


def drawn_rows(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(19)
    rows, classes = shape
    return {
        "logits": rng.integers(-40, 40, shape) / 8.0,
        "numbers": rng.integers(0, classes, rows),
        "masses": rng.dirichlet(np.ones(classes), rows),
        "mask": rng.random(rows) < 0.75,
        "classes": rng.integers(2, 9, classes) / 4,
        "samples": rng.integers(2, 9, rows) / 4,
    }


def placed_rows(name: str, array: np.ndarray, mesh: Any, placements: Any) -> DTensor:
    """Sharded as the logits are, along the axes that it has of them."""
    own: list[Placement] = list(placements)
    if array.ndim == 1:
        axis = 1 if name == "classes" else 0
        own = [Shard(0) if p == Shard(axis) else Replicate() for p in placements]
    tensor = torch.tensor(array)
    return distribute_tensor(
        tensor.float() if array.dtype == float else tensor, mesh, own
    )


def row_options(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """With the arrays in the places of their names."""
    return {
        k: arrays[v] if isinstance(v, str) and v in arrays else v
        for k, v in ROW_CASES[name].items()
    }


def row_results(way: str, logits: Any, labels: Any, options: dict[str, Any]) -> Any:
    loss = xploss.softmax_cross_entropy
    if way == "grad_and_hess":
        kept = {k: v for k, v in options.items() if k != "reduction"}
        return xploss.grad_and_hess(loss)(logits, labels, **kept)
    if way == "value_and_grad":
        return xploss.value_and_grad(loss)(logits, labels, **options)
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, labels, **options)
    (value if value.ndim == 0 else value.sum()).backward()
    return value.detach(), leaf.grad


def rows(world: int) -> dict[tuple[str, tuple[int, ...], str, str, str], RowRecord]:
    """By layout, shape, kind of label, case and way."""
    records = {}
    for layout, (sizes, placements) in LAYOUTS[world].items():
        mesh = init_device_mesh("cpu", sizes)
        for shape in (EVEN, UNEVEN):
            arrays = {
                k: placed_rows(k, a, mesh, placements)
                for k, a in drawn_rows(shape).items()
            }
            keys = itertools.product(ROW_LABELS, ROW_CASES, ROW_WAYS)
            for kind, case, way in keys:
                with Sent() as sent:
                    given = arrays["logits"], arrays[kind], row_options(case, arrays)
                    made = row_results(way, *given)
                whole = [a.full_tensor().detach().double().numpy() for a in made]
                places = [a.placements for a in made]
                record = RowRecord(whole, places, sent.every)
                records[layout, shape, kind, case, way] = record
    return records


# ---- DistributedDataParallel -------------------------------------------------------

ROWS = 16
EQUAL = {2: (8, 8), 4: (4, 4, 4, 4)}
UNEQUAL = {2: (11, 5), 4: (7, 4, 3, 2)}


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(13)
    features, labels = rng.normal(size=(ROWS, 6)), rng.integers(0, 2, (ROWS, 3))
    return torch.tensor(features).float(), torch.tensor(labels).float()


def network() -> torch.nn.Module:
    torch.manual_seed(17)
    linear = torch.nn.Linear
    return torch.nn.Sequential(linear(6, 8), torch.nn.Tanh(), linear(8, 3))


def trained(
    network: torch.nn.Module, loss: Callable[..., Any], rows: slice = slice(None)
) -> list[np.ndarray]:
    """Its parameters after three steps on these rows."""
    features, labels = (array[rows] for array in samples())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        loss(network(features), labels).backward()
        optimizer.step()
    return [p.detach().numpy() for p in network.parameters()]


def replicated(loss: Callable[..., Any], sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The same, with as many rows on each process as `sizes` says."""
    rank = distributed.get_rank()
    start = sum(sizes[:rank])
    rows = slice(start, start + sizes[rank])
    return trained(DistributedDataParallel(network()), loss, rows)


def share(logits: Any, labels: Any) -> Any:
    """Of the mean over all rows; times the processes' number, as DDP divides by it."""
    total = cross_entropy(logits, labels, reduction="sum")
    return total * distributed.get_world_size() / (ROWS * logits.shape[1])


def replicas(world: int) -> dict[str, list[np.ndarray]]:
    return {
        "mean, equal": replicated(cross_entropy, EQUAL[world]),
        "mean, unequal": replicated(cross_entropy, UNEQUAL[world]),
        "share, unequal": replicated(share, UNEQUAL[world]),
    }


def everything(world: int) -> tuple[Any, Any, Any]:
    return dtensors(world), replicas(world), rows(world)
