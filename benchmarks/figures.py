"""The figures of speed, from what `bench.py` measured."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

INK = "#7a7f87"  # readable on white and on black
COLOURS = {"NumPy": "#3b82c4", "PyTorch": "#d9622b", "JAX": "#3f9b6c"}
Rows = list[dict[str, Any]]
BIG = 1 << 22


def style() -> None:
    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "xploss", "font.size": 9,
        "savefig.transparent": True, "axes.spines.top": False,
        "axes.spines.right": False, "text.color": INK, "axes.labelcolor": INK,
        "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
        "legend.frameon": False,
    })  # fmt: skip


def save(figure: Any, path: Path, top: float = 1.0) -> None:
    figure.tight_layout(rect=(0, 0, 1, top))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def of(rows: Rows, **wanted: Any) -> Rows:
    return [row for row in rows if wanted.items() <= row.items()]


def time_against_size(rows: Rows, path: Path) -> None:
    """Of a mean in float32: microseconds against the number of elements."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    rows = of(rows, case="mean", dtype="float32")
    for library, call in dict.fromkeys((r["library"], r["call"]) for r in rows):
        line = of(rows, library=library, call=call)
        if len(line) == 1:  # compiled, which is measured at one size alone
            continue
        ours = call.startswith("xploss")
        axes.plot(
            [r["n"] for r in line],
            [r["n"] * r["ns"] / 1e3 for r in line],
            color=COLOURS[library],
            linestyle="-" if ours else "--",
            linewidth=2 if ours else 1.2,
            label=f"{call} on {library}" if ours else call,
        )
    axes.set(xscale="log", yscale="log", xlabel="elements", ylabel="microseconds")
    axes.set_title("Mean of the losses, float32, one core", color=INK, fontsize=9)
    axes.legend(fontsize=7)
    save(figure, path)


def ratios_by_peer(rows: Rows, path: Path) -> None:
    """Ours over theirs at four million elements, float32."""
    rows = [
        r
        for r in of(rows, dtype="float32", n=BIG)
        if not r["call"].startswith("xploss")
    ]
    names = [f"{r['case']}: {r['call']}" for r in rows]
    middles = [r["ratio"][0] for r in rows]
    figure, axes = plt.subplots(figsize=(6.4, 0.24 * len(rows) + 0.8))
    axes.barh(names, middles, color=[COLOURS[r["library"]] for r in rows])
    for k, middle in enumerate(middles):
        axes.text(middle, k, f" {middle:.2f}", va="center", fontsize=7)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    title = "Our time over theirs, float32, four million elements, one core"
    axes.set_title(title, color=INK, fontsize=9)
    save(figure, path)


def draw(found: dict[str, Any], folder: Path) -> None:
    style()
    rows = found["one core, warm"]
    time_against_size(rows, folder / "speed.svg")
    ratios_by_peer(rows, folder / "ratios.svg")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
