"""The text of CUDA that does what a kernel's graph does: of elements, or of rows.

It is C++ that NVIDIA's and AMD's run-time compilers take, and includes nothing.  Arrays
are read and written in the dtypes that they have, by strides; options are arguments.
A row is gone over by GROUP threads, beside each other or, where rows lie beside each
other, at a distance; all of them then know its sums, which are in two parts.
The sum of what a block of threads has found is one number of `partial`, and the text of
`merging` adds those up.
"""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .catalogue import Kernel
from .rows import Lines, RowKernel, block, has, statements
from .text import number
from .trace import Node, RowGraph

BLOCK = 256  # threads
EACH = 4  # elements of a thread at a time
NUMBER = "double"  # the type of an argument that is no array; an array's has a `*`
TYPES = {
    "bool": "bool",
    "int8": "signed char", "uint8": "unsigned char",
    "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned",
    "int64": "long long", "uint64": "unsigned long long",
    "float16": "Half", "bfloat16": "BFloat16", "float32": "float", "float64": "double",
}  # fmt: skip


class Version(NamedTuple):
    """A kernel for arguments of these types, which are `NUMBER` or those of arrays."""

    inputs: tuple[str, ...]
    factors: tuple[str, ...]  # what outputs are multiplied by
    where: str | None  # 0 where they are
    outputs: tuple[str, ...]
    weighed: tuple[bool, ...]  # which of them are multiplied and masked
    scaled: tuple[bool, ...]  # and which by a number of their own
    summed: bool  # the first
    axes: int  # but that of classes
    group: int  # threads a row; 0 of elements
    across: bool  # rows lie beside each other, and not their classes
    wide: bool  # sizes beyond an int

    @property
    def real(self) -> str:
        return "double" if self.inputs[0] == "double *" else "float"

    def arguments(self) -> Iterator[tuple[str, str]]:
        """Names and types, in the order in which they are passed."""
        yield from ((f"in{k}", kind) for k, kind in enumerate(self.inputs))
        yield from ((f"factor{k}", kind) for k, kind in enumerate(self.factors))
        if self.where is not None:
            yield "where", self.where
        stored = enumerate(self.outputs)
        yield from ((f"out{k}", kind) for k, kind in stored if k or not self.summed)
        yield from ((f"scale{k}", NUMBER) for k, s in enumerate(self.scaled) if s)

    def sizes(self) -> Iterator[str]:
        """Names of numbers of elements: of the axes, then strides, array by array."""
        yield from (f"n{axis}" for axis in range(self.axes))
        if self.group:
            yield "count_of_classes"
        for name, kind in self.arguments():
            if kind != NUMBER:
                yield from (f"{name}_{axis}" for axis in range(self.axes))
                if self.group:
                    yield f"{name}_class"

    def parameters(self) -> Iterator[str]:
        """What is wider than an int is passed in two, since PyTorch passes ints."""
        for name in self.sizes():
            yield f"int {name}_high, int {name}_low" if self.wide else f"int {name}"
        for name, kind in self.arguments():
            const = "const " * (kind != NUMBER and not name.startswith("out"))
            yield f"{const}{kind} {name}_given"
        if self.summed:
            yield "double *partial"


def text(version: Version, kernel: Kernel) -> str:
    """Whose function has the kernel's name."""
    writer = _Rows if version.group else _Elements
    parameters = ",\n    ".join(version.parameters())
    return _file(version, kernel.name, parameters, writer(kernel, version).body())


def merging(out: str) -> str:
    """`xploss_merging`: the sum of partial sums, divided, as a number of that type."""
    parameters = f"const double *partial, int count, double divisor, {out}out"
    body = [
        "Parts<double> sum = {0.0, 0.0};",
        "for (int k = threadIdx.x; k < count; k += BLOCK) sum.add(partial[k]);",
        "merge<BLOCK, 1>(sum);",
        "if (threadIdx.x == 0) store(out, sum.total() / divisor);",
    ]
    return _file(MERGING, "xploss_merging", parameters, body)


MERGING = Version(("double *",), (), None, (), (), (), False, 1, 0, False, False)


def _file(version: Version, name: str, parameters: str, body: Lines) -> str:
    defined = [
        f"#define REAL {version.real}",
        f"#define BLOCK {BLOCK}",
        f"#define EACH {EACH}",
        f"#define GROUP {max(version.group, 1)}",
        f"typedef {'long long' if version.wide else 'int'} Size;",
    ]
    head = f'extern "C" __global__ void {name}(\n    {parameters})'
    return "\n".join([*defined, _header(), *block(head, body), ""])


@cache
def _header() -> str:
    return (Path(__file__).parent / "device" / "device.cuh").read_text()


class _Writer:
    """What texts of elements and of rows have in common."""

    version: Version

    def over(self, together: str, lines: Lines) -> Lines:
        """What is done of each element or row, by a grid that may be of any size."""
        version = self.version
        axes = " * ".join(f"n{axis}" for axis in range(version.axes))
        loop = f"for (Size base = blockIdx.x * {together}; base < count; base += step)"
        return [
            *(f"const Size {line};" for line in self._sizes()),
            f"const Size count = {axes}, step = (Size)gridDim.x * {together};",
            *["Parts<double> losses = {0.0, 0.0};"] * version.summed,
            *block(loop, lines),
            *(self._summed() if version.summed else ()),
        ]

    def _sizes(self) -> Iterator[str]:
        if self.version.wide:
            for name in self.version.sizes():
                yield f"{name} = ((Size){name}_high << 32) | (unsigned){name}_low"

    def _summed(self) -> Lines:
        one = "if (threadIdx.x == 0) partial[blockIdx.x] = losses.total();"
        return ["merge<BLOCK, 1>(losses);", one]

    def places(self) -> Lines:
        """Where each array has the element, or the row, of the number `at`."""
        *inner, first = reversed(range(self.version.axes))
        lines = ["Size rest = at;"]
        for axis in inner:
            lines.append(f"const Size i{axis} = rest % n{axis};")
            lines.append(f"rest /= n{axis};")
        lines.append(f"const Size i{first} = rest;")
        for name, kind in self.version.arguments():
            if kind != NUMBER:
                terms = (f"i{k} * {name}_{k}" for k in range(self.version.axes))
                const = "" if name.startswith("out") else "const "
                place = f"{name}_given + {' + '.join(terms)}"
                lines.append(f"{const}{kind}{name}_at = {place};")
        return lines

    def loaded(self, name: str, place: str = "") -> str:
        if dict(self.version.arguments())[name] == NUMBER:
            return f"(REAL){name}_given"
        return f"load({name}_at[{place or 0}])"

    def common(self) -> Lines:
        """The factors and the mask."""
        version = self.version
        lines = [
            f"const REAL factor{k} = {self.loaded(f'factor{k}')};"
            for k in range(len(version.factors))
        ]
        if version.where is not None:
            there = "where_given" if version.where == NUMBER else "*where_at"
            lines.append(f"const bool counts = {there} != 0;")
        return lines

    def finished(self, k: int, value: str) -> str:
        """An output weighed, masked and scaled."""
        version = self.version
        if version.weighed[k]:
            factors = (f" * factor{f}" for f in range(len(version.factors)))
            value += "".join(factors)
            if version.where is not None:
                value = f"(counts ? {value} : (REAL)0)"
        return f"{value} * (REAL)scale{k}_given" if version.scaled[k] else value


class _Elements(_Writer):
    def __init__(self, kernel: Kernel, version: Version) -> None:
        self.version, (self.outputs, self.inputs) = version, kernel.traced()

    def body(self) -> Lines:
        def leaf(node: Node) -> str | None:
            if node.operation != "input":
                return None
            return self.loaded(f"in{self.inputs.index(node.operands[0])}")

        lines, name = statements(list(self.outputs), leaf)
        results = [
            self._kept(k, self.finished(k, name(output)))
            for k, output in enumerate(self.outputs)
        ]
        one = [*self.places(), *self.common(), *lines, *results]
        each = [
            "const Size at = base + k * BLOCK + threadIdx.x;",
            *block("if (at < count)", one),
        ]
        loop = block("for (int k = 0; k < EACH; k++)", each)
        return self.over("(BLOCK * EACH)", ["#pragma unroll", *loop])

    def _kept(self, k: int, value: str) -> str:
        if self.version.summed and k == 0:
            return f"add(losses, {value});"
        return f"store(out{k}_at, {value});"


class _Rows(_Writer, RowKernel):
    """Each thread has some classes of a row, and all that is one a row."""

    namespace = RowGraph

    def __init__(self, kernel: Kernel, version: Version) -> None:
        self.version = version
        super().__init__(kernel)

    def _at_hand(self, node: Node, level: int, at: str) -> str | None:
        if node.operation == "input":
            name = f"in{self.inputs.index(node.operands[0])}"
            of_class = self.of_class(node)
            return self.loaded(name, f"j * {name}_class") if of_class else name
        if node.operation == "picked":
            return f"picked{self.picked[id(node)]}"
        if node.operation in ("class_count", "class_index"):
            return {"class_count": "classes", "class_index": "index"}[node.operation]
        known = self.level[node] <= level and id(node) in self.kept
        return f"row{self.kept[id(node)]}" if known else None

    def _gone_over(self, node: Node) -> str | None:
        if node.operation == "class_sum":
            return f"{self._sum(node)}.total()"
        known = (
            "largest.first == largest.first"  # of a NaN it is the number of no class
        )
        top = f"({known} ? largest.second : {number(math.nan)})"
        largest = dict.fromkeys(("largest", "class_max"), "largest.first")
        of_largest = {"argmax": top, **largest}
        return of_largest.get(node.operation)

    def _sum(self, node: Node) -> str:
        return f"sum{self.sums[id(node)]}"

    def _known(self, node: Node, value: str) -> str:
        return f"row{self.kept[id(node)]} = {value};"

    def _compared(self, value: str) -> str:
        return f"largest.compare({value}, index);"

    def _raised(self, value: str) -> str:
        return f"largest.compare({value}, 0);"

    def _added(self, node: Node, value: str) -> str:
        return f"{self._sum(node)}.add({value});"

    def _stored(self, k: int, value: str) -> str:
        value = self.finished(k, value)
        if self.of_class(self.outputs[k]):
            return f"if (is_there) store(out{k}_at + j * out{k}_class, {value});"
        done = f"store(out{k}_at, {value})"
        if self.version.summed and k == 0:
            done = f"add(losses, {value})"
        return f"if (is_there && lane == 0) {done};"

    # ---- the whole -------------------------------------------------------------------

    def body(self) -> Lines:
        each = [
            "const bool is_there = base + own < count;",
            "const Size at = is_there ? base + own : count - 1;",
            *self.places(), *self.common(), *self._of_row(),
        ]  # fmt: skip
        for level in range(self.passes + 1):
            each += block("", self._between(level))
            if level < self.last:
                each += self._gone(level)
        places = ("threadIdx.x % GROUP", "threadIdx.x / GROUP")
        if self.version.across:
            places = ("threadIdx.x / AT_ONCE", "threadIdx.x % AT_ONCE")
        threads = "const int lane = {}, own = {};".format(*places)
        return [threads, *self.over("AT_ONCE", each)]

    def _of_row(self) -> Lines:
        """What a row has of its own; of a number that no class has, any is picked."""
        lines = ["const REAL classes = (REAL)count_of_classes;"]
        lines += [f"REAL row{k};" for k in self.kept.values()]
        for k, name in enumerate(self.inputs):
            if name in self.per_row:
                lines.append(f"const REAL in{k} = {self.loaded(f'in{k}')};")
        for node in self.nodes:
            if id(node) in self.picked:
                k = self.picked[id(node)]
                array, number = (
                    self.inputs.index(a.operands[0]) for a in node.operands
                )
                within = f"in{number} >= 0 && in{number} < classes"
                place = f"(({within}) ? (Size)in{number} : 0) * in{array}_class"
                lines.append(
                    f"const REAL picked{k} = {self.loaded(f'in{array}', place)};"
                )
        return lines

    def _gone(self, level: int) -> Lines:
        """A pass over the classes, and what its threads have found put together."""
        over = self._over(level)
        sums = [self._sum(n) for n in over if n.operation == "class_sum"]
        begun = [f"Parts<REAL> {name} = {{0, 0}};" for name in sums]
        found = [*sums]
        if len(over) > len(sums):
            begun.append("Largest largest = {-(REAL)INFINITY, 0};")
            found.append("largest")
        lines = self._pass(level, "")
        if has("\n".join(lines), "index"):
            lines = ["const REAL index = (REAL)j;", *lines]
        loop = "for (Size j = lane; j < count_of_classes; j += GROUP)"
        step = "AT_ONCE" if self.version.across else "1"
        merged = (f"merge<GROUP, {step}>({name});" for name in found)
        return [*begun, *block(loop, lines), *merged]
