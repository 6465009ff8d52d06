"""scikit-learn's log loss by its own name: the labels may be anything with two classes.

The signature is of scikit-learn 1.9 (`sklearn.metrics`), without `y_pred`, which it
renamed `y_proba`.
"""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _losses
from .._arrays import REALS, Anchor, anchor, is_number, kind, library, same_shape

__all__ = [
    "log_loss",
]


def __dir__() -> list[str]:
    return __all__


def _on_host(name: str, labels: Any) -> npt.NDArray[Any]:
    if hasattr(labels, "cpu"):
        labels = labels.cpu()  # PyTorch
    elif kind(labels).startswith("cupy"):
        labels = labels.get()
    array = np.asarray(labels)
    if array.ndim != 1:
        raise NotImplementedError(
            f"`{name}` must have one axis, a class a sample; got shape {array.shape}"
        )
    return array


def _sorted(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The classes, in the order that scikit-learn's `LabelBinarizer` has."""
    classes = np.unique(labels)
    if not np.array_equal(labels, classes):
        warnings.warn(
            f"Labels passed were {labels.tolist()}, but they count in sorted order, "
            f"{classes.tolist()}, as do the columns of y_proba.",
            stacklevel=4,
        )
    return classes


def _is_positive(y_true: Any, labels: Any, columns: int) -> npt.NDArray[np.bool_]:
    """Which labels are of the second class, in sorted order."""
    given = _on_host("y_true", y_true)
    if given.dtype.kind == "f" and np.any(given != np.trunc(given)):
        raise ValueError(
            "`y_true` must be classes; xploss.binary_cross_entropy takes soft labels"
        )
    classes = np.unique(given)
    if labels is not None:
        classes = _sorted(_on_host("labels", labels))
    unknown = np.setdiff1d(given, classes)
    if unknown.size:
        raise ValueError(
            f"y_true contains values {unknown.tolist()} not belonging to the passed "
            f"labels {classes.tolist()}"
        )
    _check_classes(classes, labels, columns)
    return np.asarray(given == classes[1])


def _check_classes(classes: npt.NDArray[Any], labels: Any, columns: int) -> None:
    name = "y_true" if labels is None else "labels"
    if len(classes) < 2:
        raise ValueError(
            f"{name} contains only one label ({', '.join(map(str, classes))}); pass "
            f"both classes as `labels`"
        )
    if len(classes) != columns:
        raise ValueError(
            f"{name} and y_proba contain different number of classes: "
            f"{len(classes)} vs {columns}"
        )
    if columns > 2:
        raise NotImplementedError(
            f"log_loss is binary here; got {columns} classes: use sklearn.metrics"
        )


def _beside(first: Anchor, values: Any, dtype: Any) -> Any:
    """Values of the host on the device of the probabilities."""
    values = np.asarray(values)
    return first.xp.asarray(values, dtype=dtype, device=first.device)


def _numbers(name: str, values: Any) -> Any:
    """A list as an array, which it has to be; text is no number."""
    if not isinstance(values, list | tuple):
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"`{name}` must have rows of one length; got {values!r:.40}"
        ) from None
    return anchor(name, array, REALS).array.astype(float)


def _checked(y_proba: Any) -> Anchor:
    """Probabilities (n,) or (n, columns), in [0, 1] where looking does not wait."""
    y_proba = _numbers("y_proba", y_proba)
    first = anchor("y_proba", y_proba)
    if len(first.shape) not in (1, 2):
        raise ValueError(f"`y_proba` must have 1 or 2 axes; got shape {first.shape}")
    if first.shape[0] != first.shape[0]:
        raise ValueError(
            "`y_proba` has a length that Dask does not know; call its "
            "`.compute_chunk_sizes()`"
        )
    if library(first.xp) == "numpy":
        _check_range(y_proba)
    return first


def _check_range(y_proba: npt.NDArray[Any]) -> None:
    wrong = y_proba[~((y_proba >= 0) & (y_proba <= 1))]
    if wrong.size:
        raise ValueError(
            f"`y_proba` must be in [0, 1], and not NaN; got {wrong.size} outside, the "
            f"first {wrong[0]}"
        )


def _check_lengths(first: Anchor, labels: Any, weights: Any) -> None:
    for name, array in (("y_true", labels), ("sample_weight", weights)):
        own = not is_number(array) and hasattr(array, "shape")
        shape = tuple(array.shape) if own else first.shape[:1]
        if not same_shape(shape, first.shape[:1]):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: `{name}` "
                f"must have shape {first.shape[:1]}; got {shape}"
            )


def log_loss(
    y_true: Any,
    y_proba: Any,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: Any = None,
) -> Any:
    """`sklearn.metrics.log_loss` of two classes.

    Probabilities are clipped to [eps, 1 - eps] for the eps of their dtype, as there.
    Not looked at: whether two columns sum to one; and, but for NumPy, whether
    probabilities are in [0, 1], since it would wait for the device: the loss is NaN.

    Parameters
    ----------
    y_true : list or array (n,), of numbers or strings
        Host data: it is looked at, wherever it is.  The second class of the two, in
        sorted order, is the positive one.
    y_proba : array (n,), (n, 1) or (n, 2) of float16, bfloat16, float32 or float64
        The positive class's probabilities, or both classes' in sorted order; a list is
        taken for a NumPy array.
    normalize : bool
        sum(w*l) / sum(w), or else sum(w*l).
    sample_weight : list or array (n,), optional
    labels : list or array of the two classes, optional
        By default those in `y_true`.

    Returns
    -------
    float for NumPy, else an array () of `y_proba`'s library; of float32 from 16 bits
        scikit-learn always returns a float, which would wait for the device.

    Raises
    ------
    ValueError
        One class only, unknown or soft labels, different lengths, another number of
        classes than `y_proba` has, a `y_proba` of other axes or, of NumPy, outside
        [0, 1], weights of the host that are all 0.
    NotImplementedError
        More than two classes; a `y_true` or `labels` of other than one axis.
    TypeError
        A wrong kind or dtype of `y_proba`.

    Examples
    --------
    >>> import numpy as np
    >>> y_proba = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    >>> print(log_loss(["spam", "ham", "ham", "spam"], y_proba))
    0.21616187468057912
    """
    first = _checked(y_proba)
    xp, probs = first.xp, first.array
    columns = 1 if probs.ndim == 1 else probs.shape[1]
    classes = 2 if columns == 1 else columns
    positive = _beside(first, _is_positive(y_true, labels, classes), xp.bool)
    sample_weight = _numbers("sample_weight", sample_weight)
    if isinstance(sample_weight, np.ndarray):
        if not np.any(sample_weight):
            raise ValueError("`sample_weight` must not be 0 throughout")
        sample_weight = _beside(first, sample_weight, probs.dtype)
    _check_lengths(first, positive, sample_weight)
    if columns == 2:
        probs, positive = xp.where(positive, probs[:, 1], probs[:, 0]), 1.0
    elif probs.ndim == 2:
        probs = probs[:, 0]
    loss = _losses.binary_cross_entropy(
        xp.where((probs < 0.0) | (probs > 1.0), math.nan, probs),
        positive,
        eps=float(xp.finfo(probs.dtype).eps),
        weights=sample_weight,
        reduction="weighted_mean" if normalize else "sum",
    )
    return float(loss) if library(xp) == "numpy" else loss
