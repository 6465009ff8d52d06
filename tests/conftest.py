"""Which backends a run tests, and the agreement matrix that it leaves behind.

`--backend=torch` (again for more) tests torch, and fails if torch is missing; without
it, everything that is installed.  A test that takes `backend` runs once per variant;
one that is marked `library("torch")` runs when torch is tested; any other one belongs
to NumPy's run.

`--part=first` is what `nox` runs, in which the slow variants have a share of the cases;
`--part=rest` has the others, of the slowest variants one of five, and `nox -t all` runs
both; `nox -s "thorough(jax)" -- --part=whole` leaves none out.
"""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import backends
import pytest


def pytest_addoption(parser):
    parser.addoption("--backend", action="append", choices=list(backends.LIBRARIES))
    parser.addoption("--part", choices=("first", "rest", "whole"), default="whole")
    parser.addoption("--matrix", type=Path, help="where to leave the matrix, as JSON")


@pytest.hookimpl(tryfirst=True)  # hypothesis loads its profile in this hook too
def pytest_configure(config):
    part = config.getoption("--part")
    if part != "whole" or config.getoption("--hypothesis-profile", None):
        importlib.import_module("strategies")  # which registers them, and takes 0.3 s
    if part != "whole":
        config.option.hypothesis_profile = part
    config.addinivalue_line(
        "markers", "library(name): runs when that library is tested"
    )
    chosen = config.getoption("--backend") or backends.installed()
    config.addinivalue_line(
        "markers", "one_of(n): the first part has one of n of these cases"
    )
    config.stash[LIBRARIES] = chosen
    config.stash[VARIANTS] = [b for name in chosen for b in backends.variants(name)]
    config.stash[MATRIX] = {}
    config.stash[DRAWN] = Counter()


LIBRARIES = pytest.StashKey[list]()
VARIANTS = pytest.StashKey[list]()
MATRIX = pytest.StashKey[dict]()
DRAWN = pytest.StashKey[Counter]()


def pytest_ignore_collect(collection_path, config):
    """A file that imports a library ends with its name, and belongs to its run."""
    library = collection_path.stem.rpartition("_")[2]
    if library in backends.LIBRARIES and library not in config.stash[LIBRARIES]:
        return True
    return None


def pytest_generate_tests(metafunc):
    names = metafunc.fixturenames
    if "backend" not in names:
        return
    variants = metafunc.config.stash[VARIANTS]
    chosen = [b for b in variants if b.has_values or "shapes" in names]
    if "dtype" not in names:
        metafunc.parametrize("backend", chosen, ids=str)
        return
    pairs = [(b, dtype) for b in chosen for dtype in b.dtypes]
    metafunc.parametrize("backend, dtype", pairs, ids=str)


@pytest.fixture(autouse=True)
def _around(request):
    """The settings of the variant that a test runs on."""
    if "backend" not in request.fixturenames:
        yield
        return
    with request.getfixturevalue("backend").around():
        yield


@pytest.fixture
def shapes():
    """Asked for by tests that need no values: they run on `meta` tensors too."""


@pytest.fixture
def matrix(request):
    """Worst distances by (backend, dtype, quantity), left behind for the matrix."""
    return request.config.stash[MATRIX]


@pytest.fixture
def computes():
    """How often Dask was made to compute, one number a time."""
    import dask

    seen = []

    def scheduler(graph, keys, **options):
        seen.append(keys)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        yield seen


def _belongs(item):
    marks = [mark.args[0] for mark in item.iter_markers("library")]
    if marks:
        return any(name in item.config.stash[LIBRARIES] for name in marks)
    return "backend" in item.fixturenames or "numpy" in item.config.stash[LIBRARIES]


def _is_drawn(item):
    """Such a test is in both parts, with more draws in the second."""
    return item.path.stem in ("test_fuzzing", "test_fuzzing_rows")


def _cost(item):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters["backend"].cost if "backend" in parameters else 1


def _is_first(item, place):
    """Whether `--part=first` has it: one of so many, of slow variants and slow files.

    All that the matrix is made of is.
    """
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "matrix" in item.fixturenames and not parameters["options"]:
        return True
    mark = item.get_closest_marker("one_of")
    if mark is not None and parameters:
        return place % mark.args[0] == 0
    cost = _cost(item)
    return place % (1 if cost < 10 else 8 if cost < 100 else 20) == 0


def _in_part(items, part):
    places = Counter()
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        variant = str(parameters.get("backend"))
        place = places[variant]
        places[variant] += 1
        first = _is_first(item, place)
        left_out = _cost(item) >= 100 and place % 5 != 1
        if _is_drawn(item) or (first if part == "first" else not first | left_out):
            yield item


def pytest_collection_modifyitems(config, items):
    kept, part = [item for item in items if _belongs(item)], config.getoption("--part")
    kept = kept if part == "whole" else list(_in_part(kept, part))
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


def pytest_report_header(config):
    missing = backends.LIBRARIES.keys() - set(config.stash[LIBRARIES])
    return [
        f"backends tested: {', '.join(map(str, config.stash[VARIANTS]))}",
        f"backends not tested: {', '.join(sorted(missing)) or 'none'}",
    ]


def drawn():
    """How many examples were drawn here, by backend."""
    fuzzing = sys.modules.get("strategies")
    return dict(fuzzing.COUNTS) if fuzzing else {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """What a worker of pytest-xdist has found out goes to the process that reports."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[MATRIX].update(output.get("matrix", {}))
    node.config.stash[DRAWN].update(output.get("drawn", {}))


def pytest_terminal_summary(terminalreporter, config):
    for backend, examples in (config.stash[DRAWN] + Counter(drawn())).items():
        terminalreporter.write_line(f"fuzzing {backend}: {examples} examples")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        rows = session.config.stash[MATRIX]
        session.config.workeroutput.update(matrix=rows, drawn=drawn())
        return
    path = session.config.getoption("--matrix")
    if path is None:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    counts = {
        k: len(reporter.stats.get(k, ())) for k in ("passed", "failed", "skipped")
    }
    counts["failed"] += len(reporter.stats.get("error", ()))
    path.parent.mkdir(parents=True, exist_ok=True)
    found = session.config.stash[MATRIX]
    variants = session.config.stash[VARIANTS]
    order = [f"{b} {dtype}" for b in variants for dtype in b.dtypes]
    order += [f"{name} rows" for name in order]
    rows = {name: found[name] for name in order if name in found}
    path.write_text(json.dumps({"counts": counts, "rows": rows}, indent=1) + "\n")
