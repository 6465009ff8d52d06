"""optax' binary losses by their own names: logits first, per element.

The signatures are of optax 0.2.8.  optax broadcasts (4,) against (4, 1) to (4, 4);
here that is a ValueError, and a gamma or an alpha never enlarges the result.
"""

from typing import Any

from .. import _binary

__all__ = [
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
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
