"""What a call may pass: options, and every refusal.

TypeError for kind and dtype, ValueError for shape, device and value; each names the
argument, says what was got and what to pass instead.
"""

import difflib
import math
import operator
import sys
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ._arrays import (
    BOOLEAN,
    FLOATS,
    INTEGERS,
    REALS,
    Array,
    dtype_name,
    fits,
    instead_of,
    is_number,
    kind,
    same_shape,
    same_size,
    shape_of,
)
from .backends.base import Backend
from .backends.numpy import BACKEND as NUMPY
from .backends.table import known, listed

BOOLEANS = (bool, np.bool_)
LARGEST = sys.float_info.max
OLDEST_STANDARD = "2024.12"  # from which on `where` takes numbers

Reduction = Literal["none", "sum", "mean", "weighted_mean"]
REDUCTIONS = get_args(Reduction)


# ---- libraries ---------------------------------------------------------------------


def backend_of(name: str, argument: Any, wanted: str = "an array") -> Backend:
    """The backend of an argument, or a TypeError that says what to pass."""
    if type(argument) is np.ndarray:
        return NUMPY
    backend = listed(argument)
    instead = (instead_of if backend is None else backend.instead_of)(argument)
    if instead is not None:
        raise TypeError(f"`{name}` is a {kind(argument)}: {instead}")
    return _by_own_word(name, argument, wanted) if backend is None else backend


def _by_own_word(name: str, argument: Any, wanted: str) -> Backend:
    """Of a library that is not in the table."""
    backend = known(argument)
    if backend is None:
        raise TypeError(
            f"`{name}` must be {wanted} of NumPy, PyTorch, JAX, CuPy, Dask, TensorFlow "
            f"or another array-API library; got {kind(argument)}, {argument!r:.40}"
        )
    version = getattr(backend.xp, "__array_api_version__", OLDEST_STANDARD)
    if version < OLDEST_STANDARD:
        raise TypeError(
            f"`{name}` is an array of {backend.name} as of the array API of {version}; "
            f"pass one as of {OLDEST_STANDARD} or later"
        )
    return backend


WORDS = {
    FLOATS: "float16, bfloat16, float32 or float64",
    REALS: "boolean, integer, or float16 to float64",
    INTEGERS: "integer",
    BOOLEAN: "boolean (pass a comparison, such as `weights > 0`)",
}


def check_dtype(name: str, array: Array, allowed: frozenset[str]) -> None:
    if dtype_name(array) not in allowed:
        raise TypeError(f"`{name}` must be {WORDS[allowed]}; got {array.dtype}")


# ---- numbers -----------------------------------------------------------------------


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


def check_number(name: str, value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"`{name}` must be a number; got {kind(value)}, {value!r:.40}")


def check_int(name: str, value: Any, wanted: str = "an int") -> None:
    if isinstance(value, BOOLEANS) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` must be {wanted}; got {kind(value)}, {value!r:.40}")


def check_fraction(name: str, value: Any, most: float = 1.0) -> float:
    """A number in [0, most], known before anything is computed."""
    check_number(name, value)
    fraction = number(name, value)
    if not 0.0 <= fraction <= most:
        raise ValueError(f"`{name}` must be from 0 to {most}; got {value!r}")
    return fraction


def check_least(name: str, value: Any, least: float = 0.0) -> Any:
    """A number of at least `least`; an array is not looked at."""
    if value is None:
        raise TypeError(f"`{name}` must be a number or an array; got None")
    if isinstance(value, float) and not value >= least:
        raise ValueError(f"`{name}` must be at least {least}; got {value!r}")
    return value


# ---- reductions --------------------------------------------------------------------


def check_reduction(reduction: Any, axis: Any) -> str:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        meant = difflib.get_close_matches(str(reduction).lower(), REDUCTIONS, n=1)
        hint = "".join(f"; did you mean {close!r}?" for close in meant)
        raise ValueError(
            f"`reduction` must be one of {REDUCTIONS}; got {reduction!r}{hint}"
        )
    if reduction == "none" and axis is not None:
        raise ValueError(
            f"`axis` says what a reduction runs over; got axis={axis!r} with "
            f"reduction='none'; leave one of them out"
        )
    return str(reduction)


def check_axis(axis: Any, ndim: int, name: str = "axis") -> tuple[int, ...] | None:
    """None for all axes, else a tuple of different axes in range(ndim)."""
    if axis is None:
        return None
    axes = axis if isinstance(axis, tuple) else (axis,)
    try:
        if any(isinstance(k, bool) for k in axes):  # a misplaced keepdims, mostly
            raise TypeError
        axes = tuple(map(operator.index, axes))
    except TypeError:
        raise TypeError(
            f"`{name}` must be None, an int or a tuple of ints; got {axis!r}"
        ) from None
    if not axes or not all(-ndim <= k < ndim for k in axes):
        raise ValueError(f"`{name}` must be axes of a {ndim}-d array; got {axis!r}")
    axes = tuple(k % ndim for k in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` names an axis twice; got {axis!r}")
    return axes


# ---- arguments beside the logits ---------------------------------------------------


class Anchor(NamedTuple):
    """The first argument: every other one has to match it."""

    name: str
    array: Array
    backend: Backend
    xp: Any
    # PyTorch 2.7 cannot compile a property of a named tuple:
    # https://github.com/pytorch/pytorch/blob/v2.7.0/torch/_dynamo/variables/lists.py
    shape: tuple[Any, ...]
    device: Any  # None where arrays may have several

    def labels(self, labels: Any) -> Any:
        """A number, or an array of the same shape, or a 0-d one."""
        if is_number(labels):
            return number("labels", labels)
        self.check_alike("labels", labels)
        shape = shape_of(labels)
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
        self.check_alike(name, value)
        if shape_of(value):
            raise ValueError(
                f"`{name}` must be a number or an array of shape (); got shape "
                f"{shape_of(value)}"
            )
        return value

    def per_class(self, name: str, values: Any) -> Any:
        """A number, an array that fits, or one value a class along the last axis."""
        if values is None or is_number(values):
            return values if values is None else finite(name, values)
        self.check_alike(name, values)
        shape = shape_of(values)
        if len(shape) == 1 < len(self.shape) and same_size(shape[0], self.shape[-1]):
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
        self.check_alike("weights", weights)
        self._check_spread("weights", shape_of(weights))
        return weights

    def mask(self, where: Any) -> Any:
        """A bool, or a boolean array that fits."""
        if where is None:
            return None
        if isinstance(where, BOOLEANS):
            return bool(where)
        self.check_alike("where", where, BOOLEAN)
        self._check_spread("where", shape_of(where), "a boolean")
        return where

    def check_alike(
        self, name: str, other: Any, dtypes: frozenset[str] = REALS
    ) -> None:
        scalar = "a boolean" if dtypes is BOOLEAN else "a number"
        backend = backend_of(name, other, f"{scalar} or an array")
        if backend.xp is not self.xp:
            raise TypeError(
                f"`{self.name}` is an array of {self.backend.name} and `{name}` one of "
                f"{backend.name}; convert one, so that both are of one library"
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
    backend = backend_of(name, array)
    check_dtype(name, array, dtypes)
    shape, device = shape_of(array), backend.device(array)
    return Anchor(name, array, backend, backend.xp, shape, device)


def fraction(anchor: Anchor, name: str, value: Any, most: float = 1.0) -> Any:
    """A number in [0, most], None for 0; or a 0-d array, which is not looked at."""
    if is_number(value):
        return check_fraction(name, value, most) or None
    return anchor.scalar(name, value)


def clip(first: Anchor, eps: Any) -> dict[str, Any]:
    """eps, log(eps) and log(1 - eps), of a number as it is before it is rounded."""
    eps = fraction(first, "eps", eps, most=0.5)
    logs = (math.log(eps), math.log1p(-eps)) if isinstance(eps, float) else (None, None)
    return {"eps": eps, "log_eps": logs[0], "log_rest": logs[1]}
