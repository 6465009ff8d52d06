"""The loss of files that are larger than what the process may hold, as one process.

    python memmap_job.py FOLDER

takes `logits` and `labels` of the folder, float32 numbers as they lie in memory, leaves
`gradient`, of their mean, beside them, and prints what it measured as JSON.  The logits
are rows of classes as well, of the first of which it leaves `gradient_of_rows`.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import xploss

PERIOD = 997  # of what the files repeat
NAMES = ("logits", "labels")
cross_entropy = xploss.sigmoid_cross_entropy
STEP = 1 << 18  # elements, of which a few arrays are held at once


def value_and_gradient(path: Path, logits: Any, labels: Any) -> float:
    """The mean; its gradient, which is as large as the logits, goes into a file."""
    parts = partial(xploss.value_and_grad(cross_entropy), reduction="sum")
    n, total = logits.size, 0.0
    with path.open("wb") as file:
        for start in range(0, n, STEP):
            rows = slice(start, start + STEP)
            value, slopes = parts(logits[rows], labels[rows])
            total += float(value)
            slopes /= n
            file.write(slopes)
    return total / n


CLASSES = 8 * PERIOD


def rows_of(logits: Any) -> tuple[Any, Any]:
    """The logits as rows, and the numbers of their classes."""
    rows = logits[: logits.size // CLASSES * CLASSES].reshape(-1, CLASSES)
    return rows, numbers_of(len(rows))


def numbers_of(rows: int) -> Any:
    return np.arange(rows) * 7919 % CLASSES


def of_rows(logits: Any, labels: Any) -> float:
    return float(xploss.softmax_cross_entropy(*rows_of(logits)))


def gradient_of_rows(path: Path, logits: Any, labels: Any) -> float:
    """Of the first quarter of them."""
    rows, numbers = rows_of(logits)
    loss = partial(xploss.softmax_cross_entropy, reduction="sum")
    n, step, total = len(rows) // 4, STEP // CLASSES, 0.0
    with path.open("wb") as file:
        for start in range(0, n, step):
            some = slice(start, min(start + step, n))
            value, slopes = xploss.value_and_grad(loss)(rows[some], numbers[some])
            total += float(value)
            slopes /= n
            file.write(slopes)
    return total / n


def plain_read(logits: Any, labels: Any) -> float:
    return float(np.add.reduce(logits)) + float(np.add.reduce(labels))


def memory(field: str) -> int:
    """In bytes, of this process; Linux tells."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def measured(function: Callable[..., float], folder: Path) -> dict[str, float]:
    """Its value, seconds, and the most memory that was held and is no file's.

    What it maps is at most what the most that ever was mapped is above what was mapped
    before: the files are mapped last, and nothing before was as large.
    """
    arrays = [np.memmap(folder / name, np.float32, "r") for name in NAMES]
    held, mapped = memory("RssAnon"), memory("VmSize")
    start = time.perf_counter()
    value = function(*arrays)
    seconds = time.perf_counter() - start
    most = held + memory("VmPeak") - mapped
    return {"value": float(value), "seconds": seconds, "memory": most}


def main(folder: Path) -> None:
    functions = {
        "plain read": plain_read,
        "mean": cross_entropy,
        "value_and_grad": partial(value_and_gradient, folder / "gradient"),
        "mean of rows": of_rows,
        "a quarter of the rows, value_and_grad": partial(
            gradient_of_rows, folder / "gradient_of_rows"
        ),
    }
    results = {name: measured(f, folder) for name, f in functions.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
