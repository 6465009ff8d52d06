"""Jobs by kernels of a GPU: of elements or of rows one launch, and one more for a sum.

What a library has to know is in `Device`; the text is the same for all of them.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from .._arrays import PYTHON_NUMBERS, dtype_name
from ..formulas.record import Function
from ..kernels import cuda
from ..kernels.catalogue import Kernel
from ..kernels.cuda import BLOCK, EACH, NUMBER, TYPES, Version
from .base import Backend
from .job import Job

MOST_BLOCKS = 4096  # several for each multiprocessor there is
MANY_THREADS = 1 << 17  # as many as a large device has at once
WARP = 32
LONGEST = 1 << 30  # of what an int counts, with room for a step of the grid
BITS = 32  # of an int


class Device(Protocol):
    """A library's arrays on a GPU."""

    def strides(self, array: Any) -> tuple[int, ...]:
        """In elements."""

    def like(self, array: Any, dtype: Any) -> Any:
        """Room for an array of this shape and layout."""

    def room(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """On the device of an array; of a dtype, or of float64 for None."""

    def launch(
        self, name: str, text: str, blocks: int, arguments: list[Any], like: Any
    ) -> None:
        """Arrays are passed by their addresses, ints in 32 bits, floats in 64."""


class Plan(NamedTuple):
    """A function of a formula, with the names of the arguments that are there."""

    function: Function
    names: tuple[str | None, ...]
    static: tuple[str, ...]
    per_row: frozenset[str] | None

    def kernel(self) -> Kernel:
        name = f"xploss_{self.function.__name__}"  # type: ignore[attr-defined]
        static = dict.fromkeys(self.static, False)
        return Kernel(name, self.function, self.names, 0, {}, static, self.per_row)


# Of each the text is kept: more than a program needs, and never more than that.
@lru_cache(256)
def _text(version: Version, plan: Plan) -> tuple[str, str]:
    kernel = plan.kernel()
    return kernel.name, cuda.text(version, kernel)


@lru_cache(8)
def _merging(out: str) -> str:
    return cuda.merging(out)


def evaluate(
    job: Job, device: Device, backend: Backend, upstream: Any = None
) -> tuple[Any, ...]:
    """The outputs of a job, times `upstream` if there is one."""
    first = job.arguments[0]
    if 0 in first.shape or not job.tells_classes_apart():
        factors = [a for a in (job.weights, upstream) if a is not None]
        weights = math.prod(factors[1:], start=factors[0]) if factors else None
        return Backend.evaluate(backend, job._replace(weights=weights))
    if job.summed and job.axis is not None:
        results = evaluate(job._replace(summed=False), device, backend)
        return backend.with_sum(job, results)
    return _launched(job, device, upstream)


def _launched(job: Job, device: Device, upstream: Any) -> tuple[Any, ...]:
    first, made = job.arguments[0], _room(job, device)
    given = [a for a in job.arguments if a is not None]
    factors = [a for a in (job.weights, upstream) if a is not None]
    masks = [] if job.where is None else [job.where]
    passed = [*given, *factors, *masks, *made[job.summed :]]
    arrays = [a for a in passed if not _is_number(a)]
    spread = tuple([(tuple(a.shape), device.strides(a)) for a in arrays])
    layout = _layout(tuple(first.shape), job.formula.class_axis, spread)
    name, text = _text(_version(job, given, factors, made, layout), _plan(job))
    numbers = [float(a) if _is_number(a) else a for a in passed]
    scales = [float(s) for s in _scales(job) if s is not None]
    arguments = [*layout.passed(), *numbers, *scales]
    if not job.summed:
        device.launch(name, text, layout.blocks, arguments, first)
        return tuple(made)
    partial = device.room(first, (layout.blocks,), None)
    device.launch(name, text, layout.blocks, [*arguments, partial], first)
    divisor = 1.0 if job.n is None else float(job.n)
    merged = [partial, layout.blocks, divisor, made[0]]
    device.launch("xploss_merging", _merging(_kind(made[0])), 1, merged, first)
    return tuple(made)


def _scales(job: Job) -> tuple[float | None, ...]:
    return job.scales[: len(job.dtypes)]


def _version(
    job: Job, given: list[Any], factors: list[Any], made: list[Any], layout: "Layout"
) -> Version:
    return Version(
        inputs=tuple(map(_kind, given)),
        factors=tuple(map(_kind, factors)),
        where=None if job.where is None else _kind(job.where),
        outputs=tuple(map(_kind, made)),
        weighed=_weighed(job),
        scaled=tuple([scale is not None for scale in _scales(job)]),
        summed=job.summed,
        axes=len(layout.sizes),
        group=layout.group,
        across=layout.across,
        wide=layout.wide,
    )


def _plan(job: Job) -> Plan:
    formula = job.formula
    there = zip(formula.traced, job.arguments, strict=True)
    names = tuple([None if a is None else name for name, a in there])
    static = () if job.quantity == "slope_and_curvature" else formula.static
    of_rows = formula.class_axis is not None
    per_row = frozenset(formula.per_row) if of_rows else None
    return Plan(job.function(), names, static, per_row)


def _weighed(job: Job) -> tuple[bool, ...]:
    """A statistic is of no weight."""
    every = job.quantity != "value_and_statistic"
    return (True, *(every for _ in job.dtypes[1:]))


def _room(job: Job, device: Device) -> list[Any]:
    """For the sum, and for results that are one an element, a class or a row."""
    first, axis = job.arguments[0], job.formula.class_axis
    likes = [first for _ in job.dtypes]
    if axis is not None:
        row = first[(slice(None),) * axis + (slice(0, 1),)]
        likes = [first if of_class else row for of_class in job.per_class()]
    made = []
    for k, (like, dtype) in enumerate(zip(likes, job.dtypes, strict=True)):
        is_sum = job.summed and k == 0
        made.append(
            device.room(first, (), dtype) if is_sum else device.like(like, dtype)
        )
    return made


def _is_number(argument: Any) -> bool:
    return isinstance(argument, PYTHON_NUMBERS)


def _kind(argument: Any) -> str:
    return NUMBER if _is_number(argument) else f"{TYPES[dtype_name(argument)]} *"


# ---- where elements are --------------------------------------------------------------


class Layout(NamedTuple):
    """Axes, of which those that all arrays have in a row are one, and a grid."""

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]  # of each array along them
    classes: int | None
    class_strides: tuple[int, ...]
    group: int  # threads a row
    across: bool  # rows lie beside each other
    blocks: int
    wide: bool

    def passed(self) -> list[int]:
        numbers = [*self.sizes]
        if self.classes is not None:
            numbers.append(self.classes)
        for strides, of_class in zip(self.strides, self.class_strides, strict=True):
            numbers += strides
            if self.classes is not None:
                numbers.append(of_class)
        if not self.wide:
            return numbers
        return [part for n in numbers for part in (n >> BITS, _low(n))]


def _low(number: int) -> int:
    """The lower half, as an int has it."""
    half = number & ((1 << BITS) - 1)
    return half - (1 << BITS) if half >> (BITS - 1) else half


Spread = tuple[tuple[int, ...], tuple[int, ...]]  # an array's shape and strides


@lru_cache(1024)
def _layout(
    shape: tuple[int, ...], class_axis: int | None, arrays: tuple[Spread, ...]
) -> Layout:
    spread = [_spread(*array, shape) for array in arrays]
    axes = [k for k, n in enumerate(shape) if k != class_axis and n > 1]
    merged = _merged([(shape[k], tuple([s[k] for s in spread])) for k in axes])
    sizes = tuple([n for n, _ in merged]) or (1,)
    by_axis = [s for _, s in merged] or [tuple([0 for _ in arrays])]
    strides = tuple(zip(*by_axis, strict=True))
    count = math.prod(sizes)
    furthest = max(count, *map(_reach, (sizes,) * len(arrays), strides))
    if class_axis is None:
        blocks = -(-count // (BLOCK * EACH))
        return Layout(
            sizes, strides, None, (0,) * len(arrays), 0, False,
            min(blocks, MOST_BLOCKS), furthest >= LONGEST,
        )  # fmt: skip
    classes, of_class = shape[class_axis], tuple([s[class_axis] for s in spread])
    across = abs(of_class[0]) > abs(by_axis[-1][0]) > 0
    group = _group(count, classes, across)
    furthest += max(abs(s) * classes for s in of_class)
    return Layout(
        sizes, strides, classes, of_class, group, across,
        min(-(-count // (BLOCK // group)), MOST_BLOCKS), furthest >= LONGEST,
    )  # fmt: skip


def _reach(sizes: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return sum((n - 1) * abs(s) for n, s in zip(sizes, strides, strict=True))


def _spread(own: Any, strides: Any, shape: Any) -> tuple[int, ...]:
    """The strides of an array that is broadcast to a shape."""
    missing = len(shape) - len(own)
    pairs = zip(own, strides, strict=True)
    return (0,) * missing + tuple([0 if n == 1 else s for n, s in pairs])


Axis = tuple[int, tuple[int, ...]]  # its size, and the stride of each array


def _merged(axes: list[Axis]) -> list[Axis]:
    """The innermost last, in memory; two of which one continues the other are one."""
    merged: list[Axis] = []
    for n, strides in sorted(axes, key=lambda axis: -abs(axis[1][0])):
        if merged and merged[-1][1] == tuple([s * n for s in strides]):
            merged[-1] = merged[-1][0] * n, strides
        else:
            merged.append((n, strides))
    return merged


def _group(rows: int, classes: int, across: bool) -> int:
    """A power of two: enough to fill a device, if there are the classes for it; of rows
    whose classes lie in a row, so many that threads read what is beside each other."""
    useful = _power_of_two(-(-classes // EACH))
    wanted = _power_of_two(-(-MANY_THREADS // rows))
    if across:  # a warp has rows beside each other
        return min(useful, wanted, BLOCK // WARP)
    return min(useful, max(wanted, WARP), BLOCK)


def _power_of_two(least: int) -> int:
    return int(1 << (least - 1).bit_length())
