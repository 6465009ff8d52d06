"""Keras' functions on arrays, which the classes call as well."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arguments import anchor, check_fraction, check_least, fraction
from ..._arrays import is_number
from ..._binary import binary_cross_entropy, sigmoid_cross_entropy, sigmoid_focal_loss
from ..._call import checked, value
from ...formulas import probability
from ...formulas.masses import masses
from ...formulas.record import Formula
from .._shared import in_callers_words, listed, to_library_of

EPSILON = 1e-7  # keras.config.epsilon()
CLIP = EPSILON, math.log(EPSILON), math.log1p(-EPSILON)


_in_keras_words = in_callers_words(
    logits="y_pred", probs="y_pred", labels="y_true", weights="sample_weight"
)

# ---- functions ---------------------------------------------------------------------


def together(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Arrays of one library, if one of them lies on the host."""
    y_true, y_pred = listed("y_true", y_true), listed("y_pred", y_pred)
    if isinstance(y_pred, np.ndarray) and not is_number(y_true):
        return y_true, to_library_of("y_pred", y_pred, "y_true", y_true)
    return to_library_of("y_true", y_true, "y_pred", y_pred), y_pred


@_in_keras_words
def crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float, **options: Any
) -> Any:
    y_true, y_pred = together(y_true, y_pred)
    options["label_smoothing"] = label_smoothing
    if from_logits:
        return sigmoid_cross_entropy(y_pred, y_true, **options)
    return binary_cross_entropy(y_pred, y_true, eps=EPSILON, **options)


def _focal_of_probabilities(
    xp: Any, probs: Any, labels: Any, gamma: Any, alpha: Any, smoothing: float
) -> Any:
    """alpha_t * (1 - p_t)**gamma * loss; Keras clips p in the loss alone."""
    pos, neg = masses(labels, smoothing)
    factor = (pos * (1.0 - probs) + neg * probs) ** gamma
    if alpha is not None:
        factor = factor * (alpha * pos + (1.0 - alpha) * neg)
    loss = probability.value(xp, probs, labels, None, smoothing, *CLIP)
    return factor * loss


FOCAL = Formula(
    traced=("probs", "labels", "gamma", "alpha", "smoothing"),
    value=_focal_of_probabilities,
)


@_in_keras_words
def focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool,
    alpha: float,
    gamma: float,
    from_logits: bool,
    label_smoothing: float,
    **options: Any,
) -> Any:
    y_true, y_pred = together(y_true, y_pred)
    first = anchor("y_pred", y_pred)
    gamma = _number(first, "gamma", gamma, check_least)
    balance = None
    if apply_class_balancing:
        balance = _number(first, "alpha", alpha, check_fraction)
    if from_logits:
        return sigmoid_focal_loss(
            y_pred,
            y_true,
            gamma=gamma,
            alpha=balance,
            label_smoothing=label_smoothing,
            **options,
        )
    smoothing = fraction(first, "label_smoothing", label_smoothing)
    own = {"gamma": gamma, "alpha": balance, "smoothing": smoothing}
    return value(checked(first, FOCAL, y_true, own, **options))


def _number(first: Any, name: str, given: Any, check: Callable[..., Any]) -> Any:
    """A number that is checked, or a 0-d array."""
    scalar = first.scalar(name, given)
    return check(name, scalar) if isinstance(scalar, float) else scalar


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
    y_true : array or list of `y_pred`'s shape, boolean, integer or floating
    y_pred : array of float16, bfloat16, float32 or float64, or a list
        Probabilities, or logits if `from_logits`.
    label_smoothing : number from 0 to 1
        Moves labels towards 1/2: y * (1 - s) + s/2.
    axis : int
        What the mean runs over.

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
    return crossentropy(
        y_true, y_pred, from_logits, label_smoothing, axis=axis, reduction="mean"
    )


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`keras.losses.binary_focal_crossentropy`: the mean over `axis`.

    Probabilities are clipped to [1e-7, 1 - 1e-7] in the loss, as Keras clips them, and
    not in the factor ``(1 - p_t)**gamma``.  Logits are exact: Keras turns them into
    probabilities first, so that a wrong one costs 16 at most.

    Parameters
    ----------
    y_true : array or list of `y_pred`'s shape, boolean, integer or floating
    y_pred : array of float16, bfloat16, float32 or float64, or a list
        Probabilities, or logits if `from_logits`.
    apply_class_balancing : bool
        `alpha` counts only if this is true, as in Keras.
    alpha : number from 0 to 1
        The weight of the positive class; the negative one has 1 - alpha.
    gamma : number of at least 0
    label_smoothing, axis
        As for `binary_crossentropy`.

    Returns
    -------
    array of `y_pred`'s shape without `axis`; errors as `xploss.sigmoid_focal_loss`

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> y_pred = np.array([[0.6, 0.4], [0.4, 0.6]])
    >>> print(binary_focal_crossentropy(y_true, y_pred))
    [0.32986466 0.20579838]
    """
    return focal_crossentropy(
        y_true,
        y_pred,
        apply_class_balancing,
        alpha,
        gamma,
        from_logits,
        label_smoothing,
        axis=axis,
        reduction="mean",
    )


def backend_binary_crossentropy(
    target: Any, output: Any, from_logits: bool = False
) -> Any:
    """`tf.keras.backend.binary_crossentropy`: per element, nothing reduced.

    Probabilities are clipped to [1e-7, 1 - 1e-7].  (TensorFlow adds 1e-7 to them in
    the logarithm besides, so that its loss is at most 15.4, not 16.1.)  `target` and
    `output` are of one shape, `output` floating: the result has its shape and dtype.
    Errors as for `xploss.binary_cross_entropy`.

    >>> import numpy as np
    >>> print(backend_binary_crossentropy(np.array([1.0, 1.0]), np.array([0.5, 0.0])))
    [ 0.69314718 16.11809565]
    """
    return crossentropy(target, output, from_logits, 0.0, reduction="none")
