"""What is imported when."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import array_api_compat as compat
import numpy as np
import pytest

import xploss

OTHERS = {
    "torch",
    "jax",
    "cupy",
    "dask",
    "tensorflow",
    "array_api_compat",
    "array_api_strict",
    "scipy",
    "sklearn",
    "keras",
    "xgboost",
    "lightgbm",
}


def loaded(code):
    """The top-level modules after a fresh interpreter ran `code`."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\n{show}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module", ["xploss", "xploss.compat", "xploss.metrics", "xploss.objectives"]
)
def test_import_loads_no_library_but_numpy(module):
    modules = loaded(f"import {module}")
    assert {"numpy", "xploss"} <= modules
    assert not OTHERS & modules


def test_a_call_on_numpy_loads_no_library_but_numpy():
    call = "import numpy, xploss; xploss.sigmoid_cross_entropy(numpy.zeros(3), 1)"
    assert not OTHERS & loaded(call)


def test_version_is_the_package_s():
    assert xploss.__version__ == importlib.metadata.version("xploss")
    with pytest.raises(AttributeError, match="no attribute 'sigmiod'"):
        xploss.sigmiod  # noqa: B018


def test_a_source_tree_runs_as_it_is():
    """Not installed: without the packages of this environment but NumPy's, and ours."""
    tree = Path(xploss.__file__).parents[1]
    paths = [str(tree), *{str(Path(p.__file__).parents[1]) for p in (np, compat)}]
    code = (
        "import importlib.metadata, sys; "
        "importlib.metadata.version = None; "  # what is not installed has none
        f"sys.path[:0] = {paths}; import runpy, xploss; print(xploss.__version__); "
        "runpy.run_module('xploss', run_name='__main__')"
    )
    run = [sys.executable, "-OO", "-I", "-S", "-W", "error", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True)
    first, second = done.stdout.splitlines()[:2]
    assert first == xploss.__version__, done.stderr
    assert second.startswith(f"xploss {first}")


def test_a_call_loads_no_part_of_numpy_that_it_does_not_need():
    """array_api_compat's namespace of NumPy loads all of it, which takes 0.1 s."""
    code = "import xploss, numpy; xploss.sigmoid_cross_entropy(numpy.zeros(3), 1)"
    shown = "; import sys; print('numpy.f2py' in sys.modules)"
    run = [sys.executable, "-c", code + shown]
    assert subprocess.check_output(run, text=True).strip() == "False"


# What `sys.modules` may hold of a library that is not imported, or not yet.
ODD = {
    "half imported": "types.ModuleType('torch')",
    "a stub": "types.SimpleNamespace(__version__='0')",
    "anything": "unittest.mock.MagicMock()",
    "nothing": "None",
}
ON_EACH_KIND = """
import sys, tempfile, types, unittest.mock
import numpy, xploss
names = "torch jax jax.core cupy dask dask.array keras keras.losses sparse".split()
for name in names:
    if name not in {imported}:
        sys.modules[name] = {module}
{arrays}
from xploss.compat import keras, sklearn, torch
if isinstance(arrays[0], numpy.ndarray):
    y = numpy.ones((2, 3))
    assert 0 < keras.BinaryCrossentropy()(y, y) == keras.binary_crossentropy(y, y)[0]
for x in arrays:
    assert abs(float(xploss.sigmoid_cross_entropy(x, 1)) - 0.6931471805599453) < 1e-7
    for other in (x, x[0]):
        xploss.value_and_grad(xploss.sigmoid_focal_loss)(x, 1, weights=other)
"""
NUMPY_ARRAYS = """
file = tempfile.TemporaryFile()
mapped = numpy.memmap(file, "float32", "w+", shape=(3,))
arrays = [numpy.zeros(3), mapped, mapped.view(type("Own", (numpy.ndarray,), {}))]
"""


@pytest.mark.parametrize("module", ODD.values(), ids=ODD)
def test_odd_modules_are_not_asked(module):
    loaded(ON_EACH_KIND.format(imported="()", module=module, arrays=NUMPY_ARRAYS))


@pytest.mark.library("strict")
@pytest.mark.parametrize("module", ODD.values(), ids=ODD)
def test_odd_modules_are_not_asked_of_strict_arrays(module):
    arrays = "import array_api_strict; arrays = [array_api_strict.zeros(3)]"
    loaded(ON_EACH_KIND.format(imported="()", module=module, arrays=arrays))


@pytest.mark.library("jax")
@pytest.mark.parametrize("module", ODD.values(), ids=ODD)
def test_odd_modules_are_not_asked_of_jax_arrays(module):
    arrays = "import jax.numpy; arrays = [jax.numpy.zeros(3)]"
    # JAX itself asks for what is called torch or keras no more than we do.
    code = ON_EACH_KIND.format(
        imported="('jax', 'jax.core')", module=module, arrays=arrays
    )
    loaded(f"import jax\n{code}")


@pytest.mark.library("torch")
def test_calls_go_on_while_another_thread_imports_pytorch():
    """On a memory map, which is no plain array: it is asked what it is, each time."""
    loaded("""
import sys, tempfile, threading, time
import numpy, xploss
mapped = numpy.memmap(tempfile.TemporaryFile(), "float32", "w+", shape=(3,))
importing = threading.Thread(target=__import__, args=("torch",))
importing.start()
calls = 0
while importing.is_alive() or not calls:
    xploss.sigmoid_cross_entropy(mapped, 1)
    calls += 1
    time.sleep(0.001)  # or the import hardly gets on
assert calls > 10, calls
assert "torch" in sys.modules
""")
