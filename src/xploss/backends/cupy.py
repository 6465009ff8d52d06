"""CuPy: jobs by kernels of the formula's text, which CuPy compiles when they come."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cupy
from array_api_compat import cupy as cupy_namespace

from .._arrays import Array
from ..kernels.cuda import BLOCK
from . import device
from .base import Backend
from .job import Job


class CuPy(Backend):
    taken_by_boosters = True

    def on_host(self, array: Array) -> Any:
        return array.get()

    def run(self, like: Array, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        with job.arguments[0].device:
            return device.evaluate(job, DEVICE, self)


class _Device:
    """The current one, on the current stream."""

    def strides(self, array: Any) -> tuple[int, ...]:
        return tuple([stride // array.itemsize for stride in array.strides])

    def like(self, array: Any, dtype: Any) -> Any:
        return cupy.empty_like(array, dtype)

    def room(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        return cupy.empty(shape, cupy.float64 if dtype is None else dtype)

    def launch(
        self, name: str, text: str, blocks: int, arguments: list[Any], like: Any
    ) -> None:
        passed = [cupy.int32(a) if type(a) is int else a for a in arguments]
        _compiled(name, text)((blocks,), (BLOCK,), passed)


@lru_cache(256)
def _compiled(name: str, text: str) -> Any:
    # A multiplication and an addition are rounded one by one, as on the host.
    fused = "-ffp-contract=off" if cupy.cuda.runtime.is_hip else "--fmad=false"
    return cupy.RawKernel(text, name, (fused,))


BACKEND, DEVICE = CuPy(cupy_namespace), _Device()
