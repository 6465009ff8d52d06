"""What a loss costs each of d devices, and how to count it: the formula of the docs.

A device has n/d elements and does with each what one device alone would do; bytes and
operations are divided by d.  What is added is one all-reduce for each axis of the
array that is both cut and summed, of as many sums as a device is left with.
"""

import math
import re
from typing import NamedTuple


class Cost(NamedTuple):
    elements: int  # that a device has
    results: int  # that their sums leave it with, 0 where nothing is summed
    all_reduces: int
    payload: int  # bytes of each of these

    @property
    def payloads(self) -> list[int]:
        return [self.payload] * self.all_reduces


def cost(
    shape: tuple[int, ...],
    shards: tuple[int, ...],
    axis: tuple[int, ...] | None = None,
    sums: int = 1,
    itemsize: int = 4,
) -> Cost:
    """Of an array whose axes are cut in `shards` and summed along `axis`, all if None.

    `sums` is 2 where N is summed as well: with a mask, and for a weighted mean.  16-bit
    logits are summed in float32, so `itemsize` is 4 for them too.
    """
    local = [n // d for n, d in zip(shape, shards, strict=True)]
    elements = math.prod(local)
    if axis == ():
        return Cost(elements, 0, 0, 0)
    axes = range(len(shape)) if axis is None else axis
    results = sums * math.prod(n for k, n in enumerate(local) if k not in axes)
    all_reduces = sum(shards[k] > 1 for k in axes)
    return Cost(elements, results, all_reduces, itemsize * results)


# ---- seconds, by an assumed machine ------------------------------------------------

BANDWIDTH = 3e12  # bytes a second of a device's memory
MESSAGE = 5e-6  # seconds, of a few bytes


def seconds(c: Cost, devices: int, bytes_an_element: int) -> tuple[float, float]:
    """For the elements, and for the all-reduces, there and back along a tree."""
    messages = 2 * math.ceil(math.log2(devices)) * c.all_reduces
    return bytes_an_element * c.elements / BANDWIDTH, messages * MESSAGE


# ---- counting, in what XLA compiled ------------------------------------------------

COLLECTIVES = (
    "all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter",
    "collective-broadcast", "ragged-all-to-all", "send", "recv",
)  # fmt: skip
INSTRUCTION = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(COLLECTIVES)})(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+)(\d*)\[([\d,]*)\]")


class Collective(NamedTuple):
    kind: str
    payload: int  # bytes


def collectives(hlo: str) -> list[Collective]:
    """Every collective instruction; of an asynchronous pair the start alone."""
    return [Collective(kind, _bytes(type_)) for type_, kind in INSTRUCTION.findall(hlo)]


def _bytes(type_: str) -> int:
    """Of an array, `f32[16]{0}`, or a tuple of them."""
    return sum(
        int(bits or 8) // 8 * math.prod(map(int, filter(None, sizes.split(","))))
        for _, bits, sizes in ARRAY.findall(type_)  # `pred` has no number: a byte
    )
