"""What an argument is: its library, its kind, its dtype, its device, its shape.

Refusals are worded here: TypeError for kind and dtype, ValueError for shape and device;
each names the argument, says what was got and what to pass instead.
"""

import functools
import importlib
import math
import sys
from typing import Any, NamedTuple, Protocol

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
BOOLEANS = (bool, np.bool_)
LARGEST = sys.float_info.max
FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
INTEGERS = frozenset(
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
)
BOOLEAN = frozenset({"bool"})
REALS = FLOATS | INTEGERS | BOOLEAN

# Every array of these has exactly one device.  JAX, Dask and DTensor shard arrays
# and know their own rules for mixing them.
SINGLE_DEVICE = ("numpy", "array_api_strict", "torch", "cupy")


# ---- library and kind --------------------------------------------------------------


def is_number(argument: Any) -> bool:
    """Python numbers and NumPy scalars are numbers beside any library's arrays."""
    # NumPy has a time span for an integer.
    return isinstance(argument, NUMBERS) and not isinstance(argument, np.timedelta64)


def number(name: str, value: Any) -> float:
    """A number as Python's float, which some integers are beyond."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ValueError(
            f"`{name}` must be within {LARGEST:.4}, the largest float64; got an int of "
            f"{value.bit_length()} bits"
        )
    return float(value)


def finite(name: str, value: Any) -> float:
    """A number as Python's float; an option that is infinite or NaN is a mistake."""
    result = number(name, value)
    if not -LARGEST <= result <= LARGEST:
        raise ValueError(f"`{name}` must be finite; got {result!r}")
    return result


def kind(argument: Any) -> str:
    """The type as a user writes it: `numpy.ndarray`, `list`."""
    cls = type(argument)
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def library(xp: Any) -> str:
    """`numpy`, `torch`, `jax`, `dask`, ... for a namespace."""
    name: str = xp.__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


def _is_masked(tensor: Any) -> bool:
    """`torch.masked` is loaded for those who use it."""
    return type(tensor).__name__ == "MaskedTensor"


def _instead_of(argument: Any) -> str | None:
    """What to pass instead of something that looks like an array but is refused."""
    if isinstance(argument, type):
        return "it is a class; pass an array"
    if type(argument).__module__ == "dask.delayed":  # which has every attribute
        return "pass `dask.array.from_delayed(...)` of it"
    if isinstance(argument, np.ma.MaskedArray):
        return "its mask would be lost; pass its data, by `ma.getdata`, `where=~mask`"
    if isinstance(argument, np.matrix):
        return "pass `numpy.asarray(...)` of it"
    if _is_masked(argument):
        return "its mask would be lost; pass `.get_data()`, `where=.get_mask()`"
    if "sparse" in type(argument).__module__ or "sparse" in str(
        getattr(argument, "layout", "")
    ):
        # SciPy's `todense` may make a numpy.matrix.
        ways = ("toarray", "to_dense", "todense")
        way = next((name for name in ways if hasattr(argument, name)), ways[0])
        return f"it is sparse; pass it by `.{way}()`"
    if getattr(argument, "is_nested", False):
        return "it is nested; pass `.to_padded_tensor(0.0)` and its mask as `where`"
    if isinstance(argument, list | tuple):
        return "pass an array, such as `numpy.asarray(...)` of it"
    if hasattr(argument, "to_numpy"):
        return "pass `.to_numpy()` of it"
    return None


def namespace(name: str, argument: Any, wanted: str = "an array") -> Any:
    """The array-API namespace of an argument, or a TypeError that says what to pass."""
    if type(argument) is np.ndarray:
        return np
    if _is_tensor(argument):
        plain = argument.layout is sys.modules["torch"].strided
        if not plain or argument.is_nested or _is_masked(argument):
            dense = _instead_of(argument) or "pass `.to_dense()` of it"
            raise TypeError(f"`{name}` is a {kind(argument)}: {dense}")
        # array_api_compat finds out through lru_cache, of which torch.compile warns:
        # https://github.com/pytorch/pytorch/issues/152994
        import array_api_compat.torch as torch_namespace

        return torch_namespace
    instead = _instead_of(argument) or _instead_of(getattr(argument, "_meta", None))
    if instead is not None:
        raise TypeError(f"`{name}` is a {kind(argument)}: {instead}")
    if isinstance(argument, np.ndarray | np.generic):
        # NumPy 2 is an array-API namespace; that of array_api_compat imports all of
        # NumPy, its Fortran compiler too, and takes 0.1 s.
        return np
    xp = _by_own_word(argument)
    if xp is None:
        raise TypeError(
            f"`{name}` must be {wanted} of NumPy, PyTorch, JAX, CuPy, Dask or another "
            f"array-API library; got {kind(argument)}, {argument!r:.40}"
        )
    return _of_this_standard(name, xp)


def loaded_class(module: str, name: str) -> type | None:
    """A class of a module, if that is loaded: not by half, and no stub of it."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _is_tensor(argument: Any) -> bool:
    tensor = loaded_class("torch", "Tensor")
    return tensor is not None and isinstance(argument, tensor)


def _by_own_word(argument: Any) -> Any:
    """The namespace of an argument that has one.

    array_api_compat would ask all that is in `sys.modules`, a module that another
    thread has imported by half too.
    """
    roots = {cls.__module__.partition(".")[0] for cls in type(argument).__mro__}
    if "cupy" in roots and hasattr(argument, "shape"):
        return importlib.import_module("array_api_compat.cupy")
    if "dask" in roots and hasattr(argument, "chunks"):
        return importlib.import_module("array_api_compat.dask.array")
    own = getattr(argument, "__array_namespace__", None)
    return None if own is None else own()


OLDEST_STANDARD = "2024.12"  # from which on `where` takes numbers


def _of_this_standard(name: str, xp: Any) -> Any:
    version = getattr(xp, "__array_api_version__", OLDEST_STANDARD)
    if version < OLDEST_STANDARD:
        raise TypeError(
            f"`{name}` is an array of {library(xp)} as of the array API of {version}; "
            f"pass one as of {OLDEST_STANDARD} or later"
        )
    return xp


# ---- dtype -------------------------------------------------------------------------


def dtype_name(array: Array) -> str:
    """`float32`, whichever library's float32 it is and in whichever byte order."""
    dtype = array.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    return str(dtype).rpartition(".")[2]


@functools.cache
def _numpy_name(dtype: np.dtype[Any]) -> str:
    """Kept, since NumPy puts it together anew each time, in 2 microseconds."""
    return dtype.name


WORDS = {
    FLOATS: "float16, bfloat16, float32 or float64",
    REALS: "boolean, integer, or float16 to float64",
    BOOLEAN: "boolean (pass a comparison, such as `weights > 0`)",
}


def check_dtype(name: str, array: Array, allowed: frozenset[str]) -> None:
    if dtype_name(array) not in allowed:
        raise TypeError(f"`{name}` must be {WORDS[allowed]}; got {array.dtype}")


def computing_dtype(xp: Any, array: Array) -> Any:
    """16-bit floats are computed in float32 and rounded once; others as they are."""
    return xp.float64 if dtype_name(array) == "float64" else xp.float32


def is_narrow(array: Array) -> bool:
    return dtype_name(array) in ("float16", "bfloat16")


# ---- device ------------------------------------------------------------------------


def single_device(xp: Any, array: Array) -> Any:
    """None where arrays may have several, or live on one that they are not told."""
    return array.device if library(xp) in SINGLE_DEVICE else None


def beside(xp: Any, array: Array, argument: Any) -> Any:
    """A number as a 0-d array, made on the device: nothing comes over from the host."""
    if not isinstance(argument, PYTHON_NUMBERS):
        return argument
    dtype = xp.bool if isinstance(argument, bool) else computing_dtype(xp, array)
    return xp.full((), argument, dtype=dtype, device=single_device(xp, array))


# ---- shape -------------------------------------------------------------------------


def _same_size(one: Any, other: Any) -> bool:
    """Dask writes a size that it does not know as nan: it matches any."""
    # Not `bool` of it, which PyTorch 2.7 cannot compile of a size that changes.
    same: bool = one == other or one != one or other != other
    return same


def same_shape(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one == other:
        return True
    return len(one) == len(other) and all(map(_same_size, one, other))


def fits(shape: tuple[Any, ...], onto: tuple[Any, ...]) -> bool:
    """Of the same rank, each size 1 or that of `onto`: broadcasting never enlarges."""
    return len(shape) == len(onto) and all(
        n == 1 or _same_size(n, m) for n, m in zip(shape, onto, strict=True)
    )


def count(shape: tuple[Any, ...], axis: tuple[int, ...] | None) -> Any:
    """How many elements a reduction takes into one; None if it has to be counted.

    Dask does not know it then, or `torch.jit.trace` has it as a tensor.
    """
    # A list, since torch.compile cannot trace `prod` of a generator.
    n = math.prod(shape if axis is None else [shape[k] for k in axis])
    return n if isinstance(n, int) else None


# ---- arguments beside the logits ---------------------------------------------------


class Anchor(NamedTuple):
    """The first argument: every other one has to match it."""

    name: str
    array: Array
    xp: Any
    # PyTorch 2.7 cannot compile a property of a named tuple:
    # https://github.com/pytorch/pytorch/blob/v2.7.0/torch/_dynamo/variables/lists.py
    shape: tuple[Any, ...]
    device: Any  # None where arrays may have several

    def labels(self, labels: Any) -> Any:
        """A number, or an array of the same shape, or a 0-d one."""
        if is_number(labels):
            return number("labels", labels)
        self._check_beside("labels", labels)
        shape = tuple(labels.shape)
        if shape and not same_shape(shape, self.shape):
            raise ValueError(
                f"`labels` must have the shape of `{self.name}`, {self.shape}, or be a "
                f"number; got shape {shape}; reshape one of them"
            )
        return labels

    def scalar(self, name: str, value: Any) -> Any:
        """A number, or a 0-d array."""
        if is_number(value):
            return finite(name, value)
        self._check_beside(name, value)
        if tuple(value.shape):
            raise ValueError(
                f"`{name}` must be a number or an array of shape (); got shape "
                f"{tuple(value.shape)}"
            )
        return value

    def per_class(self, name: str, values: Any) -> Any:
        """A number, an array that fits, or one value a class along the last axis."""
        if values is None or is_number(values):
            return values if values is None else finite(name, values)
        self._check_beside(name, values)
        shape = tuple(values.shape)
        if len(shape) == 1 < len(self.shape) and _same_size(shape[0], self.shape[-1]):
            return self.xp.reshape(values, (1,) * (len(self.shape) - 1) + (-1,))
        if shape and not fits(shape, self.shape):
            raise ValueError(
                f"`{name}` must be a number, have one value a class along the last "
                f"axis, or fit onto `{self.name}`, {self.shape}, with the same rank; "
                f"got shape {shape}{_hint_of_classes(name, shape, self.shape)}"
            )
        return values

    def weights(self, weights: Any) -> Any:
        """A number, or an array of the logits' rank that fits."""
        if weights is None:
            return None
        if is_number(weights):
            return finite("weights", weights)
        self._check_beside("weights", weights)
        self._check_spread("weights", tuple(weights.shape))
        return weights

    def mask(self, where: Any) -> Any:
        """A bool, or a boolean array that fits."""
        if where is None:
            return None
        if isinstance(where, BOOLEANS):
            return bool(where)
        self._check_beside("where", where, BOOLEAN)
        self._check_spread("where", tuple(where.shape), "a boolean")
        return where

    def _check_beside(
        self, name: str, other: Any, dtypes: frozenset[str] = REALS
    ) -> None:
        scalar = "a boolean" if dtypes is BOOLEAN else "a number"
        xp = namespace(name, other, f"{scalar} or an array")
        if xp is not self.xp:
            raise TypeError(
                f"`{self.name}` is an array of {library(self.xp)} and `{name}` one of "
                f"{library(xp)}; convert one, so that both are of one library"
            )
        check_dtype(name, other, dtypes)
        device = self.device
        if device is not None and other.device != device:
            raise ValueError(
                f"`{self.name}` is on device {device} and `{name}` on device "
                f"{other.device}; move one to the other's"
            )

    def _check_spread(
        self, name: str, shape: tuple[Any, ...], scalar: str = "a number"
    ) -> None:
        if not shape or fits(shape, self.shape):
            return
        hint = _hint_of_classes(name, shape, self.shape)
        if len(shape) == 1 < len(self.shape) and shape != (1,):
            sample = _along(name, 0, self.shape)
            hint = f"; one a sample is {sample}" + hint.replace("; one", ", one")
        raise ValueError(
            f"`{name}` must be {scalar} or fit onto `{self.name}`, {self.shape}, with "
            f"the same rank; got shape {shape}{hint or '; a size-1 axis spreads it'}"
        )


def _along(name: str, axis: int, onto: tuple[Any, ...]) -> str:
    """How a vector is written that lies along an axis."""
    places = (":" if k == axis else "None" for k in range(len(onto)))
    return f"`{name}[{', '.join(places)}]`"


def _hint_of_classes(name: str, shape: tuple[Any, ...], onto: tuple[Any, ...]) -> str:
    """What a vector probably means: one number, or one a class.

    Classes are on axis 1 of (N, C, H, W), if that is of their size, else on the last.
    """
    if shape == (1,):
        return f"; one for all is `{name}[0]`"
    missing = len(onto) - len(shape)
    if len(shape) > 1 and missing > 0 and fits((1,) * missing + shape, onto):
        return f"; `{name}[{', '.join(['None'] * missing)}]` fits"
    last = len(onto) - 1
    fitting = [k for k in (1, last) if len(shape) == 1 <= last and shape[0] == onto[k]]
    return f"; one a class is {_along(name, fitting[0], onto)}" if fitting else ""


def anchor(name: str, array: Any, dtypes: frozenset[str] = FLOATS) -> Anchor:
    """The first argument, checked: a floating array, unless `dtypes` says otherwise."""
    xp = namespace(name, array)
    check_dtype(name, array, dtypes)
    return Anchor(name, array, xp, tuple(array.shape), single_device(xp, array))


# ---- sums --------------------------------------------------------------------------


def _accumulator(xp: Any, values: Array, from_16_bits: bool) -> Any:
    """float64 for a float32 sum, where the library itself would drift.

    NumPy and CuPy add one by one along most axes, and PyTorch's cascade on the CPU
    is 7 ulp off after ten million equal terms.  XLA and GPU kernels add in trees;
    subclasses of tensors are left to add in their own way.
    """
    name = library(xp)
    if name == "jax" or dtype_name(values) != "float32":
        return None
    if name == "torch" and (kind(values) != "torch.Tensor" or not values.is_cpu):
        return None
    if name == "torch" and from_16_bits and xp.compiler.is_compiling():
        return None  # a fifth slower, for digits that 16-bit logits do not have
    info = xp.__array_namespace_info__()
    device = single_device(xp, values)
    return info.dtypes(device=device, kind="real floating").get("float64")


def total(
    xp: Any,
    values: Array,
    axis: Any,
    keepdims: bool = False,
    from_16_bits: bool = False,
) -> Array:
    """The sum over `axis`, a few ulp from the exact one, in the dtype of `values`."""
    if library(xp) == "dask":
        from . import _dask

        return _dask.total(values, axis, keepdims)
    result = unrounded_total(xp, values, axis, keepdims, from_16_bits)
    return xp.astype(result, values.dtype, copy=False)


def unrounded_total(
    xp: Any,
    values: Array,
    axis: Any,
    keepdims: bool = False,
    from_16_bits: bool = False,
) -> Array:
    """The sum over `axis` as it was added, that is, of float32 mostly in float64."""
    if library(xp) == "jax" and axis is not None:
        from ._jax import set_down

        values = set_down(values)
    wide = _accumulator(xp, values, from_16_bits)
    if wide is None and _drifts(xp, values):
        for k in range(values.ndim) if axis is None else axis:
            values = _folded(xp, values, k)
    dtype = values.dtype if wide is None else wide
    return xp.sum(values, axis=axis, dtype=dtype, keepdims=keepdims)


def _drifts(xp: Any, values: Array) -> bool:
    """Whether the library's own sum does: by 43,000 ulp in a million elements on NumPy.

    A compiler must not see the sizes, or it compiles anew for each.
    """
    name = library(xp)
    if name == "torch":
        in_memory = kind(values) == "torch.Tensor" and values.is_cpu
        return in_memory and not xp.compiler.is_compiling()
    return name in ("numpy", "array_api_strict", "cupy")


def _folded(xp: Any, values: Array, axis: int) -> Array:
    """A few sums along `axis`, each of halves of halves: log2(n) roundings, not n."""
    before, odd = (slice(None),) * axis, []
    while (n := values.shape[axis]) > 1:
        half = n // 2
        if n % 2:
            odd.append(values[(*before, slice(2 * half, n), ...)])
        lower, upper = slice(0, half), slice(half, 2 * half)
        values = values[(*before, lower, ...)] + values[(*before, upper, ...)]
    return xp.concat([*odd, values], axis=axis) if odd else values
