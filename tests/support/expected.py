"""What a whole call has to return: the exact numbers, and the kind of its results."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import reference
from backends import Backend
from focal_reference import from_logit_focal
from mpmath import mp, mpf

import xploss

REDUCTIONS = ("none", "sum", "mean", "weighted_mean")

# Numbers that every dtype holds, as are the sums of a few of them.
LOGITS = np.array([[-3.0, 0.5, 20.0], [0.0, -0.25, 2.0]])
PROBS = np.array([[0.25, 0.5, 0.875], [1.0, 0.125, 0.0]])
LABELS = np.array([[0.0, 1.0, 1.0], [1.0, 0.25, 0.0]])
PER_CLASS = np.array([[0.5, 3.0, 1.0]])
PER_SAMPLE = np.array([[2.0], [0.25]])
PER_ELEMENT = np.array([[1.0, 2.0, 0.5], [4.0, 3.0, 0.0]])
MASK = np.array([[True, False, True], [True, True, False]])


# Options of every loss, each an array that spreads or a number.
COMMON = {"label_smoothing": 0.125, "weights": PER_SAMPLE, "where": MASK}


class Loss(NamedTuple):
    """A loss, arguments for it, and the formula of `reference` for it."""

    function: Callable[..., Any]
    first: np.ndarray
    labels: np.ndarray
    formula: Callable[..., reference.Exact]
    own: dict[str, Any]  # options that not every loss has
    bound: float = 8.0  # in ulp

    @property
    def options(self) -> dict[str, Any]:
        """Each name of an option."""
        return self.own | COMMON

    @property
    def of_logits(self) -> bool:
        return self.function is not xploss.binary_cross_entropy

    def __str__(self) -> str:
        return self.function.__name__


def focal(x: float, y: float, **options: Any) -> reference.Exact:
    exact = from_logit_focal(x, y, **options)
    return reference.Exact(
        exact.value,
        exact.gradient,
        exact.hessian,
        max(exact.gradient_term, abs(exact.gradient)),
    )


# The one list of losses.
LOSSES = (
    Loss(
        xploss.sigmoid_cross_entropy,
        LOGITS,
        LABELS,
        reference.from_logit,
        {"pos_weight": PER_CLASS},
    ),
    Loss(
        xploss.binary_cross_entropy,
        PROBS,
        LABELS,
        reference.from_probability,
        {"pos_weight": PER_CLASS},
    ),
    Loss(
        xploss.sigmoid_focal_loss,
        LOGITS,
        LABELS,
        focal,
        {"gamma": 0.5, "alpha": PER_CLASS / 4},
        16.0 * (1.0 + 2.0 * 20.0),  # 16 (1 + gamma |log(1 - p_t)|)
    ),
)
LOGIT_LOSSES = tuple(loss for loss in LOSSES if loss.of_logits)
WEIGHED_LOSSES = tuple(loss for loss in LOSSES if "pos_weight" in loss.own)


def every_function(loss: Loss) -> dict[str, Callable[..., Any]]:
    """All that can be made of a loss, to be called as the loss itself."""
    function, derived = loss.function, xploss.value_and_grad(loss.function)
    functions = {
        **{name: partial(function, reduction=name) for name in REDUCTIONS},
        **{f"{name}, grad": partial(derived, reduction=name) for name in REDUCTIONS},
        "axis, grad": partial(derived, axis=1),
        "axis, weighted, grad": partial(derived, axis=-1, reduction="weighted_mean"),
    }
    if loss.of_logits:
        functions["grad, hess"] = xploss.grad_and_hess(function)
    return functions


OPTIONS = LOSSES[0].options


# ---- exact numbers, as object arrays of mpf ----------------------------------------


def per_element(field: str, loss: Loss, options: dict[str, Any]) -> np.ndarray:
    """A field of `reference.Exact` of each element; 0 of what is left out."""
    smoothing = float(options.get("label_smoothing", 0.0))
    names = [name for name in loss.own if name in options]

    def one(x: float, y: float, w: float, counts: bool, *own: float) -> mpf:
        if not counts:
            return mpf(0)
        given = dict(zip(names, own, strict=True))
        exact = loss.formula(x, y, smoothing=smoothing, weight=w, **given)
        return getattr(exact, field)

    return np.vectorize(one, otypes=[object])(
        loss.first,
        loss.labels,
        *shares(loss, options),
        *(np.asarray(options[name], float) for name in names),
    )


def shares(loss: Loss, options: dict[str, Any]) -> list[np.ndarray]:
    """Weights and mask, spread over the elements."""
    defaults = {"weights": 1.0, "where": True}
    return [
        np.broadcast_to(options.get(name, default), loss.first.shape)
        for name, default in defaults.items()
    ]


def divisor(loss: Loss, options: dict[str, Any]) -> np.ndarray:
    """What a sum is divided by, its axes kept; exact, being of few short numbers."""
    weights, counts = shares(loss, options)
    axis, reduction = options.get("axis"), options.get("reduction", "mean")
    if reduction in ("none", "sum"):
        weights, counts, axis = np.ones((1, 1)), True, ()
    elif reduction == "mean":
        weights = np.ones(weights.shape)
    return np.where(counts, weights, 0.0).sum(axis, keepdims=True).astype(object)


def value(loss: Loss, options: dict[str, Any]) -> np.ndarray:
    """What the call returns."""
    elements = per_element("value", loss, options)
    if options.get("reduction") == "none":
        return elements
    with mp.workprec(200):
        axis = options.get("axis")
        total = np.asarray(elements.sum(axis, keepdims=True))
        return np.asarray(np.asarray(total / divisor(loss, options)).sum(axis))


def gradient(loss: Loss, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of that value, and the larger of the two terms that it is made of."""
    slopes, terms = (per_element(f, loss, options) for f in ("gradient", "term"))
    with mp.workprec(200):
        n = divisor(loss, options)
        return slopes / n, terms / n


# ---- arguments ---------------------------------------------------------------------


def of_backend(backend: Backend, dtype: str, options: dict[str, Any]) -> dict[str, Any]:
    """NumPy's arrays as the backend's: masks boolean, others of the dtype."""

    def converted(option: Any) -> Any:
        if not isinstance(option, np.ndarray):
            return option
        return backend.array(option, "bool" if option.dtype == bool else dtype)

    return {name: converted(option) for name, option in options.items()}


def without_address(value: Any) -> str:
    """The same in each process, which tests that are run side by side need."""
    return re.sub(r" at 0x\w+", "", repr(value))


def each(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


# ---- results -----------------------------------------------------------------------


def dtype_of(array: Any) -> str:
    return str(getattr(array.dtype, "name", array.dtype)).rpartition(".")[2]


def wide(dtype: str) -> str:
    """The dtype of what is reduced."""
    return "float64" if dtype == "float64" else "float32"


def is_like(first: Any, result: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """Of the library and on the device of `first`; of this dtype and shape."""
    scalar = (np.generic,) if isinstance(first, np.ndarray) else ()
    assert isinstance(result, (type(first), *scalar)), type(result)
    assert getattr(result, "device", None) == getattr(first, "device", None)
    assert dtype_of(result) == dtype
    assert tuple(result.shape) == tuple(shape)


def is_close(
    result: np.ndarray, exact: np.ndarray, dtype: str, bound: float, unit: Any = None
) -> None:
    """Within `bound` ulp of each exact number, or of each number in `unit`."""
    assert np.shape(result) == np.shape(exact)
    unit = exact if unit is None else np.broadcast_to(unit, np.shape(exact))
    columns = (np.ravel(np.asarray(a, object)) for a in (result, exact, unit))
    away = [
        reference.ulps(r, e, dtype, unit=u) for r, e, u in zip(*columns, strict=True)
    ]
    assert max(away) <= bound, f"{max(away)} ulp: {result!r} for {exact!r}"
