"""PyTorch's kernels for a GPU on its CPU tensors: the same text, by g++.

Stands for the launching call, and for nothing else: what a text computes, of which
dtypes and layouts, and how often it is launched with how many bytes.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch

from xploss.backends import torch_private

import cupy_on_host  # isort: skip
from cupy_on_host.compiler import Compiler  # isort: skip


class Index(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint) for name in "xyz")


class Launches:
    """What was asked for: the grids, and the bytes of the arrays of each launch."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.bytes: list[int] = []

    def launch(
        self,
        name: str,
        text: str,
        blocks: int,
        threads: int,
        arguments: list[Any],
        device: torch.device,
    ) -> None:
        self.blocks.append(blocks)
        tensors = {
            a.data_ptr(): a.untyped_storage().nbytes()
            for a in arguments
            if isinstance(a, torch.Tensor)
        }
        self.bytes.append(sum(tensors.values()))
        pointers, memory = torch_private.packed(arguments)
        kernel = _kernel(name, text)
        _runtime().run_grid(kernel, pointers, Index(blocks, 1, 1), Index(threads, 1, 1))
        del memory


@lru_cache(1)
def _compiler() -> Compiler:
    return Compiler(cupy_on_host.CACHE.resolve(), cupy_on_host.VERSION)


@lru_cache(1)
def _runtime() -> Any:
    path = str(_compiler().build_runtime())
    return ctypes.PyDLL(path, mode=ctypes.RTLD_GLOBAL)


@lru_cache(1024)
def _kernel(name: str, text: str) -> Any:
    _runtime()  # which the kernel finds what it waits by in
    library = ctypes.PyDLL(str(_compiler().build_kernels(text, [])))
    return ctypes.cast(getattr(library, f"launch_{name}"), ctypes.c_void_p)


@contextlib.contextmanager
def installed() -> Iterator[Launches]:
    """As if PyTorch's CPU were a GPU."""
    from xploss.backends import torch as backend

    launches = Launches()
    with (
        patch.object(torch_private, "launch", launches.launch),
        patch.object(
            torch_private, "takes_kernels", lambda device: device.type == "cpu"
        ),
        patch.object(backend, "_has_view", lambda tensor: False),
        patch.object(backend, "_is_in_a_row", lambda tensor: False),
    ):
        yield launches
