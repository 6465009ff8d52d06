"""PyTorch's and torchvision's functions on arrays."""

import warnings
from typing import Any

from ... import _binary
from ..._arguments import anchor, backend_of
from ..._arrays import (
    fits,
    is_narrow,
    is_number,
    loaded_class,
    same_shape,
    shape_of,
)
from ..._call import checked, value
from ...formulas.probability import log_complement
from ...formulas.record import Formula
from .._shared import with_leading_axes


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> Any:
    """The reduction that PyTorch takes from its three arguments, one of them old."""
    if size_average is not None or reduce is not None:
        summed = "sum" if size_average is False else "mean"
        reduction = "none" if reduce is False else summed
        warnings.warn(
            "size_average and reduce args will be deprecated, please use "
            f"reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _checked(input: Any, target: Any) -> Any:
    """The input, in float32 under autocast; both are arrays, of one shape."""
    backend_of("input", input)
    backend_of("target", target)
    if not same_shape(tuple(target.shape), tuple(input.shape)):
        raise ValueError(
            f"Target size ({tuple(target.shape)}) must be the same as input size "
            f"({tuple(input.shape)})"
        )
    return in_float32_under_autocast(input)


def in_float32_under_autocast(input: Any) -> Any:
    return input.float() if is_narrow(input) and _is_autocast(input) else input


def _is_autocast(input: Any) -> bool:
    """Whether what runs on its device is under `torch.autocast`."""
    tensor: Any = loaded_class("torch", "Tensor") or ()
    if not isinstance(input, tensor):
        return False
    import torch

    device: str = input.device.type
    available = torch.amp.is_autocast_available(device)
    return bool(available and torch.is_autocast_enabled(device))


def _spread(name: str, weight: Any, input: Any) -> Any:
    """A weight with the input's rank; it broadcasts, but enlarges nothing."""
    if weight is None:
        return None
    spread = with_leading_axes(name, weight, len(input.shape))
    if not fits(shape_of(spread), shape_of(input)):
        raise RuntimeError(
            f"`{name}` of shape {tuple(weight.shape)} does not broadcast onto `input` "
            f"of shape {tuple(input.shape)}"
        )
    return spread


def _clamped(xp: Any, probs: Any, labels: Any) -> Any:
    """-(y * log(p) + (1 - y) * log1p(-p)), each logarithm at least -100."""
    at_0, at_1 = xp.log(probs) < -100.0, probs == 1.0
    # What is cut off must not reach a derivative: 0 * inf is NaN.
    hit = xp.where(at_0, -100.0, xp.log(xp.where(at_0, 1.0, probs)))
    rest = log_complement(xp, xp.where(at_1, 0.0, probs))
    miss = xp.where(at_1, -100.0, rest)
    return 0.0 - (labels * hit + (1.0 - labels) * miss)  # 0, not -0


CLAMPED = Formula(traced=("probs", "labels"), value=_clamped)


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """`torch.nn.functional.binary_cross_entropy`: of probabilities.

    The logarithms are cut off at -100 as PyTorch does, so a certain wrong answer costs
    100; `xploss.binary_cross_entropy` has no such limit.  The gradient is that of this
    loss: 0 where it was cut off, and 1 at a probability of 0 with target 0, where
    PyTorch has -1e12 and 0.  A probability outside [0, 1] gives NaN, an error there.

    Parameters
    ----------
    input : array of float16, bfloat16, float32 or float64, any shape
    target : array of the input's shape, boolean, integer or floating
    weight : array that broadcasts onto the input, optional
        By trailing axes; it may not enlarge the loss.
    size_average, reduce : bool, optional
        PyTorch's old spelling of `reduction`; with its warning.
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of elements, not by the sum of the weights.

    Returns
    -------
    array of the input's library and dtype; reduced from 16 bits, float32

    Raises
    ------
    ValueError
        Different shapes, or an unknown reduction.
    RuntimeError
        A weight that does not broadcast onto the input.
    TypeError
        What is not an array, or is of another library.

    Examples
    --------
    >>> import numpy as np
    >>> input, target = np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.0, 1.0])
    >>> print(binary_cross_entropy(input, target, reduction="none"))
    [100.           0.69314718   0.        ]
    """
    reduction = reduction_of(size_average, reduce, reduction)
    input = _checked(input, target)
    weights = _spread("weight", weight, input)
    first = anchor("input", input)
    return value(checked(first, CLAMPED, target, {}, weights, reduction=reduction))


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """`torch.nn.functional.binary_cross_entropy_with_logits`, exact in both tails.

    PyTorch loses the loss and the gradient of a confident right answer; and an
    infinite logit on the target's side costs 0 here and is NaN there.

    Parameters
    ----------
    input : array of float16, bfloat16, float32 or float64, any shape
        The logits.
    pos_weight : array that broadcasts onto the input, optional
        Scales the positive part of the target; (C,) for C classes on the last axis.
    target, weight, size_average, reduce, reduction
        As for `binary_cross_entropy`, as are the result and the errors.

    Examples
    --------
    >>> import numpy as np
    >>> input, target = np.array([[-40.0, 0.0]]), np.array([[0.0, 1.0]])
    >>> classes = np.array([1.0, 3.0])
    >>> print(
    ...     binary_cross_entropy_with_logits(
    ...         input, target, reduction="none", pos_weight=classes
    ...     )
    ... )
    [[4.24835426e-18 2.07944154e+00]]
    """
    how = reduction_of(size_average, reduce, reduction)
    input = _checked(input, target)
    return _binary.sigmoid_cross_entropy(
        input,
        target,
        pos_weight=_spread("pos_weight", pos_weight, input),
        weights=_spread("weight", weight, input),
        reduction=how,
    )


def sigmoid_focal_loss(
    inputs: Any,
    targets: Any,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = "none",
) -> Any:
    """`torchvision.ops.sigmoid_focal_loss`, exact in both tails.

    The formula is that of `xploss.sigmoid_focal_loss`.  torchvision's gradient is NaN
    for a gamma below 1 and a confident right answer.

    Parameters
    ----------
    inputs : array of float16, bfloat16, float32 or float64, any shape
        The logits.
    targets : array of the inputs' shape, boolean, integer or floating
    alpha : number from 0 to 1, or -1
        The weight of the positive class; -1 weighs neither.
    gamma : number of at least 0
    reduction : {"none", "mean", "sum"}

    Returns
    -------
    array of the inputs' library and dtype; reduced from 16 bits, float32

    Raises
    ------
    ValueError
        Different shapes, an unknown reduction, alpha or gamma out of range.
    TypeError
        What is not an array, or is of another library.

    Examples
    --------
    >>> import numpy as np
    >>> print(sigmoid_focal_loss(np.array([-2.0, 2.0]), np.array([1.0, 1.0])))
    [0.41251954 0.00045089]
    """
    inputs = _checked(inputs, targets)
    return _binary.sigmoid_focal_loss(
        inputs,
        targets,
        gamma=gamma,
        alpha=None if is_number(alpha) and alpha == -1 else alpha,
        reduction=reduction_of(None, None, reduction),
    )
