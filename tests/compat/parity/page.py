"""docs/deviations.md: the known deviations, measured; a section a peer."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mpmath import mpf
from parity import row_deviations
from parity.harness import BOUND, Deviation, Peer, distance
from parity.row_deviations import RowDeviation

PAGE = Path(__file__).parents[3] / "docs" / "deviations.md"
INTRODUCTION = """\
# Known deviations

Where the libraries whose names `xploss.compat` has are wrong. Each number was
computed by the library itself, the exact one by mpmath from the same rounded
inputs. Wrong means: off by more than 4 units in the last place of the sum of
the absolute terms that the number is defined as. Clips and cut-offs that a
library documents are part of the definition, their bounds rounded to float32 or
float64. In each of these cases `xploss.compat` is right, as it is in thousands
of others that are drawn; in those the library is right too, or the case is of a
kind that is listed.

`pytest tests/compat/parity/test_NAME.py --write-deviations` writes the section of a
peer; without that option the test fails if one of its rows is no longer true.
"""
HEAD = "| deviation | x or p, y, dtype | theirs | exact |\n|---|---|---|---|\n"


class Row(NamedTuple):
    deviation: Deviation
    theirs: float
    exact: mpf
    condition: mpf

    def text(self) -> str:
        made = self.deviation.witness
        first, label, theirs, exact = (
            shortest(number, made.dtype)
            for number in (made.x.flat[0], made.y.flat[0], self.theirs, self.exact)
        )
        case = f"{first}, {label}, {made.dtype}"
        return f"| {self.deviation.name} | {case} | {theirs} | {exact} |\n"

    def words(self) -> str:
        made = self.deviation.witness
        options = "".join(f", {k}={plain(v)}" for k, v in made.options.items())
        options += f", {made.x.size} such elements" if made.x.size > 1 else ""
        call = f"{self.deviation.quantities[0]} of `{made.function}`{options}"
        return row_deviations.item(
            f"{self.deviation.name}: {self.deviation.where} ({call})"
        )


def shortest(number: Any, dtype: str) -> str:
    """In as many digits as tell it from every other number of `dtype`."""
    return str(np.array(float(number), dtype)).removesuffix(".0")


def plain(option: Any) -> str:
    return str(option.tolist() if isinstance(option, np.ndarray) else option)


def measured(peer: Peer, deviation: Deviation) -> Row:
    """The witness: theirs must be wrong, and ours right."""
    made, quantity = deviation.witness, deviation.quantities[0]
    function = peer.functions[made.function]
    number, condition = (a.flat[0] for a in function.exact(made)[quantity])
    theirs, ours = (
        float(run(made)[quantity].flat[0]) for run in (function.theirs, function.ours)
    )
    assert np.all(deviation.may_show(made, quantity)), f"{deviation.name}: not there"
    away = distance(theirs, number, condition, made.dtype)
    assert away > BOUND, f"{deviation.name}: no longer wrong, {theirs!r}"
    away = distance(ours, number, condition, made.dtype)
    assert away <= BOUND, f"{deviation.name}: ours is wrong too, {ours!r}"
    return Row(deviation, theirs, number, condition)


# ---- the page ------------------------------------------------------------------------


def title(peer: Peer) -> str:
    return f"{peer.name} {peer.version}"


def section(rows: list[Row]) -> str:
    table = "".join(row.text() for row in rows)
    return f"{HEAD}{table}\n{''.join(row.words() for row in rows)}"


def sections() -> dict[str, str]:
    """By their titles."""
    text = PAGE.read_text() if PAGE.exists() else ""
    found = re.split(r"^## (.*)\n\n", text, flags=re.MULTILINE)[1:]
    bodies = (body.strip() + "\n" for body in found[1::2])
    return dict(zip(found[::2], bodies, strict=True))


def write(peer: Peer, text: str) -> None:
    """In the place of the peer's section, of whichever version."""
    others = {k: v for k, v in sections().items() if k.rpartition(" ")[0] != peer.name}
    named = sorted((others | {title(peer): text}).items())
    text = "".join(f"\n## {name}\n\n{body}" for name, body in named)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(INTRODUCTION + text)


def check_page(
    peer: Peer, write_it: bool, of_classes: Sequence[RowDeviation] = ()
) -> None:
    """The peer's rows are those measured here; the last digits may be a CPU's."""
    rows = [measured(peer, deviation) for deviation in peer.deviations]
    classes = row_deviations.section(list(of_classes))
    if write_it:
        write(peer, section(rows) + classes)
    recorded, *rest = sections()[title(peer)].split("\nOf many classes:")
    # None of these numbers is a CPU's: each is 0, infinite or NaN, or another class's.
    assert "".join(rest) == classes.removeprefix("\nOf many classes:")
    table, words = recorded.removeprefix(HEAD).split("\n\n")
    assert words == "".join(row.words() for row in rows)
    for line, row in zip(table.splitlines(), rows, strict=True):
        old, new = (text.strip().split(" | ") for text in (line, row.text()))
        assert (old[:2], old[3]) == (new[:2], new[3]), f"{old} became {new}"
        dtype = row.deviation.witness.dtype
        away = distance(float(old[2]), mpf(row.theirs), row.condition, dtype)
        assert away <= BOUND, f"{old} became {new}"
