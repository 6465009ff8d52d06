"""Every peer beside xploss, timed side by side: a table, a JSON file, two figures.

    nox -s bench               small arrays, to see that it runs
    nox -s bench -- --whole    all of it, about a quarter of an hour

One core, freed memory kept by the process ("warm"); at four million elements also with
the allocator as it comes ("cold"), and on all cores.  Ratios are medians over rounds in
which every call of a row takes its turn, with the least and the most.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import paired
import peers

BIG = 1 << 22
SIZES = (1, 100, 10_000, 1_000_000, BIG, 10_000_000)
DTYPES = ("float16", "bfloat16", "float32", "float64")
SECONDS = 1.5  # a table, about
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"
Call = Callable[[], Any]


def rounds_for(calls: dict[str, Call], seconds: float) -> int:
    once = sum(t[0] for t in paired.times(calls, 1).values())
    return int(min(1001, max(7, seconds / max(once, 1e-6))))


def peak(call: Call) -> float:
    """MiB held at once, of what Python's allocators and NumPy's know."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def measure(case: str, dtype: str, n: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each call; ours are the first of each library."""
    rows = []
    for library, calls in peers.calls(case, dtype, n).items():
        taken = paired.times(calls, rounds_for(calls, seconds))
        for name, nanoseconds in paired.nanoseconds(taken, n):
            row: dict[str, Any] = {"case": case, "dtype": dtype, "n": n}
            row |= {"library": library, "call": name, "ns": nanoseconds}
            ours = "xploss compiled" if "compiled" in name else "xploss"
            row["ratio"] = paired.ratios(taken, ours, name)
            if library == "NumPy" and n == BIG:
                row["MiB"] = peak(calls[name])
            rows.append(row)
    return rows


def measure_all(
    sizes: list[int], dtypes: list[str], cases: list[str], seconds: float
) -> Any:
    return [
        row
        for n in sizes
        for dtype in dtypes
        for case in cases
        for row in measure(case, dtype, n, seconds)
    ]


# ---- one run in a process of its own -----------------------------------------------


def in_process(cores: int | None, warm: bool, **choice: Any) -> Any:
    """`measure_all` on so many cores, with the allocator warm or as it comes."""
    environment = dict(os.environ, KERAS_BACKEND="jax", JAX_ENABLE_X64="1")
    if cores is not None:
        environment["OMP_NUM_THREADS"] = str(cores)
    if warm:
        environment |= paired.WARM
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        command = [sys.executable, __file__, "--worker", str(path), json.dumps(choice)]
        if cores is not None:
            command = [
                "taskset",
                "-c",
                "0" if cores == 1 else f"0-{cores - 1}",
                *command,
            ]
        subprocess.run(command, env=environment, check=True)
        return json.loads(path.read_text())


def import_times(times: int) -> list[float]:
    """Milliseconds that `import xploss` takes after NumPy."""
    code = (
        "import numpy, time; start = time.perf_counter(); import xploss; "
        "print(1e3 * (time.perf_counter() - start))"
    )
    command = [sys.executable, "-c", code]
    environment = {k: v for k, v in os.environ.items() if k != DONT_WRITE}
    taken = [
        subprocess.check_output(command, env=environment) for _ in range(times + 1)
    ]
    return sorted(map(float, taken[1:]))  # the first one compiles it


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    packages = ("numpy", "scipy", "scikit-learn", "torch", "jax", "optax", "keras")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


# ---- what is printed ---------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Nanoseconds an element, and ours over theirs: median, least and most."""
    lines, heading = [], ""
    for row in rows:
        above = f"\n{row['case']}, {row['dtype']}, {row['n']} elements"
        lines += [above] * (above != heading)
        heading = above
        line = f"  {row['library']:8} {row['call']:18} {row['ns']:12.2f} ns"
        if not row["call"].startswith("xploss"):
            line += "{:9.3f} ({:.3f}-{:.3f})".format(*row["ratio"])
        lines.append(line + (f"  {row['MiB']:.1f} MiB" if "MiB" in row else ""))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, choice = options.worker
        Path(path).write_text(json.dumps(measure_all(**json.loads(choice))))
        return
    seconds = SECONDS if options.whole else 0.02
    everything = {"dtypes": DTYPES, "cases": peers.CASES, "seconds": seconds}
    sizes = list(SIZES) if options.whole else [1, 100, 1000]
    wide = {**everything, "sizes": [BIG if options.whole else 1000]}
    wide["dtypes"] = ["float32", "float64"]
    found: dict[str, Any] = {"machine": machine()}
    found["one core, warm"] = in_process(1, True, sizes=sizes, **everything)
    found["one core, cold"] = in_process(1, False, **wide)
    found["all cores, warm"] = in_process(None, True, **wide)
    found["import, ms"] = import_times(11 if options.whole else 3)
    for name, rows in found.items():
        print(f"\n{name}\n{table(rows) if 'core' in name else rows}")
    if options.whole:
        import figures

        Path("benchmarks/results.json").write_text(json.dumps(found, indent=1) + "\n")
        figures.draw(found, Path("docs"))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
