"""Which kernels there are: each function of each formula, with each choice of options.

A choice is of groups of options that go together (`Formula.together`).  Within one that
is chosen, an option that is absent is the number that changes nothing
(`Formula.neutral`).
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..formulas.class_probability import CATEGORICAL
from ..formulas.focal import FOCAL
from ..formulas.probability import PROBABILITY
from ..formulas.record import STATISTIC, Formula, Function
from ..formulas.sigmoid import CROSS_ENTROPY, ONE, SLOPE
from ..formulas.softmax import (
    LOG_SOFTMAX,
    LOG_SUM_EXP,
    ROW_WEIGHT,
    SOFTMAX,
    SOFTMAX_CROSS_ENTROPY,
)
from ..formulas.softmax_focal import SOFTMAX_FOCAL
from .trace import RowGraph, Traced, trace

RECORDS = {
    "cross_entropy": CROSS_ENTROPY,
    "sigmoid": SLOPE,
    "one": ONE,
    "focal": FOCAL,
    "probability": PROBABILITY,
}

ROW_RECORDS = {
    "softmax_cross_entropy": SOFTMAX_CROSS_ENTROPY,
    "softmax_focal": SOFTMAX_FOCAL,
    "categorical": CATEGORICAL,
    "softmax": SOFTMAX,
    "log_softmax": LOG_SOFTMAX,
    "log_sum_exp": LOG_SUM_EXP,
    "row_weight": ROW_WEIGHT,
}

Presence = tuple[bool, ...]  # of each traced argument of a formula


class Kernel(NamedTuple):
    name: str
    function: Function
    arguments: tuple[str | None, ...]  # of the function; None for an absent option
    results: int
    neutral: dict[str, float]
    static: dict[str, bool]
    per_row: frozenset[str] | None = None  # of rows of classes: which arguments are

    def traced(self, of_rows: type[RowGraph] = RowGraph) -> Traced:
        graph = None if self.per_row is None else of_rows(self.per_row)
        return trace(self.function, self.arguments, graph, **self.static)

    def taken(self) -> Iterator[tuple[Presence, tuple[int | float, ...]]]:
        """Which options it serves, and what of them it is called with.

        That is the place of an argument, or the number of one that is absent.
        """
        optional = [name for name in self.arguments if name in self.neutral]
        for n in range(len(optional) + 1):
            for absent in itertools.combinations(optional, n):
                there = tuple(
                    name is not None and name not in absent for name in self.arguments
                )
                called_with = tuple(
                    self.neutral[name] if name in absent else place
                    for place, name in enumerate(self.arguments)
                    if name is not None
                )
                yield there, called_with


class Quantity(NamedTuple):
    """A function of a formula, and what it is compiled for."""

    name: str
    function: Function
    results: int
    static: dict[str, bool]


def _quantities(formula: Formula) -> Iterator[Quantity]:
    static = dict.fromkeys(formula.static, False)
    yield Quantity("value", formula.value, 1, static)
    if formula.value_and_slope is not None:
        yield Quantity("value_and_slope", formula.value_and_slope, 2, static)
    if formula.slope_and_curvature is not None:
        yield Quantity("slope_and_curvature", formula.slope_and_curvature, 2, {})
    for name, function in formula.slopes.items():
        fixed = static if name == formula.traced[0] else {}
        yield Quantity(f"slope_by_{name}", function, 1, fixed)


def _choices(formula: Formula) -> Iterator[tuple[str | None, ...]]:
    """The arguments, where some groups of options are absent, the fewest first."""
    for n in range(len(formula.together), -1, -1):
        for absent in itertools.combinations(formula.together, n):
            left_out = {name for group in absent for name in group}
            yield tuple(None if a in left_out else a for a in formula.traced)


def _exp(xp: Any, x: Any) -> Any:
    return xp.exp(x)


def _log(xp: Any, x: Any) -> Any:
    return xp.log(x)


def _log1p(xp: Any, x: Any) -> Any:
    return xp.log1p(x)


# By themselves they are for the tests, which hold each to its bound.
ELEMENTARY = {"exp": _exp, "log": _log, "log1p": _log1p}


def kernels() -> Iterator[Kernel]:
    """Each once, though two records may share a function."""
    for name, function in ELEMENTARY.items():
        yield Kernel(f"of_{name}", function, ("x",), 1, {}, {})
    seen = set()
    for title, record in RECORDS.items():
        for arguments in _choices(record):
            for name, function, results, static in _quantities(record):
                if (function, arguments) in seen:
                    continue
                seen.add((function, arguments))
                options = [a for a in arguments[2:] if a is not None]
                title_of_all = "_".join((title, name, *options))
                yield Kernel(
                    title_of_all, function, arguments, results, record.neutral, static
                )


# ---- of rows of classes --------------------------------------------------------------


def _row_quantities(formula: Formula) -> Iterator[Quantity]:
    """The statistic's besides; no slope but that by the first argument."""
    static = dict.fromkeys(formula.static, False)
    logits_slope = f"slope_by_{formula.traced[0]}"
    for quantity in _quantities(formula):
        if not quantity.name.startswith("slope_by_") or quantity.name == logits_slope:
            yield quantity
    if formula.value_and_statistic is not None:
        yield Quantity("value_and_statistic", formula.value_and_statistic, 3, static)


def _row_choices(formula: Formula) -> Iterator[tuple[str | None, ...]]:
    """Of labels that are masses or numbers, where there are such."""
    for arguments in _choices(formula):
        if "numbers" in arguments:
            for absent in ("labels", "numbers"):
                yield tuple(None if a == absent else a for a in arguments)
        else:
            yield tuple(None if a == "labels" else a for a in arguments)


def row_kernels() -> Iterator[Kernel]:
    for title, record in ROW_RECORDS.items():
        per_row = frozenset((*record.per_row, *STATISTIC))
        for arguments in _row_choices(record):
            options = [a for a in arguments[1:] if a is not None]
            for name, function, results, static in _row_quantities(record):
                title_of_all = "_".join((title, name, *options))
                yield Kernel(
                    title_of_all, function, arguments, results, record.neutral, static,
                    per_row,
                )  # fmt: skip
            if record.slope_by_statistic is not None:
                yield Kernel(
                    "_".join((title, "slope_by_statistic", *options)),
                    record.slope_by_statistic, (*arguments, *STATISTIC), 1,
                    record.neutral, dict.fromkeys(record.static, False), per_row,
                )  # fmt: skip
