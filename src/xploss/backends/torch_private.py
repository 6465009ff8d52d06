"""The private names of PyTorch that are needed; tests tell when one of them goes."""

import ctypes
import functools
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_unflatten


def functorch_is_active() -> bool:
    """Inside `torch.func.grad`, `vmap`, `jvp`, ...

    No public name tells; the compiler traces this one:
    https://github.com/pytorch/pytorch/pull/134889
    """
    return bool(torch._C._are_functorch_transforms_active())


def forward_mode_is_active() -> bool:
    """Inside `torch.autograd.forward_ad.dual_level`, for which no public name tells."""
    return bool(forward_ad._current_level >= 0)


def mode_is_active() -> bool:
    """Under a `TorchDispatchMode`, `FakeTensorMode` or a tracer: it must see each call.

    No public name tells.
    """
    return bool(torch._C._len_torch_dispatch_stack() > 0)


def fake_mode(tensor: torch.Tensor) -> Any:
    """The mode of a `FakeTensor`, outside of which it cannot meet a number; or None.

    No public name tells.  None where a mode is active, or a compiler, which entered it.
    """
    if type(tensor) is torch.Tensor or torch.compiler.is_compiling():
        return None
    if mode_is_active():
        return None
    return getattr(tensor, "fake_mode", None)


def flattened(arguments: Any) -> tuple[list[Any], Callable[..., Any]]:
    """The leaves of nested tuples, and what puts such leaves together again.

    PyTorch's trees have no public name in Python.
    """
    leaves, structure = tree_flatten(arguments)
    return leaves, lambda others: tree_unflatten(others, structure)


def is_batched(tensor: torch.Tensor) -> bool:
    """One of several at once, as `torch.autograd.grad(is_grads_batched=True)` has them.

    No public name tells, and `functorch_is_active` does not within `backward`, where
    they are batched in an older way.
    """
    functorch = torch._C._functorch
    return bool(
        functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)
    )


def is_zero(tensor: torch.Tensor) -> bool:
    """A tensor of zeros that has no memory, as forward mode makes them."""
    return bool(tensor._is_zerotensor())


# ---- kernels on a GPU ----------------------------------------------------------------
#
# `torch.cuda._compile_kernel` does what is done here, but asks for the folder of a CUDA
# toolkit, which those who have PyTorch's wheels do not have, looks the driver up at
# each call, and takes for granted that the thread has a context.


def takes_kernels(device: torch.device) -> bool:
    """Whether it is a GPU for which a kernel can be compiled."""
    return device.type == "cuda" and _compiles_for(device.index)


@functools.cache
def _compiles_for(index: int) -> bool:
    library = run_time_compiler()
    if library is None or _driver() is None:
        return False
    try:
        trial = 'extern "C" __global__ void trial(float *x) { *x = expf(*x); }'
        return bool(compiled(library, trial, _architecture(index), UNFUSED))
    except RuntimeError:  # a GPU that is newer than the compiler
        return False


@functools.cache
def run_time_compiler() -> Any:
    """NVIDIA's, or AMD's by the same names; None where PyTorch does not say which."""
    return _library("_get_gpu_rtc_library")


@functools.cache
def _driver() -> Any:
    """NVIDIA's, or AMD's run-time by the same names."""
    return _library("_get_gpu_runtime_library")


def _library(name: str) -> Any:
    try:
        return getattr(torch.cuda._utils, name)()
    except (AttributeError, OSError, TypeError):
        return None


def launch(
    name: str,
    text: str,
    blocks: int,
    threads: int,
    arguments: list[Any],
    device: torch.device,
) -> None:
    """On the device's current stream; ints are passed in 32 bits, floats in 64."""
    if device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return launch(name, text, blocks, threads, arguments, device)
    _enter_context(device.index)
    function, parameters = _loaded(name, text, device.index), packed(arguments)
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    grid = (blocks, 1, 1, threads, 1, 1, 0)
    _check(_driver().cuLaunchKernel(function, *grid, stream, parameters[0], None))
    return None


def packed(arguments: list[Any]) -> tuple[Any, Any]:
    """Pointers to each of the arguments, and the memory that they are in."""
    codes = "".join([CODES.get(type(a), "P") for a in arguments])
    packer, offsets = _packer(codes)
    values = [a if type(a) in CODES else a.data_ptr() for a in arguments]
    memory = ctypes.create_string_buffer(packer.pack(*values))
    start = ctypes.addressof(memory)
    return (ctypes.c_void_p * len(offsets))(*[start + k for k in offsets]), memory


CODES: dict[type, str] = {int: "i", float: "d"}  # of `struct`


@functools.lru_cache(256)
def _packer(codes: str) -> tuple[struct.Struct, list[int]]:
    ends = [struct.calcsize(codes[: k + 1]) for k in range(len(codes))]
    sizes = map(struct.calcsize, codes)
    return struct.Struct(codes), [end - n for end, n in zip(ends, sizes, strict=True)]


def _enter_context(index: int) -> None:
    """A thread that PyTorch's run-time has not worked on yet, such as autograd's, has
    none, which the driver asks for: https://github.com/pytorch/pytorch/issues/124565"""
    if torch.version.hip:
        return
    driver, context, device = _driver(), ctypes.c_void_p(), ctypes.c_int()
    _check(driver.cuCtxGetCurrent(ctypes.byref(context)))
    if context.value is None:
        _check(driver.cuDeviceGet(ctypes.byref(device), index))
        _check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
        _check(driver.cuCtxSetCurrent(context))


@functools.lru_cache(1024)
def _loaded(name: str, text: str, index: int) -> Any:
    """A function of a device, which is the current one."""
    binary = compiled(run_time_compiler(), text, _architecture(index), UNFUSED)
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    _check(_driver().cuModuleLoadData(ctypes.byref(module), binary))
    named = ctypes.byref(function), module, name.encode()
    _check(_driver().cuModuleGetFunction(*named))
    return function


def _architecture(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip:
        return f"--offload-arch={properties.gcnArchName}"
    return f"--gpu-architecture=sm_{properties.major}{properties.minor}"


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"the GPU's driver refused a call, with error {status}")


# A multiplication and an addition are rounded one by one, as on the host.
UNFUSED = "-ffp-contract=off" if torch.version.hip else "--fmad=false"


def compiled(library: Any, text: str, *options: str) -> bytes:
    """By NVRTC: https://docs.nvidia.com/cuda/nvrtc/index.html"""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    passed = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    made = ctypes.byref(program), text.encode(), b"xploss.cu", 0, None, None
    if library.nvrtcCreateProgram(*made):
        raise RuntimeError("the run-time compiler takes no program")
    try:
        of = ("CUBIN", "ProgramLog")
        failed = library.nvrtcCompileProgram(program, len(options), passed)
        name = of[1] if failed else of[0]
        getattr(library, f"nvrtcGet{name}Size")(program, ctypes.byref(size))
        result = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{name}")(program, result)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(f"a kernel was not compiled: {result.value.decode()}")
    return result.raw


# ---- its threads ---------------------------------------------------------------------


def _openmp() -> int:
    """The address of GOMP_parallel in the OpenMP that PyTorch is linked with, or 0.

    Once it has run anything, an idle thread of it waits for more, and leaves no
    processor to one of ours: two of ours took as long as one.
    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        parallel = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):  # macOS, Windows
        return 0
    return ctypes.cast(parallel, ctypes.c_void_p).value or 0


_TEAM = [_openmp()]


def _leave_team() -> None:
    _TEAM[0] = 0


# GCC's OpenMP waits in a forked process for threads that it had before:
# https://gcc.gnu.org/bugzilla/show_bug.cgi?id=58378
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_team)


def team() -> int:
    """What runs a function on PyTorch's own threads: an address, or 0 for none."""
    return _TEAM[0]
