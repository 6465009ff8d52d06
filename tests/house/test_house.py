"""The shape of the code, read from its source: which way imports go, and where a
library may be named."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import xploss

ROOT = Path(xploss.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# From the top: each room may import those below it, and itself.
FLOORS = (
    {"__main__"},
    {"report"},
    {"__init__"},
    {"compat", "metrics", "objectives"},
    {"_binary", "_derivatives", "_labels", "_categorical"},
    {"_call"},
    {"_arguments"},
    {"backends"},
    {"_arrays", "kernels"},
    {"formulas"},
)
LIBRARIES = ("numpy", "torch", "jax", "cupy", "dask", "array_api_strict", "tensorflow")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def package_of(module):
    """Where its relative imports start."""
    is_package = MODULES[module].name == "__init__.py"
    parts = [] if module == "__init__" else module.split(".")
    return parts if is_package else parts[:-1]


def targets(module, node):
    """The modules of ours that a statement imports."""
    if isinstance(node, ast.Import):
        ours = [a.name for a in node.names if a.name.split(".")[0] == "xploss"]
        return {name.removeprefix("xploss").lstrip(".") or "__init__" for name in ours}
    if not isinstance(node, ast.ImportFrom):
        return set()
    if not node.level:
        assert (node.module or "").split(".")[0] != "xploss", "import it relatively"
        return set()
    package = package_of(module)
    start = package[: len(package) - node.level + 1]
    whole = [*start, *(node.module or "").split(".")] if node.module else start
    found = set()
    for alias in node.names:
        longer, shorter = ".".join([*whole, alias.name]), ".".join(whole)
        found.add(longer if longer in MODULES else shorter or "__init__")
    return found


def for_checkers(tree):
    """What stands under `if TYPE_CHECKING`, which is never run."""
    blocks = (
        n.body
        for n in ast.walk(tree)
        if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    )
    return {id(node) for block in blocks for node in block}


def imports(module):
    """Function-local ones too."""
    tree = ast.parse(MODULES[module].read_text())
    never_run = for_checkers(tree)
    nodes = (n for n in ast.walk(tree) if id(n) not in never_run)
    return {t for n in nodes for t in targets(module, n)} - {module}


GRAPH = {module: imports(module) for module in MODULES}


def floor(module):
    room = module.split(".")[0]
    return next(k for k, rooms in enumerate(FLOORS) if room in rooms)


def test_every_import_is_found():
    """Or this reads nothing."""
    assert GRAPH["_call"] == {
        "_arguments", "_arrays", "backends.job", "backends.table", "formulas.record",
        "formulas.sigmoid",
    }  # fmt: skip
    assert {"backends.torch", "backends.dask"} <= GRAPH["backends.table"]
    assert all(target in MODULES for found in GRAPH.values() for target in found)


def test_no_import_goes_round():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    upwards = {t for t in GRAPH[module] if floor(t) < floor(module)}
    assert not upwards
    beside = {t for t in GRAPH[module] if floor(t) == floor(module)}
    assert all(t.split(".")[0] in FLOORS[floor(module)] for t in beside)


def test_formulas_import_nothing():
    for path in (ROOT / "formulas").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module == "typing"
            assert not isinstance(node, ast.Import)


def test_a_library_is_named_at_home_alone():
    """In its backend, in what is printed of it, and in its own spelling."""
    named = re.compile(rf'"({"|".join(LIBRARIES)})"')
    for module, path in MODULES.items():
        if module.split(".")[0] in ("backends", "report"):
            continue
        spelt = module.split(".")[1] if module.startswith("compat.") else None
        allowed = {spelt, *LIBRARIES} if module == "compat" else {spelt}
        assert {*named.findall(path.read_text())} <= allowed, module


def test_the_module_that_is_run_has_four_lines():
    lines = MODULES["__main__"].read_text().splitlines()
    assert len([line for line in lines if line.strip()]) == 4
