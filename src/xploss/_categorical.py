"""The public losses of many classes, and the functions that they rest on."""

import operator
from typing import Any, NamedTuple, TypeVar, cast

from ._arguments import (
    LARGEST,
    Anchor,
    Reduction,
    anchor,
    check_axis,
    check_int,
    check_least,
    check_reduction,
    clip,
    fraction,
    number,
)
from ._arrays import (
    INTEGERS,
    AnyArray,
    Array,
    computing_dtype,
    count,
    dtype_name,
    is_number,
    same_shape,
    same_size,
    shape_of,
)
from ._call import Call, Options, at_once, loss_made_of, numbers_of, value
from .backends.classes import MOST_NUMBERS, are_told_apart
from .formulas.class_probability import CATEGORICAL
from .formulas.record import Formula
from .formulas.softmax import (
    LOG_SOFTMAX,
    LOG_SUM_EXP,
    ROW_WEIGHT,
    SOFTMAX,
    SOFTMAX_CROSS_ENTROPY,
)
from .formulas.softmax_focal import SOFTMAX_FOCAL

A = TypeVar("A", bound=AnyArray)

# ---- arguments -----------------------------------------------------------------------


def _class_axis(first: Anchor, name: str, axis: Any) -> int:
    """In range(ndim), of an axis that has a class at least."""
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"`{name}` must be an int; got {axis!r}")
    if not first.shape:
        raise ValueError(
            f"`{first.name}` must have a class axis; got shape (); pass an array of at "
            f"least one axis"
        )
    (axis,) = check_axis(axis, len(first.shape), name) or ()
    if first.shape[axis] == 0:
        raise ValueError(
            f"`{first.name}` must have at least one class along `{name}`={axis}; got "
            f"shape {first.shape}"
        )
    return int(axis)


def _without(shape: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _losses(first: Anchor, axis: int) -> Anchor:
    """What weights and masks have to fit onto."""
    return first._replace(name="losses", shape=_without(first.shape, axis))


def _labels(first: Anchor, labels: Any, axis: int) -> tuple[Any, Any]:
    """(masses, numbers of classes), one of which is None; a number has a class axis."""
    shape, rows = first.shape, _without(first.shape, axis)
    if is_number(labels):
        _check_numbers(first, shape[axis])
        return None, _one_number(first, labels, shape[axis])
    first.check_alike("labels", labels)
    got = shape_of(labels)
    if len(got) == len(shape) and same_shape(got, shape):
        return labels, None
    _check_numbers(first, shape[axis])
    if len(got) != len(rows) or not same_shape(got, rows):
        raise ValueError(
            f"`labels` must have the shape of `{first.name}`, {shape}, for masses, or "
            f"{rows}, for numbers of classes; got shape {got}{_other_axis(shape, got)}"
        )
    if dtype_name(labels) not in INTEGERS:
        raise TypeError(
            f"`labels` of shape {rows} are numbers of classes and must be integers; "
            f"got {labels.dtype}; masses have the shape of `{first.name}`, {shape}"
        )
    return None, first.xp.expand_dims(labels, axis=axis)


def _other_axis(shape: tuple[Any, ...], got: tuple[Any, ...]) -> str:
    """Where the classes are, if labels of this shape are numbers."""
    fitting = (k for k in range(len(shape)) if _without(shape, k) == got)
    return "".join(
        f"; for classes along axis {k} pass `class_axis={k}`" for k in fitting
    )


def _check_numbers(first: Anchor, classes: Any) -> None:
    """Numbers of classes are compared in the computing dtype."""
    if not are_told_apart(classes, first.array):
        raise ValueError(
            f"`labels` that are numbers of {classes} classes need `{first.name}` in "
            f"float64, got {first.array.dtype}: it is computed in float32, in which no "
            f"more than {MOST_NUMBERS} are told apart"
        )


def _one_number(first: Anchor, label: Any, classes: Any) -> Array:
    """The class of all rows."""
    check_int("labels", label, "an array, or the number of a class, an int")
    if not (label >= 0 and (label < classes or classes != classes)):
        raise ValueError(f"`labels` must be from 0 to {classes - 1}; got {label!r}")
    return first.backend.as_array(first.array, float(label))


def _class_weights(first: Anchor, class_weights: Any, axis: int) -> Any:
    if class_weights is None:
        return None
    classes = first.shape[axis]
    if is_number(class_weights):
        raise TypeError(
            f"`class_weights` must be an array of shape ({classes},), one a class; got "
            f"{class_weights!r}; a number for all rows is `weights`"
        )
    first.check_alike("class_weights", class_weights)
    got = shape_of(class_weights)
    if len(got) != 1 or not same_size(got[0], classes):
        raise ValueError(
            f"`class_weights` must have one number a class, shape ({classes},); got "
            f"shape {got}"
        )
    shape = [1] * len(first.shape)
    shape[axis] = -1
    return first.xp.reshape(class_weights, tuple(shape))


def _counted(
    first: Anchor, where: Any, labels: Any, numbers: Any, ignore_index: Any, axis: int
) -> Any:
    """What counts: of the mask, and of labels that are not to be ignored."""
    mask = _along_rows(first, _losses(first, axis).mask(where), axis)
    if ignore_index is None:
        return mask
    check_int("ignore_index", ignore_index)
    ignored = number("ignore_index", operator.index(ignore_index))
    if is_number(labels):
        return False if labels == ignore_index else mask
    if numbers is None:
        raise ValueError(
            f"`ignore_index` is of labels that are numbers of classes; got "
            f"ignore_index={ignore_index!r} and masses; pass `where`"
        )
    xp, arguments = first.xp, (numbers, ignored, mask)
    return first.backend.elementwise(_kept, arguments, xp.bool)


def _kept(xp: Any, numbers: Any, ignored: float, mask: Any) -> Any:
    # PyTorch cannot compare unsigned integers of more than 8 bits.
    kept = xp.astype(numbers, computing_dtype(xp, numbers), copy=False) != ignored
    return kept if mask is None else kept & mask


def _along_rows(first: Anchor, argument: Any, axis: int) -> Any:
    """What is one a row, with the class axis of size 1."""
    if not tuple(getattr(argument, "shape", ())):
        return argument
    return first.xp.expand_dims(argument, axis=axis)


def _z(first: Anchor, z_loss: Any) -> Any:
    z = check_least("z_loss", first.scalar("z_loss", z_loss))
    return None if isinstance(z, float) and z == 0.0 else z


# ---- checked calls -------------------------------------------------------------------


class Rows(NamedTuple):
    """What losses of many classes have in common, checked."""

    first: Anchor
    class_axis: int
    masses: Any
    numbers: Any
    class_weights: Any
    smoothing: Any
    where: Any

    def call(
        self,
        formula: Formula,
        options: tuple[Any, ...] = (),
        weights: Any = None,
        axis: Any = None,
        reduction: Any = "none",
    ) -> Call:
        """Of a formula of (logits, labels, numbers, class_weights, smoothing), and of
        the options that follow them."""
        first, class_axis = self.first, self.class_axis
        reduction = check_reduction(reduction, axis)
        losses = _losses(first, class_axis)
        axes = check_axis(axis, len(losses.shape))
        weights = _along_rows(first, losses.weights(weights), class_axis)
        weighed = weights is not None or self.class_weights is not None
        added = reduction == "weighted_mean" and weighed
        added = added or reduction in ("none", "sum") or self.where is not None
        return Call(
            anchor=first,
            formula=formula._replace(class_axis=class_axis),
            labels=self.masses,
            options=(self.numbers, self.class_weights, self.smoothing, *options),
            weights=weights,
            where=self.where,
            axis=axes and (*(k + (k >= class_axis) for k in axes), class_axis),
            reduction=reduction,
            n=None if added else count(losses.shape, axes),
            row_weight=self.row_weight(),
        )

    def row_weight(self) -> tuple[Formula, tuple[Any, ...]] | None:
        """What a weighted mean is divided by, where classes have weights."""
        if self.class_weights is None:
            return None
        array = self.first.array
        arguments = (array, self.masses, self.numbers, self.class_weights)
        return ROW_WEIGHT._replace(class_axis=self.class_axis), arguments


def rows(
    first: Anchor,
    labels: Any,
    class_axis: Any,
    class_weights: Any,
    label_smoothing: Any,
    ignore_index: Any,
    where: Any = None,
) -> Rows:
    axis = _class_axis(first, "class_axis", class_axis)
    masses, numbers = _labels(first, labels, axis)
    return Rows(
        first,
        axis,
        masses,
        numbers,
        _class_weights(first, class_weights, axis),
        fraction(first, "label_smoothing", label_smoothing),
        _counted(first, where, labels, numbers, ignore_index, axis),
    )


def _softmax_call(
    logits: Any,
    labels: Any,
    *,
    class_axis: Any = -1,
    class_weights: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    z_loss: Any = 0.0,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("logits", logits)
    made = rows(
        first, labels, class_axis, class_weights, label_smoothing, ignore_index, where
    )
    options = (_z(first, z_loss),)
    return made.call(SOFTMAX_CROSS_ENTROPY, options, weights, axis, reduction)


def _softmax_focal_call(
    logits: Any,
    labels: Any,
    *,
    gamma: Any = 2.0,
    class_axis: Any = -1,
    class_weights: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("logits", logits)
    if gamma is None:
        raise TypeError("`gamma` must be a number or an array; got None")
    gamma = check_least("gamma", first.scalar("gamma", gamma))
    made = rows(
        first, labels, class_axis, class_weights, label_smoothing, ignore_index, where
    )
    formula, options = SOFTMAX_FOCAL, (gamma,)
    if isinstance(gamma, float) and gamma == 0.0:
        formula, options = SOFTMAX_CROSS_ENTROPY, (None,)
    return made.call(formula, options, weights, axis, reduction)


def _categorical_call(
    probs: Any,
    labels: Any,
    *,
    eps: Any = 0.0,
    class_axis: Any = -1,
    class_weights: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "mean",
) -> Call:
    first = anchor("probs", probs)
    made = rows(
        first, labels, class_axis, class_weights, label_smoothing, ignore_index, where
    )
    options = tuple(clip(first, eps).values())
    return made.call(CATEGORICAL, options, weights, axis, reduction)


# ---- options that are numbers --------------------------------------------------------
#
# As the formula takes them, of a call that has no other options; None of one that is an
# array, or out of range.


def _numbers_of_softmax(
    label_smoothing: Any = 0.0, z_loss: Any = 0.0
) -> Options | None:
    return numbers_of((label_smoothing, 0.0, 1.0), (z_loss, 0.0, LARGEST))


def _numbers_of_focal(gamma: Any = 2.0, label_smoothing: Any = 0.0) -> Options | None:
    options = numbers_of((label_smoothing, 0.0, 1.0), (gamma, 0.0, LARGEST))
    # A gamma of 0 is the cross-entropy's.
    return options if options and options[1] is not None else None


def _numbers_of_categorical(
    eps: Any = 0.0, label_smoothing: Any = 0.0
) -> Options | None:
    options = numbers_of((label_smoothing, 0.0, 1.0))
    if options is None or type(eps) is not float or eps != 0.0:
        return None
    return (*options, None, None, None)


# ---- losses --------------------------------------------------------------------------


@loss_made_of(_softmax_call, SOFTMAX_CROSS_ENTROPY, _numbers_of_softmax)
def softmax_cross_entropy(
    logits: A,
    labels: AnyArray | int,
    *,
    class_axis: int = -1,
    class_weights: AnyArray | None = None,
    label_smoothing: AnyArray | float = 0.0,
    ignore_index: int | None = None,
    z_loss: AnyArray | float = 0.0,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Cross-entropy of softmax(logits) over classes, exact however sure the answer is.

    Of each row along the class axis, with the masses ``y`` that its label gives to the
    C classes (all to one, if the label is its number)::

        loss = sum(y * (logsumexp(x) - x)) + z_loss * logsumexp(x)**2

    ``label_smoothing`` s makes the masses ``y*(1-s) + s/C``; ``class_weights`` then
    multiply them.

    Parameters
    ----------
    logits : array of float16, bfloat16, float32 or float64, of one axis at least
        Any array of NumPy, PyTorch, JAX, CuPy, Dask, TensorFlow or an array-API
        library.  A class
        at -inf costs nothing, and weighs nothing, unless the label gives it mass.
    labels : integer array of the logits' shape without the class axis, or an int
        The number of each row's class, from 0 to C - 1: of another one loss and
        gradient are NaN (see `check_labels`).
    labels : array of the logits' shape, boolean, integer or floating
        The classes' masses, which mostly sum to 1, but do not have to.
    class_axis : int
        Along which the classes lie.
    class_weights : array (C,), optional
    label_smoothing : number from 0 to 1, differentiable if it is a 0-d array
    ignore_index : int, optional
        Labels of this number count nowhere, as if `where` left them out.
    z_loss : number of at least 0
        What keeps logsumexp(logits) near 0.
    weights, where : number, and boolean array, that fit onto the losses
        As for `sigmoid_cross_entropy`; the losses have the logits' shape without the
        class axis.
    axis : int or tuple of ints, optional
        Axes of the losses that the reduction runs over; by default all.
    reduction : {"none", "sum", "mean", "weighted_mean"}
        The array of losses; sum(w*l); sum(w*l) / N; sum(w*l) / sum(w * v), where v is
        the label's class weight, ``sum(class_weights * y)`` without smoothing.

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
        A wrong shape, device, axis or reduction; a number that is out of range.

    References
    ----------
    The derivation and the error bounds are in `xploss/formulas/softmax.py`; P.
    Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
    softmax functions", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[40.0, 0.0, -5.0], [0.0, 0.0, -np.inf]])
    >>> print(softmax_cross_entropy(logits, np.array([0, 1]), reduction="none"))
    [4.27697944e-18 6.93147181e-01]
    >>> print(f"{softmax_cross_entropy(np.zeros((2, 3)), np.array([0, 2])):.6f}")
    1.098612
    """
    if class_weights is weights is where is axis is None:
        options = _numbers_of_softmax(label_smoothing, z_loss)
        result = at_once(
            SOFTMAX_CROSS_ENTROPY,
            "value",
            logits,
            labels,
            options,
            reduction,
            class_axis,
            ignore_index,
        )
        if result is not None:
            return cast(A, result)
    call = _softmax_call(
        logits,
        labels,
        class_axis=class_axis,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        z_loss=z_loss,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


@loss_made_of(_softmax_focal_call, SOFTMAX_FOCAL, _numbers_of_focal)
def softmax_focal_loss(
    logits: A,
    labels: AnyArray | int,
    *,
    gamma: AnyArray | float = 2.0,
    class_axis: int = -1,
    class_weights: AnyArray | None = None,
    label_smoothing: AnyArray | float = 0.0,
    ignore_index: int | None = None,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Focal loss of softmax(logits): easy examples count less; exact when sure.

    Of each row along the class axis, with ``p = softmax(x)`` and the masses ``y`` of
    `softmax_cross_entropy`::

        focal = -sum(y * (1 - p)**gamma * log(p))

    The power is taken in log space, and 1 - p of the likeliest class from the others,
    never of a rounded probability.

    Parameters
    ----------
    gamma : number of at least 0, differentiable if it is a 0-d array
        0 gives `softmax_cross_entropy`, bit for bit.
    class_weights : array (C,), optional
        What others call alpha, an array; multiply the result by one that is a number.
    logits, labels, class_axis, label_smoothing, ignore_index, weights, where, axis, \
reduction
        As for `softmax_cross_entropy`, as are the result and the errors.

    References
    ----------
    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[2.0, 0.0, 0.0], [40.0, 0.0, -5.0]])
    >>> print(softmax_focal_loss(logits, np.array([0, 0]), reduction="none"))
    [1.08693309e-02 7.82368737e-53]
    """
    if class_weights is weights is where is axis is None:
        options = _numbers_of_focal(gamma, label_smoothing)
        result = at_once(
            SOFTMAX_FOCAL,
            "value",
            logits,
            labels,
            options,
            reduction,
            class_axis,
            ignore_index,
        )
        if result is not None:
            return cast(A, result)
    call = _softmax_focal_call(
        logits,
        labels,
        gamma=gamma,
        class_axis=class_axis,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


@loss_made_of(_categorical_call, CATEGORICAL, _numbers_of_categorical)
def categorical_cross_entropy(
    probs: A,
    labels: AnyArray | int,
    *,
    eps: AnyArray | float = 0.0,
    class_axis: int = -1,
    class_weights: AnyArray | None = None,
    label_smoothing: AnyArray | float = 0.0,
    ignore_index: int | None = None,
    weights: AnyArray | float | None = None,
    where: AnyArray | bool | None = None,
    axis: int | tuple[int, ...] | None = None,
    reduction: Reduction = "mean",
) -> A:
    """Cross-entropy of the probabilities of many classes, exact at 0 and 1.

    Of each row along the class axis ``-sum(y * log(p))`` with ``0 * log(0) = 0``; the
    masses ``y`` as in `softmax_cross_entropy`, which is the better choice where logits
    are at hand: a probability of a confident answer has lost its digits already.

    Parameters
    ----------
    probs : array of float16, bfloat16, float32 or float64, of one axis at least
        Taken as they are, not divided by their sum; outside [0, 1] the loss is NaN.
    eps : number from 0 to 0.5
        Clips the probabilities to [eps, 1 - eps] first, as older code does; the
        gradient is 0 where this changed one.
    labels, class_axis, class_weights, label_smoothing, ignore_index, weights, where, \
axis, reduction
        As for `softmax_cross_entropy`, as are the result and the errors.

    Examples
    --------
    >>> import numpy as np
    >>> probs = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    >>> print(categorical_cross_entropy(probs, np.array([0, 1]), reduction="none"))
    [0.69314718 0.        ]
    """
    if class_weights is weights is where is axis is None:
        options = _numbers_of_categorical(eps, label_smoothing)
        result = at_once(
            CATEGORICAL,
            "value",
            probs,
            labels,
            options,
            reduction,
            class_axis,
            ignore_index,
        )
        if result is not None:
            return cast(A, result)
    call = _categorical_call(
        probs,
        labels,
        eps=eps,
        class_axis=class_axis,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
    )
    return cast(A, value(call))


# ---- the functions that the losses rest on -------------------------------------------


def _of_rows(formula: Formula, x: A, axis: int) -> A:
    first = anchor("x", x)
    axis = _class_axis(first, "axis", axis)
    formula = formula._replace(class_axis=axis)
    call = Call(first, formula, None, (), None, None, None, "none", None)
    return cast(A, value(call))


def softmax(x: A, *, axis: int = -1) -> A:
    """exp(x) / sum(exp(x)) along an axis, to a few units in the last place.

    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `softmax_cross_entropy`.

    >>> import numpy as np
    >>> print(softmax(np.array([40.0, 0.0, -np.inf])))
    [1.00000000e+00 4.24835426e-18 0.00000000e+00]
    """
    return _of_rows(SOFTMAX, x, axis)


def log_softmax(x: A, *, axis: int = -1) -> A:
    """log(softmax(x)) along an axis, minus the loss of each class, exact near 0 too.

    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `softmax_cross_entropy`.

    >>> import numpy as np
    >>> print(log_softmax(np.array([40.0, 0.0, -np.inf])))
    [-4.24835426e-18 -4.00000000e+01            -inf]
    """
    return _of_rows(LOG_SOFTMAX, x, axis)


def logsumexp(x: A, *, axis: int = -1) -> A:
    """log(sum(exp(x))) along an axis, which the result does not have.

    One axis, by default the last; SciPy, JAX and TensorFlow take all by default.
    Takes and returns an array of float16, bfloat16, float32 or float64, of any shape
    and library; errors as for `softmax_cross_entropy`.

    >>> import numpy as np
    >>> print(logsumexp(np.array([[0.0, 0.0], [1000.0, -np.inf]])))
    [6.93147181e-01 1.00000000e+03]
    """
    return _of_rows(LOG_SUM_EXP, x, axis)
