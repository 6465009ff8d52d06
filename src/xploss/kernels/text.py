"""The text of C that does what a graph does, one element after the other.

`REAL` is the floating type, `MASK` an unsigned integer as wide, and `FN(exp)` the
function of that type: macros of the text that this is included into.
"""

from typing import Any

from .catalogue import Kernel, kernels
from .trace import OPERATORS, Node, operations

COMPARISONS = {"lt", "gt", "ge", "le", "eq", "ne"}
BOOLEANS = COMPARISONS | {"and", "or", "not", "isinf"}


def number(value: float) -> str:
    special = {"inf": "INFINITY", "nan": "NAN"}.get(str(value))
    return f"(REAL){special or float(value).hex()}"


def expression(node: Node, names: dict[int, str]) -> str:
    operands = [
        names[id(a)] if isinstance(a, Node) else number(a) for a in node.operands
    ]
    if node.operation in COMPARISONS:
        return f"-(MASK)({operands[0]} {OPERATORS[node.operation]} {operands[1]})"
    if node.operation in OPERATORS:
        return f" {OPERATORS[node.operation]} ".join(operands)
    if node.operation in ("neg", "not"):
        return f"{'-' if node.operation == 'neg' else '~'}{operands[0]}"
    return f"FN({node.operation})({', '.join(operands)})"


def _statements(outputs: tuple[Any, ...], inputs: tuple[str, ...]) -> list[str]:
    """Of one element, at `i`; what is not needed has none."""
    names: dict[int, str] = {}
    lines = []
    for node in operations(outputs):
        name = names[id(node)] = f"v{len(names)}"
        kind = "MASK" if node.operation in BOOLEANS else "REAL"
        if node.operation == "input":
            text = f"in{inputs.index(node.operands[0])}[i]"
        else:
            text = expression(node, names)
        lines.append(f"const {kind} {name} = {text};")
    for k, output in enumerate(outputs):
        text = names[id(output)] if isinstance(output, Node) else number(output)
        lines.append(f"out{k}[i] = {text};")
    return lines


def kernel(kernel: Kernel) -> str:
    """A function of arrays of `n` elements each."""
    outputs, inputs = kernel.traced()
    arrays = [
        *(f"const REAL *restrict in{k} = in[{k}];" for k in range(len(inputs))),
        *(f"REAL *restrict out{k} = out[{k}];" for k in range(len(outputs))),
    ]
    unused = "".join(f" (void)in{k};" for k in range(len(inputs)))
    lines = _statements(outputs, inputs)
    return "\n".join(
        (
            f"static void FN({kernel.name})",
            "    (Size n, const void *const *in, void *const *out) {",
            *(f"    {line}" for line in arrays),
            f"   {unused}",
            "    VECTORISED",
            "    for (Size i = 0; i < n; i++) {",
            *(f"        {line}" for line in lines),
            "    }",
            "}",
        )
    )


def source() -> str:
    """All kernels, and the table of them."""
    every = list(kernels())
    entries = [
        f"    {{{len(k.traced().inputs)}, {k.results}, FN({k.name})}}," for k in every
    ]
    table = ["static const Kernel FN(kernels)[] = {", *entries, "};"]
    return "\n\n".join([*map(kernel, every), "\n".join(table)]) + "\n"
