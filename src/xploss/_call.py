"""A checked call of a loss: its formula evaluated, weighed, masked, reduced."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ._arguments import REDUCTIONS, Anchor, check_axis, check_reduction
from ._arrays import Array, computing_dtype, count
from .backends.job import Job
from .backends.table import listed
from .formulas.record import Formula
from .formulas.sigmoid import ONE


class Call(NamedTuple):
    """`options` follow logits and labels into the formula."""

    anchor: Anchor
    formula: Formula
    labels: Any
    options: tuple[Any, ...]
    weights: Any
    where: Any
    axis: tuple[int, ...] | None
    reduction: str
    n: int | None  # what a sum is divided by, where shapes alone tell it


class MadeOf(NamedTuple):
    """What a loss has as its `made_of`, for its derivatives."""

    loss: Callable[..., Any]
    call: Callable[..., Call]  # of the loss's own arguments
    formula: Formula


def checked(
    anchor: Anchor,
    formula: Formula,
    labels: Any,
    options: dict[str, Any],
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "none",
) -> Call:
    """A call of a formula; its own `options`, by name, are checked already."""
    reduction = check_reduction(reduction, axis)
    axis = check_axis(axis, len(anchor.shape))
    weights, where = anchor.weights(weights), anchor.mask(where)
    counted = reduction == "weighted_mean" and weights is not None
    counted = counted or reduction in ("none", "sum") or where is not None
    return Call(
        anchor=anchor,
        formula=formula,
        labels=anchor.labels(labels),
        options=tuple([options[name] for name in formula.traced[2:]]),
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
        n=None if counted else count(anchor.shape, axis),
    )


# ---- results -----------------------------------------------------------------------


def at_once(
    formula: Formula, quantity: str, first: Any, labels: Any, reduction: Any
) -> Any:
    """The result of an ordinary call, without options, of two arrays that are alike.

    None of any other, which is checked, and refused where it has to be, as a `Call`.
    """
    backend = listed(first)
    if backend is None or type(reduction) is not str or reduction not in REDUCTIONS:
        return None
    return backend.at_once(formula, quantity, first, labels, reduction)


def value(call: Call) -> Any:
    """Per element or reduced; what is reduced from 16 bits stays float32."""
    anchor = call.anchor
    return anchor.backend.enter(anchor.array, _value, call)


def value_and_gradient(call: Call) -> tuple[Any, Any]:
    """The value, and its derivative (its sum's, if an array) by the logits."""
    pair: tuple[Any, Any] = call.anchor.backend.enter(
        call.anchor.array, _value_and_gradient, call
    )
    return pair


def gradient_and_hessian(call: Call) -> tuple[Any, Any]:
    """Both per element."""
    pair: tuple[Any, Any] = call.anchor.backend.enter(
        call.anchor.array, _evaluated, call, "slope_and_curvature", 2
    )
    return pair


# ---- evaluation --------------------------------------------------------------------


def _evaluated(call: Call, quantity: str, outputs: int = 1) -> Any:
    """The outputs of a quantity, weighed and masked: a tuple of them.

    Where the call reduces, the first is its sum and the second, the slopes, that sum's;
    both are divided by N where the shapes tell it (`call.n`).
    """
    (_, first, backend, *_), n = call.anchor, call.n
    dtypes: tuple[Any, ...] = (first.dtype,) * outputs
    summed, share = call.reduction != "none", None
    if summed:
        wide = computing_dtype(backend.xp, first)
        dtypes = (wide,)
        if outputs == 2:
            dtypes = (wide, wide if _divides_later(call) else first.dtype)
            share = None if n is None else 1.0 / n if n != 0 else 0.0
    arguments = (first, call.labels, *call.options)
    return backend.evaluate(
        Job(
            call.formula,
            arguments,
            dtypes,
            quantity,
            call.weights,
            call.where,
            summed,
            call.axis,
            n,
            scales=(None, share),
        )
    )


def _value(call: Call) -> Array:
    (total,) = _evaluated(call, "value")
    return _divided(call, total, _denominator(call)) if _divides_later(call) else total


def _value_and_gradient(call: Call) -> tuple[Array, Array]:
    total, slopes = _evaluated(call, "value_and_slope", 2)
    if not _divides_later(call):
        return total, slopes
    n, dtype = _denominator(call), call.anchor.array.dtype
    gradient = call.anchor.backend.elementwise(_share, (slopes, n), dtype)
    return _divided(call, total, n), gradient


# ---- means -------------------------------------------------------------------------


def _divides_later(call: Call) -> bool:
    """By an N that is counted or added up."""
    return call.n is None and call.reduction not in ("none", "sum")


def _denominator(call: Call) -> Array:
    """N after broadcasting, or the sum of the weights: 1 in the place of the loss.

    Its axes are kept, so that it fits onto the slopes.
    """
    backend = call.anchor.backend
    weights = call.weights if call.reduction == "weighted_mean" else None
    counted, times = backend.counted_of(
        call.anchor.array, call.axis, weights, call.where
    )
    job = Job(
        ONE,
        (counted, 0.0),
        (computing_dtype(backend.xp, counted),),
        weights=weights,
        where=call.where,
        summed=True,
        axis=call.axis,
        keepdims=call.axis is not None,  # a 0-d one fits as it is
    )
    n = backend.reusable_sum(backend.evaluate(job)[0])
    return n if times == 1 else n * times


def _divided(call: Call, total: Array, n: Array) -> Array:
    n = n if call.axis is None else call.anchor.xp.squeeze(n, axis=call.axis)
    return call.anchor.backend.elementwise(_mean, (total, n), total.dtype)


def _mean(xp: Any, total: Array, n: Array) -> Array:
    # Dividing by inf where n is 0 makes the derivative of that branch 0, not NaN.
    return xp.where(n == 0.0, math.nan, total / xp.where(n == 0.0, math.inf, n))


def _share(xp: Any, slopes: Array, n: Array) -> Array:
    return slopes / xp.where(n == 0.0, math.inf, n)
