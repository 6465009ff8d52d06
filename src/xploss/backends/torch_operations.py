"""A formula by PyTorch's own operations, as few as there are, and in place: on a device
that there are no kernels for, where nobody differentiates through them.

The formula is traced, and what PyTorch has in one operation is found in its graph.  A
mean takes 10 instead of 18, and its backward 8 instead of 16.
"""

import operator
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch

from ..kernels.trace import Node, operations, trace


def _addcmul(a: Any, b: Any, c: Any) -> Any:
    return torch.addcmul(a, b, c) if _are_tensors(a, b, c) else a + b * c


def _addcdiv(a: Any, b: Any, c: Any) -> Any:
    return torch.addcdiv(a, b, c) if _are_tensors(a, b, c) else a + b / c


def _are_tensors(*operands: Any) -> bool:
    return all(isinstance(operand, torch.Tensor) for operand in operands)


def _minus(mask: Any, y: Any) -> Any:
    """Which `sub` does not take."""
    return torch.add(mask, y, alpha=-1)


def _negated_where(mask: Any, x: Any) -> Any:
    return torch.addcmul(x, mask, x, value=-2.0)


def _times_tail(scale: Any, x: Any) -> Any:
    """scale * exp(x) / (1 + exp(x)), of x <= 0; any device trains a softplus."""
    return torch.ops.aten.softplus_backward(scale, x, 1.0, 20.0)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "truediv": operator.truediv, "pow": operator.pow,
    "lt": operator.lt, "gt": operator.gt, "ge": operator.ge, "le": operator.le,
    "eq": operator.eq, "ne": operator.ne, "and": operator.and_, "or": operator.or_,
    "neg": torch.neg, "not": torch.logical_not, "abs": torch.abs,
    "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "isinf": torch.isinf,
    "where": torch.where, "copysign": torch.copysign, "masked_fill": torch.masked_fill,
    "addcmul": _addcmul, "addcdiv": _addcdiv, "minus": _minus,
    "negated_where": _negated_where, "times_tail": _times_tail,
}  # fmt: skip
# Whose result may take the place of the first operand.
IN_PLACE = {
    name: f"{method}_"
    for name, method in (
        *((n, n) for n in ("add", "sub", "mul", "pow", "neg", "abs", "exp", "log")),
        *((n, n) for n in ("log1p", "copysign", "masked_fill", "addcmul", "addcdiv")),
        ("truediv", "div"),
    )
}
FUSED = ("addcmul", "addcdiv")


class Step(NamedTuple):
    """An operation on nodes by their numbers, or on numbers; and which it is the last
    to use."""

    operation: str
    operands: tuple[Any, ...]  # (number of a node, None), or (None, a number)
    freed: tuple[int, ...]


def evaluate(function: Any, arguments: tuple[Any, ...]) -> Any:
    """function(torch, *arguments), all of which have one floating dtype."""
    there = tuple([argument is not None for argument in arguments])
    static: tuple[tuple[str, Any], ...] = ()
    if isinstance(function, partial):  # a new one each time
        function, static = function.func, tuple(function.keywords.items())
    steps, outputs = _program(function, there, static)
    first = arguments[0]
    made: dict[int, Any] = dict(enumerate(a for a in arguments if a is not None))
    given = len(made)
    for number, step in enumerate(steps, given):
        operands = [made[k] if n is None else n for k, n in step.operands]
        own = step.operands[0][0]
        method = IN_PLACE.get(step.operation)
        if (
            method is not None
            and own in step.freed
            and _are_tensors(*operands[: 3 if step.operation in FUSED else 1])
            and operands[0].shape == first.shape
            and operands[0].dtype is first.dtype
        ):
            made[number] = getattr(operands[0], method)(*operands[1:])
        else:
            made[number] = OPERATIONS[step.operation](*operands)
        del operands
        for k in step.freed:
            del made[k]
    results = tuple([made[k] if n is None else n for k, n in outputs])
    results = tuple([_as_tensor(r, first) for r in results])
    return results if len(results) > 1 else results[0]


def times(xp: Any, *arguments: Any, of: Any, **static: Any) -> Any:
    """of(xp, *arguments but the last) * the last."""
    *given, scale = arguments
    return of(xp, *given, **static) * scale


def _as_tensor(result: Any, like: Any) -> Any:
    number = not isinstance(result, torch.Tensor)
    return torch.full_like(like, result) if number else result


@lru_cache(256)
def _program(
    function: Any, there: tuple[bool, ...], static: tuple[tuple[str, Any], ...]
) -> tuple[tuple[Step, ...], tuple[Any, ...]]:
    names = tuple([f"{k}" if known else None for k, known in enumerate(there)])
    traced = trace(function, names, **dict(static))
    outputs = tuple(map(_Rewriter(traced.outputs).rewritten, traced.outputs))
    nodes = [n for n in operations(outputs) if n.operation != "input"]
    numbers = {name: k for k, name in enumerate(traced.inputs)}
    places: dict[int, int] = {}

    def place(operand: Any) -> tuple[int | None, Any]:
        if not isinstance(operand, Node):
            return None, operand
        if operand.operation == "input":
            return numbers[operand.operands[0]], None
        return places[id(operand)], None

    steps = []
    for number, node in enumerate(nodes, len(numbers)):
        steps.append((node.operation, tuple(map(place, node.operands))))
        places[id(node)] = number
    results = tuple(map(place, outputs))
    kept = {*numbers.values(), *(k for k, _ in results)}
    last: dict[int, int] = {}
    for n, (_, operands) in enumerate(steps):
        last |= {k: n for k, _ in operands if k is not None and k not in kept}
    return tuple(
        Step(operation, operands, tuple(k for k in last if last[k] == n))
        for n, (operation, operands) in enumerate(steps)
    ), results


class _Rewriter:
    """A graph anew, with operations that PyTorch has and formulas do not ask for."""

    def __init__(self, outputs: tuple[Any, ...]) -> None:
        nodes = operations(outputs)
        used = (id(a) for n in nodes for a in n.operands if isinstance(a, Node))
        self.uses, self.known = Counter(used), dict[int, Any]()

    def rewritten(self, node: Any) -> Any:
        if not isinstance(node, Node) or node.operation == "input":
            return node
        if id(node) not in self.known:
            self.known[id(node)] = self._new(node)
        return self.known[id(node)]

    def _new(self, node: Node) -> Node:
        for shorter in (self._sign, self._masked, self._slope, self._fused):
            found = shorter(node)
            if found is not None:
                operation, operands = found
                return self._node(node, operation, *operands)
        return self._node(node, node.operation, *node.operands)

    def _node(self, like: Node, operation: str, *operands: Any) -> Node:
        return like.graph.node(operation, *map(self.rewritten, operands))

    def _is(self, node: Any, operation: str, alone: bool = False) -> bool:
        """`alone`: of nobody else's use."""
        is_such = isinstance(node, Node) and node.operation == operation
        return is_such and not (alone and self.uses[id(node)] > 1)

    def _sign(self, node: Node) -> Any:
        """-|x|."""
        if self._is(node, "neg") and self._is(node.operands[0], "abs", alone=True):
            return "copysign", (node.operands[0].operands[0], -1.0)
        return None

    def _masked(self, node: Node) -> Any:
        """where(c, 1 - y, -y), which is c - y; and where(c, number, y)."""
        if node.operation != "where":
            return None
        mask, x, y = node.operands
        if self._is(x, "sub") and self._is(y, "neg"):
            one, other = x.operands
            if one == 1.0 and other is y.operands[0]:
                return "minus", (mask, other)
        if isinstance(x, float) and isinstance(y, Node):
            return "masked_fill", (y, mask, x)
        return None

    def _slope(self, node: Node) -> Any:
        """(d + where(c, -e, e) / (1 + e)) * scale, of e = exp(x), x <= 0."""
        if node.operation != "mul" or not self._is(node.operands[0], "add", True):
            return None
        (against, back), scale = node.operands[0].operands, node.operands[1]
        if not (self._is(scale, "input") and self._is(back, "truediv", True)):
            return None
        signed, whole = back.operands
        if not (self._is(signed, "where", True) and self._is(whole, "add", True)):
            return None
        mask, negative, e = signed.operands
        if not (self._is(negative, "neg") and self._is(e, "exp")):
            return None
        if negative.operands[0] is not e or whole.operands != (1.0, e):
            return None
        tail = node.graph.node("times_tail", scale, e.operands[0])
        return "addcmul", (node.graph.node("negated_where", mask, tail), against, scale)

    def _fused(self, node: Node) -> Any:
        """a + b * c, a + b / c; and a + where(b == 0, 0, b * c), with c 0 there."""
        if node.operation != "add":
            return None
        for other, term in (node.operands, node.operands[::-1]):
            if not isinstance(other, Node):
                continue
            for operation, name in (("mul", "addcmul"), ("truediv", "addcdiv")):
                if self._is(term, operation, alone=True) and _all_nodes(term):
                    return name, (other, *term.operands)
            if self._is(term, "where", alone=True):
                mask, zero, product = term.operands
                if zero == 0.0 and self._is(product, "mul", alone=True):
                    factor, part = product.operands
                    if self._is(mask, "eq") and mask.operands[0] is factor:
                        masked = node.graph.node("where", mask, 0.0, part)
                        return "addcmul", (other, factor, masked)
        return None


def _all_nodes(node: Node) -> bool:
    return all(isinstance(a, Node) for a in node.operands)
