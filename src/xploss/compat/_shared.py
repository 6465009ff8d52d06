"""What more than one spelling needs."""

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .._arguments import anchor, backend_of
from .._arrays import FLOATS, REALS, dtype_name
from ..backends.base import Backend

P = ParamSpec("P")
T = TypeVar("T")


SIZES_BY = "call Dask's `.compute_chunk_sizes()`, or TensorFlow's `ensure_shape`"


def with_leading_axes(name: str, values: Any, rank: int) -> Any:
    """`values` with size-1 axes in front, up to `rank` axes.

    So other libraries broadcast; the core wants it written out.
    """
    xp = backend_of(name, values).xp
    for _ in range(rank - len(values.shape)):  # not reshaped: a size may be unknown
        values = xp.expand_dims(values, axis=0)
    return values


# ---- what other libraries take besides arrays --------------------------------------


def listed(name: str, values: Any) -> Any:
    """A list as an array, which it has to be; text is no number.

    A variable of Keras' or TensorFlow's, and a column of pandas', are the array that
    they hold.
    """
    if isinstance(values, list | tuple):
        try:
            array = np.asarray(values)
        except ValueError:
            raise ValueError(
                f"`{name}` must have rows of one length; got {values!r:.40}"
            ) from None
        return anchor(name, array, REALS).array.astype(float)
    if type(values).__module__.partition(".")[0] == "keras":
        return getattr(values, "value", values)
    if hasattr(values, "read_value"):
        return values.read_value()
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def to_library_of(name: str, values: Any, first_name: str, first: Any) -> Any:
    """What lies on the host as an array of the library, on the device, of `first`."""
    values = listed(name, values)
    if not isinstance(values, np.ndarray):
        return values
    backend = backend_of(first_name, first)
    if isinstance(first, np.ndarray):
        return values
    checked = anchor(name, values, REALS).array
    # A copy, since PyTorch warns of memory that it may not write to; of float32 where
    # that is computed in, as not every device has float64.
    wide = checked.dtype == np.float64 and dtype_name(first) in FLOATS - {"float64"}
    host = np.array(checked, np.float32 if wide else checked.dtype)
    return backend.xp.asarray(host, device=backend.device(first))


def cast(backend: Backend, array: Any, dtype: Any) -> Any:
    """To a dtype; what is beyond it, or below, is no warning."""
    return backend.run(array, backend.elementwise, _unchanged, (array,), dtype)


def _unchanged(xp: Any, array: Any) -> Any:
    """What is cast; one function, for which JAX compiles once."""
    return array


# ---- errors ------------------------------------------------------------------------


def in_callers_words(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Errors name arguments as the spelling does: `labels="y_true"`."""

    def renamed(match: re.Match[str]) -> str:
        return f"`{names.get(match[1], match[1])}"

    def decorated(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def spelt(*args: P.args, **options: P.kwargs) -> T:
            try:
                return function(*args, **options)
            except (TypeError, ValueError) as error:
                if type(error) not in (TypeError, ValueError):
                    raise  # another library's, which is not made of a message alone
                message = re.sub(r"`(\w+)", renamed, str(error))
                raise type(error)(message) from error.__cause__

        return spelt

    return decorated
