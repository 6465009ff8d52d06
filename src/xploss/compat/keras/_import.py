"""When Keras is imported: before `xploss.compat.keras`, or at some time after it.

A model is loaded with our losses as soon as both are there, and nothing of ours runs
between `import keras` and `load_model`.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def once_keras_is_loaded(act: Callable[[], None]) -> None:
    """Call `act` now, or after Keras was executed, by whoever imports it."""
    if sys.modules.get("keras") is not None:
        act()
    else:
        sys.meta_path.insert(0, _Finder(act))


class _Finder:
    """Finds Keras as the other finders do, and nothing else; it is there once."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = _Loader(spec.loader, self)
            spec.loader = loader
        return spec


class _Loader:
    """The loader that was found; Keras is left with that one."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:  # not if another thread was here before
            sys.meta_path.remove(self.finder)
            self.finder.act()
