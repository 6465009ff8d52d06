"""A formula on whole arrays of any library: always right, and the way of what no other
way knows.

The inputs come as they are, so that nothing is widened before it is saved for a
derivative, nor more of it at a time than has to be.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import _arrays
from ._arrays import Array


class Evaluation(NamedTuple):
    """weights * formula per element, 0 where masked.

    With `summed`, the first output is its sum over `axis`; with a `divisor`, the
    second is divided by it.
    """

    formula: Callable[..., Any]
    arguments: tuple[Any, ...]  # logits, labels, weights, where, and its parameters
    dtypes: tuple[Any, ...]  # of the outputs
    summed: bool = False
    axis: tuple[int, ...] | None = None
    divisor: int | None = None


def plainly(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """On whole arrays."""
    return with_sum(xp, e, per_element(xp, e))


def with_sum(xp: Any, e: Evaluation, results: tuple[Array, ...]) -> tuple[Any, ...]:
    if not e.summed:
        return results
    first, *rest = results
    narrow = _arrays.is_narrow(e.arguments[0])
    return _arrays.total(xp, first, e.axis, from_16_bits=narrow), *rest


def per_element(xp: Any, e: Evaluation) -> tuple[Array, ...]:
    """weights * formula, masked, divided and rounded; nothing is summed."""
    logits, labels, weights, where, *parameters = e.arguments
    computing = _arrays.computing_dtype(xp, logits)
    labels, weights, where = (
        _arrays.beside(xp, logits, argument) for argument in (labels, weights, where)
    )

    def masked(argument: Any) -> Any:
        if where is None or argument is None or isinstance(argument, float):
            return argument
        # What is spread is left as it is, unless the logits are 0-d too, as under vmap.
        if argument.ndim < where.ndim:
            return argument
        if _arrays.dtype_name(argument) not in _arrays.FLOATS:
            argument = xp.astype(argument, computing)
        # What is left out must not reach a derivative: 0 * NaN is NaN.
        return xp.where(where, argument, 0.5)

    def finished(result: Array, divisor: int | None, dtype: Any) -> Array:
        if weights is not None:
            result = result * xp.astype(masked(weights), computing, copy=False)
        if where is not None:
            result = xp.where(where, result, 0.0)
        if divisor is not None:
            result = result / divisor
        return xp.astype(result, dtype, copy=False)

    inputs = map(masked, (logits, labels, *parameters))
    results = with_rule(xp)(e.formula, xp, *inputs)
    results = results if isinstance(results, tuple) else (results,)
    divisors = (None, e.divisor)
    return tuple(map(finished, results, divisors, e.dtypes))


# ---- the formula alone -----------------------------------------------------------


def plain(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The formula itself, in the computing dtype: `others` are labels, parameters."""
    dtype = _arrays.computing_dtype(xp, logits)

    def widened(argument: Any) -> Any:
        if argument is None or isinstance(argument, float):
            return argument
        return xp.astype(argument, dtype, copy=False)

    return formula(xp, *map(widened, (logits, *others)))


def with_rule(xp: Any) -> Callable[..., Any]:
    """`plain`, or what puts a derivative rule around it."""
    name = _arrays.library(xp)
    if name == "jax":
        from . import _jax

        return _jax.with_rule
    if name == "torch":
        from . import _torch

        return _torch.with_rule
    return plain
