"""A checked call of a loss: its formula evaluated, weighed, masked, reduced."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ._arguments import REDUCTIONS, Anchor, check_axis, check_reduction
from ._arrays import (
    FLOATS,
    AnyArray,
    Array,
    computing_dtype,
    count,
    same_shape,
    shape_of,
)
from .backends.job import Job
from .backends.table import listed
from .formulas.record import Formula
from .formulas.sigmoid import ONE

P = ParamSpec("P")
# Of a formula, after what labels are; or empty where all of them are absent.
Options = tuple[float | None, ...]
A = TypeVar("A", bound=AnyArray)


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
    # Of a formula of rows, `axis` has the class axis as well, and a weighted mean is
    # divided by this formula of these arguments, where labels have weights.
    row_weight: tuple[Formula, tuple[Any, ...]] | None = None


class MadeOf(NamedTuple):
    """What a loss has as its `made_of`, for its derivatives."""

    loss: Callable[..., Any]
    call: Callable[..., Call]  # of the loss's own arguments
    formula: Formula
    # Of the loss's own options, where all are numbers: as the formula takes them.
    numbers: Callable[..., Options | None] | None
    names: frozenset[str]  # of those options


def loss_made_of(
    call: Callable[..., Call],
    formula: Formula,
    numbers: Callable[..., Options | None] | None = None,
) -> Callable[[Callable[P, A]], Callable[P, A]]:
    """Keeps beside a public loss what its derivatives are made of."""
    names = frozenset(() if numbers is None else inspect.signature(numbers).parameters)

    def kept(loss: Callable[P, A]) -> Callable[P, A]:
        call.__qualname__ = loss.__qualname__
        made_of = MadeOf(loss, call, formula, numbers, names)
        loss.made_of = made_of  # type: ignore[attr-defined]
        return loss

    return kept


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
    formula: Formula,
    quantity: str,
    first: Any,
    labels: Any,
    options: Options | None,
    reduction: Any,
    class_axis: Any = -1,
    ignored: Any = None,
) -> Any:
    """The result of an ordinary call, of two arrays that are alike, and of numbers.

    None of any other, which is checked, and refused where it has to be, as a `Call`.
    """
    if options is None or type(reduction) is not str or reduction not in REDUCTIONS:
        return None
    backend = listed(first)
    if backend is None:
        return None
    if formula.per_row:
        return backend.rows_at_once(
            formula, quantity, first, labels, options, reduction, class_axis, ignored
        )
    return backend.at_once(formula, quantity, first, labels, options, reduction)


def numbers_of(*options: tuple[Any, float | None, float]) -> Options | None:
    """Each an option, what it is where it is absent, and the most that it may be.

    None if one is no number that is in range, which is for the checks of a `Call`.
    """
    made: list[float | None] = []
    for option, absent, most in options:
        if option is absent:
            made.append(None)
        elif type(option) not in (float, int) or not 0.0 <= option <= most:
            return None
        else:
            made.append(None if option == absent else float(option))
    return tuple(made)


def value(call: Call) -> Any:
    """Per element or reduced; what is reduced from 16 bits stays float32."""
    anchor = call.anchor
    return anchor.backend.enter(anchor.array, _value, call)


def per_element(call: Call) -> tuple[Any, Any, Any]:
    """The losses, and their weights and what their classes weigh, None if all weigh 1.

    They fit onto the losses, and are 0 where these are left out.  Nothing is multiplied
    yet, and nothing rounded to 16 bits.
    """
    found: tuple[Any, Any, Any] = call.anchor.backend.enter(
        call.anchor.array, _per_element, call
    )
    return found


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


def hessian_times(call: Call, vector: Array) -> Any:
    """The Hessian times a vector, which has the logits' shape."""
    call.anchor.check_alike("vector", vector, FLOATS)
    if not same_shape(shape_of(vector), call.anchor.shape):
        raise ValueError(
            f"`vector` must have the shape of `{call.anchor.name}`, "
            f"{call.anchor.shape}; got shape {shape_of(vector)}"
        )
    return call.anchor.backend.enter(call.anchor.array, _hessian_times, call, vector)


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


def _per_element(call: Call) -> tuple[Any, Any, Any]:
    backend, where = call.anchor.backend, call.where

    def of(formula: Formula, arguments: tuple[Any, ...], weights: Any = None) -> Any:
        dtypes = (computing_dtype(backend.xp, arguments[0]),)
        job = Job(formula, arguments, dtypes, weights=weights, where=where)
        return backend.evaluate(job)[0]

    losses = of(call.formula, (call.anchor.array, call.labels, *call.options))
    weights = shares = None
    if call.weights is not None or where is not None:
        counted, _ = backend.counted_of(_in_place(call), None, call.weights, where)
        weights = of(ONE, (counted, 0.0), call.weights)
    if call.row_weight is not None:
        shares = of(*call.row_weight)
    return losses, weights, shares


def _hessian_times(call: Call, vector: Array) -> Array:
    product: Any = call.formula.hessian_product
    formula = Formula(
        (*call.formula.traced, "vector"),
        product,
        class_axis=call.formula.class_axis,
        per_class=True,
    )
    options = (*call.options, vector)
    (result,) = _evaluated(call._replace(formula=formula, options=options), "value")
    return result


def _value(call: Call) -> Array:
    (total,) = _evaluated(call, "value")
    if _divides_later(call):
        return _divided(call, total, _denominator(call))
    return _without_class_axis(call, total)


def _without_class_axis(call: Call, total: Array) -> Array:
    """Of a formula of rows: a reduction has taken it away, if there was one."""
    class_axis = call.formula.class_axis
    if class_axis is None or call.formula.per_class or call.reduction != "none":
        return total
    return call.anchor.xp.squeeze(total, axis=class_axis)


def _value_and_gradient(call: Call) -> tuple[Array, Array]:
    total, slopes = _evaluated(call, "value_and_slope", 2)
    if not _divides_later(call):
        return _without_class_axis(call, total), slopes
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
    if call.row_weight is not None and call.reduction == "weighted_mean":
        formula, arguments, times = *call.row_weight, 1
    else:
        place = _in_place(call)
        counted, times = backend.counted_of(place, call.axis, weights, call.where)
        formula, arguments = ONE, (counted, 0.0)
    job = Job(
        formula,
        arguments,
        (computing_dtype(backend.xp, arguments[0]),),
        weights=weights,
        where=call.where,
        summed=True,
        axis=call.axis,
        keepdims=call.axis is not None,  # a 0-d one fits as it is
    )
    n = backend.reusable_sum(backend.evaluate(job)[0])
    return n if times == 1 else n * times


def _in_place(call: Call) -> Array:
    """What has the losses' shape, with a class axis of size 1."""
    first, class_axis = call.anchor.array, call.formula.class_axis
    if class_axis is None:
        return first
    return call.anchor.backend.of_one_class(first, class_axis)


def _divided(call: Call, total: Array, n: Array) -> Array:
    n = n if call.axis is None else call.anchor.xp.squeeze(n, axis=call.axis)
    return call.anchor.backend.elementwise(_mean, (total, n), total.dtype)


def _mean(xp: Any, total: Array, n: Array) -> Array:
    # Dividing by inf where n is 0 makes the derivative of that branch 0, not NaN.
    return xp.where(n == 0.0, math.nan, total / xp.where(n == 0.0, math.inf, n))


def _share(xp: Any, slopes: Array, n: Array) -> Array:
    return slopes / xp.where(n == 0.0, math.inf, n)
