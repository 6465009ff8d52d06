"""Files larger than what a process may hold, through `numpy.memmap`."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import reference
from expected import LOSSES, each, every_function
from scale import memmap_job, periodic

ELEMENTS = 1 << 29  # 2 GiB a file
MEMORY = 64 << 20
BLOCK = periodic.PERIOD << 10  # elements
NAMES = ("logits", "labels")
JOB = Path(__file__).with_name("memmap_job.py")
OF_QUARTER = "a quarter of the rows, value_and_grad"

# ---- results are plain arrays ----------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("optional", [False, True], ids=["plain", "options"])
def test_results_are_plain_arrays(tmp_path, loss, optional):
    """Equal to those of plain arrays, and of no file."""
    options = loss.options if optional else {}

    def of_file(name, array):
        np.save(tmp_path / f"{name}.npy", array)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    maps = {k: of_file(k, v) for k, v in options.items() if isinstance(v, np.ndarray)}
    first, labels = of_file("first", loss.first), of_file("labels", loss.labels)
    assert isinstance(first, np.memmap)
    for function in every_function(loss).values():
        results = each(function(first, labels, **options | maps))
        rights = each(function(loss.first, loss.labels, **options))
        for result, right in zip(results, rights, strict=True):
            assert type(result) is type(right)
            assert np.array_equal(result, right)


# ---- more than memory ------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Gone with its files when the test ends; pytest keeps `tmp_path`."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        yield Path(name)


def write(path, period, n):
    values = periodic.between(period, 0, BLOCK)
    with path.open("wb") as file:
        for start in range(0, n, BLOCK):
            file.write(values[: n - start].data)


def numbers_that_fit(folder):
    """In each of three files and a quarter, and a fifth of what is free is left."""
    return min(ELEMENTS, shutil.disk_usage(folder).free // 16)


def check(gradient):
    """Each number of the file within 4 ulp of its larger term."""
    exact = periodic.exact()
    slopes, terms = (
        np.array([float(getattr(e, field)) for e in exact])
        for field in ("gradient", "term")
    )
    away = 4 * np.finfo(np.float32).eps * terms
    low, high = (periodic.between(slopes + a, 0, BLOCK) for a in (-away, away))
    for start in range(0, gradient.size, BLOCK):
        part = gradient[start : start + BLOCK].astype(np.float64) * gradient.size
        assert np.all(part >= low[: part.size])
        assert np.all(part <= high[: part.size])


def check_rows(gradient):
    """Each number within 6 ulp of its larger term, the label's 1 or p."""
    n = len(gradient)
    period = periodic.logits_and_labels()[0].astype(np.float64)
    p = np.tile(np.exp(period), memmap_job.CLASSES // periodic.PERIOD)
    p /= p.sum()
    for k, number in enumerate(memmap_job.numbers_of(n)):
        slope, term = p.copy(), p.copy()
        slope[number], term[number] = p[number] - 1.0, 1.0
        away = np.abs(n * gradient[k].astype(np.float64) - slope)
        assert np.all(away <= 6 * np.finfo(np.float32).eps * term)


def said(n, results):
    room = "" if n == ELEMENTS else "; there is no room for two of 2 GiB"
    yield f"memmap, two files of {4 * n / 2**30:.2f} GiB in the page cache{room}:"
    read = results["plain read"]["seconds"]
    sizes = {"mean of rows": 4e-9 * n, OF_QUARTER: 1e-9 * n}
    for name, one in results.items():
        speed = sizes.get(name, 8e-9 * n) / one["seconds"]
        ratio = 8e-9 * n / read / speed
        yield (
            f"  {name}: {speed:.2f} GB/s, {ratio:.2f} of the time of a plain read, "
            f"at most {one['memory'] / 2**20:.1f} MiB held"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory")
def test_files_larger_than_memory(folder, tell):
    """What the process holds, Python and NumPy too, but for what is of the files."""
    n = numbers_that_fit(folder)
    for name, period in zip(NAMES, periodic.logits_and_labels(), strict=True):
        write(folder / name, period, n)
    job = [sys.executable, str(JOB), str(folder)]
    results = json.loads(subprocess.run(job, check=True, stdout=subprocess.PIPE).stdout)
    for line in said(n, results):
        tell(line)
    for name in ("mean", "value_and_grad"):
        assert reference.ulps(results[name]["value"], periodic.mean(n), "float32") <= 4
        assert results[name]["memory"] <= MEMORY
    check(np.memmap(folder / "gradient", np.float32, "r", shape=(n,)))
    rows = n // memmap_job.CLASSES
    for name, some in (("mean of rows", rows), (OF_QUARTER, rows // 4)):
        numbers = memmap_job.numbers_of(some)
        starts = np.zeros(some, np.int64)
        exact, _ = periodic.of_rows(starts, numbers, memmap_job.CLASSES)
        assert reference.ulps(results[name]["value"], exact, "float32") <= 4
        assert results[name]["memory"] <= MEMORY
    shape = (rows // 4, memmap_job.CLASSES)
    check_rows(np.memmap(folder / "gradient_of_rows", np.float32, "r", shape=shape))
