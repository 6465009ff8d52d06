"""TensorFlow's cross-entropies by their own names: labels first, per element or row.

The signatures are of TensorFlow 2.21 (`tf.nn`).
"""

from typing import Any

from .._arrays import is_number, same_shape, shape_of
from .._binary import sigmoid_cross_entropy
from .._categorical import softmax_cross_entropy
from ._shared import with_leading_axes

__all__ = [
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits",
    "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]


def __dir__() -> list[str]:
    return __all__


def _check_shapes(logits: Any, labels: Any) -> None:
    """Of arrays and numbers; what is neither is refused further on."""
    if not all(is_number(a) or hasattr(a, "shape") for a in (logits, labels)):
        return
    shapes = [() if is_number(array) else shape_of(array) for array in (logits, labels)]
    if not same_shape(*shapes):
        raise ValueError(
            "`logits` and `labels` must have the same shape, received "
            f"({shapes[0]} vs {shapes[1]})."
        )


def sigmoid_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: str | None = None
) -> Any:
    """`tf.nn.sigmoid_cross_entropy_with_logits`: per element, of logits.

    Labels of another dtype work; TensorFlow wants the logits'.

    Parameters
    ----------
    labels, logits : arrays of one shape
        The result has the logits' dtype.
    name : ignored; it names an operation of a TensorFlow graph

    Raises
    ------
    ValueError
        For different shapes, in TensorFlow's words; else as `sigmoid_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> labels, logits = np.array([1.0, 0.0, 1.0]), np.array([1.0, -1.0, 0.0])
    >>> print(sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
    [0.31326169 0.31326169 0.69314718]
    """
    for argument, value in (("labels", labels), ("logits", logits)):
        if value is None:
            raise ValueError(f"`{argument}` is missing: both arguments are needed")
    _check_shapes(logits, labels)
    return sigmoid_cross_entropy(logits, labels, reduction="none")


def weighted_cross_entropy_with_logits(
    labels: Any, logits: Any, pos_weight: Any, name: str | None = None
) -> Any:
    """`tf.nn.weighted_cross_entropy_with_logits`: per element, positives weighted.

    The gradient is right at a logit of 0 too, where TensorFlow's is 0 or 1.

    Parameters
    ----------
    labels, logits : arrays of one shape
        The result has the logits' dtype.
    pos_weight : number, or array that broadcasts onto the logits
        By trailing axes, as in TensorFlow, but it may not enlarge the result.
    name : ignored; it names an operation of a TensorFlow graph

    Raises
    ------
    ValueError
        For different shapes, in TensorFlow's words; else as `sigmoid_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> labels, logits = np.array([1.0, 0.0]), np.array([0.0, 0.0])
    >>> print(weighted_cross_entropy_with_logits(labels, logits, 5.0))
    [3.4657359  0.69314718]
    """
    _check_shapes(logits, labels)
    if not is_number(pos_weight):
        rank = len(getattr(logits, "shape", ()))
        pos_weight = with_leading_axes("pos_weight", pos_weight, rank)
    return sigmoid_cross_entropy(
        logits, labels, pos_weight=pos_weight, reduction="none"
    )


def softmax_cross_entropy_with_logits(
    labels: Any, logits: Any, axis: int = -1, name: str | None = None
) -> Any:
    """`tf.nn.softmax_cross_entropy_with_logits`: per row, of the masses of the classes.

    The gradient is right of masses that do not sum to 1, of which TensorFlow takes it
    for granted; and a class at -inf without mass costs nothing.

    Parameters
    ----------
    labels, logits : arrays of one shape
        The result has the logits' dtype.
    axis : int
        Along which the classes lie.
    name : ignored; it names an operation of a TensorFlow graph

    Raises
    ------
    ValueError
        For different shapes, in TensorFlow's words; else as `softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> labels, logits = np.array([[1.0, 0.0]]), np.array([[40.0, 0.0]])
    >>> print(softmax_cross_entropy_with_logits(labels, logits))
    [4.24835426e-18]
    """
    _check_shapes(logits, labels)
    return softmax_cross_entropy(logits, labels, class_axis=axis, reduction="none")


def sparse_softmax_cross_entropy_with_logits(
    labels: Any, logits: Any, name: str | None = None
) -> Any:
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`: per row, of numbers of classes.

    A number that is no class's gives NaN, as it does on TensorFlow's GPU.

    Parameters
    ----------
    labels : integer array
    logits : array of the labels' shape, and an axis of classes after that
    name : ignored; it names an operation of a TensorFlow graph

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy`, and for labels of the logits' shape.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[40.0, 0.0], [0.0, 0.0]])
    >>> print(sparse_softmax_cross_entropy_with_logits(np.array([0, 1]), logits))
    [4.24835426e-18 6.93147181e-01]
    """
    ranks = [len(getattr(array, "shape", ())) for array in (labels, logits)]
    if ranks[0] >= ranks[1]:
        raise ValueError(
            f"`labels` must have an axis less than `logits`; got {ranks[0]} and "
            f"{ranks[1]} axes"
        )
    return softmax_cross_entropy(logits, labels, reduction="none")
