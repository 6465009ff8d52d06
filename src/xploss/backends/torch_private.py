"""The private names of PyTorch that are needed; tests tell when one of them goes."""

import ctypes
import functools
import os
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


def takes_kernels(device: torch.device) -> bool:
    """Whether it is a GPU for which there is a compiler of text.

    `torch.cuda._compile_kernel` does all that is done here, but asks for the folder of
    a CUDA toolkit, which those who have PyTorch's wheels do not have.
    """
    return device.type == "cuda" and run_time_compiler() is not None


@functools.cache
def run_time_compiler() -> Any:
    """NVIDIA's, or AMD's by the same names; None where PyTorch does not say which."""
    try:
        return torch.cuda._utils._get_gpu_rtc_library()
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
    if device.index == torch.cuda.current_device():
        kernel = _loaded(name, text, device.index)
        kernel((blocks, 1, 1), (threads, 1, 1), arguments)
    else:
        with torch.cuda.device(device):
            launch(name, text, blocks, threads, arguments, device)


@functools.lru_cache(1024)
def _loaded(name: str, text: str, number: int) -> Any:
    """For each device, the current one."""
    properties = torch.cuda.get_device_properties(number)
    option = f"--gpu-architecture=sm_{properties.major}{properties.minor}"
    if torch.version.hip:
        option = f"--offload-arch={properties.gcnArchName}"
    binary = compiled(run_time_compiler(), text, option)
    return torch.cuda._utils._cuda_load_module(binary, [name])[name]


def compiled(library: Any, text: str, option: str) -> bytes:
    """By NVRTC: https://docs.nvidia.com/cuda/nvrtc/index.html"""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    options = (ctypes.c_char_p * 1)(option.encode())
    made = ctypes.byref(program), text.encode(), b"xploss.cu", 0, None, None
    if library.nvrtcCreateProgram(*made):
        raise RuntimeError("the run-time compiler takes no program")
    try:
        of = ("CUBIN", "ProgramLog")
        failed = library.nvrtcCompileProgram(program, 1, options)
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
