"""How arrays may lie in memory, for each to be tried."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """What is made of the values, and which view of that has the values again."""

    make: Callable[[np.ndarray], np.ndarray]
    view: Callable[..., Any]  # of that array and their shape


def same(array: Any, *_: Any) -> Any:
    return array


def _backwards(array: Any, *_: Any) -> Any:
    return array[..., ::-1] if array.ndim else array


def _doubled(values: np.ndarray) -> np.ndarray:
    return np.repeat(values, 2, axis=-1) if values.ndim else values


def _every_other(array: Any, *_: Any) -> Any:
    return array[..., ::2] if array.ndim else array


def _one_row(values: np.ndarray) -> np.ndarray:
    return values[:1] if values.ndim else values


def transposed(array: Any) -> Any:
    """TensorFlow has a function for it alone."""
    if hasattr(array, "T"):
        return array.T
    return importlib.import_module("tensorflow").transpose(array)


def _transposed(tensor: Any, *_: Any) -> Any:
    return tensor.permute(tuple(range(tensor.ndim)[::-1]))


def _read_only(array: np.ndarray, *_: Any) -> np.ndarray:
    array.flags.writeable = False
    return array


def _unaligned(array: np.ndarray, *_: Any) -> np.ndarray:
    moved = np.frombuffer(b"-" + array.tobytes(), array.dtype, offset=1)
    return moved.reshape(array.shape)


def requires_grad(tensor: Any, *_: Any) -> Any:
    return tensor.requires_grad_()


PLAIN = {"as made": Layout(same, same)}
OVERLAPPING = {"overlapping": Layout(same, same)}
EVERY_OTHER = {"every other": Layout(_doubled, _every_other)}
STRIDED = PLAIN | EVERY_OTHER | OVERLAPPING
OF_NUMPY = STRIDED | {
    "transposed": Layout(np.transpose, lambda a, _: a.transpose()),
    "spread": Layout(_one_row, np.broadcast_to),
    "backwards": Layout(_backwards, _backwards),
    "byte-swapped": Layout(same, lambda a, _: a.astype(a.dtype.newbyteorder())),
    "column by column": Layout(same, lambda a, _: np.copy(a, order="F")),
    "read-only": Layout(same, _read_only),
    "unaligned": Layout(same, _unaligned),
}
OF_TORCH = STRIDED | {
    "transposed": Layout(np.transpose, _transposed),
    "spread": Layout(_one_row, lambda a, shape: a.expand(shape)),
    "requires grad": Layout(same, requires_grad),
}
