"""The libraries that may run here, and what they compute."""

import contextlib
import itertools
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import xploss

from .comparison import ours
from .exact import FORMATS


class Library(NamedTuple):
    """`devices` gives by the name to print what `asarray` takes as a device."""

    name: str
    namespace: str
    install: str
    devices: Callable[[], dict[str, Any]]
    dtypes: str = ""  # where its dtypes are, if not in the namespace
    flushes: bool = False  # subnormal results to 0


def host_only() -> dict[str, Any]:
    return {"cpu": None}


def strict_devices() -> dict[str, Any]:
    device = import_module("array_api_strict").Device
    return {name: device(name) for name in ("CPU_DEVICE", "device1")}


def torch_devices() -> dict[str, Any]:
    cuda = import_module("torch").cuda.is_available()
    return {name: name for name in (("cpu", "cuda") if cuda else ("cpu",))}


def jax_devices() -> dict[str, Any]:
    jax = import_module("jax")
    devices = jax.devices()
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may rule the CPU out
        devices = [*jax.devices("cpu"), *devices]
    return {device.platform: device for device in devices}


class NoDevice(Exception):
    """The library is installed, and has nothing to run on."""


def cupy_devices() -> dict[str, Any]:
    cuda = import_module("cupy").cuda
    if not cuda.is_available():
        driver = cuda.runtime.driverGetVersion()
        raise NoDevice("installed, no GPU" if driver else "installed, no GPU driver")
    return {"cuda": None}


LIBRARIES = (
    Library("NumPy", "numpy", "numpy", host_only),
    Library("array-api-strict", "array_api_strict", "array-api-strict", strict_devices),
    Library("PyTorch", "torch", "torch", torch_devices),
    Library("JAX", "jax.numpy", "jax", jax_devices, flushes=True),
    Library("CuPy", "cupy", "cupy-cuda12x (CUDA 13: cupy-cuda13x)", cupy_devices),
    Library("Dask", "dask.array", "'dask[array]'", host_only, dtypes="numpy"),
    Library(
        "TensorFlow",
        "tensorflow.experimental.numpy",
        "tensorflow",
        host_only,
        dtypes="tensorflow",
    ),
)


def double_precision(library: Library) -> contextlib.AbstractContextManager[Any]:
    """JAX has no float64 unless asked."""
    if library.name != "JAX":
        return contextlib.nullcontext()
    return import_module("jax").enable_x64(True)  # type: ignore[no-any-return]


# ---- what they compute -------------------------------------------------------------

QUANTITIES = ("value", "gradient", "Hessian")

# Numbers of all four dtypes: dense around 0, then where each dtype underflows.
SIZES = (2**-14, 0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 11, 13, 17, 23, 31, 37, 40, 60, 80)
FAR_SIZES = (87, 88, 100, 104, 200, 708, 744, 9984, math.inf)
LOGITS = (math.nan, 0.0, *(sign * m for m in SIZES + FAR_SIZES for sign in (1, -1)))

Columns = list[list[float]]  # of all pairs, by quantity
Results = dict[tuple[str, str], Columns]  # by device and dtype


def pairs(dtype: str) -> list[tuple[float, float]]:
    """Each logit with labels hard, soft, and within an ulp of 0 and of 1."""
    ulp = 2.0 ** -FORMATS[dtype][0]
    return list(itertools.product(LOGITS, (0.0, 1.0, 77 / 256, ulp, 1.0 - ulp)))


def on_host(array: Any) -> list[float]:
    if hasattr(array, "compute"):  # Dask
        array = array.compute()
    return [float(x) for x in (array.tolist() if hasattr(array, "tolist") else array)]


def computed(xp: Any, dtype: str, device: Any, dtypes: Any) -> Columns:
    """Value, gradient and Hessian of all pairs."""
    options = {} if device is None else {"device": device}
    logits, labels = (
        xp.asarray(np.asarray(column), dtype=getattr(dtypes, dtype), **options)
        for column in zip(*pairs(dtype), strict=True)
    )
    derivatives = xploss.grad_and_hess(xploss.sigmoid_cross_entropy)(logits, labels)
    return [on_host(array) for array in (ours(logits, labels), *derivatives)]


def compute(library: Library) -> Results:
    xp = import_module(library.namespace)
    dtypes = import_module(library.dtypes or library.namespace)
    with double_precision(library):
        return {
            (name, dtype): computed(xp, dtype, device, dtypes)
            for name, device in library.devices().items()
            for dtype in FORMATS
            if hasattr(dtypes, dtype)
        }
