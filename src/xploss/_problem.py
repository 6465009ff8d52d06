"""One call of a loss: options checked, formula evaluated, weighed, masked, reduced."""

import difflib
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from . import _arrays, _evaluate, _formula
from ._arrays import Anchor, Array
from ._plain import Evaluation, quietly

Reduction = Literal["none", "sum", "mean", "weighted_mean"]
REDUCTIONS = get_args(Reduction)


class Problem(NamedTuple):
    """A checked call.  `parameters` follow logits and labels into the formulas."""

    anchor: Anchor
    formulas: Any
    labels: Any
    parameters: tuple[Any, ...]
    weights: Any
    where: Any
    axis: tuple[int, ...] | None
    reduction: str
    n: int | None  # what a sum is divided by, where shapes alone tell it


# ---- options --------------------------------------------------------------------


def check_number(name: str, value: Any) -> None:
    if not _arrays.is_number(value):
        raise TypeError(
            f"`{name}` must be a number; got {_arrays.kind(value)}, {value!r:.40}"
        )


def check_fraction(name: str, value: Any, most: float = 1.0) -> float:
    """A number in [0, most], known before anything is computed."""
    check_number(name, value)
    fraction = _arrays.number(name, value)
    if not 0.0 <= fraction <= most:
        raise ValueError(f"`{name}` must be from 0 to {most}; got {value!r}")
    return fraction


def fraction(anchor: Anchor, name: str, value: Any, most: float = 1.0) -> Any:
    """A number in [0, most], None for 0; or a 0-d array, which is not looked at."""
    if _arrays.is_number(value):
        return check_fraction(name, value, most) or None
    return anchor.scalar(name, value)


def check_least(name: str, value: Any, least: float = 0.0) -> Any:
    """A number of at least `least`; an array is not looked at."""
    if value is None:
        raise TypeError(f"`{name}` must be a number or an array; got None")
    if isinstance(value, float) and not value >= least:
        raise ValueError(f"`{name}` must be at least {least}; got {value!r}")
    return value


def check_reduction(reduction: Any, axis: Any) -> str:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        meant = difflib.get_close_matches(str(reduction).lower(), REDUCTIONS, n=1)
        hint = "".join(f"; did you mean {close!r}?" for close in meant)
        raise ValueError(
            f"`reduction` must be one of {REDUCTIONS}; got {reduction!r}{hint}"
        )
    if reduction == "none" and axis is not None:
        raise ValueError(
            f"`axis` says what a reduction runs over; got axis={axis!r} with "
            f"reduction='none'; leave one of them out"
        )
    return str(reduction)


def check_axis(axis: Any, ndim: int) -> tuple[int, ...] | None:
    """None for all axes, else a tuple of different axes in range(ndim)."""
    if axis is None:
        return None
    axes = axis if isinstance(axis, tuple) else (axis,)
    try:
        if any(isinstance(k, bool) for k in axes):  # a misplaced keepdims, mostly
            raise TypeError
        axes = tuple(map(operator.index, axes))
    except TypeError:
        raise TypeError(
            f"`axis` must be None, an int or a tuple of ints; got {axis!r}"
        ) from None
    if not axes or not all(-ndim <= k < ndim for k in axes):
        raise ValueError(f"`axis` must be axes of a {ndim}-d array; got {axis!r}")
    axes = tuple(k % ndim for k in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` names an axis twice; got {axis!r}")
    return axes


def problem(
    anchor: Anchor,
    formulas: Any,
    labels: Any,
    parameters: tuple[Any, ...],
    weights: Any = None,
    where: Any = None,
    axis: Any = None,
    reduction: Any = "none",
) -> Problem:
    reduction = check_reduction(reduction, axis)
    axis = check_axis(axis, len(anchor.shape))
    weights, where = anchor.weights(weights), anchor.mask(where)
    counted = reduction == "weighted_mean" and weights is not None
    counted = counted or reduction in ("none", "sum") or where is not None
    return Problem(
        anchor=anchor,
        formulas=formulas,
        labels=anchor.labels(labels),
        parameters=parameters,
        weights=weights,
        where=where,
        axis=axis,
        reduction=reduction,
        n=None if counted else _arrays.count(anchor.shape, axis),
    )


# ---- evaluation -----------------------------------------------------------------


def evaluate(p: Problem, formula: Callable[..., Any], outputs: int = 1) -> Any:
    """The outputs of a formula, weighed and masked: a tuple of them.

    Where the problem reduces, the first is its sum and the second, the slopes, that
    sum's; both are divided by N where the shapes tell it (`p.n`).
    """
    xp, logits = p.anchor.xp, p.anchor.array
    arguments = (logits, p.labels, p.weights, p.where, *p.parameters)
    if p.reduction == "none":
        e = Evaluation(formula, arguments, (logits.dtype,) * outputs)
        return _evaluate.evaluate(xp, e)
    wide = _arrays.computing_dtype(xp, logits)
    dtypes: tuple[Any, ...] = (wide,)
    share = None
    if outputs == 2:
        dtypes = (wide, wide if _divides_later(p) else logits.dtype)
        share = None if p.n is None else 1.0 / p.n if p.n != 0 else 0.0
    scales = (None, share)
    e = Evaluation(formula, arguments, dtypes, True, p.axis, p.n, scales=scales)
    return _evaluate.evaluate(xp, e)


def carried_out(function: Callable[..., Any], p: Problem, *arguments: Any) -> Any:
    """function(p, *arguments), in the surroundings that the arrays need."""
    if _arrays.library(p.anchor.xp) == "torch":
        from ._torch import within_mode

        return within_mode(p.anchor.array, function, p, *arguments)
    return quietly(p.anchor.xp, function, p, *arguments)


def elementwise(
    xp: Any, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
) -> Any:
    """function(xp, *arguments), of this dtype; on Dask when a block is computed."""
    if _arrays.library(xp) == "dask":
        from . import _dask

        return _dask.elementwise(function, arguments, dtype)
    if _arrays.library(xp) == "jax":
        from . import _jax

        return _jax.elementwise(function, arguments, dtype)
    return xp.astype(function(xp, *arguments), dtype, copy=False)


# ---- reduction ------------------------------------------------------------------


def _divides_later(p: Problem) -> bool:
    """By an N that is counted or added up."""
    return p.n is None and p.reduction not in ("none", "sum")


def _denominator(p: Problem) -> Array:
    """N after broadcasting, or the sum of the weights: 1 in the place of the loss.

    Its axes are kept, so that it fits onto the slopes.
    """
    xp, logits = p.anchor.xp, p.anchor.array
    if _arrays.library(xp) == "torch":
        logits = logits.detach()  # which is not what N depends on
    elif _arrays.library(xp) == "dask":
        logits = xp.zeros_like(logits)  # blocks that N needs as well are sent about
    weights = p.weights if p.reduction == "weighted_mean" else None
    repeats = 1
    if _arrays.library(xp) == "jax":
        from ._jax import unspread

        logits, repeats = unspread(logits, p.axis, weights, p.where)
    dtype = _arrays.computing_dtype(xp, logits)
    arguments = (logits, 0.0, weights, p.where)
    keepdims = p.axis is not None  # a 0-d one fits as it is
    e = Evaluation(_formula.one, arguments, (dtype,), True, p.axis, keepdims=keepdims)
    (n,) = _evaluate.evaluate(xp, e)
    if _arrays.library(xp) == "torch":
        from ._torch import added_up

        return added_up(n)
    return n if repeats == 1 else n * repeats


def reduced(p: Problem, formula: Callable[..., Any]) -> Array:
    """The reduction of a formula; 16-bit logits stay in float32."""
    (total,) = evaluate(p, formula)
    return _divided(p, total, _denominator(p)) if _divides_later(p) else total


def reduced_with_gradient(
    p: Problem, formula: Callable[..., Any]
) -> tuple[Array, Array]:
    """The reduction, and its derivative (its sum's, if an array) by the logits."""
    total, slopes = evaluate(p, formula, 2)
    if not _divides_later(p):
        return total, slopes
    n, dtype = _denominator(p), p.anchor.array.dtype
    gradient = elementwise(p.anchor.xp, _share, (slopes, n), dtype)
    return _divided(p, total, n), gradient


def _divided(p: Problem, total: Array, n: Array) -> Array:
    xp = p.anchor.xp
    n = n if p.axis is None else xp.squeeze(n, axis=p.axis)
    return elementwise(xp, _mean, (total, n), total.dtype)


def _mean(xp: Any, total: Array, n: Array) -> Array:
    # Dividing by inf where n is 0 makes the derivative of that branch 0, not NaN.
    return xp.where(n == 0.0, math.nan, total / xp.where(n == 0.0, math.inf, n))


def _share(xp: Any, slopes: Array, n: Array) -> Array:
    return slopes / xp.where(n == 0.0, math.inf, n)
