"""What a backend is asked to evaluate."""

from functools import partial
from typing import Any, NamedTuple

from ..formulas.record import Formula, Function
from .classes import are_told_apart


class Job(NamedTuple):
    """weights * formula per element, 0 where masked.

    With `summed`, the first output is its sum over `axis`, divided by `n`.
    """

    formula: Formula
    arguments: tuple[Any, ...]  # those of the formula, in the order of its `traced`
    dtypes: tuple[Any, ...]  # of the outputs
    quantity: str = "value"  # of the formula
    weights: Any = None
    where: Any = None
    summed: bool = False
    axis: tuple[int, ...] | None = None
    n: int | None = None
    keepdims: bool = False  # of a sum along axes
    scales: tuple[float | None, ...] = (None, None)  # what they are multiplied by

    def function(self) -> Function:
        function: Function = getattr(self.formula, self.quantity)
        return function

    def undifferentiated(self) -> Function:
        """The function, where nobody differentiates through it."""
        if self.quantity == "slope_and_curvature":  # which has no such option
            return self.function()
        return undifferentiated(self.formula, self.function())

    def per_class(self) -> tuple[bool, ...]:
        """Of a formula of rows: which outputs are one a class, the others one a row."""
        return are_per_class(self.formula, self.quantity, len(self.dtypes))

    def tells_classes_apart(self) -> bool:
        """By their numbers, of a formula of rows."""
        first, axis = self.arguments[0], self.formula.class_axis
        return axis is None or are_told_apart(first.shape[axis], first)

    def with_statistic(self, dtype: Any) -> "Job":
        """Of a value of rows: with the two numbers of each that a derivative needs."""
        return self._replace(
            quantity="value_and_statistic",
            dtypes=(*self.dtypes, dtype, dtype),
            scales=(None, None, None),
        )

    def traced(self) -> tuple[Any, ...]:
        """All that may be arrays; the first is the logits or probabilities."""
        return (*self.arguments, self.weights, self.where)

    def with_traced(self, traced: tuple[Any, ...]) -> "Job":
        *arguments, weights, where = traced
        return self._replace(arguments=tuple(arguments), weights=weights, where=where)

    def without_traced(self) -> "Job":
        """What a compiled evaluation is of."""
        return self._replace(arguments=(), weights=None, where=None)


def undifferentiated(formula: Formula, function: Function) -> Function:
    """One of a formula's with `static` options, that nobody differentiates through."""
    if not formula.static:
        return function
    return partial(function, **dict.fromkeys(formula.static, False))


def are_per_class(formula: Formula, quantity: str, outputs: int) -> tuple[bool, ...]:
    """Of a formula of rows: which outputs are one a class, the others one a row."""
    first = formula.per_class or quantity == "slope_and_curvature"
    others = quantity != "value_and_statistic"
    return (first, *(others for _ in range(outputs - 1)))


def of_label(labels: Any, are_numbers: bool) -> tuple[Any, Any, Any]:
    """Masses, numbers of classes and class weights, as formulas of rows take them."""
    return (None, labels, None) if are_numbers else (labels, None, None)
