"""What is imported when."""

import subprocess
import sys

import pytest

import xploss

OTHERS = {
    "torch",
    "jax",
    "cupy",
    "dask",
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


@pytest.mark.parametrize("module", ["xploss", "xploss.compat", "xploss.objectives"])
def test_import_loads_no_library_but_numpy(module):
    modules = loaded(f"import {module}")
    assert {"numpy", "array_api_compat", "xploss"} <= modules
    assert not OTHERS & modules


def test_a_call_on_numpy_loads_no_library_but_numpy():
    call = "import numpy, xploss; xploss.sigmoid_cross_entropy(numpy.zeros(3), 1)"
    assert not OTHERS & loaded(call)


def test_version_is_the_package_s():
    assert xploss.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'sigmiod'"):
        xploss.sigmiod  # noqa: B018


def test_a_call_loads_no_part_of_numpy_that_it_does_not_need():
    """array_api_compat's namespace of NumPy loads all of it, which takes 0.1 s."""
    code = "import xploss, numpy; xploss.sigmoid_cross_entropy(numpy.zeros(3), 1)"
    shown = "; import sys; print('numpy.f2py' in sys.modules)"
    run = [sys.executable, "-c", code + shown]
    assert subprocess.check_output(run, text=True).strip() == "False"
