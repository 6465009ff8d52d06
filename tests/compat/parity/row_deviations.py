"""Known deviations of losses of many classes: of one row, in words and in numbers."""

import re
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from categorical_reference import row_loss
from mpmath import mp, mpf
from parity.harness import BOUND, distance

HEAD = "| deviation | logits, label, dtype | theirs | exact |\n|---|---|---|---|\n"
INF = float("inf")

# What is called with a row of logits and its label, and returns a number.
Run = Callable[[np.ndarray, np.ndarray], float]


class RowDeviation(NamedTuple):
    """`label` is a class's number, or the masses of all; what is wrong is the value,
    or the gradient by the first logit."""

    name: str
    where: str
    call: str
    logits: tuple[float, ...]
    label: Any
    theirs: Run
    ours: Run
    is_gradient: bool = False
    dtype: str = "float32"

    def exact(self) -> tuple[mpf, mpf]:
        """The number, and the size of its terms."""
        if isinstance(self.label, int) and not 0 <= self.label < len(self.logits):
            return mp.nan, mpf(1)
        label = self.label if isinstance(self.label, int) else list(self.label)
        exact = row_loss(list(self.logits), label)
        if self.is_gradient:
            return exact.gradient[0], exact.term[0]
        return exact.value, exact.value

    def measured(self) -> float:
        """Theirs, which must be wrong, where ours is right."""
        row = np.array([self.logits], self.dtype)
        label = np.array([self.label], None if np.ndim(self.label) == 0 else self.dtype)
        number, size = self.exact()
        theirs, ours = float(self.theirs(row, label)), float(self.ours(row, label))
        away = distance(theirs, number, size, self.dtype)
        assert away > BOUND, f"{self.name}: no longer wrong, {theirs!r}"
        away = distance(ours, number, size, self.dtype)
        assert away <= BOUND, f"{self.name}: ours is wrong too, {ours!r}"
        return theirs

    def text(self) -> str:
        label = str(self.label) if np.ndim(self.label) == 0 else _row(self.label)
        case = f"{_row(self.logits)}, {label}, {self.dtype}"
        numbers = (_shortest(n, self.dtype) for n in (self.measured(), self.exact()[0]))
        return f"| {self.name} | {case} | {' | '.join(numbers)} |\n"

    def words(self) -> str:
        quantity = "gradient" if self.is_gradient else "value"
        return item(f"{self.name}: {self.where} ({quantity} of `{self.call}`)")


def item(words: str) -> str:
    """Of a list, in lines of which none starts with a sign, or a list would begin."""
    bound = re.sub(r" ([-+*]) ", "\xa0\\1 ", words)
    lines = textwrap.fill(f"- {bound}", 80, subsequent_indent="  ")
    return lines.replace("\xa0", " ") + "\n"


def _row(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"


def _shortest(number: Any, dtype: str) -> str:
    return str(np.array(float(number), dtype)).removesuffix(".0")


def common(
    numbers: tuple[str, Run, Run],
    masses: tuple[str, Run, Run],
    slopes: tuple[str, Run, Run] | None,
) -> list[RowDeviation]:
    """What all but one or two are wrong at: each a name, theirs and ours."""
    made = [
        RowDeviation(
            "lost loss",
            "a confident answer: it is added to 1",
            numbers[0],
            (40.0, 0.0, 0.0),
            0,
            *numbers[1:],
        ),
        RowDeviation(
            "masked class",
            "a class at -inf without mass: 0 * inf",
            masses[0],
            (1.0, 1.0, -INF),
            (0.5, 0.5, 0.0),
            *masses[1:],
        ),
        RowDeviation(
            "infinite logit",
            "inf - inf",
            numbers[0],
            (INF, 0.0, 0.0),
            0,
            *numbers[1:],
        ),
    ]
    if slopes is None:
        return made
    return [
        *made,
        RowDeviation(
            "lost gradient",
            "a confident answer: 1 is subtracted from a rounded probability",
            slopes[0],
            (40.0, 0.0, 0.0),
            0,
            *slopes[1:],
            is_gradient=True,
        ),
    ]


def section(deviations: list[RowDeviation]) -> str:
    """What a peer's section ends with."""
    if not deviations:
        return ""
    table = "".join(d.text() for d in deviations)
    words = "".join(d.words() for d in deviations)
    return f"\nOf many classes:\n\n{HEAD}{table}\n{words}"
