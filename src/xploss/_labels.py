"""A check of the labels' range, which the losses leave out since it must look."""

from typing import Any

import numpy as np

from ._arguments import anchor
from ._arrays import FLOATS, REALS, AnyArray, computing_dtype, dtype_name


def check_labels(labels: AnyArray, *, where: AnyArray | bool | None = None) -> None:
    """Raise a ValueError if a label is outside [0, 1] or NaN.

    It looks at the values, so it waits for the device and computes what is lazy: call
    it once on a data set, not in a training step.

    Parameters
    ----------
    labels : array, boolean, integer or floating, any shape
    where : boolean array of the labels' rank, sizes 1 or theirs, optional
        What is left out is not checked.

    Raises
    ------
    ValueError
        With the number of wrong labels, and the first one and its index.
    TypeError
        A wrong kind or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> check_labels(np.array([0.0, 0.3, 1.0]))
    >>> check_labels(np.array([[0, 1], [2, 1]]))
    Traceback (most recent call last):
        ...
    ValueError: `labels` must be in [0, 1]; got 1 outside, the first 2 at index (1, 0)
    """
    first = anchor("labels", labels, REALS)
    xp, mask = first.xp, first.mask(where)
    if dtype_name(labels) == "bool":
        return
    wrong = first.backend.elementwise(_outside, (labels, mask), xp.bool)
    count = int(xp.count_nonzero(wrong))
    if count and any(size != size for size in first.shape):
        # Of a size that is not known there is no index.
        labels, where = first.backend.in_memory(labels, where)
        check_labels(labels, where=where)
    elif count:
        flat = xp.reshape(xp.astype(wrong, xp.int8), (-1,))
        index = np.unravel_index(int(xp.argmax(flat)), first.shape)
        at = tuple(map(int, index))
        raise ValueError(
            f"`labels` must be in [0, 1]; got {count} outside, the first "
            f"{_number(first.array[at])} at index {at}"
        )


def _outside(xp: Any, labels: Any, mask: Any) -> Any:
    # PyTorch cannot compare unsigned integers of more than 8 bits.
    numbers = xp.astype(labels, computing_dtype(xp, labels), copy=False)
    wrong = ~((numbers >= 0) & (numbers <= 1))
    return wrong if mask is None else wrong & mask


def _number(label: Any) -> float | int:
    """Of a 0-d array; PyTorch's `int` is not for uint64."""
    if hasattr(label, "item"):
        number: float | int = label.item()
        return number
    return float(label) if dtype_name(label) in FLOATS else int(label)
