"""JAX: an eager call in one compiled piece, and the derivative rule of the loss, for
forward and reverse mode alike.

Differentiating the plain formula is right, but XLA then keeps three arrays; with the
rule it keeps one.  Value and slope each take their own exponential, and fold the logit
differently on purpose: sharing it makes XLA store it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from . import _formula
from ._plain import Evaluation, plain, plainly

# ---- one compiled call ---------------------------------------------------------------


def evaluate(e: Evaluation) -> tuple[Any, ...]:
    """The outputs.  Of an eager call too XLA sees the whole: it launches once, and
    `jax_debug_nans` is shown results alone, not what a mask is about to leave out."""
    outputs: tuple[Any, ...] = _compiled(e._replace(arguments=()), e.arguments)
    return outputs


# Within another trace it is as if it were not there.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _compiled(e: Evaluation, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return plainly(jnp, e._replace(arguments=arguments))


@functools.partial(jax.jit, static_argnums=(0, 2), inline=True)
def elementwise(
    function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
) -> Any:
    """function(xp, *arguments), of this dtype."""
    return jnp.astype(function(jnp, *arguments), dtype)


# ---- the rule ------------------------------------------------------------------------


@jax.custom_jvp
def _value(logits: Any, labels: Any, pos_weight: Any, smoothing: Any) -> Any:
    formula = functools.partial(_formula.value, differentiable=False)
    return plain(formula, jnp, logits, labels, pos_weight, smoothing)


@functools.partial(_value.defjvp, symbolic_zeros=True)
def _value_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    value = _value(*primals)
    slopes: tuple[Callable[..., Any], ...] = (
        _formula.slope,
        _formula.label_slope,
        _formula.pos_weight_slope,
        _formula.smoothing_slope,
    )
    changes = [
        plain(formula, jnp, *primals) * jnp.astype(tangent, value.dtype)
        for formula, tangent in zip(slopes, tangents, strict=True)
        if not _is_zero(tangent)
    ]
    return value, sum(changes[1:], changes[0]) if changes else jnp.zeros_like(value)


def _is_zero(tangent: Any) -> bool:
    zero = jax.custom_derivatives.SymbolicZero
    return tangent is None or isinstance(tangent, zero)


def with_rule(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The loss of logits under its rule, any other formula plainly."""
    if formula is _formula.value:
        return _value(logits, *others)
    return plain(formula, xp, logits, *others)


def unspread(
    logits: Any, axis: tuple[int, ...] | None, *options: Any
) -> tuple[Any, int]:
    """Zeros of as few elements as the options tell apart, and how often each counts.

    What is spread along rows, and summed, XLA adds one by one: 1,700 ulp off in
    100,000 of them.
    """
    shapes = [jnp.shape(o) for o in options if o is not None and jnp.ndim(o)]
    alike = [
        k
        for k in (range(logits.ndim) if axis is None else axis)
        if all(shape[k] == 1 for shape in shapes)
    ]
    shape = tuple(1 if k in alike else n for k, n in enumerate(logits.shape))
    return jnp.zeros(shape, logits.dtype), math.prod(logits.shape[k] for k in alike)


def set_down(values: Any) -> Any:
    """The same values, added up after they are computed, not while.

    A product with weights that are spread, and its sum along an axis, are one kernel
    of XLA's on the CPU that adds one by one: 200 ulp off in 100,000 rows.
    """
    bits = jnp.finfo(values.dtype)
    return jax.lax.reduce_precision(values, bits.nexp, bits.nmant)
