"""The agreement matrix: printed, and held against the one in backends.md.

python tests/support/matrix.py FOLDER [--write] [--without=LIBRARY]

A GPU's rows are printed and not held against the page, whose CuPy is on the host; nor
are those of instruction sets that not every processor has.
"""

import argparse
import json
import sys
from pathlib import Path

from libraries import LIBRARIES

PAGE = Path(__file__).parents[2] / "backends.md"
# Of two classes, and of rows of three, by what the names of the latter end with.
MARKS = {
    "": ("<!-- matrix -->\n```text\n", "```\n<!-- end of matrix -->"),
    " rows": (
        "<!-- matrix of rows -->\n```text\n",
        "```\n<!-- end of matrix of rows -->",
    ),
}
HEADER = (
    "                                  ulp from exact        ulp from NumPy\n"
    "backend                dtype      value  grad  Hess     value  grad  Hess\n"
)
# Another processor has another exp: the record holds while no number is larger by more
# than this, in ulp.  Where NumPy has the C library's, so has CuPy's host: both agree.
NEAR = 1.0


def row(name: str, numbers: list[float]) -> str:
    backend, dtype, *_ = name.split()
    exact, numpy = (
        "".join(f"{n:6.2f}" for n in part) for part in (numbers[:3], numbers[3:])
    )
    return f"{backend:22} {dtype:9} {exact}    {numpy}\n"


def table(measured: dict[str, list[float]], kind: str) -> str:
    rows = [row(n, v) for n, v in measured.items() if n.endswith(" rows") == bool(kind)]
    return HEADER + "".join(rows)


def parse(text: str, kind: str) -> dict[str, list[float]]:
    lines = [line.split() for line in text.removeprefix(HEADER).splitlines()]
    return {f"{w[0]} {w[1]}{kind}": [float(n) for n in w[2:]] for w in lines}


def recorded(page: str) -> dict[str, list[float]]:
    made: dict[str, list[float]] = {}
    for kind, (begin, end) in MARKS.items():
        made |= parse(page.split(begin)[1].split(end)[0], kind)
    return made


def written(page: str, measured: dict[str, list[float]]) -> str:
    for kind, (begin, end) in MARKS.items():
        head, tail = page.split(begin)[0], page.split(end)[1]
        page = head + begin + table(measured, kind) + end + tail
    return page


def disagreements(measured: dict, record: dict) -> list[str]:
    """What of the record no longer holds, in words."""
    wrong = [f"{name}: not in backends.md" for name in measured.keys() - record.keys()]
    wrong += [f"{name}: not tested" for name in record.keys() - measured.keys()]
    for name in measured.keys() & record.keys():
        grown = [m - r for m, r in zip(measured[name], record[name], strict=True)]
        if max(grown) > NEAR:
            wrong.append(f"{name}: now {measured[name]}, recorded {record[name]}")
    return sorted(wrong)


OF_GPUS, OF_SETS = ("-gpu", "-cuda"), ("-plain", "-baseline", "-avx2")


def is_of_gpu(name: str) -> bool:
    return name.split()[0].endswith(OF_GPUS)


def is_held(name: str) -> bool:
    return not name.split()[0].endswith((*OF_GPUS, *OF_SETS))


def compared(measured: dict, record: dict, without: list[str]) -> list[str]:
    """The disagreements of what can be compared on this machine."""
    here = {name: r for name, r in measured.items() if is_held(name)}
    if any(name.startswith("cupy-gpu") for name in measured):
        without = [*without, "cupy"]
    record = {
        n: r
        for n, r in record.items()
        if is_held(n) and not n.startswith(tuple(without))
    }
    return disagreements(here, record)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args(arguments)
    wanted = [name for name in LIBRARIES if name not in options.without]
    missing = [n for n in wanted if not (options.folder / f"{n}.json").exists()]
    if missing:
        print(f"no results of {', '.join(missing)}: run their tests first")
        return 1
    runs = {n: json.loads((options.folder / f"{n}.json").read_text()) for n in wanted}
    measured = {name: r for run in runs.values() for name, r in run["rows"].items()}
    print(table(measured, ""))
    print(f"Of rows of three classes:\n\n{table(measured, ' rows')}")
    for name, run in runs.items():
        counts = ", ".join(f"{n} {word}" for word, n in run["counts"].items())
        print(f"{name:8} {counts}")
    page = PAGE.read_text()
    if options.write and any(map(is_of_gpu, measured)):
        print("backends.md is written where there is no GPU")
        return 1
    if options.write:
        page = written(page, measured)
        PAGE.write_text(page)
    wrong = compared(measured, recorded(page), options.without)
    print("\n".join(wrong) or "\nbackends.md holds")
    failed = sum(run["counts"]["failed"] for run in runs.values())
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
