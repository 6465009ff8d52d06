"""What an array of any library is: its kind, dtype and shape; what a number is."""

import functools
import math
import sys
from typing import Any, Protocol

import numpy as np

Array = Any  # an array of any library


class AnyArray(Protocol):
    """What all of them have, for the types of the public functions."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...


# Tuples, since PyTorch 2.7 cannot compile `isinstance(number, bool | float)`:
# https://github.com/pytorch/pytorch/issues/144275
NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
PYTHON_NUMBERS = (bool, float)
FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
INTEGERS = frozenset(
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
)
BOOLEAN = frozenset({"bool"})
REALS = FLOATS | INTEGERS | BOOLEAN


# ---- kind --------------------------------------------------------------------------


def is_number(argument: Any) -> bool:
    """Python numbers and NumPy scalars are numbers beside any library's arrays."""
    # NumPy has a time span for an integer.
    return isinstance(argument, NUMBERS) and not isinstance(argument, np.timedelta64)


def kind(argument: Any) -> str:
    """The type as a user writes it: `numpy.ndarray`, `list`."""
    cls = type(argument)
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def library(xp: Any) -> str:
    """`numpy`, `torch`, `jax`, `dask`, ... for a namespace."""
    name: str = xp.__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


def loaded_class(module: str, name: str) -> type | None:
    """A class of a module, if that is loaded: not by half, and no stub of it."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def instead_of(argument: Any) -> str | None:
    """What to pass instead of something that looks like an array but is refused."""
    if isinstance(argument, type):
        return "it is a class; pass an array"
    if type(argument).__module__ == "dask.delayed":  # which has every attribute
        return "pass `dask.array.from_delayed(...)` of it"
    if isinstance(argument, np.ma.MaskedArray):
        return "its mask would be lost; pass its data, by `ma.getdata`, `where=~mask`"
    if isinstance(argument, np.matrix):
        return "pass `numpy.asarray(...)` of it"
    if "sparse" in type(argument).__module__ or "sparse" in str(
        getattr(argument, "layout", "")
    ):
        # SciPy's `todense` may make a numpy.matrix.
        ways = ("toarray", "to_dense", "todense")
        way = next((name for name in ways if hasattr(argument, name)), ways[0])
        return f"it is sparse; pass it by `.{way}()`"
    if isinstance(argument, list | tuple):
        return "pass an array, such as `numpy.asarray(...)` of it"
    if hasattr(argument, "to_numpy"):
        return "pass `.to_numpy()` of it"
    return None


# ---- dtype -------------------------------------------------------------------------


def dtype_name(array: Array) -> str:
    """`float32`, whichever library's float32 it is and in whichever byte order."""
    dtype = array.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    # TensorFlow's has a name, and is printed otherwise.
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


@functools.lru_cache(64)
def _numpy_name(dtype: np.dtype[Any]) -> str:
    """Kept, since NumPy puts it together anew each time, in 2 microseconds."""
    return dtype.name


def computing_dtype(xp: Any, array: Array) -> Any:
    """16-bit floats are computed in float32 and rounded once; others as they are."""
    return xp.float64 if dtype_name(array) == "float64" else xp.float32


def is_narrow(array: Array) -> bool:
    return dtype_name(array) in ("float16", "bfloat16")


# ---- shape -------------------------------------------------------------------------


def shape_of(array: Array) -> tuple[Any, ...]:
    """A size that is not known is None in the array API, and nan here, as in Dask."""
    # A list, since PyTorch 2.7 cannot compile a tuple of a generator of sizes.
    return tuple([math.nan if n is None else n for n in array.shape])


def same_size(one: Any, other: Any) -> bool:
    """A size that is not known matches any."""
    # Not `bool` of it, which PyTorch 2.7 cannot compile of a size that changes.
    same: bool = one == other or one != one or other != other
    return same


def same_shape(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one == other:
        return True
    return len(one) == len(other) and all(map(same_size, one, other))


def fits(shape: tuple[Any, ...], onto: tuple[Any, ...]) -> bool:
    """Of the same rank, each size 1 or that of `onto`: broadcasting never enlarges."""
    return len(shape) == len(onto) and all(
        n == 1 or same_size(n, m) for n, m in zip(shape, onto, strict=True)
    )


def count(shape: tuple[Any, ...], axis: tuple[int, ...] | None) -> Any:
    """How many elements a reduction takes into one; None if it has to be counted.

    Dask does not know it then, or `torch.jit.trace` has it as a tensor.
    """
    # A list, since torch.compile cannot trace `prod` of a generator.
    n = math.prod(shape if axis is None else [shape[k] for k in axis])
    return n if isinstance(n, int) else None
