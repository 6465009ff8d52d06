"""CuPy on the host: the real CuPy wheel, run without a GPU, for tests.

CuPy's compiled modules call CUDA through pointers to C functions, and take them, when
they are imported, from the capsules of two modules of CuPy's.  `install` imports those
two first, and points their capsules to functions of the host (runtime.cc).  The CUDA
C++ that CuPy generates is compiled by g++ (compiler.py) and run thread after thread
(grid.cc).  README.md says what such a run is evidence of, and of what not.
"""

import collections
import ctypes
import importlib.metadata
import pathlib
import sys

from . import cublas
from .compiler import Compiler

VERSION = "14.2.0"  # the one whose C signatures runtime.cc has
CACHE = pathlib.Path(__file__).parent / ".cache"
COUNTERS = (
    "launches",
    "host_to_device",
    "device_to_host",
    "device_to_device",
    "host_to_device_bytes",
    "device_to_host_bytes",
    "device_to_device_bytes",
)
_runtime: ctypes.PyDLL | None = None  # what install() has put under CuPy


def driver_present() -> bool:
    """Says whether there is an NVIDIA driver, and so no need of all this."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def tally() -> collections.Counter[str]:
    """What a GPU would have been asked for so far: launches, and copies with bytes.

    The difference of two tallies has what was asked for in between, and no zeros.
    """
    if _runtime is None:
        raise RuntimeError("CuPy on the host: tally() needs install() before it")
    counters = ctypes.c_longlong * len(COUNTERS)
    values = counters.in_dll(_runtime, "cupy_on_host_counters")
    return collections.Counter(dict(zip(COUNTERS, values, strict=True)))


def install(cache: pathlib.Path = CACHE) -> None:
    """Puts the host under CuPy; a second call does nothing.

    What g++ builds is kept in `cache`, where it's found again by later processes.
    """
    global _runtime
    if _runtime is not None:
        return
    if "cupy" in sys.modules:
        # Not always by name: dask.array imports it wherever it finds it.
        raise RuntimeError("CuPy on the host: cupy was imported before install()")
    check_version()
    compiler = Compiler(cache.resolve(), VERSION)
    # Global, for the kernels find grid.cc in it.
    library = ctypes.PyDLL(str(compiler.build_runtime()), mode=ctypes.RTLD_GLOBAL)
    replace_functions(library)
    replace_libraries()
    replace_compiler(compiler)
    _runtime = library


def check_version() -> None:
    try:
        found = importlib.metadata.version("cupy-cuda12x")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        raise RuntimeError(
            f"CuPy on the host was written for cupy-cuda12x=={VERSION}; found {found}"
        )


def replace_functions(library: ctypes.PyDLL) -> None:
    from cupy_backends.cuda.api import driver, runtime

    fill_capsules(runtime, "runtime_", library)
    fill_capsules(driver, "driver_", library)
    # The few that CuPy also calls from Python; the others go on failing there.
    library.runtime_setDevice.restype = ctypes.py_object
    runtime.getDevice = lambda: 0
    runtime.getDeviceCount = lambda: 1
    runtime.setDevice = lambda device: library.runtime_setDevice(device, 0)


def fill_capsules(module, prefix: str, library: ctypes.PyDLL) -> None:
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)
    set_pointer = prototype(("PyCapsule_SetPointer", ctypes.pythonapi))
    for name, capsule in module.__pyx_capi__.items():
        function = getattr(library, prefix + name, None)
        if function is not None:
            set_pointer(capsule, ctypes.cast(function, ctypes.c_void_p))


def replace_libraries() -> None:
    from cupy_backends.cuda import libs

    libs.cublas = sys.modules["cupy_backends.cuda.libs.cublas"] = cublas


def replace_compiler(compiler: Compiler) -> None:
    import cupy

    cupy.cuda.compiler._compile_module_with_cache = compiler.compile_module
    # CUB is compiled for devices.  Without it CuPy generates its own kernels.
    cupy._core.set_reduction_accelerators([])
    cupy._core.set_routine_accelerators([])
