"""A formula on whole arrays of any library: always right, and the way of what no other
way knows.

The inputs come as they are, so that nothing is widened before it is saved for a
derivative, nor more of it at a time than has to be.
"""

import contextvars
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import _arrays
from ._arrays import Array


class Evaluation(NamedTuple):
    """weights * formula per element, 0 where masked.

    With `summed`, the first output is its sum over `axis`, divided by `n`.
    """

    formula: Callable[..., Any]
    arguments: tuple[Any, ...]  # logits, labels, weights, where, and its parameters
    dtypes: tuple[Any, ...]  # of the outputs
    summed: bool = False
    axis: tuple[int, ...] | None = None
    n: int | None = None
    keepdims: bool = False  # of a sum along axes
    scales: tuple[float | None, ...] = (None, None)  # what they are multiplied by


def quietly(xp: Any, function: Callable[..., Any], *args: Any) -> Any:
    """function(*args): a tail that underflows, or a NaN handed in, is no warning.

    In a context of its own, since an interrupt may skip the end of a `with`, and
    `numpy.errstate` would stay: https://github.com/python/cpython/issues/148874
    """
    if _arrays.library(xp) not in ("numpy", "array_api_strict"):
        return function(*args)
    return contextvars.copy_context().run(_without_warnings, function, *args)


def _without_warnings(function: Callable[..., Any], *args: Any) -> Any:
    np.seterr(all="ignore")
    return function(*args)


def plainly(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """On whole arrays."""
    return with_sum(xp, e, per_element(xp, e))


def with_sum(xp: Any, e: Evaluation, results: tuple[Array, ...]) -> tuple[Any, ...]:
    if not e.summed:
        return results
    first, *rest = results
    narrow = _arrays.is_narrow(e.arguments[0])
    total = _arrays.total(xp, first, e.axis, e.keepdims, from_16_bits=narrow)
    return total if e.n is None else mean_of(xp, total, e.n), *rest


def mean_of(xp: Any, total: Array, n: int) -> Array:
    return total / n if n != 0 else total * math.nan


def per_element(xp: Any, e: Evaluation) -> tuple[Array, ...]:
    """weights * formula, masked, scaled and rounded; nothing is summed."""
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

    def finished(result: Array, dtype: Any, scale: Any) -> Array:
        if weights is not None:
            result = result * xp.astype(masked(weights), computing, copy=False)
        if where is not None:
            result = xp.where(where, result, 0.0)
        if scale is not None:
            result = result * scale
        return xp.astype(result, dtype, copy=False)

    inputs = map(masked, (logits, labels, *parameters))
    results = _with_rule(xp)(e.formula, xp, *inputs)
    results = results if isinstance(results, tuple) else (results,)
    return tuple(map(finished, results, e.dtypes, e.scales))


# ---- the formula alone -----------------------------------------------------------


def plain(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The formula itself, in the computing dtype: `others` are labels, parameters."""
    dtype = _arrays.computing_dtype(xp, logits)

    def widened(argument: Any) -> Any:
        if argument is None or isinstance(argument, float):
            return argument
        return xp.astype(argument, dtype, copy=False)

    return formula(xp, *map(widened, (logits, *others)))


def _with_rule(xp: Any) -> Callable[..., Any]:
    """`plain`, or what puts a derivative rule around it."""
    name = _arrays.library(xp)
    if name == "jax":
        from ._jax import with_rule as with_jax_rule

        return with_jax_rule
    if name == "torch":
        from ._torch import with_rule as with_torch_rule

        return with_torch_rule
    return plain
