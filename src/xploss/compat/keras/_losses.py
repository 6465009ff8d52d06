"""Keras' loss classes on arrays: a mean over an axis, weighted by sample, and reduced.

Where Keras is loaded, `_module.py` has their subclasses that are its losses too.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from ..._arguments import anchor, backend_of, check_axis
from ..._arrays import FLOATS, REALS, dtype_name, fits, is_number, shape_of
from ...backends.base import Backend
from .._shared import SIZES_BY, cast, to_library_of
from ._categorical import focal_of_masses, of_masses, of_numbers
from ._functions import crossentropy, focal_crossentropy, together

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
            backend_of("y_true", other)
            other = _expanded(other, -1)
        else:
            one = backend_of("y_true", one).xp.squeeze(one, axis=-1)
    return one, other


def _fitted(name: str, values: Any, losses: tuple[Any, ...], axes: Any) -> Any:
    """`values`, one a loss, with size-1 axes where `y_pred` has `axes` more."""
    if values is None or is_number(values):
        return values
    xp = backend_of(name, values).xp
    got = shape_of(values)
    if len(got) == len(losses) + 1 and got[-1] == 1:
        values = xp.squeeze(values, axis=-1)
    elif len(got) + 1 == len(losses) and losses[-1] == 1:
        values = _expanded(values, -1)
    if values.ndim and not fits(shape_of(values), losses):
        raise ValueError(
            f"`{name}` must be a number or fit onto the losses, `y_pred` without the "
            f"axes {axes}, which are of shape {losses}; got shape {got}"
        )
    for axis in axes if values.ndim else ():
        values = _expanded(values, axis)
    return values


def _expanded(array: Any, axis: int) -> Any:
    """With an axis of size 1; by an index, as Dask reshapes no unknown size."""
    return array[(slice(None),) * (axis % (array.ndim + 1)) + (None,)]


def _cast(backend: Backend, array: Any, name: str) -> Any:
    dtype = backend.dtype(name)
    if dtype is None:
        raise TypeError(
            f"`dtype` is {name!r}, which {backend.name} does not have; pass another, "
            f"or None"
        )
    return cast(backend, array, dtype)


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
            f"`y_pred` has a size along axes {axes} that is not known; {SIZES_BY}"
        )
    sums = loss(axis=axes if over_all == "none" else None, reduction="sum")
    return sums / (size or math.nan)  # what is masked is 0, and counts


# By class, the one that is Keras' too; `_module.py` fills it in where Keras is loaded.
OF_KERAS: dict[Any, Any] = {}


def with_keras(cls: Any) -> Any:
    """Where Keras is loaded, the class that is a `keras.losses.Loss` too."""
    if not OF_KERAS or issubclass(cls, tuple(OF_KERAS.values())):
        return cls
    if cls not in OF_KERAS:
        raise TypeError(
            f"`{cls.__qualname__}` was derived before Keras was imported, and is no "
            f"`keras.losses.Loss`; import Keras first"
        )
    return OF_KERAS[cls]


PREFIX = "xploss>"  # of a name, in what Keras saves


class Loss:
    """A loss that is reduced over one axis, weighted by sample, then reduced again."""

    KERAS_NAME = ""

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str | None,
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
        self.axis = tuple(axis) if isinstance(axis, list) else axis  # saved as JSON
        self.reduction = reduction
        self.name = (name or self.KERAS_NAME).removeprefix(PREFIX)
        self._dtype = dtype

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return super().__new__(with_keras(cls))

    def __init_subclass__(cls) -> None:
        # Which `inspect.signature` would not find behind that of `__new__`.
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

    @property
    def dtype(self) -> Any:
        """What `y_pred` is cast to; None leaves it as it is."""
        return self._dtype

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        raise NotImplementedError

    def _mask(self, y_pred: Any) -> Any:
        """What a Keras layer left of its output to be counted."""
        return None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses, one a sample, neither weighted nor reduced further.

        A subclass may have others, which Keras then weighs and reduces.
        """
        y_true, y_pred = self._arrays(y_true, y_pred)
        return self._loss(y_true, y_pred, axis=self.axis, reduction="mean")

    def _arrays(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Of one library and rank, the predictions cast."""
        y_true, y_pred = _same_rank(*together(y_true, y_pred))
        backend = anchor("y_pred", y_pred, REALS).backend
        dtype = self.dtype
        if dtype is None and dtype_name(y_pred) not in FLOATS:
            dtype = "float32"  # as Keras' classes cast what is whole
        return y_true, y_pred if dtype is None else _cast(backend, y_pred, dtype)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if type(self).call not in (Loss.call, RowLoss.call):  # of a user's own
            return super().__call__(y_true, y_pred, sample_weight)  # type: ignore[misc]
        mask = self._mask(y_pred)
        y_true, y_pred = self._arrays(y_true, y_pred)
        sample_weight = to_library_of("sample_weight", sample_weight, "y_pred", y_pred)
        shape = shape_of(y_pred)
        axes = check_axis(self.axis, len(shape)) or tuple(range(len(shape)))
        losses = tuple(n for k, n in enumerate(shape) if k not in axes)
        loss = functools.partial(
            self._loss,
            y_true,
            y_pred,
            weights=self._fitted("sample_weight", sample_weight, losses, axes),
            where=self._fitted("mask", mask, losses, axes),
        )
        if not losses:  # one loss, which no reduction changes
            return loss(axis=None, reduction="mean")
        return self._reduced(loss, axes, shape)

    def _fitted(
        self, name: str, values: Any, losses: tuple[Any, ...], axes: tuple[int, ...]
    ) -> Any:
        return _fitted(name, values, losses, sorted(axes))

    def _reduced(
        self, loss: Callable[..., Any], axes: tuple[int, ...], shape: tuple[Any, ...]
    ) -> Any:
        size = math.prod([shape[k] for k in axes])
        return _reduced(loss, self.reduction, axes, size)

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name."""
        names = ("name", "reduction", "dtype", "from_logits", "label_smoothing", "axis")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class BinaryCrossentropy(Loss):
    """`keras.losses.BinaryCrossentropy`, on any array and in `model.compile`.

    Called as ``loss(y_true, y_pred, sample_weight=None)``: the mean over `axis`, times
    the samples' weights, reduced.  Against Keras: the computation is in `y_pred`'s
    dtype unless `dtype` says otherwise, where Keras' is float32; weights that do not
    match the losses are a ValueError, where Keras multiplies every one with every
    other; the mean of nothing, or by weights of sum 0, is NaN, where Keras has 0; what
    is reduced from 16 bits stays float32.

    Where Keras is loaded this is a `keras.losses.Loss`, on the JAX, the PyTorch and the
    TensorFlow backend: sample and class weights and masks count, and a saved model is
    loaded with it, once `xploss.compat.keras` is imported.  A subclass is derived after
    Keras is imported, and registered as one of Keras' own.

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

    KERAS_NAME = "binary_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = KERAS_NAME,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, **options
        )


class BinaryFocalCrossentropy(Loss):
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

    KERAS_NAME = "binary_focal_crossentropy"

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = KERAS_NAME,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return focal_crossentropy(
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


# ---- many classes --------------------------------------------------------------------


class RowLoss(Loss):
    """A loss of rows along an axis, weighted by sample and reduced."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses, one a row, neither weighted nor reduced."""
        y_true, y_pred = self._arrays(y_true, y_pred)
        return self._loss(y_true, y_pred, axis=None, reduction="none")

    def _fitted(
        self, name: str, values: Any, losses: tuple[Any, ...], axes: tuple[int, ...]
    ) -> Any:
        """The losses have no class axis, and neither have their weights."""
        return _fitted(name, values, losses, ())

    def _reduced(
        self, loss: Callable[..., Any], axes: tuple[int, ...], shape: tuple[Any, ...]
    ) -> Any:
        return loss(axis=None, reduction=REDUCTIONS[self.reduction])


class CategoricalCrossentropy(RowLoss):
    """`keras.losses.CategoricalCrossentropy`, on any array and in `model.compile`.

    The loss is `categorical_crossentropy`; calls, weights, dtypes, errors and what
    differs from Keras are as for `BinaryCrossentropy`.

    Parameters
    ----------
    from_logits : bool
    label_smoothing : number from 0 to 1
    axis : int
        Along which the classes lie.
    reduction, name, dtype
        As for `BinaryCrossentropy`, of one loss a row.

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> y_pred = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    >>> print(f"{CategoricalCrossentropy()(y_true, y_pred):.6f}")
    1.176939
    """

    KERAS_NAME = "categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = KERAS_NAME,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return of_masses(
            y_true,
            y_pred,
            self.from_logits,
            self.label_smoothing,
            self.axis,
            **options,
        )


class SparseCategoricalCrossentropy(RowLoss):
    """`keras.losses.SparseCategoricalCrossentropy`, on any array and in a model.

    The loss is `sparse_categorical_crossentropy`; the rest is as for
    `CategoricalCrossentropy`.

    Parameters
    ----------
    from_logits : bool
    ignore_class : int, optional
        Rows of this class count nowhere.
    axis, reduction, name, dtype
        As for `CategoricalCrossentropy`.

    Examples
    --------
    >>> import numpy as np
    >>> y_pred = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    >>> print(f"{SparseCategoricalCrossentropy()(np.array([1, 2]), y_pred):.6f}")
    1.176939
    """

    KERAS_NAME = "sparse_categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = KERAS_NAME,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype)
        self.ignore_class = ignore_class

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return of_numbers(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis, **options
        )

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name."""
        config = super().get_config() | {"ignore_class": self.ignore_class}
        del config["label_smoothing"]
        return config


class CategoricalFocalCrossentropy(RowLoss):
    """`keras.losses.CategoricalFocalCrossentropy`, on any array and in a model.

    The loss is `categorical_focal_crossentropy`; the rest is as for
    `CategoricalCrossentropy`.

    Parameters
    ----------
    alpha : number from 0 to 1, or list (C,)
    gamma : number of at least 0
    from_logits, label_smoothing, axis, reduction, name, dtype
        As for `CategoricalCrossentropy`.

    Examples
    --------
    >>> import numpy as np
    >>> y_true = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> y_pred = np.array([[0.05, 0.9, 0.05], [0.1, 0.85, 0.05]])
    >>> print(f"{CategoricalFocalCrossentropy()(y_true, y_pred):.6f}")
    0.338088
    """

    KERAS_NAME = "categorical_focal_crossentropy"

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = KERAS_NAME,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma

    def _loss(self, y_true: Any, y_pred: Any, **options: Any) -> Any:
        return focal_of_masses(
            y_true,
            y_pred,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name."""
        return super().get_config() | {"alpha": self.alpha, "gamma": self.gamma}
