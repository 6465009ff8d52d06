"""The public names and their signatures are those of api.txt: a change is seen.

`python tests/house/test_api.py` writes it anew; that needs PyTorch, for its module.
"""

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

import xploss

FILE = Path(__file__).parent / "api.txt"
LOADS_TORCH = tuple(
    f"xploss.compat.torch.{name}"
    for name in ("BCEWithLogitsLoss", "CrossEntropyLoss", "NLLLoss")
)


def signature(function):
    """Names, kinds and defaults; annotations print in another way in each Python."""
    whole = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in whole.parameters.values()]
    text = str(whole.replace(parameters=bare, return_annotation=whole.empty))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def names(module):
    """Those that `__all__` lists, but for those that need PyTorch."""
    whole = {f"{module.__name__}.{name}": name for name in module.__all__}
    return [name for full, name in whole.items() if full not in LOADS_TORCH]


def is_public(name):
    return not name.startswith("_") or name == "__call__"


def methods(public):
    """Of a class, those that it or another class of ours defines."""
    members = ((name, getattr(public, name)) for name in dir(public))
    return {
        name: member
        for name, member in members
        if inspect.isroutine(member) and is_public(name) and is_ours(member)
    }


def is_ours(function):
    return (getattr(function, "__module__", None) or "").startswith("xploss")


def entries(name, public):
    """A line for a function; for a class, one for each of its methods too."""
    if not inspect.isclass(public) and not inspect.isfunction(public):
        return  # the alias of a type
    yield f"{name}{signature(public)}"
    if inspect.isclass(public):
        for method, function in methods(public).items():
            yield f"{name}.{method}{signature(function)}"


def module_entries(module):
    yield module.__name__
    for name in sorted(names(module)):
        if is_public(name):
            yield from entries(f"{module.__name__}.{name}", getattr(module, name))


PUBLIC = ("compat", "metrics", "objectives")


def modules():
    """`xploss` and its public modules, also those of `xploss.compat`."""
    found = pkgutil.walk_packages(xploss.__path__, "xploss.")
    names = (info.name for info in found if "._" not in info.name)
    public = [name for name in names if name.split(".")[1] in PUBLIC]
    return [xploss, *map(import_module, public)]


def api():
    return [line for module in modules() for line in module_entries(module)]


def torch_modules():
    spelt = import_module("xploss.compat.torch")
    names = ((full, full.rpartition(".")[2]) for full in LOADS_TORCH)
    return [
        line for full, name in names for line in entries(full, getattr(spelt, name))
    ]


def recorded(torch):
    lines = FILE.read_text().splitlines()
    return [line for line in lines if line.startswith(LOADS_TORCH) == torch]


def test_api_is_the_recorded_one():
    assert api() == recorded(torch=False)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_dir_shows_the_public_names(module):
    """And no helper; `from ... import *` brings the same."""
    beside = (
        ["__version__", "compat", "metrics", "objectives"] if module is xploss else []
    )
    assert sorted(dir(module)) == sorted([*module.__all__, *beside])
    assert all(is_public(name) for name in module.__all__)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_types_of_every_public_function_can_be_asked(module):
    for name in names(module):
        public = getattr(module, name)
        if inspect.isfunction(public):
            hints = get_type_hints(public)
            assert hints.keys() == {*inspect.signature(public).parameters, "return"}


def test_every_public_name_is_documented():
    public = [(m, k) for m in modules() for k in names(m) if is_public(k)]
    assert all(getattr(module, name).__doc__ for module, name in public)


@pytest.mark.library("torch")
def test_torch_module_is_the_recorded_one():
    assert torch_modules() == recorded(torch=True)


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in api() + torch_modules()))
