"""PyTorch's functions of many classes on arrays."""

from typing import Any

from ..._arguments import anchor, backend_of
from ..._arrays import FLOATS, Array, dtype_name, same_shape
from ..._call import value
from ..._categorical import rows, softmax_cross_entropy
from ...formulas.class_masses import class_masses
from ...formulas.masses import times
from ...formulas.record import Formula
from .._shared import in_callers_words
from ._functions import in_float32_under_autocast, reduction_of

IGNORED = -100


def _class_axis(input: Any) -> int:
    """Classes are on axis 1, and on the one axis of a row alone."""
    backend_of("input", input)
    return 0 if len(input.shape) == 1 else 1


def _of_masses(input: Any, target: Any) -> bool:
    """Whether a target has the input's shape, and then a mass of each class."""
    backend_of("target", target)
    if not same_shape(tuple(target.shape), tuple(input.shape)):
        return False
    if dtype_name(target) not in FLOATS:
        raise RuntimeError(
            f"`target` of the shape of `input` has masses of the classes and must be "
            f"of a floating dtype; got {target.dtype}"
        )
    return True


@in_callers_words(
    logits="input", labels="target", class_weights="weight", class_axis="class axis"
)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = IGNORED,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """`torch.nn.functional.cross_entropy`, exact however sure the answer is.

    PyTorch loses all digits, and the gradient, of a confident right answer; an infinite
    logit of the target's class costs 0 here and is NaN there; and a class at -inf
    without mass costs nothing, where its loss of masses is NaN.  A number that is no
    class's gives NaN, an error there.

    Parameters
    ----------
    input : array (N, C, ...) or (C,), of float16, bfloat16, float32 or float64
        The logits.
    target : integer array (N, ...), or floating array of the input's shape
        Numbers of classes, of any integer dtype, or their masses.
    weight : array (C,), optional
        With numbers of classes the mean divides by the sum of their weights, with
        masses by the number of rows.
    size_average, reduce : bool, optional
        PyTorch's old spelling of `reduction`; with its warning.
    ignore_index : int
        Of numbers of classes: that which counts nowhere.
    reduction : {"mean", "sum", "none"}
    label_smoothing : number from 0 to 1

    Returns
    -------
    array of the input's library and dtype; reduced from 16 bits, float32

    Raises
    ------
    ValueError
        A wrong shape or option.
    RuntimeError
        Integers of the input's shape.
    TypeError
        What is not an array, or is of another library.

    Examples
    --------
    >>> import numpy as np
    >>> input = np.array([[40.0, 0.0, -5.0], [0.0, 0.0, -np.inf]])
    >>> print(cross_entropy(input, np.array([0, 1]), reduction="none"))
    [4.27697944e-18 6.93147181e-01]
    >>> print(cross_entropy(input, np.array([-100, 1]), np.array([1.0, 2.0, 1.0])))
    0.6931471805599453
    """
    how = reduction_of(size_average, reduce, reduction)
    axis, masses = _class_axis(input), _of_masses(input, target)
    if masses and ignore_index >= 0:
        raise RuntimeError(
            f"`ignore_index` is of numbers of classes; got {ignore_index} and masses"
        )
    if how == "mean" and weight is not None and not masses:
        how = "weighted_mean"
    return softmax_cross_entropy(
        in_float32_under_autocast(input),
        target,
        class_axis=axis,
        class_weights=weight,
        label_smoothing=label_smoothing,
        ignore_index=None if masses else ignore_index,
        reduction=how,
    )


def _picked(
    xp: Any, logits: Array, labels: None, numbers: Array, *options: Any
) -> Array:
    """-w x of the class; options are its weight, and no smoothing."""
    masses = class_masses(xp, logits, None, numbers, *options)
    return 0.0 - xp.class_sum(times(xp, masses, logits))


PICKED = Formula(("logits", "labels", "numbers", "class_weights", "smoothing"), _picked)


@in_callers_words(
    logits="input", labels="target", class_weights="weight", class_axis="class axis"
)
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = IGNORED,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """`torch.nn.functional.nll_loss`: of logarithms of probabilities.

    It picks one of each row; the other, such as one at -inf, costs nothing.  What they
    are made of has lost its digits if `log_softmax` was not exact; of logits take
    `cross_entropy`.  A number that is no class's gives NaN, an error there.

    Parameters
    ----------
    input : array (N, C, ...) or (C,), of float16, bfloat16, float32 or float64
    target : integer array (N, ...)
    weight, size_average, ignore_index, reduce, reduction
        As for `cross_entropy`, as are the result and the errors.

    Examples
    --------
    >>> import numpy as np
    >>> input = np.log(np.array([[0.25, 0.75], [0.5, 0.5]]))
    >>> print(nll_loss(input, np.array([0, 1]), reduction="none"))
    [1.38629436 0.69314718]
    """
    how = reduction_of(size_average, reduce, reduction)
    axis = _class_axis(input)
    first = anchor("input", in_float32_under_autocast(input))
    made = rows(first, target, axis, weight, 0.0, ignore_index)
    if made.masses is not None:
        raise ValueError(
            f"`target` must be numbers of classes; got the shape of `input`, "
            f"{first.shape}"
        )
    how = "weighted_mean" if how == "mean" and weight is not None else how
    return value(made.call(PICKED, reduction=how))
