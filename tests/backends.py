"""The one list of backends that tests learn of, with hostile variants.

A variant says how to make an array of its library from NumPy's, how to call a
function on it, and how to get the numbers back.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ALL = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Backend:
    """One way to run a library."""

    name: str
    library: str
    dtypes: tuple[str, ...]
    array: Callable[[np.ndarray, str], Any]  # float64 values, dtype name
    numpy: Callable[[Any], np.ndarray]  # back, without rounding
    call: Callable[..., Any] = lambda f, *args, **options: f(*args, **options)
    flushes: bool = False  # subnormal numbers to 0
    sum_ulps: float = 4.0  # what its sums of float32 and float64 are within
    has_values: bool = True
    around: Callable[[], contextlib.AbstractContextManager[Any]] = field(
        default=contextlib.nullcontext
    )

    def __str__(self) -> str:
        return self.name


def _numpy() -> Iterator[Backend]:
    def writable(values: np.ndarray, dtype: str) -> np.ndarray:
        return np.array(values, dtype)

    def read_only(values: np.ndarray, dtype: str) -> np.ndarray:
        array = np.array(values, dtype)
        array.flags.writeable = False
        return array

    dtypes = ("float16", "float32", "float64")
    yield Backend("numpy", "numpy", dtypes, writable, np.asarray)
    yield Backend("numpy-read-only", "numpy", dtypes, read_only, np.asarray)


def _strict() -> Iterator[Backend]:
    import array_api_strict as strict

    def on(device: str) -> Callable[[np.ndarray, str], Any]:
        def array(values: np.ndarray, dtype: str) -> Any:
            values = np.asarray(values, dtype)
            where = strict.Device(device)
            return strict.asarray(values, dtype=getattr(strict, dtype), device=where)

        return array

    def numpy(array: Any) -> np.ndarray:
        return np.asarray(array.to_device(strict.Device("CPU_DEVICE")))

    both = ("float32", "float64")
    yield Backend("strict-device1", "strict", both, on("device1"), numpy)
    yield Backend("strict-no-float64", "strict", both[:1], on("no_float64"), numpy)


def _torch() -> Iterator[Backend]:
    import torch

    def on(device: str) -> Callable[[np.ndarray, str], Any]:
        def array(values: np.ndarray, dtype: str) -> Any:
            return torch.tensor(values, dtype=getattr(torch, dtype), device=device)

        return array

    def numpy(tensor: Any) -> np.ndarray:
        wide = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        return tensor.detach().to(wide).cpu().numpy()

    @contextlib.contextmanager
    def default_float64() -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    yield Backend("torch", "torch", ALL, on("cpu"), numpy)
    yield Backend(
        "torch-default-float64", "torch", ALL, on("cpu"), numpy, around=default_float64
    )
    yield Backend("torch-meta", "torch", ALL, on("meta"), numpy, has_values=False)
    if torch.cuda.is_available():
        yield Backend("torch-cuda", "torch", ALL, on("cuda"), numpy)


def _jax() -> Iterator[Backend]:
    import jax
    import jax.numpy as jnp

    def array(values: np.ndarray, dtype: str) -> Any:
        return jnp.asarray(values).astype(dtype)

    def numpy(values: Any) -> np.ndarray:
        return np.asarray(
            values.astype("float32") if values.dtype == "bfloat16" else values
        )

    def jitted(f: Callable[..., Any], *args: Any, **options: Any) -> Any:
        traced = {k: v for k, v in options.items() if isinstance(v, jax.Array)}
        fixed = {k: v for k, v in options.items() if k not in traced}
        return jax.jit(lambda a, k: f(*a, **k, **fixed))(args, traced)

    @contextlib.contextmanager
    def double() -> Iterator[None]:
        with jax.enable_x64(True):
            yield

    @contextlib.contextmanager
    def strict() -> Iterator[None]:
        with (
            jax.enable_x64(True),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
        ):
            yield

    # XLA's CPU code reads and writes subnormal numbers as 0, and added some sums one
    # by one before JAX 0.10.2, as backends.md says.
    sum_ulps = 4.0 if jax.__version_info__ >= (0, 10, 2) else 51.0
    options: dict[str, Any] = {
        "array": array, "numpy": numpy, "flushes": True, "sum_ulps": sum_ulps,
    }  # fmt: skip
    yield Backend("jax", "jax", ALL, **options, around=double)
    yield Backend("jax-jit", "jax", ALL, **options, call=jitted, around=strict)
    yield Backend("jax-no-float64", "jax", ALL[:3], **options)


def _dask() -> Iterator[Backend]:
    import dask.array as da

    def array(values: np.ndarray, dtype: str) -> Any:
        chunks = max(1, np.asarray(values).shape[0] // 3) if np.ndim(values) else -1
        return da.from_array(np.array(values, dtype), chunks=chunks)

    def numpy(values: Any) -> np.ndarray:
        return np.asarray(values.compute(scheduler="synchronous"))

    yield Backend("dask", "dask", ("float16", "float32", "float64"), array, numpy)


def _cupy() -> Iterator[Backend]:
    import cupy_on_host

    name = "cupy-gpu"
    if not cupy_on_host.driver_present():
        cupy_on_host.install()
        name = "cupy-on-host"
    import cupy

    def array(values: np.ndarray, dtype: str) -> Any:
        return cupy.asarray(np.asarray(values).astype(dtype))

    dtypes = ("float16", "float32", "float64")
    yield Backend(name, "cupy", dtypes, array, lambda values: cupy.asnumpy(values))


LIBRARIES: dict[str, tuple[str, Callable[[], Iterator[Backend]]]] = {
    "numpy": ("numpy", _numpy),
    "strict": ("array_api_strict", _strict),
    "torch": ("torch", _torch),
    "jax": ("jax", _jax),
    "cupy": ("cupy", _cupy),  # before Dask, which imports CuPy where it finds it
    "dask": ("dask", _dask),
}


def installed() -> list[str]:
    return [
        library
        for library, (module, _) in LIBRARIES.items()
        if importlib.util.find_spec(module) is not None
    ]


def variants(library: str) -> list[Backend]:
    """The variants of a library; ImportError if it is missing."""
    return list(LIBRARIES[library][1]())
