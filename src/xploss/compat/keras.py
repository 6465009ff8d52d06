"""Keras' binary losses by their own names: labels first, probabilities by default.

The signatures are of Keras 3.15 (`keras.losses`) and of the Keras backend of
TensorFlow (`tf.keras.backend`).  Keras itself is not needed, and not loaded.
"""

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _formula
from .._arrays import FLOATS, anchor, fits, is_number, library, namespace
from .._losses import binary_cross_entropy, sigmoid_cross_entropy, sigmoid_focal_loss
from .._plain import quietly
from .._problem import (
    check_axis,
    check_fraction,
    check_least,
    check_number,
    elementwise,
    problem,
)
from ._shared import by_formula

EPSILON = 1e-7  # keras.config.epsilon()
CLIP = EPSILON, math.log(EPSILON), math.log1p(-EPSILON)


# ---- functions ---------------------------------------------------------------------


def _crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float, **options: Any
) -> Any:
    options["label_smoothing"] = label_smoothing
    if from_logits:
        return sigmoid_cross_entropy(y_pred, y_true, **options)
    return binary_cross_entropy(y_pred, y_true, eps=EPSILON, **options)


def _focal_of_probabilities(
    xp: Any, probs: Any, labels: Any, gamma: Any, alpha: Any, smoothing: float
) -> Any:
    """alpha_t * (1 - p_t)**gamma * loss; Keras clips p in the loss alone."""
    pos, neg = _formula.masses(labels, smoothing)
    factor = (pos * (1.0 - probs) + neg * probs) ** gamma
    if alpha is not None:
        factor = factor * (alpha * pos + (1.0 - alpha) * neg)
    loss = _formula.probability_value(xp, probs, labels, None, smoothing, *CLIP)
    return factor * loss


def _focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool,
    alpha: float,
    gamma: float,
    from_logits: bool,
    label_smoothing: float,
    **options: Any,
) -> Any:
    balance = check_fraction("alpha", alpha) if apply_class_balancing else None
    if from_logits:
        return sigmoid_focal_loss(
            y_pred,
            y_true,
            gamma=gamma,
            alpha=balance,
            label_smoothing=label_smoothing,
            **options,
        )
    smoothing = check_fraction("label_smoothing", label_smoothing) or None
    check_number("gamma", gamma)
    parameters = (check_least("gamma", float(gamma)), balance, smoothing)
    p = problem(anchor("y_pred", y_pred), None, y_true, parameters, **options)
    return by_formula(_focal_of_probabilities, p)


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
    return _crossentropy(
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
    y_true : array of `y_pred`'s shape, boolean, integer or floating
    y_pred : array of float16, bfloat16, float32 or float64
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
    return _focal_crossentropy(
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
    if from_logits:
        return sigmoid_cross_entropy(output, target, reduction="none")
    return binary_cross_entropy(output, target, eps=EPSILON, reduction="none")


# ---- shapes beside the losses ------------------------------------------------------


def _same_rank(one: Any, other: Any) -> tuple[Any, Any]:
    """Two arrays without a trailing axis of size 1 that only one of them has.

    As in Keras, a vector beside such an array gets that axis instead.
    """
    ranks = getattr(one, "ndim", 0), getattr(other, "ndim", 0)
    if ranks[0] < ranks[1]:
        other, one = _same_rank(other, one)
    elif ranks[0] == ranks[1] + 1 and one.shape[-1] == 1 and not is_number(other):
        if ranks[1] == 1:
            other = namespace("y_true", other).expand_dims(other, axis=-1)
        else:
            one = namespace("y_true", one).squeeze(one, axis=-1)
    return one, other


def _beside(name: str, values: Any, losses: tuple[Any, ...], axes: Any) -> Any:
    """`values`, one a loss, with size-1 axes where `y_pred` has `axes` more."""
    if values is None or is_number(values):
        return values
    xp = namespace(name, values)
    got = tuple(values.shape)
    if len(got) == len(losses) + 1 and got[-1] == 1:
        values = xp.squeeze(values, axis=-1)
    elif len(got) + 1 == len(losses) and losses[-1] == 1:
        values = xp.expand_dims(values, axis=-1)
    if values.ndim and not fits(tuple(values.shape), losses):
        raise ValueError(
            f"`{name}` must be a number or fit onto the losses, `y_pred` without the "
            f"axes {axes}, which are of shape {losses}; got shape {got}"
        )
    for axis in axes if values.ndim else ():
        values = xp.expand_dims(values, axis=axis)
    return values


def _cast(xp: Any, array: Any, name: str) -> Any:
    """To a dtype; what is beyond it, or below, is no warning."""
    dtype = getattr(np if library(xp) == "dask" else xp, name, None)
    if dtype is None:
        raise TypeError(
            f"`dtype` is {name!r}, which {library(xp)} does not have; pass another, or "
            f"None"
        )
    return quietly(xp, elementwise, xp, _unchanged, (array,), dtype)


def _unchanged(xp: Any, array: Any) -> Any:
    """What is cast; one function, for which JAX compiles once."""
    return array


def _keras_mask(y_pred: Any) -> Any:
    """The mask that a Keras layer left on its output.

    There is no public way to it; `keras.Loss` asks the same function:
    https://github.com/keras-team/keras/blob/v3.15.1/keras/src/losses/loss.py
    """
    masking = sys.modules.get("keras.src.backend.common.masking")
    return None if masking is None else masking.get_keras_mask(y_pred)


# ---- classes -----------------------------------------------------------------------

REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "weighted_mean",
    "sum": "sum",
    "none": "none",
    None: "none",
}


def _reduced(
    loss: Callable[..., Any], reduction: str | None, axes: tuple[int, ...], size: Any
) -> Any:
    """`loss` reduced over `axes`, of `size` elements, and then as Keras names it."""
    over_all = REDUCTIONS[reduction]
    if over_all in ("mean", "weighted_mean"):
        return loss(axis=None, reduction=over_all)
    if isinstance(size, float):
        raise ValueError(
            f"`y_pred` has a size along axes {axes} that Dask does not know; call its "
            f"`.compute_chunk_sizes()`"
        )
    sums = loss(axis=axes if over_all == "none" else None, reduction="sum")
    return sums / (size or math.nan)  # what is masked is 0, and counts


@functools.cache
def _keras_loss(cls: Any, keras_class: Any) -> Any:
    """`cls` as a subclass of Keras' class; its instances are those of `cls`."""

    def instance(_: Any, *args: Any, **options: Any) -> Any:
        return cls(*args, **options)

    body = {"__module__": cls.__module__, "__new__": instance}
    return type(cls.__name__, (cls, keras_class), body)


class _Loss:
    """A loss that is reduced over one axis, weighted by sample, then reduced again."""

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str,
        dtype: Any,
    ) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(
                "Invalid value for argument `reduction`. Expected one of "
                f"{tuple(REDUCTIONS)}. Received: reduction={reduction}"
            )
        dtype = getattr(dtype, "compute_dtype", dtype)  # of a keras.DTypePolicy
        if dtype is not None and dtype not in FLOATS:
            raise ValueError(f"`dtype` must be one of {sorted(FLOATS)}; got {dtype!r}")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis
        self.reduction = reduction
        self.name = name
        self.dtype = dtype

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` asks: where Keras is loaded, this is a `keras.Loss` too.

        `compile` hands sample weights and a mask to nothing else; of anything else it
        takes the result for one loss a sample, and a mean for the same loss each:
        https://github.com/keras-team/keras/blob/v3.15.1/keras/src/trainers/compile_utils.py
        """
        cls: Any = type(self)
        losses = sys.modules.get("keras.losses")
        return cls if losses is None else _keras_loss(cls, losses.Loss)

    def _obj_type(self) -> str:
        """What `model.save` asks of whatever is a `keras.Loss`."""
        return "Loss"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self).from_config, (self.get_config(),)

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        raise NotImplementedError

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        xp, mask = namespace("y_pred", y_pred), _keras_mask(y_pred)
        y_true, y_pred = _same_rank(y_true, y_pred)
        if self.dtype is not None:
            y_pred = _cast(xp, y_pred, self.dtype)
        shape = tuple(y_pred.shape)
        axes = check_axis(self.axis, len(shape)) or tuple(range(len(shape)))
        losses = tuple(n for k, n in enumerate(shape) if k not in axes)
        loss = functools.partial(
            self._loss,
            y_true,
            y_pred,
            weights=_beside("sample_weight", sample_weight, losses, sorted(axes)),
            where=_beside("mask", mask, losses, sorted(axes)),
        )
        if not losses:  # one loss, which no reduction changes
            return loss(axis=None, reduction="mean")
        return _reduced(loss, self.reduction, axes, math.prod([shape[k] for k in axes]))

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name."""
        names = ("name", "reduction", "dtype", "from_logits", "label_smoothing", "axis")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class BinaryCrossentropy(_Loss):
    """`keras.losses.BinaryCrossentropy`, on any array and in `model.compile`.

    Called as ``loss(y_true, y_pred, sample_weight=None)``: the mean over `axis`, times
    the samples' weights, reduced.  Against Keras: the computation is in `y_pred`'s
    dtype unless `dtype` says otherwise, where Keras' is float32; weights that do not
    match the losses are a ValueError, where Keras multiplies every one with every
    other; the mean of nothing, or by weights of sum 0, is NaN, where Keras has 0; what
    is reduced from 16 bits stays float32.

    For `model.compile` this is a `keras.losses.Loss`, on the JAX and the PyTorch
    backend: sample and class weights and masks count.  To load a saved model pass
    ``custom_objects={"BinaryCrossentropy": BinaryCrossentropy}``, or put this class
    under that name into ``keras.saving.get_custom_objects()``, where `clone_model`
    finds it too.  `register_keras_serializable` has no effect on it.

    Parameters
    ----------
    from_logits : bool
        Logits are exact; probabilities are clipped to [1e-7, 1 - 1e-7], as in Keras.
    label_smoothing : number from 0 to 1
    axis : int
    reduction : str, optional
        "sum_over_batch_size" or "mean": sum(w*l) / N for N losses;
        "mean_with_sample_weight": sum(w*l) / sum(w); "sum"; "none" or None: w*l.
    name : str
    dtype : {"float16", "bfloat16", "float32", "float64"}, optional
        What `y_pred` is cast to.

    Raises
    ------
    ValueError
        An unknown reduction or dtype; when called, as `xploss.sigmoid_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> y_pred = np.array([[-18.6, 0.51], [2.94, -12.8]])
    >>> loss = BinaryCrossentropy(from_logits=True)
    >>> print(f"{loss(y_true, y_pred):.6f}")
    0.865458
    >>> print(f"{loss(y_true, y_pred, sample_weight=np.array([0.8, 0.2])):.6f}")
    0.243639
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return _crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, **options
        )


class BinaryFocalCrossentropy(_Loss):
    """`keras.losses.BinaryFocalCrossentropy`, on any array and in `model.compile`.

    The loss is `binary_focal_crossentropy`; calls, reductions, shapes, dtypes, errors
    and what differs from Keras are as for `BinaryCrossentropy`.

    Parameters
    ----------
    apply_class_balancing : bool
        `alpha` counts only if this is true, as in Keras.
    alpha : number from 0 to 1
    gamma : number of at least 0
    from_logits, label_smoothing, axis, reduction, name, dtype
        As for `BinaryCrossentropy`.

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> y_pred = np.array([[0.6, 0.4], [0.4, 0.6]])
    >>> print(f"{BinaryFocalCrossentropy(gamma=2)(y_true, y_pred):.6f}")
    0.267832
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return _focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name."""
        names = ("apply_class_balancing", "alpha", "gamma")
        return super().get_config() | {name: getattr(self, name) for name in names}
