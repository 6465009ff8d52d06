"""Keras' binary cross-entropy by its own names: labels first, probabilities by default.

The signatures are of Keras 3.15 (`keras.losses`) and of the Keras backend of
TensorFlow (`tf.keras.backend`).
"""

from typing import Any

from .._losses import binary_cross_entropy, sigmoid_cross_entropy

EPSILON = 1e-7  # keras.config.epsilon()


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`keras.losses.binary_crossentropy`: the mean over `axis`.

    Probabilities are clipped to [1e-7, 1 - 1e-7] as Keras clips them, so a confident
    wrong answer costs 16.1 at most and its gradient is 0; logits are exact.

    Parameters
    ----------
    y_true : array of `y_pred`'s shape, boolean, integer or floating
    y_pred : array of float16, bfloat16, float32 or float64
        Probabilities, or logits if `from_logits`.

    Returns
    -------
    array of `y_pred`'s shape without `axis`; errors as `sigmoid_cross_entropy`

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> y_pred = np.array([[0.6, 0.4], [0.4, 0.6]])
    >>> print(binary_crossentropy(y_true, y_pred))
    [0.91629073 0.71355818]
    """
    if from_logits:
        return sigmoid_cross_entropy(
            y_pred, y_true, label_smoothing=label_smoothing, axis=axis
        )
    return binary_cross_entropy(
        y_pred, y_true, eps=EPSILON, label_smoothing=label_smoothing, axis=axis
    )


def backend_binary_crossentropy(
    target: Any, output: Any, from_logits: bool = False
) -> Any:
    """`tf.keras.backend.binary_crossentropy`: per element, nothing reduced.

    Probabilities are clipped to [1e-7, 1 - 1e-7].  Keras then takes the logit
    ``log(p / (1 - p))`` and its logit formula, which is the probability formula
    again, less the digits that ``p / (1 - p)`` loses: here the latter is used.

    >>> import numpy as np
    >>> print(backend_binary_crossentropy(np.array([1.0, 1.0]), np.array([0.5, 0.0])))
    [ 0.69314718 16.11809565]
    """
    if from_logits:
        return sigmoid_cross_entropy(output, target, reduction="none")
    return binary_cross_entropy(output, target, eps=EPSILON, reduction="none")
