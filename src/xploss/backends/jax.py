"""JAX: an eager call in one compiled piece, and one derivative rule for every formula,
for forward and reverse mode alike.

Differentiating the plain formula is right, but XLA then keeps three arrays and more;
with the rule it keeps one, and of rows two numbers each.  Value and slope each take
their own exponential, and fold the logit differently on purpose: sharing it makes XLA
store it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..formulas.record import Formula
from .base import Backend
from .classes import Classes
from .job import Job, undifferentiated

PARTS = 8  # of a row, that are added one by one
HALVED = 16  # at most, half of which are
FEW_CLASSES = 32


class Jax(Backend):
    # ---- its arrays ------------------------------------------------------------------

    def device(self, array: Any) -> Any:
        return None

    def on_host(self, array: Any) -> Any:
        return array

    # ---- running ---------------------------------------------------------------------

    def run(self, like: Any, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Of an eager call too XLA sees the whole: it launches once, and
        `jax_debug_nans` is shown results alone, not what a mask is about to leave out.
        """
        outputs: tuple[Any, ...] = _compiled(job.without_traced(), job.traced())
        return outputs

    def elementwise(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
    ) -> Any:
        return _elementwise(function, arguments, dtype)

    def applied(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        if job.quantity == "value" and job.formula.slopes:
            return _ruled(job.formula, arguments)
        return _evaluated(job.without_traced(), arguments)

    # ---- sums ------------------------------------------------------------------------

    def partial_sum(
        self,
        values: Any,
        axis: tuple[int, ...] | None,
        keepdims: bool = False,
        from_16_bits: bool = False,
    ) -> Any:
        """XLA adds in trees, but for what it computes while it adds along an axis.

        A product with weights that are spread, and its sum, are one kernel of XLA's on
        the CPU that adds one by one: 200 ulp off in 100,000 rows.
        """
        if axis is not None:
            bits = jnp.finfo(values.dtype)
            values = jax.lax.reduce_precision(values, bits.nexp, bits.nmant)
        return jnp.sum(values, axis=axis, keepdims=keepdims)

    def class_sum(self, values: Any, axis: int) -> Any:
        """Along a row too XLA adds one by one: 9 ulp off in 1,000 classes.

        Of a few parts at a time, whose transpose is as simple as that of a sum; within
        each of some stretches, so that classes on several devices are added where they
        are.
        """
        axis %= values.ndim
        classes, after = values.shape[axis], values.shape[axis + 1 :]
        stretches = math.gcd(classes, _devices_along(values, axis))
        shape = (*values.shape[:axis], stretches, classes // stretches, *after)
        values = _kept(values).reshape(shape)
        while values.shape[axis + 1] > HALVED:
            values = _kept(_sum_of_parts(values, axis + 1))
        halves = _sum_of_halves(values, axis + 1)
        return jnp.sum(_kept(halves), axis=axis, keepdims=True)

    def within_rows(self, axis: int) -> Classes:
        return _Classes(self, axis)

    def counted_of(
        self, first: Any, axis: tuple[int, ...] | None, *options: Any
    ) -> tuple[Any, int]:
        """Zeros of as few elements as the options tell apart; how often each counts.

        What is spread along rows, and summed, XLA adds one by one: 1,700 ulp off in
        100,000 of them.
        """
        shapes = [jnp.shape(o) for o in options if o is not None and jnp.ndim(o)]
        alike = [
            k
            for k in (range(first.ndim) if axis is None else axis)
            if all(shape[k] == 1 for shape in shapes)
        ]
        shape = tuple(1 if k in alike else n for k, n in enumerate(first.shape))
        return jnp.zeros(shape, first.dtype), math.prod(first.shape[k] for k in alike)


class _Classes(Classes):
    def argmax(self, logits: Any) -> Any:
        few = self.class_count(logits) <= FEW_CLASSES
        if few and _cut(logits, self.axis) is None:
            return super().argmax(logits)
        return self.argmax_by_maximum(logits)

    def pick(self, values: Any, numbers: Any) -> Any:
        # Of all rows; or JAX would have to be told how to gather from classes apart.
        if not jnp.ndim(numbers) or _cut(values, self.axis) is not None:
            return super().pick(values, numbers)
        last = self.class_count(values) - 1
        index = jnp.clip(numbers, 0, last).astype(jnp.int32)
        return jnp.take_along_axis(values, index, axis=self.axis)

    def _index(self, like: Any, dtype: Any) -> Any:
        index, spec = super()._index(like, dtype), [None] * like.ndim
        spec[self.axis] = _cut(like, self.axis)
        if spec[self.axis] is None:
            return index
        return jax.sharding.reshard(index, jax.sharding.PartitionSpec(*spec))


BACKEND = Jax(jnp)


def _cut(values: Any, axis: int) -> Any:
    """The mesh axes that cut an array's, where its type says so; else XLA does it."""
    return jax.typeof(values).sharding.spec[axis]


def _devices_along(values: Any, axis: int) -> int:
    """As many as may have a share of it: all, where the type does not say."""
    cut, devices = _cut(values, axis), 1
    if cut is None:
        return int(jax.device_count())
    sizes = jax.typeof(values).sharding.mesh.shape
    for name in cut if isinstance(cut, tuple) else (cut,):
        devices *= int(sizes[name])
    return devices


def _kept(sums: Any) -> Any:
    """XLA takes sums of sums for one, and adds that one by one: 7 ulp off in 1,000."""
    return jax.lax.optimization_barrier(sums)


def _sum_of_halves(values: Any, axis: int) -> Any:
    first, second = jnp.split(values, [values.shape[axis] // 2], axis=axis)
    return jnp.sum(first, axis=axis) + jnp.sum(second, axis=axis)


def _sum_of_parts(values: Any, axis: int) -> Any:
    """Of as many as leave no rest, for which all would be written anew."""
    classes = values.shape[axis]
    divisors = (n for n in range(PARTS, PARTS // 4, -1) if classes % n == 0)
    parts = next(divisors, PARTS)
    length = -(-classes // parts)
    rest = [(0, 0)] * values.ndim
    rest[axis] = (0, length * parts - classes)
    shape = (*values.shape[:axis], parts, length, *values.shape[axis + 1 :])
    padded = values if classes == length * parts else jnp.pad(values, rest)
    return jnp.sum(padded.reshape(shape), axis=axis)


# ---- one compiled call ---------------------------------------------------------------


# Within another trace it is as if it were not there.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _compiled(job: Job, traced: tuple[Any, ...]) -> tuple[Any, ...]:
    return Backend.evaluate(BACKEND, job.with_traced(traced))


@functools.partial(jax.jit, static_argnums=(0, 2), inline=True)
def _elementwise(
    function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
) -> Any:
    return jnp.astype(function(jnp, *arguments), dtype)


# ---- the rule ------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _evaluated(job: Job, arguments: tuple[Any, ...]) -> Any:
    """Any quantity: until it is differentiated, as if nobody would."""
    return BACKEND.formula(job.undifferentiated(), arguments, job.formula.class_axis)


@_evaluated.defjvp
def _change_of_evaluated(job: Job, primals: Any, tangents: Any) -> tuple[Any, Any]:
    axis = job.formula.class_axis
    plain = functools.partial(BACKEND.formula, job.function(), class_axis=axis)
    changed: tuple[Any, Any] = jax.jvp(plain, primals, tangents)
    return changed


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _ruled(formula: Formula, arguments: tuple[Any, ...]) -> Any:
    value = undifferentiated(formula, formula.value)
    return BACKEND.formula(value, arguments, formula.class_axis)


@functools.partial(_ruled.defjvp, symbolic_zeros=True)
def _rule(formula: Formula, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (arguments,), (changes,) = primals, tangents
    value = _ruled(formula, arguments)
    parts = [
        _change(formula, k, arguments, change)
        for k, change in enumerate(changes)
        if not _is_zero(change)
    ]
    return value, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(value)


def _change(formula: Formula, k: int, arguments: tuple[Any, ...], change: Any) -> Any:
    """Of the value by the k-th argument: in closed form, or of the plain formula."""
    if k == 0 and formula.slope_by_statistic is not None:
        return _change_of_rows(formula, arguments, change)
    slope = formula.slopes.get(formula.traced[k])
    if slope is not None:
        slopes = BACKEND.formula(slope, arguments, formula.class_axis)
        changes = slopes * jnp.astype(change, slopes.dtype)
        if formula.class_axis is None:
            return changes
        return BACKEND.class_sum(changes, formula.class_axis)

    def value(argument: Any) -> Any:
        others = (*arguments[:k], argument, *arguments[k + 1 :])
        return BACKEND.formula(formula.value, others, formula.class_axis)

    return jax.jvp(value, (arguments[k],), (change,))[1]


# ---- the rule of rows: two numbers of each are kept ----------------------------------


def _change_of_rows(formula: Formula, arguments: tuple[Any, ...], change: Any) -> Any:
    """By the logits, from the statistic, which the value has made as well.

    What is checkpointed keeps what it is called with, and no array of slopes.
    """
    of_value: Any = formula.value_and_statistic
    axis: Any = formula.class_axis
    value = undifferentiated(formula, of_value)
    _, *statistic = jax.lax.stop_gradient(BACKEND.formula(value, arguments, axis))

    def changes(
        arguments: tuple[Any, ...], statistic: tuple[Any, ...], change: Any
    ) -> Any:
        slopes = _slopes_of_rows(formula, arguments, statistic)
        return BACKEND.class_sum(slopes * jnp.astype(change, slopes.dtype), axis)

    checkpointed = jax.checkpoint(changes, prevent_cse=False)
    return checkpointed(arguments, tuple(statistic), change)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _slopes_of_rows(
    formula: Formula, arguments: tuple[Any, ...], statistic: tuple[Any, ...]
) -> Any:
    of_slope: Any = formula.slope_by_statistic
    slope = undifferentiated(formula, of_slope)
    return BACKEND.formula(slope, (*arguments, *statistic), formula.class_axis)


@_slopes_of_rows.defjvp
def _change_of_slopes(formula: Formula, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Of the plain formula, which is differentiable."""
    plain = formula.slopes[formula.traced[0]]
    slope = functools.partial(BACKEND.formula, plain, class_axis=formula.class_axis)
    changed: tuple[Any, Any] = jax.jvp(slope, primals[:1], tangents[:1])
    return changed


def _is_zero(tangent: Any) -> bool:
    zero = jax.custom_derivatives.SymbolicZero
    return tangent is None or isinstance(tangent, zero)
