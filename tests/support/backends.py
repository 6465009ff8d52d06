"""The one list of backends that tests learn of, with hostile variants.

A variant says how to make an array of its library from NumPy's, how to call a
function on it, and how to get the numbers back.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import layouts
import numpy as np
from layouts import Layout
from libraries import LIBRARIES

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
NARROW_INTEGERS = [name for name in INTEGERS if not name.endswith("64")]
ALL = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Backend:
    """One way to run a library."""

    name: str
    library: str
    dtypes: tuple[str, ...]
    array: Callable[[np.ndarray, str], Any]  # float64 values, dtype name
    numpy: Callable[[Any], np.ndarray]  # back, without rounding
    # An example that is drawn takes so many times as long as NumPy's: Dask schedules,
    # JAX and CuPy compile, under `jit` each time anew.  Or the variant runs what
    # another one does.
    cost: int = 1
    call: Callable[..., Any] = lambda f, *args, **options: f(*args, **options)
    layouts: dict[str, Layout] = field(default_factory=lambda: layouts.PLAIN)
    integers: list[str] = field(default_factory=lambda: INTEGERS)  # of labels
    immutable: bool = False
    flushes: bool = False  # subnormal numbers to 0
    fuses: bool = False  # multiplies and adds in one rounding
    sum_ulps: float = 4.0  # what its sums of float32 and float64 are within
    has_values: bool = True
    knows_sizes: bool = True  # before it runs
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
    options: dict[str, Any] = {"layouts": layouts.OF_NUMPY}
    yield Backend("numpy", "numpy", dtypes, writable, np.asarray, **options)
    options |= {"cost": 10}
    yield Backend("numpy-read-only", "numpy", dtypes, read_only, np.asarray, **options)
    for name, around in _engines():
        options |= {"around": around}
        yield Backend(f"numpy-{name}", "numpy", dtypes, writable, np.asarray, **options)


def _engines() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Without the compiled formulas, and by other instruction sets than the best."""
    from unittest.mock import patch

    from xploss.backends.compiled import INSTRUCTION_SETS, Compiled
    from xploss.backends.numpy import NumPy

    if INSTRUCTION_SETS:
        yield "plain", partial(patch.object, NumPy, "compiled", None)
    for name in INSTRUCTION_SETS[:-1]:
        yield name, partial(patch.object, NumPy, "compiled", Compiled(name))


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
    yield Backend("strict-device1", "strict", both, on("device1"), numpy, 4)
    yield Backend("strict-no-float64", "strict", both[:1], on("no_float64"), numpy, 10)


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

    def variant(name: str, device: str, cost: int, **options: Any) -> Backend:
        options |= {"layouts": layouts.OF_TORCH}
        return Backend(name, "torch", ALL, on(device), numpy, cost, **options)

    yield variant("torch", "cpu", 2)
    yield variant("torch-default-float64", "cpu", 10, around=default_float64)
    yield variant("torch-operations", "cpu", 10, around=_elsewhere, fuses=True)
    yield variant("torch-meta", "meta", 10, has_values=False)
    if torch.cuda.is_available():
        yield variant("torch-cuda", "cuda", 4)
    elif importlib.util.find_spec("cupy") is not None:
        import kernels_on_host

        yield variant("torch-kernels", "cpu", 100, around=kernels_on_host.installed)


def _elsewhere() -> Any:
    """As on a device that there are no kernels for."""
    from unittest.mock import patch

    from xploss.backends import torch as backend

    never = {name: lambda *_: False for name in ("_has_kernels", "_is_in_a_row")}
    return patch.multiple(backend, **never)


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
        "immutable": True,
    }  # fmt: skip
    yield Backend("jax", "jax", ALL, **options, cost=30, around=double)
    yield Backend(
        "jax-jit", "jax", ALL, **options, cost=100, call=jitted, around=strict
    )
    # Nor has it integers of 64 bits.
    options |= {"integers": NARROW_INTEGERS}
    yield Backend("jax-no-float64", "jax", ALL[:3], **options, cost=100)


def _dask() -> Iterator[Backend]:
    import dask.array as da

    def array(values: np.ndarray, dtype: str) -> Any:
        chunks = tuple(1 + size // 2 for size in np.shape(values))
        return da.from_array(np.array(values, dtype), chunks=chunks)

    def numpy(values: Any) -> np.ndarray:
        return np.asarray(values.compute(scheduler="synchronous"))

    dtypes = ("float16", "float32", "float64")
    yield Backend("dask", "dask", dtypes, array, numpy, 30, immutable=True)


def _cupy() -> Iterator[Backend]:
    import cupy_on_host

    name, cost = "cupy-gpu", 4
    if not cupy_on_host.driver_present():
        cupy_on_host.install()
        name, cost = "cupy-on-host", 60
    import cupy

    def array(values: np.ndarray, dtype: str) -> Any:
        return cupy.asarray(np.asarray(values).astype(dtype))

    dtypes = ("float16", "float32", "float64")
    strided = layouts.PLAIN | layouts.EVERY_OTHER
    yield Backend(name, "cupy", dtypes, array, cupy.asnumpy, cost, layouts=strided)


def _tensorflow() -> Iterator[Backend]:
    import tensorflow as tf

    # Cast by NumPy: TensorFlow's own operations write subnormal numbers as 0.
    def array(values: np.ndarray, dtype: str) -> Any:
        return tf.constant(np.asarray(values).astype(tf.as_dtype(dtype).as_numpy_dtype))

    def numpy(tensor: Any) -> np.ndarray:
        array = tensor.numpy()
        return array.astype("float32") if tensor.dtype == tf.bfloat16 else array

    def each(change: Callable[[Any], Any]) -> Callable[..., Any]:
        def of_each(argument: Any) -> Any:
            return change(argument) if tf.is_tensor(argument) else argument

        return lambda f, *args, **options: f(
            *map(of_each, args), **{k: of_each(v) for k, v in options.items()}
        )

    def in_function(sizes: Callable[[Any], Any], **how: Any) -> Callable[..., Any]:
        """Traced anew each time, of tensors of such sizes."""

        def call(f: Callable[..., Any], *args: Any, **options: Any) -> Any:
            given = dict(enumerate(args)) | options
            tensors = {k: a for k, a in given.items() if tf.is_tensor(a)}
            names = list(tensors)

            def run(*arguments: Any) -> Any:
                now = given | dict(zip(names, arguments, strict=True))
                return f(*(now.pop(k) for k in range(len(args))), **now)

            specs = [tf.TensorSpec(sizes(a.shape), a.dtype) for a in tensors.values()]
            return tf.function(run, specs, **how)(*tensors.values())

        return call

    def unknown(shape: Any) -> list[int | None]:
        """But for those of size 1, along which an argument is spread."""
        return [1 if n == 1 else None for n in shape]

    options: dict[str, Any] = {"immutable": True}
    yield Backend("tensorflow", "tensorflow", ALL, array, numpy, 4, **options)
    calls = {
        "variable": each(tf.Variable),
        "function": in_function(list),
        "sizeless": in_function(unknown),
        "xla": in_function(list, jit_compile=True),
    }
    # What runs in a graph, or is compiled, reads and writes subnormal numbers as 0.
    for name, call in calls.items():
        flushes = name != "variable"
        options |= {"call": call, "flushes": flushes, "cost": 100 if flushes else 10}
        options |= {"knows_sizes": name != "sizeless", "fuses": name == "xla"}
        yield Backend(f"tensorflow-{name}", "tensorflow", ALL, array, numpy, **options)


def installed() -> list[str]:
    return [
        library
        for library, module in LIBRARIES.items()
        if importlib.util.find_spec(module) is not None
    ]


def variants(library: str) -> list[Backend]:
    """The variants of a library, as a function above has them; or ImportError."""
    return list(globals()[f"_{library}"]())
