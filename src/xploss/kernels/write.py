"""Writes what the extension is compiled of: `python write.py FOLDER`.

It runs when a wheel is built, where nothing is installed: the package is a bare name
here, under which the formulas are found without what its `__init__` imports.
"""

import importlib
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def write(folder: Path) -> None:
    bare = types.ModuleType("xploss")
    bare.__path__ = [str(PACKAGE)]
    sys.modules["xploss"] = bare
    written = importlib.import_module("xploss.kernels.written")
    for name, text in written.files().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
