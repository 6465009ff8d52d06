"""backends.md says what is tested, no more and no less."""

import importlib
import re
import tomllib

import backends
import matrix
import pytest

PAGE = matrix.PAGE.read_text()
GROUPS = tomllib.loads((matrix.PAGE.parent / "pyproject.toml").read_text())[
    "dependency-groups"
]


def rows():
    """First cells of the first table: (library, version tested)."""
    table = PAGE.split("| library | tested |")[1].split("\n\n")[0]
    cells = [line.split("|") for line in table.splitlines()[2:]]
    return {cell[1].split()[0]: cell[2].strip() for cell in cells}


def pinned(library):
    own = [r for r in GROUPS[library] if isinstance(r, str)]
    return re.search(r"==([\d.]+)", own[0])[1]


def test_every_library_has_its_row():
    assert list(rows()) == list(backends.LIBRARIES)


@pytest.mark.parametrize("library", backends.LIBRARIES)
def test_version_is_the_pinned_one(library):
    assert rows()[library] == pinned(library)


def test_variant_is_in_the_matrix(backend, dtype):
    if backend.name.endswith(("-gpu", "-cuda")):
        pytest.skip("the matrix of backends.md has no GPU")
    assert f"{backend} {dtype}" in matrix.recorded(PAGE)


def test_record_that_moved_is_seen():
    record = matrix.recorded(PAGE)
    assert not matrix.disagreements(record, record)
    name = "numpy float32"
    moved = record | {name: [n + 1.5 for n in record[name]]}
    assert matrix.disagreements(moved, record) != []
    fewer = {n: r for n, r in record.items() if n != name}
    assert matrix.disagreements(fewer, record) == [f"{name}: not tested"]
    assert matrix.disagreements(record, fewer) == [f"{name}: not in backends.md"]


def test_rows_of_a_gpu_are_not_compared():
    record = matrix.recorded(PAGE)
    host = {n: r for n, r in record.items() if n.startswith("cupy")}
    gpu = {n.replace("-on-host", "-gpu"): r for n, r in host.items()}
    rest = {n: r for n, r in record.items() if n not in host}
    cuda = {"torch-cuda float32": [9.0] * 6}
    assert matrix.compared(rest | gpu | cuda, record, []) == []
    assert matrix.compared(record | cuda, record, []) == []
    assert len(matrix.compared(rest | cuda, record, [])) == len(host)


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(name, marks=pytest.mark.library(name))
        for name in ("jax", "torch", "tensorflow")
    ],
)
def test_every_transform_is_a_row(library):
    tested = importlib.import_module(f"test_autodiff_{library}").TRANSFORMS
    section = PAGE.split("## Transforms")[1].split("\n## ")[0]
    named = re.findall(rf"^\| {library} \| (.*) \|$", section, re.MULTILINE)
    assert named == list(tested)


def test_every_quirk_names_its_source():
    quirks = PAGE.split("## Quirks\n\n")[1].strip().split("\n\n")
    assert len(quirks) >= len(backends.LIBRARIES)
    assert all(re.search(r"https://\S+$", quirk) for quirk in quirks)
