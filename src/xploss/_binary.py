"""The public losses of two classes, and the functions that they rest on."""

from typing import Any, TypeVar, cast

from ._arguments import (
    LARGEST,
    Anchor,
    Reduction,
    anchor,
    check_fraction,
    check_least,
    clip,
    fraction,
)
from ._arrays import AnyArray, is_number
from ._call import Call, Options, at_once, checked, loss_made_of, numbers_of, value
from .formulas.focal import FOCAL
from .formulas.probability import PROBABILITY
from .formulas.record import Formula
from .formulas.sigmoid import CROSS_ENTROPY, SLOPE

A = TypeVar("A", bound=AnyArray)


def _pos_weight(first: Anchor, pos_weight: Any) -> Any:
    pos_weight = first.per_class("pos_weight", pos_weight)
    return pos_weight if pos_weight is None else check_least("pos_weight", pos_weight)


# ---- checked calls -----------------------------------------------------------------
#
# What a loss and its derivatives evaluate.  Each takes the arguments of the loss, and
# has its name where Python refuses one.


def _call_of_logits(
    logits: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    label_smoothing: Any = 0.0,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("logits", logits)
    options = {
        "pos_weight": _pos_weight(first, pos_weight),
        "smoothing": fraction(first, "label_smoothing", label_smoothing),
    }
    return checked(
        first, CROSS_ENTROPY, labels, options, weights, where, axis, reduction
    )


def _call_of_probabilities(
    probs: Any,
    labels: Any,
    *,
    eps: Any = 0.0,
    pos_weight: Any = None,
    label_smoothing: Any = 0.0,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("probs", probs)
    options = {
        "pos_weight": _pos_weight(first, pos_weight),
        "smoothing": fraction(first, "label_smoothing", label_smoothing),
        **clip(first, eps),
    }
    return checked(first, PROBABILITY, labels, options, weights, where, axis, reduction)


def _focal_call(
    logits: Any,
    labels: Any,
    *,
    gamma: Any = 2.0,
    alpha: Any = None,
    label_smoothing: Any = 0.0,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("logits", logits)
    gamma = check_least("gamma", first.per_class("gamma", gamma))
    smoothing = fraction(first, "label_smoothing", label_smoothing)
    if alpha is not None and is_number(alpha):
        alpha = check_fraction("alpha", alpha)
    alpha = first.per_class("alpha", alpha)
    formula = FOCAL
    options = {"gamma": gamma, "alpha": alpha, "smoothing": smoothing}
    if alpha is None and isinstance(gamma, float) and gamma == 0.0:
        formula = CROSS_ENTROPY
        options = {"pos_weight": None, "smoothing": smoothing}
    return checked(first, formula, labels, options, weights, where, axis, reduction)


# ---- options that are numbers --------------------------------------------------------
#
# As the formula takes them, of a call that has no other options; None of one that is an
# array, or out of range.


def _numbers_of_logits(
    pos_weight: Any = None, label_smoothing: Any = 0.0
) -> Options | None:
    if pos_weight is None and type(label_smoothing) is float and label_smoothing == 0.0:
        return ()
    return numbers_of((pos_weight, None, LARGEST), (label_smoothing, 0.0, 1.0))


def _numbers_of_probabilities(
    eps: Any = 0.0, pos_weight: Any = None, label_smoothing: Any = 0.0
) -> Options | None:
    options = _numbers_of_logits(pos_weight=pos_weight, label_smoothing=label_smoothing)
    if options is None or type(eps) is not float or eps != 0.0:
        return None
    return (*options, None, None, None) if options else ()


def _numbers_of_focal(
    gamma: Any = 2.0, alpha: Any = None, label_smoothing: Any = 0.0
) -> Options | None:
    options = numbers_of(
        (gamma, 0.0, LARGEST), (alpha, None, 1.0), (label_smoothing, 0.0, 1.0)
    )
    # A gamma of 0 is the cross-entropy's.
    return options if options and options[0] is not None else None


# ---- losses ------------------------------------------------------------------------


@loss_made_of(_call_of_logits, CROSS_ENTROPY, _numbers_of_logits)
def sigmoid_cross_entropy(
    logits: A,
    labels: AnyArray | float,
    *,
    pos_weight: AnyArray | float | None = None,
    label_smoothing: AnyArray | float = 0.0,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Binary cross-entropy of sigmoid(logits), exact in both tails.

    Per element, with the label's masses ``pos = y`` and ``neg = 1 - y``::

        loss = neg * softplus(x) + pos * softplus(-x)
             = -(y * log(sigmoid(x)) + (1 - y) * log(1 - sigmoid(x)))

    ``label_smoothing`` s makes the masses ``y*(1-s) + s/2`` and ``(1-y)*(1-s) + s/2``;
    ``pos_weight`` then multiplies ``pos``.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64, any shape
        Any array of NumPy, PyTorch, JAX, CuPy, Dask, TensorFlow or an array-API
        library.
    labels : array of the logits' shape, boolean, integer or floating, or a number
        The probability of the positive class, 0 to 1 (not checked here, since that
        would wait for the device; see `check_labels`).  Labels and options of a wider
        dtype are rounded to the logits', to float32 beside 16 bits.
    pos_weight : number, array (C,) for C classes on the last axis, or array that fits
        "Fits" means: of the logits' rank, each size 1 or that of the logits.  A 0-d
        array counts as a number, here and everywhere.  At least 0.
    label_smoothing : number from 0 to 1, differentiable if it is a 0-d array
    weights : number or array that fits
        Multiplies the loss per element; 0 times an infinite loss is NaN, so leave
        that out by `where`.
    where : boolean array that fits
        What is left out counts nowhere, whatever its logit: 0 under reduction "none",
        not in N, gradient 0.
    axis : int or tuple of ints, optional
        What the reduction runs over; by default all axes.
    reduction : {"none", "sum", "mean", "weighted_mean"}
        The array of losses; sum(w*l); sum(w*l) / N; sum(w*l) / sum(w).  N is how many
        losses count, whatever they weigh.

    Returns
    -------
    array of the same library, on the same device
        Of the logits' dtype; 16-bit logits are computed in float32 and rounded once,
        and what is reduced from them stays float32.  An empty mean is NaN.

    Raises
    ------
    TypeError
        A wrong kind or dtype; arrays of two libraries.
    ValueError
        A wrong shape, device, axis or reduction; a number that is out of range.  Labels
        and what is in arrays are not looked at.

    References
    ----------
    The derivation and the error bounds are in `xploss/formulas/sigmoid.py`; softplus is
    folded at 0 as in M. Maechler, "Accurately computing ``log(1 - exp(-|a|))``", 2012.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([-40.0, 0.0, 40.0, 800.0, np.inf])
    >>> labels = np.array([0.0, 1.0, 1.0, 0.5, 1.0])
    >>> print(sigmoid_cross_entropy(logits, labels, reduction="none"))
    [4.24835426e-18 6.93147181e-01 4.24835426e-18 4.00000000e+02
     0.00000000e+00]
    >>> print(sigmoid_cross_entropy(np.zeros((2, 3)), 1, pos_weight=3.0))
    2.0794415416798357
    """
    if weights is where is axis is None:
        options = _numbers_of_logits(pos_weight, label_smoothing)
        result = at_once(CROSS_ENTROPY, "value", logits, labels, options, reduction)
        if result is not None:
            return cast(A, result)
    call = _call_of_logits(
        logits,
        labels,
        pos_weight=pos_weight,
        label_smoothing=label_smoothing,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


@loss_made_of(_call_of_probabilities, PROBABILITY, _numbers_of_probabilities)
def binary_cross_entropy(
    probs: A,
    labels: AnyArray | float,
    *,
    eps: AnyArray | float = 0.0,
    pos_weight: AnyArray | float | None = None,
    label_smoothing: AnyArray | float = 0.0,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Binary cross-entropy of probabilities, exact at 0 and 1.

    Per element ``-(pos * log(p) + neg * log1p(-p))`` with ``0 * log(0) = 0``; the
    masses as in `sigmoid_cross_entropy`, which is the better choice where logits are
    at hand: a probability of a confident answer has lost its digits already.

    Parameters
    ----------
    probs : array of float16, bfloat16, float32 or float64, any shape
        Probabilities of the positive class; outside [0, 1] the loss is NaN.
    eps : number from 0 to 0.5
        Clips the probabilities to [eps, 1 - eps] first, as older code does; the
        gradient is 0 where this changed one.  The loss of a clipped one is that of the
        number eps, which in the probabilities' dtype may be 0.
    labels, pos_weight, label_smoothing, weights, where, axis, reduction
        As for `sigmoid_cross_entropy`, as are the result and the errors.

    Examples
    --------
    >>> import numpy as np
    >>> probs = np.array([0.0, 1e-10, 0.5, 1.0])
    >>> print(binary_cross_entropy(probs, np.array([0, 0, 1, 1]), reduction="none"))
    [0.00000000e+00 1.00000000e-10 6.93147181e-01 0.00000000e+00]
    """
    if weights is where is axis is None:
        options = _numbers_of_probabilities(eps, pos_weight, label_smoothing)
        result = at_once(PROBABILITY, "value", probs, labels, options, reduction)
        if result is not None:
            return cast(A, result)
    call = _call_of_probabilities(
        probs,
        labels,
        eps=eps,
        pos_weight=pos_weight,
        label_smoothing=label_smoothing,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


@loss_made_of(_focal_call, FOCAL, _numbers_of_focal)
def sigmoid_focal_loss(
    logits: A,
    labels: AnyArray | float,
    *,
    gamma: AnyArray | float = 2.0,
    alpha: AnyArray | float | None = None,
    label_smoothing: AnyArray | float = 0.0,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Focal loss of sigmoid(logits): easy examples count less; exact in both tails.

    Per element, with ``p = sigmoid(x)`` and the loss of `sigmoid_cross_entropy`::

        focal = alpha_t * (1 - p_t)**gamma * loss
        p_t = pos * p + neg * (1 - p)
        alpha_t = alpha * pos + (1 - alpha) * neg       1 if `alpha` is None

    with the label's masses ``pos = y`` and ``neg = 1 - y``, after smoothing.  The
    power is taken in log space, never of a rounded probability.

    Parameters
    ----------
    gamma : number of at least 0, or array that fits
        0 gives `sigmoid_cross_entropy`, bit for bit.  Differentiable, as is `alpha`.
    alpha : number from 0 to 1, or array that fits, optional
    logits, labels, label_smoothing, weights, where, axis, reduction
        As for `sigmoid_cross_entropy`, as are the result and the errors.

    References
    ----------
    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.array([-2.0, 0.0, 40.0]), np.array([1.0, 0.3, 1.0])
    >>> print(sigmoid_focal_loss(logits, labels, gamma=2, reduction="none"))
    [1.65007818e+00 1.73286795e-01 7.66764807e-53]
    """
    if weights is where is axis is None:
        options = _numbers_of_focal(gamma, alpha, label_smoothing)
        result = at_once(FOCAL, "value", logits, labels, options, reduction)
        if result is not None:
            return cast(A, result)
    call = _focal_call(
        logits,
        labels,
        gamma=gamma,
        alpha=alpha,
        label_smoothing=label_smoothing,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


# ---- the functions that the losses rest on ---------------------------------------


def _per_element(formula: Formula, x: A, label: float) -> A:
    options = {"pos_weight": None, "smoothing": None}
    return cast(A, value(checked(anchor("x", x), formula, label, options)))


def sigmoid(x: A) -> A:
    """1 / (1 + exp(-x)), the slope of the loss of label 0; exact in both tails.

    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `sigmoid_cross_entropy`.

    >>> import numpy as np
    >>> print(sigmoid(np.array([-800.0, -40.0, 0.0, np.inf])))
    [0.00000000e+00 4.24835426e-18 5.00000000e-01 1.00000000e+00]
    """
    return _per_element(SLOPE, x, 0.0)


def softplus(x: A) -> A:
    """log(1 + exp(x)), the loss of label 0; exact in both tails.

    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `sigmoid_cross_entropy`.

    >>> import numpy as np
    >>> print(softplus(np.array([-40.0, 0.0, 40.0, np.inf])))
    [4.24835426e-18 6.93147181e-01 4.00000000e+01            inf]
    """
    return _per_element(CROSS_ENTROPY, x, 0.0)


def log_sigmoid(x: A) -> A:
    """log(sigmoid(x)), minus the loss of label 1; exact in both tails.

    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `sigmoid_cross_entropy`.

    >>> import numpy as np
    >>> print(log_sigmoid(np.array([-np.inf, -40.0, 0.0, 40.0])))
    [           -inf -4.00000000e+01 -6.93147181e-01 -4.24835426e-18]
    """
    loss: Any = _per_element(CROSS_ENTROPY, x, 1.0)
    return cast(A, -loss)
