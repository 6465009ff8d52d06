"""optax' losses by their own names: logits first, per element or row.

The signatures are of optax 0.2.8.  optax broadcasts (4,) against (4, 1) to (4, 4);
here that is a ValueError, and a gamma or an alpha never enlarges the result.
"""

import math
from typing import Any

from .. import _binary
from .._arguments import Anchor, anchor
from .._arrays import fits
from .._categorical import softmax_cross_entropy as entropy

__all__ = [
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]


def __dir__() -> list[str]:
    return __all__


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """`optax.sigmoid_binary_cross_entropy`: per element, of logits.

    An infinite logit on the label's side costs 0, where optax says NaN.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64, any shape
    labels : array of the logits' shape, boolean, integer or floating, or a number

    Returns
    -------
    array of the logits' shape and dtype; errors as `xploss.sigmoid_cross_entropy`

    Examples
    --------
    >>> import numpy as np
    >>> print(sigmoid_binary_cross_entropy(np.array([-40.0, 0.0]), np.array([0, 1])))
    [4.24835426e-18 6.93147181e-01]
    """
    return _binary.sigmoid_cross_entropy(logits, labels, reduction="none")


def sigmoid_focal_loss(
    logits: Any, labels: Any, *, alpha: Any = None, gamma: Any = 2.0
) -> Any:
    """`optax.sigmoid_focal_loss`: per element, of logits.

    An infinite logit on the label's side costs 0, where optax says NaN.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64, any shape
    labels : array of the logits' shape, boolean, integer or floating, or a number
    alpha : number from 0 to 1, or array that fits, optional
        The weight of the positive class; the negative one has 1 - alpha.
    gamma : number of at least 0, or array that fits

    Returns
    -------
    array of the logits' shape and dtype; errors as `xploss.sigmoid_focal_loss`, among
    them a ValueError for an `alpha` or `gamma` out of range, which optax computes with

    Examples
    --------
    >>> import numpy as np
    >>> print(sigmoid_focal_loss(np.array([-2.0, 2.0]), np.array([1, 1]), alpha=0.25))
    [0.41251954 0.00045089]
    """
    return _binary.sigmoid_focal_loss(
        logits, labels, gamma=gamma, alpha=alpha, reduction="none"
    )


# ---- many classes --------------------------------------------------------------------


def softmax_cross_entropy(
    logits: Any, labels: Any, axis: int = -1, where: Any = None
) -> Any:
    """`optax.softmax_cross_entropy`: per row, of the masses of the classes.

    A class at -inf without mass costs nothing, where optax says NaN.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64
    labels : array of the logits' shape, boolean, integer or floating
        The classes' masses.
    axis : int
        Along which the classes lie; optax takes several as well.
    where : boolean array that fits, optional
        The classes that there are; a row of none costs 0.  Or, without `axis`, the rows
        that there are.

    Returns
    -------
    array of the logits' shape without `axis`, of their dtype
        Errors as of `xploss.softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[40.0, 0.0], [0.0, -np.inf]])
    >>> print(softmax_cross_entropy(logits, np.array([[1.0, 0.0], [1.0, 0.0]])))
    [4.24835426e-18 0.00000000e+00]
    """
    if where is None:
        return entropy(logits, labels, class_axis=axis, reduction="none")
    first = anchor("logits", logits)
    first.check_alike("labels", labels)
    there = _classes(first, where, axis)
    xp = first.xp
    return entropy(
        xp.where(there, logits, -math.inf),
        xp.where(there, labels, 0),
        class_axis=axis,
        where=xp.any(there, axis=axis),
        reduction="none",
    )


def _classes(first: Anchor, where: Any, axis: int) -> Any:
    """A mask of classes, as large as the logits; one of rows is of all their own."""
    first.check_alike("where", where, frozenset({"bool"}))
    if len(where.shape) != len(first.shape):
        where = first.xp.expand_dims(where, axis=axis)
    if not fits(tuple(where.shape), first.shape):
        raise ValueError(
            f"`where` must fit onto `logits`, {first.shape}; got shape "
            f"{tuple(where.shape)}"
        )
    return first.xp.broadcast_to(where, first.shape)


def softmax_cross_entropy_with_integer_labels(
    logits: Any, labels: Any, axis: int = -1, where: Any = None
) -> Any:
    """`optax.softmax_cross_entropy_with_integer_labels`: per row, of numbers.

    A number that is no class's gives NaN, in the gradient too; optax takes -1 for the
    last class.  An infinite logit of the label costs 0, where optax says NaN.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64
    labels : integer array of the logits' shape without `axis`
    axis : int
        Along which the classes lie; optax takes several as well.
    where : boolean array that fits, optional
        As of `softmax_cross_entropy`.  A label that is not there costs infinity, where
        optax takes its logit nevertheless.

    Returns
    -------
    array of the labels' shape, of the logits' dtype
        Errors as of `xploss.softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[40.0, 0.0], [0.0, 0.0]])
    >>> print(softmax_cross_entropy_with_integer_labels(logits, np.array([0, 1])))
    [4.24835426e-18 6.93147181e-01]
    """
    some = None
    if where is not None:
        first = anchor("logits", logits)
        there = _classes(first, where, axis)
        logits = first.xp.where(there, logits, -math.inf)
        some = first.xp.any(there, axis=axis)
    return entropy(logits, labels, class_axis=axis, where=some, reduction="none")


def safe_softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """`optax.safe_softmax_cross_entropy`: `softmax_cross_entropy`, which is safe here.

    >>> import numpy as np
    >>> logits, labels = np.array([0.0, -np.inf]), np.array([1.0, 0.0])
    >>> print(safe_softmax_cross_entropy(logits, labels))
    0.0
    """
    return softmax_cross_entropy(logits, labels)
