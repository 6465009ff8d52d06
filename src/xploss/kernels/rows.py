"""The text of C that does what a graph of rows of classes does, in passes over a row.

What a pass adds up, or the largest that it finds, the next one knows.  Between two of
them is what is one a row.  Nothing of a class is kept from pass to pass: it is made
anew, so that a row may be as long as it likes.

Each pass is written twice.  `along` goes over one row, TILE classes at a time, whose
sums are merged afterwards; `across` over TILE rows at a time, class after class.  The
inner loop is of TILE in both, and what is one a row is `[0]` in the one and `[i]` in
the other.
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .catalogue import Kernel, row_kernels
from .text import BOOLEANS, expression, number
from .trace import OF_ROWS, OVER_ROWS, Node, RowGraph, operations

FLUSHED = 4  # as many numbers of float32 are added before float64 takes their sum

# What takes the largest of lanes.
MERGING = {
    "class_max": "FN(merge_maximum)(state->largest);",
    "argmax": "FN(merge_largest)(state->largest, state->top);",
}

Lines = list[str]


class HostGraph(RowGraph):
    def exp_of_difference(self, a: Node, b: Node) -> Node:
        """With what is one a row made once (`host/elementary.h`)."""
        parts = ("origin", "lowest", "round", "scale")
        of_row = (self.node(f"difference_{part}", b) for part in parts)
        return self.node("exp_from", a, *of_row)


class RowKernel:
    """A kernel's graph, cut into passes; nodes by identity, since `==` draws."""

    namespace: type[RowGraph] = HostGraph

    def __init__(self, kernel: Kernel) -> None:
        assert kernel.per_row is not None
        self.name, self.per_row = kernel.name, kernel.per_row
        self.outputs, self.inputs = kernel.traced(self.namespace)
        self.nodes = operations(self.outputs)
        graph = self.nodes[0].graph
        assert isinstance(graph, RowGraph)
        self.of_class = graph.of_class
        self.level: dict[Node, int] = {}  # passes that a node comes after
        for node in self.nodes:
            below = [self.level[a] for a in node.operands if isinstance(a, Node)]
            self.level[node] = max(below, default=0) + _goes_over(node)
        self.passes = max(self.level.values())
        self.last = self.passes + any(map(self.of_class, self.outputs))
        self.picked = _places(n for n in self.nodes if n.operation == "picked")
        self.sums = _places(n for n in self.nodes if n.operation == "class_sum")
        self.kept = _places(filter(self._kept(), self.nodes))

    def _kept(self) -> Callable[[Node], bool]:
        """What goes over a row, or is a number that each of its classes needs."""
        of_classes = [n for n in self.nodes if self.of_class(n)]
        needed = {id(a) for n in of_classes for a in n.operands}

        def kept(node: Node) -> bool:
            made_anew = node.operation in (*BOOLEANS, *OF_ROWS, "input")
            of_class = self.of_class(node) or made_anew
            return node.operation in OVER_ROWS or (id(node) in needed and not of_class)

        return kept

    # ---- what a line is of -----------------------------------------------------------

    def _at_hand(self, node: Node, level: int, at: str) -> str | None:
        """After so many passes; `at` is the place of what is one a row."""
        if node.operation == "input":
            place = "i" if self.of_class(node) else at
            return f"in{self.inputs.index(node.operands[0])}[{place}]"
        if node.operation == "picked":
            return f"in{len(self.inputs) + self.picked[id(node)]}[{at}]"
        if node.operation in ("class_count", "class_index"):
            return {"class_count": "classes", "class_index": "index"}[node.operation]
        known = self.level[node] <= level and id(node) in self.kept
        return f"state->row[{self.kept[id(node)]}][{at}]" if known else None

    def _gone_over(self, node: Node) -> str | None:
        """What has come of a pass."""
        if node.operation == "class_sum":
            return f"FN(total)(&{self._sum(node)}, i)"
        # Of a NaN the number is that of no class.
        known = "-(MASK)(state->largest[i] == state->largest[i])"
        top = f"FN(where)({known}, state->top[i], {number(math.nan)})"
        largest = dict.fromkeys(("largest", "class_max"), "state->largest[i]")
        of_largest = {"argmax": top, **largest}
        return of_largest.get(node.operation)

    def _sum(self, node: Node) -> str:
        return f"state->sum[{self.sums[id(node)]}]"

    def _arrays(self, text: str, of_class: bool, start: str = "") -> Lines:
        """Those that a text has the names of, and that are one a class, or a row."""
        inputs = [name not in self.per_row for name in self.inputs]
        inputs += [False for _ in self.picked]
        made = [
            f"const REAL *restrict in{k} = (const REAL *)in[{k}]{start};"
            for k, is_of_class in enumerate(inputs)
            if is_of_class == of_class and f"in{k}[" in text
        ]
        return made + [
            f"REAL *restrict out{k} = (REAL *)out[{k}]{start};"
            for k, output in enumerate(self.outputs)
            if self.of_class(output) == of_class and f"out{k}[" in text
        ]

    # ---- passes ----------------------------------------------------------------------

    def _over(self, level: int) -> list[Node]:
        """What a pass over the classes adds up or compares."""
        return [n for n in self.nodes if _goes_over(n) and self.level[n] == level + 1]

    def _pass(self, level: int, at: str) -> Lines:
        """What is done of each class after so many passes."""
        over = self._over(level)
        outputs = {
            k: output
            for k, output in enumerate(self.outputs)
            if level == self.passes and self.of_class(output)
        }
        targets = [*(n.operands[0] for n in over), *outputs.values()]
        lines, name = statements(targets, lambda n: self._at_hand(n, level, at))
        for node in over:
            taken: dict[str, Callable[[str], str]] = {
                "class_sum": partial(self._added, node),
                "class_max": self._raised,
                "argmax": self._compared,
            }
            lines.append(taken[node.operation](name(node.operands[0])))
        return lines + [self._stored(k, name(o)) for k, o in outputs.items()]

    def _compared(self, value: str) -> str:
        return f"FN(compare)(&state->largest[i], &state->top[i], {value}, index);"

    def _raised(self, value: str) -> str:
        return f"FN(raise)(&state->largest[i], {value});"

    def _added(self, node: Node, value: str) -> str:
        return f"FN(accumulate)(&{self._sum(node)}, i, {value});"

    def _stored(self, k: int, value: str) -> str:
        return f"out{k}[i] = {value};"

    def _flushed(self, level: int, done: str) -> Lines:
        sums = [n for n in self._over(level) if n.operation == "class_sum"]
        flushed = [f"FN(flush)(&{self._sum(n)});" for n in sums]
        return block(f"if ({done} % {FLUSHED} == 0)", flushed) if sums else []

    def along(self, level: int) -> str:
        lines = self._pass(level, "0")
        text = "\n".join(lines)
        of_row = [line for line in lines if line.endswith("[0];")]
        lines = [line for line in lines if line not in of_row]
        start: Lines = []
        if has(text, "index"):
            start = ["const REAL start = (REAL)(first + base);"]
            lines = ["const REAL index = start + FN(counting)[i];", *lines]
        arrays = re.findall(r"\b(?:in|out)\d+(?=\[i\])", text)
        fetched = dict.fromkeys(arrays) if level == self.last - 1 else []
        body = [
            "const int lanes = n - base < TILE ? (int)(n - base) : TILE;",
            *self._arrays(text, True, " + base"),
            *(f"PREFETCH({name} + n);" for name in fetched),
            *start,
            "VECTORISED",
            *block("for (int i = 0; i < lanes; i++)", lines),
            *self._flushed(level, "(base / TILE + 1)"),
        ]
        loop = block("for (Size base = 0; base < n; base += TILE)", body)
        return self._function(
            f"along_{level}", [*self._arrays(text, False), *of_row, *loop]
        )

    def across(self, level: int) -> str:
        lines = self._pass(level, "i")
        text = "\n".join(lines)
        index = ["const REAL index = (REAL)(first + j);"] if has(text, "index") else []
        body = [
            *self._arrays(text, True, " + j * TILE"),
            *index,
            "VECTORISED",
            *block("for (int i = 0; i < TILE; i++)", lines),
            *self._flushed(level, "(j + 1)"),
        ]
        loop = block("for (Size j = 0; j < n; j++)", body)
        return self._function(f"across_{level}", [*self._arrays(text, False), *loop])

    # ---- between passes --------------------------------------------------------------

    def _between(self, level: int) -> Lines:
        """What is one a row after so many passes."""
        new = [n for n in self.nodes if id(n) in self.kept and self.level[n] == level]
        outputs = {
            k: output
            for k, output in enumerate(self.outputs)
            if level == self.passes and not self.of_class(output)
        }

        def leaf(node: Node) -> str | None:
            made = any(node is n for n in new)
            return self._gone_over(node) if made else self._at_hand(node, level, "i")

        lines, name = statements([*new, *outputs.values()], leaf)
        lines += [self._known(n, name(n)) for n in new]
        return lines + [self._stored(k, name(o)) for k, o in outputs.items()]

    def _known(self, node: Node, value: str) -> str:
        return f"state->row[{self.kept[id(node)]}][i] = {value};"

    def rows(self, level: int) -> str:
        """`n` is 1 along a row, or TILE."""
        lines = self._between(level)
        loop = ["VECTORISED", *block("for (int i = 0; i < (int)n; i++)", lines)]
        arrays = self._arrays("\n".join(lines), False)
        body = [*self._begun(level), *arrays, *(loop if lines else [])]
        return self._function(f"rows_{level}", body)

    def _begun(self, level: int) -> Lines:
        """Sums and the largest at their start, or of lanes merged."""
        has_largest = any(n.operation in MERGING for n in self.nodes)
        if level == 0:
            largest = ["FN(no_largest)(state->largest, state->top);"] * has_largest
            return largest + [
                f"FN(no_sum)(&state->sum[{k}]);" for k in range(len(self.sums))
            ]
        over = self._over(level - 1)
        sums = [self._sum(n) for n in over if n.operation == "class_sum"]
        merged = [f"FN(merge_sum)(&{s});" for s in sums]
        merged += [MERGING[n.operation] for n in over if n.operation in MERGING]
        return [*(f"FN(flush)(&{s});" for s in sums), *block("if (n == 1)", merged)]

    # ---- the whole -------------------------------------------------------------------

    def _function(self, title: str, body: Lines) -> str:
        text = "\n".join(body)
        if has(text, "classes"):
            body = ["const REAL classes = (REAL)count;", *body]
        names = ("n", "first", "in", "out", "state")
        unused = [f"(void){name};" for name in names if not has(text, name)]
        if not has(text, "classes"):
            unused.append("(void)count;")
        state = f"FN({self.name}_state) *state = space;"
        head = (
            f"static void FN({self.name}_{title})(Size n, Size first, Size count,\n"
            "    const void *const *in, void *space, void *const *out)"
        )
        return "\n".join(block(head, [state, " ".join(unused), *body]))

    def _state(self) -> str:
        members = [
            f"REAL row[{max(len(self.kept), 1)}][TILE], largest[TILE], top[TILE];"
        ]
        if self.sums:
            members.append(f"Sums sum[{len(self.sums)}];")
        return f"typedef struct {{ {' '.join(members)} }} FN({self.name}_state);"

    def source(self) -> str:
        functions = [self.rows(level) for level in range(self.passes + 1)]
        for level in range(self.last):
            functions += [self.along(level), self.across(level)]
        return "\n\n".join([self._state(), *functions])

    def entry(self) -> str:
        """Of the table, in the order of `RowKernel` in loops.h."""
        picked = [
            _list(self.inputs.index(a.operands[0]) for a in node.operands)
            for node in self.nodes
            if id(node) in self.picked
        ]
        steps = [self._step(level) for level in range(max(self.last, self.passes + 1))]
        return _list(
            (
                len(self.inputs),
                len(self.outputs),
                _bits(name not in self.per_row for name in self.inputs),
                _bits(map(self.of_class, self.outputs)),
                len(picked),
                _list(picked or ["{0, 0}"]),
                len(steps),
                f"sizeof(FN({self.name}_state))",
                _list(steps),
            )
        )

    def _step(self, level: int) -> str:
        rows = f"FN({self.name}_rows_{level})"
        if level == self.last:
            return _list((rows, "NULL", "NULL", 0))
        text = "\n".join(self._pass(level, "0"))
        needed = _bits(
            f"in{k}[" in text and name not in self.per_row
            for k, name in enumerate(self.inputs)
        )
        passes = (f"FN({self.name}_{way}_{level})" for way in ("along", "across"))
        return _list((rows, *passes, needed))


def _goes_over(node: Node) -> bool:
    return node.operation in ("class_sum", *MERGING)


def _places(nodes: Iterable[Node]) -> dict[int, int]:
    return {id(node): place for place, node in enumerate(nodes)}


def statements(
    targets: list[Any], leaf: Callable[[Node], str | None]
) -> tuple[Lines, Callable[[Any], str]]:
    """Of an element, or of a row, at `i`: the lines, and what gives their names."""
    names: dict[int, str] = {}
    lines: Lines = []

    def visit(node: Any) -> None:
        if not isinstance(node, Node) or id(node) in names:
            return
        text = leaf(node)
        if text is None:
            for operand in node.operands:
                visit(operand)
            text = expression(node, names)
        names[id(node)] = f"v{len(names)}"
        kind = "MASK" if node.operation in BOOLEANS else "REAL"
        lines.append(f"const {kind} {names[id(node)]} = {text};")

    def name(value: Any) -> str:
        return names[id(value)] if isinstance(value, Node) else number(value)

    for target in targets:
        visit(target)
    return lines, name


def block(head: str, lines: Lines) -> Lines:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def _list(items: Iterable[Any]) -> str:
    return f"{{{', '.join(map(str, items))}}}"


def _bits(flags: Iterable[bool]) -> int:
    return sum(flag << k for k, flag in enumerate(flags))


def has(text: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", text) is not None


def source() -> str:
    """All kernels of rows, and the table of them."""
    every = list(map(RowKernel, row_kernels()))
    entries = [f"{kernel.entry()}," for kernel in every]
    table = block("static const RowKernel FN(row_kernels)[] =", entries)
    return "\n\n".join([*(k.source() for k in every), "\n".join(table) + ";"]) + "\n"
