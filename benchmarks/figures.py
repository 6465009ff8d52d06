"""The figures of speed, from what `bench.py` measured; how every figure looks."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

INK = "#333a44"
PALE = "#9aa1ab"
COLOURS = {"NumPy": "#2f6fb3", "PyTorch": "#c2501c", "JAX": "#2e8257"}
PEERS = {
    "textbook": "by hand, in NumPy",
    "log_expit": "SciPy, log_expit",
    "HalfBinomialLoss": "scikit-learn",
    "log_loss": "scikit-learn, log_loss",
    "torch": "PyTorch",
    "torch compiled": "PyTorch, compiled",
    "optax": "optax",
    "Keras": "Keras",
}  # the limit line is no loss, and no peer
Rows = list[dict[str, Any]]
BIG = 1 << 22


def style() -> None:
    """A white card, 6.4 inches wide: letters of 12 pixels where it is 700 wide."""
    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "xploss", "font.size": 8,
        "savefig.facecolor": "white", "axes.spines.top": False,
        "axes.spines.right": False, "text.color": INK, "axes.labelcolor": INK,
        "axes.edgecolor": PALE, "xtick.color": INK, "ytick.color": INK,
        "axes.titlesize": 8, "legend.frameon": False, "legend.fontsize": 8,
        "lines.linewidth": 1.4,
    })  # fmt: skip


def head(figure: Any, title: str, *lines: str) -> float:
    """What the picture says, above it; the share of its height that is left below."""
    height, place = figure.get_figheight(), {"va": "top", "x": 0.01}
    figure.text(s=title, y=1 - 0.06 / height, size=9.5, weight="bold", **place)
    for k, line in enumerate(lines):
        figure.text(s=line, y=1 - (0.27 + 0.16 * k) / height, **place)
    return float(1 - (0.32 + 0.16 * len(lines)) / height)


def save(figure: Any, path: Path, top: float = 1.0) -> None:
    figure.tight_layout(rect=(0, 0, 1, top))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def of(rows: Rows, **wanted: Any) -> Rows:
    return [row for row in rows if wanted.items() <= row.items()]


# ---- time against size ---------------------------------------------------------------

CASES = ("mean", "mean and gradient")
MARKERS = {"xploss": "o", "Keras": "^"}  # any other peer: a square


def time_against_size(rows: Rows, path: Path, on: str) -> None:
    """Of a mean, and of its gradient as well, in float32: a panel for each library."""
    size = (len(CASES), len(COLOURS))
    figure, axes = plt.subplots(*size, figsize=(6.4, 5.2), sharex=True, sharey=True)
    for case, row in zip(CASES, axes, strict=True):
        row[0].set_ylabel(f"{case}, microseconds")
        for library, axis in zip(COLOURS, row, strict=True):
            of_panel = of(rows, case=case, dtype="float32", library=library)
            time_panel(axis, library, lines(of_panel))
    for axis in axes[-1]:
        axis.set_xlabel("elements")
    title = "How long a call takes, by the number of elements"
    says = "Two classes, float32. Smaller is better. Both axes are logarithmic."
    save(figure, path, head(figure, title, says, f"Measured on one core: {on}"))


def lines(rows: Rows) -> dict[str, Rows]:
    """By call; those that are compiled are measured at one size alone, and left out."""
    found = {call: of(rows, call=call) for call in dict.fromkeys(names(rows))}
    return {call: line for call, line in found.items() if len(line) > 1}


def names(rows: Rows) -> list[str]:
    return [row["call"] for row in rows]


def time_panel(axis: Any, library: str, of_calls: dict[str, Rows]) -> None:
    for call, line in of_calls.items():
        sizes = [row["n"] for row in line]
        taken = [row["n"] * row["ns"] / 1e3 for row in line]
        marker, ours = MARKERS.get(call, "s"), call == "xploss"
        look = {"color": COLOURS[library]} if ours else {"color": INK, "mfc": "none"}
        look |= {"linestyle": "-" if ours else ":", "label": PEERS.get(call, call)}
        axis.plot(sizes, taken, marker=marker, ms=7 if marker == "s" else 4, **look)
    theirs = [line for call, line in of_calls.items() if call != "xploss"]
    axis.set(xscale="log", yscale="log", ylim=(1, 1e6))
    axis.set_title(f"{library}: xploss is faster\n{from_where(theirs)}")
    axis.legend(fontsize=7, loc="upper left")


def from_where(theirs: list[Rows]) -> str:
    """The size from which on ours is faster than all of them."""
    size = max(map(break_even, theirs))
    if size == 0:
        return "at every size"
    return f"from about {max(size, 2):,.0f} elements on" if size < np.inf else "nowhere"


def break_even(line: Rows) -> float:
    """From where the ratio stays below 1, to a digit: 0 is all, infinity nowhere."""
    slower = [k for k, row in enumerate(line) if row["ratio"][0] >= 1]
    if not slower or slower[-1] == len(line) - 1:
        return np.inf if slower else 0.0
    pair = line[slower[-1] + 1], line[slower[-1]]
    ratios, sizes = (np.log([f(row) for row in pair]) for f in (middle, elements))
    return float(f"{np.exp(np.interp(0, ratios, sizes)):.0e}")


def middle(row: dict[str, Any]) -> float:
    return float(row["ratio"][0])


def elements(row: dict[str, Any]) -> int:
    return int(row["n"])


# ---- ratios --------------------------------------------------------------------------


def ratios_by_peer(rows: Rows, path: Path, on: str) -> None:
    """Ours over theirs at four million elements, float32; a block for each case."""
    rows = [r for r in of(rows, dtype="float32", n=BIG) if r["call"] in PEERS]
    places = below_each_other(rows)
    figure, axes = plt.subplots(figsize=(6.4, 0.2 * max(places) + 1.5))
    axes.set(ylim=(max(places) + 1.5, -0.6))
    axes.set_xlabel("time of xploss / time of the other")
    for place, row in zip(places, rows, strict=True):
        axes.barh(place, middle(row), color=COLOURS[row["library"]])
        axes.text(middle(row), place, f" {middle(row):.2f}", va="center")
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.text(1, max(places) + 1, "1.0: equally fast ", ha="right", va="center")
    name_rows(axes, rows, places)
    marks = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    titles = [f"on {library}" for library in COLOURS]
    axes.legend(marks, titles, loc="lower right", bbox_to_anchor=(1, 0.05))
    title = "Time of xploss over the time of what one would call instead"
    says = "Two classes, float32, four million elements. Smaller is better."
    save(figure, path, head(figure, title, says, f"Measured on one core: {on}"))


def name_rows(axes: Any, rows: Rows, places: list[int]) -> None:
    """The peers, and above each block its case."""
    axes.set_yticks(places, [PEERS[call] for call in names(rows)])
    axes.tick_params(axis="y", length=0)
    look: dict[str, Any] = {"ha": "right", "va": "center", "weight": "bold"}
    for case in dict.fromkeys(row["case"] for row in rows):
        first = min(p for p, r in zip(places, rows, strict=True) if r["case"] == case)
        axes.annotate(case, (0, first - 1), (-6, 0), textcoords="offset points", **look)


def below_each_other(rows: Rows) -> list[int]:
    """A place for each row, and one for a heading where another case begins."""
    places, case = [], None
    for row in rows:
        places.append((places[-1] if places else -1) + 1 + (row["case"] != case))
        case = row["case"]
    return places


def draw(found: dict[str, Any], folder: Path) -> None:
    style()
    rows, on = found["one core, warm"], found["machine"]["processor"]
    time_against_size(rows, folder / "speed.svg", on)
    ratios_by_peer(rows, folder / "ratios.svg", on)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
