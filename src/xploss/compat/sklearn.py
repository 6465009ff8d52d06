"""scikit-learn's log loss by its own name: the labels may be anything with classes.

The signature is of scikit-learn 1.9 (`sklearn.metrics`), without `y_pred`, which it
renamed `y_proba`.
"""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import BOOLEANS, Anchor, anchor, backend_of
from .._arrays import FLOATS, REALS, dtype_name, is_number, same_shape
from .._binary import binary_cross_entropy
from .._categorical import categorical_cross_entropy
from ..backends.table import known
from ._shared import SIZES_BY, in_callers_words, listed

__all__ = [
    "log_loss",
]


def __dir__() -> list[str]:
    return __all__


def _on_host(name: str, labels: Any) -> npt.NDArray[Any]:
    backend = known(labels)
    labels = labels if backend is None else backend.on_host(labels)
    if isinstance(labels, np.ma.MaskedArray) or hasattr(labels, "tocsr"):
        backend_of(name, labels)  # says what to pass instead
    # NumPy would make strings of numbers beside strings.
    array = np.asarray(labels, object if isinstance(labels, list | tuple) else None)
    if array.ndim == 2 and array.shape[1] == 1:  # a column, as of a table
        array = array[:, 0]
    if array.ndim > 1 and name == "y_true":
        raise NotImplementedError(
            f"`{name}` must have one axis, a class a sample; got shape {array.shape}"
        )
    if array.ndim != 1:
        raise ValueError(f"`{name}` must have one axis; got shape {array.shape}")
    if array.dtype.kind == "O":
        array = _of_one_kind(name, array.tolist())
    if array.dtype.kind == "S":
        raise TypeError(f"`{name}` must be numbers or strings; got bytes")
    return array


def _of_one_kind(name: str, labels: list[Any]) -> npt.NDArray[Any]:
    texts = sum(isinstance(label, str | bytes) for label in labels)
    numbers = sum(map(is_number, labels))
    if len(labels) not in (texts, numbers):
        raise ValueError(
            f"`{name}` must be all numbers or all strings; got {labels!r:.60}"
        )
    return np.asarray(labels)


def _sorted(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The classes, in the order that scikit-learn's `LabelBinarizer` has."""
    classes = np.unique(labels)
    if len(classes) < len(labels):
        raise ValueError(f"`labels` must differ; got {labels.tolist()}")
    if not np.array_equal(labels, classes):
        warnings.warn(
            f"Labels passed were {labels.tolist()}, but they count in sorted order, "
            f"{classes.tolist()}, as do the columns of y_proba.",
            stacklevel=4,
        )
    return classes


def _class_numbers(y_true: Any, labels: Any, columns: int) -> npt.NDArray[Any]:
    """Of each label the place of its class, in sorted order."""
    given = _on_host("y_true", y_true)
    if given.dtype.kind == "f" and np.any(given != np.trunc(given)):
        raise ValueError(
            "`y_true` must be classes; xploss.binary_cross_entropy and "
            "xploss.categorical_cross_entropy take soft labels"
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
    return np.searchsorted(classes, given)


def _check_classes(classes: npt.NDArray[Any], labels: Any, columns: int) -> None:
    name = "y_true" if labels is None else "labels"
    if len(classes) < 2:
        raise ValueError(
            f"{name} contains only one label ({', '.join(map(str, classes))}); pass "
            f"all classes as `labels`"
        )
    if len(classes) != columns:
        raise ValueError(
            f"{name} and y_proba contain different number of classes: "
            f"{len(classes)} vs {columns}"
        )


def _to_library_of(first: Anchor, values: Any, dtype: Any) -> Any:
    """Values of the host on the device of the probabilities."""
    values = np.asarray(values)
    return first.xp.asarray(values, dtype=dtype, device=first.device)


def _numbers(name: str, values: Any) -> Any:
    """What is no array as one; objects that are numbers are those."""
    values = listed(name, values)
    is_array = isinstance(values, np.ndarray)
    if is_array and values.dtype.kind == "O" and all(map(is_number, values.flat)):
        return values.astype(float)
    return values


def _floating(first: Anchor) -> Anchor:
    """Probabilities that are integers, or booleans, in the library's own float."""
    if dtype_name(first.array) in FLOATS:
        return first
    defaults = first.xp.__array_namespace_info__().default_dtypes(device=first.device)
    dtype = defaults["real floating"]
    return first._replace(array=first.xp.astype(first.array, dtype))


def _checked(y_proba: Any) -> Anchor:
    """Probabilities (n,) or (n, columns), in [0, 1] where looking does not wait."""
    first = _floating(anchor("y_proba", _numbers("y_proba", y_proba), REALS))
    if len(first.shape) not in (1, 2):
        raise ValueError(f"`y_proba` must have 1 or 2 axes; got shape {first.shape}")
    if first.shape[0] != first.shape[0]:
        raise ValueError(f"`y_proba` has a length that is not known; {SIZES_BY}")
    if first.xp is np:
        _check_range(first.array)
    return first


def _check_range(y_proba: npt.NDArray[Any]) -> None:
    wrong = y_proba[~((y_proba >= 0) & (y_proba <= 1))]
    if wrong.size:
        raise ValueError(
            f"`y_proba` must be in [0, 1], and not NaN; got {wrong.size} outside, the "
            f"first {wrong[0]}"
        )
    near = math.sqrt(np.finfo(y_proba.dtype).eps)  # as scikit-learn has it
    if y_proba.ndim == 2 and y_proba.shape[1] > 1:
        sums = y_proba.sum(axis=1, dtype=np.float64)
        if not np.allclose(sums, 1.0, rtol=near, atol=0.0):
            warnings.warn(
                "The rows of `y_proba` do not sum to one; probabilities should.",
                stacklevel=4,
            )


def _checked_weights(first: Anchor, weights: Any, normalize: bool) -> Any:
    """Where they lie on the host they are looked at, and go to the probabilities."""
    weights = _numbers("sample_weight", weights)
    if not isinstance(weights, np.ndarray):
        return weights
    weights = anchor("sample_weight", weights, REALS).array
    if not np.all(np.isfinite(weights)):
        raise ValueError("`sample_weight` must be finite; got NaN or infinity in it")
    if not np.any(weights):
        raise ValueError("`sample_weight` must not be 0 throughout")
    if normalize and np.sum(weights) == 0:
        raise ZeroDivisionError("`sample_weight` sums to 0, which normalises nothing")
    return _to_library_of(first, weights, first.array.dtype)


def _check_lengths(first: Anchor, labels: Any, weights: Any) -> None:
    for name, array in (("y_true", labels), ("sample_weight", weights)):
        own = not is_number(array) and hasattr(array, "shape")
        shape = tuple(array.shape) if own else first.shape[:1]
        if not same_shape(shape, first.shape[:1]):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: `{name}` "
                f"must have shape {first.shape[:1]}; got {shape}"
            )


_in_words = in_callers_words(probs="y_proba", labels="y_true", weights="sample_weight")
_loss = _in_words(binary_cross_entropy)
_loss_of_classes = _in_words(categorical_cross_entropy)


def log_loss(
    y_true: Any,
    y_proba: Any,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: Any = None,
) -> Any:
    """`sklearn.metrics.log_loss`, of two classes or more.

    Probabilities are clipped to [eps, 1 - eps] for the eps of their dtype, as there.
    NumPy's probabilities are looked at: outside [0, 1] raises, and rows that do not
    sum to one warn.  Those of other libraries are not looked at, since that would wait
    for the device: outside [0, 1] the loss is NaN.

    Parameters
    ----------
    y_true : list, array, Series (n,), or one column, of numbers or strings
        Host data: it is looked at, wherever it is.  Of two classes the second, in
        sorted order, is the positive one.
    y_proba : list, array, Series or DataFrame (n,), (n, 1) or (n, C)
        The positive class's probabilities, or all classes' in sorted order.  Integers
        are made the library's own float; a list and pandas' are taken for NumPy's.
    normalize : bool
        sum(w*l) / sum(w), or else sum(w*l).
    sample_weight : list, array or Series (n,), optional
    labels : list, array or Series of the classes, optional
        By default those in `y_true`.

    Returns
    -------
    float for NumPy, else an array () of `y_proba`'s library; of float32 from 16 bits
        scikit-learn always returns a float, which would wait for the device.

    Raises
    ------
    ValueError
        One class only, unknown, mixed or soft labels, `labels` that repeat, different
        lengths, another number of classes than `y_proba` has, a `y_proba` of other axes
        or, of NumPy, outside [0, 1], weights of the host that are NaN, infinite or 0
        throughout.
    ZeroDivisionError
        Weights of the host whose sum is 0.
    NotImplementedError
        A `y_true` of several columns.
    TypeError
        A wrong kind or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> y_proba = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    >>> print(log_loss(["spam", "ham", "ham", "spam"], y_proba))
    0.21616187468057912
    """
    if not isinstance(normalize, BOOLEANS):
        raise TypeError(f"`normalize` must be a boolean; got {normalize!r:.40}")
    first = _checked(y_proba)
    xp, probs = first.xp, first.array
    columns = 1 if probs.ndim == 1 else probs.shape[1]
    classes = 2 if columns == 1 else columns
    numbers = _class_numbers(y_true, labels, classes)
    if columns > 2:
        positive = _to_library_of(first, numbers, xp.int32)
    else:
        positive = _to_library_of(first, numbers == 1, xp.bool)
    sample_weight = _checked_weights(first, sample_weight, bool(normalize))
    _check_lengths(first, positive, sample_weight)
    if columns == 2:
        probs, positive = xp.where(positive, probs[:, 1], probs[:, 0]), 1.0
    elif columns == 1 and probs.ndim == 2:
        probs = probs[:, 0]
    loss = (_loss_of_classes if columns > 2 else _loss)(
        xp.where((probs < 0.0) | (probs > 1.0), math.nan, probs),
        positive,
        eps=float(xp.finfo(probs.dtype).eps),
        weights=sample_weight,
        reduction="weighted_mean" if normalize else "sum",
    )
    return float(loss) if xp is np else loss
