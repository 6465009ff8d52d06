"""TensorFlow's binary cross-entropy by its own name: labels first, per element.

The signature is of TensorFlow 2.21 (`tf.nn`).
"""

from typing import Any

from .._losses import sigmoid_cross_entropy


def sigmoid_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: str | None = None
) -> Any:
    """`tf.nn.sigmoid_cross_entropy_with_logits`: per element, of logits.

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
    shapes = [tuple(getattr(array, "shape", ())) for array in (logits, labels)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`logits` and `labels` must have the same shape, received "
            f"({shapes[0]} vs {shapes[1]})."
        )
    return sigmoid_cross_entropy(logits, labels, reduction="none")
