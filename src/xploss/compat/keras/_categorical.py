"""Keras' functions of many classes on arrays."""

from typing import Any

from ..._arguments import anchor, backend_of, check_fraction, check_least
from ..._arrays import (
    INTEGERS,
    Array,
    dtype_name,
    is_number,
    same_shape,
    shape_of,
)
from ..._call import value
from ..._categorical import rows, softmax_cross_entropy, softmax_focal_loss
from ...formulas import class_probability
from ...formulas.record import Formula
from .._shared import cast, in_callers_words, to_library_of
from ._functions import CLIP, together

_in_keras_words = in_callers_words(
    logits="y_pred", labels="y_true", class_axis="axis", class_weights="alpha"
)

# ---- of probabilities, which Keras divides by their sum and clips --------------------


def _normalised(xp: Any, probs: Array) -> Array:
    return probs / xp.class_sum(probs)


def _of_probabilities(xp: Any, probs: Array, *label: Any) -> Array:
    return class_probability.value(xp, _normalised(xp, probs), *label, *CLIP)


def _focal_of_probabilities(xp: Any, probs: Array, *options: Any) -> Array:
    """alpha (1 - p)**gamma -log(p), of clipped ones."""
    *label, gamma = options
    p = _normalised(xp, probs)
    masses, _, clip = class_probability.parts(xp, p, *label, *CLIP)
    assert clip is not None  # of a CLIP
    clipped = xp.where(clip.low, CLIP[0], xp.where(clip.high, 1.0 - CLIP[0], p))
    cost = class_probability.cost(xp, p, *CLIP)
    return xp.class_sum(masses * (1.0 - clipped) ** gamma * cost)


_TRACED = ("probs", "labels", "numbers", "class_weights", "smoothing")
OF_PROBABILITIES = Formula(_TRACED, _of_probabilities)
FOCAL_OF_PROBABILITIES = Formula((*_TRACED, "gamma"), _focal_of_probabilities)


def _rows_of_probabilities(
    formula: Formula,
    y_pred: Any,
    y_true: Any,
    class_axis: int,
    label_smoothing: Any = 0.0,
    ignore_class: int | None = None,
    alpha: Any = None,
    own: tuple[Any, ...] = (),
    where: Any = None,
    **options: Any,
) -> Any:
    first = anchor("y_pred", y_pred)
    made = rows(first, y_true, class_axis, alpha, label_smoothing, ignore_class, where)
    return value(made.call(formula, own, **options))


# ---- functions -----------------------------------------------------------------------


@_in_keras_words
def of_masses(
    y_true: Any,
    y_pred: Any,
    from_logits: bool,
    label_smoothing: float,
    class_axis: int,
    **options: Any,
) -> Any:
    y_true, y_pred = together(y_true, y_pred)
    _check_shapes(y_true, y_pred)
    options["label_smoothing"] = label_smoothing
    if from_logits:
        return softmax_cross_entropy(y_pred, y_true, class_axis=class_axis, **options)
    return _rows_of_probabilities(
        OF_PROBABILITIES, y_pred, y_true, class_axis, **options
    )


@_in_keras_words
def of_numbers(
    y_true: Any,
    y_pred: Any,
    from_logits: bool,
    ignore_class: int | None,
    class_axis: int,
    **options: Any,
) -> Any:
    y_true, y_pred = together(y_true, y_pred)
    y_true = _numbers(y_true, y_pred, class_axis)
    if from_logits:
        return softmax_cross_entropy(
            y_pred,
            y_true,
            class_axis=class_axis,
            ignore_index=ignore_class,
            **options,
        )
    options["ignore_class"] = ignore_class
    return _rows_of_probabilities(
        OF_PROBABILITIES, y_pred, y_true, class_axis, **options
    )


@_in_keras_words
def focal_of_masses(
    y_true: Any,
    y_pred: Any,
    alpha: Any,
    gamma: float,
    from_logits: bool,
    label_smoothing: float,
    class_axis: int,
    **options: Any,
) -> Any:
    y_true, y_pred = together(y_true, y_pred)
    _check_shapes(y_true, y_pred)
    first = anchor("y_pred", y_pred)
    gamma = check_least("gamma", first.scalar("gamma", gamma))
    if is_number(alpha):
        alpha = [check_fraction("alpha", alpha)] * int(first.shape[class_axis])
    alpha = to_library_of("alpha", alpha, "y_pred", y_pred)
    options["label_smoothing"] = label_smoothing
    if from_logits:
        options |= {"gamma": gamma, "class_weights": alpha}
        return softmax_focal_loss(y_pred, y_true, class_axis=class_axis, **options)
    options |= {"alpha": alpha, "own": (gamma,)}
    return _rows_of_probabilities(
        FOCAL_OF_PROBABILITIES, y_pred, y_true, class_axis, **options
    )


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`keras.losses.categorical_crossentropy`: per row, of the masses of the classes.

    Probabilities are divided by their sum and clipped to [1e-7, 1 - 1e-7] as Keras does
    it; logits are exact, and a class at -inf without mass costs nothing.

    Parameters
    ----------
    y_true : array or list of `y_pred`'s shape, boolean, integer or floating
    y_pred : array of float16, bfloat16, float32 or float64, or a list
        Probabilities, or logits if `from_logits`.
    label_smoothing : number from 0 to 1
        Moves labels towards 1/C; C is the size of `axis`, Keras' that of the last.
    axis : int
        Along which the classes lie.

    Returns
    -------
    array of `y_pred`'s shape without `axis`; errors as `softmax_cross_entropy`

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> y_pred = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    >>> print(categorical_crossentropy(y_true, y_pred))
    [0.05129329 2.30258509]
    """
    return of_masses(
        y_true, y_pred, from_logits, label_smoothing, axis, reduction="none"
    )


def _check_shapes(y_true: Any, y_pred: Any) -> None:
    """Numbers of classes are for `sparse_categorical_crossentropy`."""
    shapes = [
        shape_of(array) if hasattr(array, "shape") else () for array in (y_true, y_pred)
    ]
    if not same_shape(*shapes):
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={shapes[0]}, output.shape={shapes[1]}"
        )


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Any:
    """`keras.losses.sparse_categorical_crossentropy`: per row, of numbers of classes.

    A number that is no class's gives NaN, where Keras on JAX says 0.

    Parameters
    ----------
    y_true : array or list of `y_pred`'s shape without `axis`, or with it of size 1
        Whole numbers, of a floating dtype too.
    y_pred : array of float16, bfloat16, float32 or float64, or a list
        Probabilities, or logits if `from_logits`, as for `categorical_crossentropy`.
    ignore_class : int, optional
        Rows of this class cost 0.
    axis : int
        Along which the classes lie.

    Returns
    -------
    array of `y_pred`'s shape without `axis`; errors as `softmax_cross_entropy`

    Examples
    --------
    >>> import numpy as np
    >>> y_pred = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    >>> print(sparse_categorical_crossentropy(np.array([1, 2]), y_pred))
    [0.05129329 2.30258509]
    """
    return of_numbers(y_true, y_pred, from_logits, ignore_class, axis, reduction="none")


def _numbers(y_true: Any, y_pred: Any, axis: int) -> Any:
    """Without an axis of size 1 in the place of the classes; of an integer dtype."""
    if is_number(y_true):
        return y_true
    backend = backend_of("y_true", y_true)
    xp = backend.xp
    if y_true.ndim == getattr(y_pred, "ndim", 0) and y_true.shape[axis] == 1:
        y_true = xp.squeeze(y_true, axis=axis)
    if dtype_name(y_true) in INTEGERS:
        return y_true
    return cast(backend, y_true, xp.int32)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`keras.losses.categorical_focal_crossentropy`: per row, of masses.

    Probabilities are divided by their sum and clipped to [1e-7, 1 - 1e-7] as Keras does
    it.  Logits are exact: Keras turns them into probabilities first, so that a wrong
    one costs 16 at most.

    Parameters
    ----------
    alpha : number from 0 to 1, or array or list (C,)
        The weight of every class, or of each.
    gamma : number of at least 0
    y_true, y_pred, from_logits, label_smoothing, axis
        As for `categorical_crossentropy`, as are the result and the errors.

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> y_pred = np.array([[0.05, 0.9, 0.05], [0.1, 0.85, 0.05]])
    >>> print(categorical_focal_crossentropy(y_true, y_pred))
    [2.63401289e-04 6.75912094e-01]
    """
    return focal_of_masses(
        y_true,
        y_pred,
        alpha,
        gamma,
        from_logits,
        label_smoothing,
        axis,
        reduction="none",
    )
