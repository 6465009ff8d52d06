"""A check of the labels' range, which the losses leave out since it must look."""

import operator
from typing import Any

import numpy as np

from ._arguments import anchor, check_int
from ._arrays import (
    FLOATS,
    INTEGERS,
    REALS,
    AnyArray,
    computing_dtype,
    dtype_name,
)


def check_labels(
    labels: AnyArray,
    *,
    classes: int | None = None,
    where: AnyArray | bool | None = None,
) -> None:
    """Raise a ValueError if a label is outside [0, 1] or NaN, or is no class's number.

    It looks at the values, so it waits for the device and computes what is lazy: call
    it once on a data set, not in a training step.

    Parameters
    ----------
    labels : array, boolean, integer or floating, any shape
    classes : int, optional
        Of how many classes integer labels are the numbers, 0 to classes - 1.
    where : boolean array of the labels' rank, sizes 1 or theirs, optional
        What is left out is not checked, such as ``labels != ignore_index``.

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
    >>> check_labels(np.array([0, 2, 1]), classes=3)
    >>> check_labels(np.array([[0, 1], [2, 1]]))
    Traceback (most recent call last):
        ...
    ValueError: `labels` must be in [0, 1]; got 1 outside, the first 2 at index (1, 0)
    """
    most, dtypes = 1, REALS
    if classes is not None:
        most, dtypes = _last_class(classes), INTEGERS
    first = anchor("labels", labels, dtypes)
    xp, mask = first.xp, first.mask(where)
    if dtype_name(labels) == "bool":
        return
    wrong = first.backend.elementwise(_outside, (labels, mask, float(most)), xp.bool)
    count = int(xp.count_nonzero(wrong))
    if count and any(size != size for size in first.shape):
        # Of a size that is not known there is no index.
        labels, where = first.backend.in_memory(labels, where)
        check_labels(labels, classes=classes, where=where)
    elif count:
        flat = xp.reshape(xp.astype(wrong, xp.int8), (-1,))
        index = np.unravel_index(int(xp.argmax(flat)), first.shape)
        at = tuple(map(int, index))
        raise ValueError(
            f"`labels` must be in [0, {most}]; got {count} outside, the first "
            f"{_number(first.array[at])} at index {at}"
        )


def _last_class(classes: Any) -> int:
    check_int("classes", classes)
    if classes < 1:
        raise ValueError(f"`classes` must be at least 1; got {classes!r}")
    return operator.index(classes) - 1


def _outside(xp: Any, labels: Any, mask: Any, most: float) -> Any:
    # PyTorch cannot compare unsigned integers of more than 8 bits.
    numbers = xp.astype(labels, computing_dtype(xp, labels), copy=False)
    wrong = ~((numbers >= 0) & (numbers <= most))
    return wrong if mask is None else wrong & mask


def _number(label: Any) -> float | int:
    """Of a 0-d array; PyTorch's `int` is not for uint64."""
    if hasattr(label, "item"):
        number: float | int = label.item()
        return number
    return float(label) if dtype_name(label) in FLOATS else int(label)
