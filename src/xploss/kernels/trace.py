"""A namespace that draws what a formula does as a graph, in which equal parts are one.

A formula runs in it unchanged.  Its arguments are inputs of the graph; that an option
is there at all is decided before, as everywhere.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

# By Python's name of the operator.
OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/",
    "lt": "<", "gt": ">", "ge": ">=", "le": "<=", "eq": "==", "ne": "!=",
    "and": "&", "or": "|",
}  # fmt: skip
FUNCTIONS = ("exp", "log", "log1p", "isinf", "where")


class Node:
    """One operation on others and on numbers; `Graph` makes equal ones once."""

    def __init__(self, graph: "Graph", operation: str, operands: tuple[Any, ...]):
        self.graph, self.operation, self.operands = graph, operation, operands

    def __bool__(self) -> bool:
        raise TypeError("a formula must not look at a value")

    def __neg__(self) -> "Node":
        return self.graph.node("neg", self)

    def __invert__(self) -> "Node":
        return self.graph.node("not", self)

    def __abs__(self) -> "Node":
        return self.graph.node("abs", self)

    def __pow__(self, other: Any) -> "Node":
        return self.graph.node("pow", self, other)


def _operator(name: str, swapped: bool) -> Callable[[Node, Any], Node]:
    def method(self: Node, other: Any) -> Node:
        operands = (other, self) if swapped else (self, other)
        return self.graph.node(name, *operands)

    return method


for _name in OPERATORS:
    setattr(Node, f"__{_name}__", _operator(_name, swapped=False))
    setattr(Node, f"__r{_name}__", _operator(_name, swapped=True))
Node.__hash__ = object.__hash__  # type: ignore[method-assign]


class Graph:
    """The namespace."""

    def __init__(self) -> None:
        self.nodes: dict[Any, Node] = {}

    def node(self, operation: str, *operands: Any) -> Node:
        # Nodes by identity, since `==` of them draws; -0.0 is another number than 0.0.
        keys = (id(a) if isinstance(a, Node) else repr(a) for a in operands)
        new = Node(self, operation, operands)
        return self.nodes.setdefault((operation, *keys), new)

    def __getattr__(self, name: str) -> Callable[..., Node]:
        if name not in FUNCTIONS:
            raise AttributeError(f"a formula may ask for {FUNCTIONS}; got {name!r}")
        return lambda *operands: self.node(name, *operands)

    def ones_like(self, array: Node) -> float:
        return 1.0


# Of rows of classes: what goes over a row, and what else is one a row.
OVER_ROWS = ("class_sum", "class_max", "argmax", "largest")
OF_ROWS = (*OVER_ROWS, "picked", "class_count")


class RowGraph(Graph):
    """The namespace of a formula of rows of classes, as `backends/classes.py` has it.

    Of an input an element may be `picked` before a row is gone over.
    """

    def __init__(self, per_row: Collection[str]) -> None:
        super().__init__()
        self.per_row = per_row

    def of_class(self, value: Any) -> bool:
        """Whether it is one a class."""
        if not isinstance(value, Node) or value.operation in OF_ROWS:
            return False
        if value.operation == "input":
            return value.operands[0] not in self.per_row
        return value.operation == "class_index" or any(
            map(self.of_class, value.operands)
        )

    def log1p(self, x: Node) -> Node:
        """Of one a row, which may be more than 1."""
        return self.node("log1p_of_any", x)

    def exp_of_difference(self, a: Node, b: Node) -> Node:
        return self.node("exp_of_difference", a, b)

    def differentiable_exp_of_difference(self, a: Node, b: Node, none: Node) -> Node:
        """Which nobody differentiates."""
        return self.where(none, 0.0, self.exp_of_difference(a, b))

    def class_count(self, like: Node) -> Node:
        return self.node("class_count")

    def class_sum(self, values: Node) -> Node:
        return self.node("class_sum", values)

    def class_max(self, values: Node) -> Node:
        return self.node("class_max", values)

    def argmax(self, values: Node) -> Node:
        return self.node("argmax", values)

    def is_class(self, like: Node, numbers: Node) -> Node:
        return self.node("eq", self.node("class_index"), numbers)

    def same_class(self, numbers: Node, others: Node) -> Node:
        return self.node("eq", numbers, others)

    def pick(self, values: Node, numbers: Node) -> Node:
        if numbers.operation == "argmax" and numbers.operands[0] is values:
            return self.node("largest", numbers)
        picked: Node = self.at(values, numbers)
        return picked

    def at(self, value: Any, numbers: Node) -> Any:
        """What a value is at the class of a number, which is an input."""
        if not self.of_class(value):
            return value
        if value.operation == "class_index":
            return numbers
        if value.operation == "input":
            return self.node("picked", value, numbers)
        operands = [self.at(a, numbers) for a in value.operands]
        return self.node(value.operation, *operands)


class Traced(NamedTuple):
    outputs: tuple[Any, ...]  # nodes, or numbers
    inputs: tuple[str, ...]


def trace(
    function: Callable[..., Any],
    arguments: tuple[str | None, ...],
    graph: Graph | None = None,
    **static: Any,
) -> Traced:
    """What a function makes of arguments of these names; None is an absent one."""
    graph = Graph() if graph is None else graph
    nodes = [None if a is None else graph.node("input", a) for a in arguments]
    outputs = function(graph, *nodes, **static)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return Traced(outputs, tuple(a for a in arguments if a is not None))


def operations(outputs: tuple[Any, ...]) -> list[Node]:
    """All that outputs are made of, each once and after its operands."""
    found: dict[int, Node] = {}

    def visit(node: Any) -> None:
        if isinstance(node, Node) and id(node) not in found:
            for operand in node.operands:
                visit(operand)
            found[id(node)] = node

    for output in outputs:
        visit(output)
    return list(found.values())
