"""The plain way, of any array-API library, and all that a library may do otherwise.

Each method is right for a library that nothing is known of; a backend overrides what
its library does faster, or cannot do.
"""

import contextvars
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._arrays import (
    FLOATS,
    PYTHON_NUMBERS,
    Array,
    computing_dtype,
    dtype_name,
    instead_of,
    is_narrow,
    library,
)
from ..formulas.record import Formula, Function
from .classes import Classes
from .job import Job


class Backend:
    """A library, by its array-API namespace."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    # ---- its arrays ------------------------------------------------------------------

    taken_by_boosters = False  # gradient boosting libraries

    @property
    def name(self) -> str:
        return library(self.xp)

    def device(self, array: Array) -> Any:
        """None where arrays may have several, or live on one that they are not told."""
        return array.device

    def instead_of(self, array: Array) -> str | None:
        """What to pass instead of an array that is refused."""
        return instead_of(array)

    def dtype(self, name: str) -> Any:
        """None where the library does not have it."""
        return getattr(self.xp, name, None)

    def on_host(self, array: Array) -> Any:
        """What NumPy makes an array of, from whichever device."""
        return np.from_dlpack(array, device="cpu")

    def in_memory(self, *arrays: Any) -> tuple[Any, ...]:
        """What is lazy, computed; each of it an array whose sizes are known."""
        return arrays

    def in_parts(self, function: Callable[..., Any], *arrays: Any) -> list[Any]:
        """function(backend, *arrays), a result for each part that they lie in."""
        return [function(self, *arrays)]

    def as_array(self, like: Array, argument: Any) -> Any:
        """A number as a 0-d array, made on the device, not sent there from the host."""
        if not isinstance(argument, PYTHON_NUMBERS):
            return argument
        xp = self.xp
        dtype = xp.bool if isinstance(argument, bool) else computing_dtype(xp, like)
        return xp.full((), argument, dtype=dtype, device=self.device(like))

    # ---- running ---------------------------------------------------------------------

    def at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Array,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
    ) -> Any:
        """The result of a call whose options are numbers, or None where it is none of
        those that a library has a shorter way for."""
        return None

    def rows_at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Array,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
        class_axis: Any,
        ignored: Any,
    ) -> Any:
        """The same of rows; of labels that are to be ignored there may be none."""
        return None

    def run(self, like: Array, function: Callable[..., Any], *args: Any) -> Any:
        """function(*args), in the surroundings that arrays such as `like` need.

        NumPy's, of those that are made of it: a tail that underflows, or a NaN handed
        in, is no warning.  In a context of their own, since an interrupt may skip the
        end of a `with`, and `numpy.errstate` would stay:
        https://github.com/python/cpython/issues/148874
        """
        return contextvars.copy_context().run(_without_warnings, function, *args)

    def enter(self, like: Array, function: Callable[..., Any], *args: Any) -> Any:
        """`run`, of what does nothing but evaluate jobs, and elementwise."""
        return self.run(like, function, *args)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """The outputs of a job."""
        return self.with_sum(job, self.per_element(job))

    def elementwise(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any
    ) -> Any:
        """function(xp, *arguments), of this dtype."""
        return self.xp.astype(function(self.xp, *arguments), dtype, copy=False)

    def per_element(self, job: Job) -> tuple[Array, ...]:
        """The outputs weighed, masked, scaled and rounded; nothing is summed.

        The inputs come as they are, so that nothing is widened before it is saved for a
        derivative, nor more of it at a time than has to be.
        """
        xp, (first, labels, *options) = self.xp, job.arguments
        computing = computing_dtype(xp, first)
        labels, weights, where = (
            self.as_array(first, a) for a in (labels, job.weights, job.where)
        )

        def masked(argument: Any) -> Any:
            if where is None or argument is None or isinstance(argument, float):
                return argument
            # What is spread is left as it is, unless the logits are 0-d too, as under
            # vmap.
            if argument.ndim < where.ndim:
                return argument
            if dtype_name(argument) not in FLOATS:
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

        inputs = tuple([masked(a) for a in (first, labels, *options)])
        results = self.applied(job, inputs)
        results = results if isinstance(results, tuple) else (results,)
        if job.quantity == "value_and_statistic":  # which is of no weight
            loss = finished(results[0], job.dtypes[0], job.scales[0])
            return loss, *map(
                partial(xp.astype, copy=False), results[1:], job.dtypes[1:]
            )
        return tuple(map(finished, results, job.dtypes, job.scales))

    def applied(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        """The formula, under a rule where it has a derivative."""
        return self.formula(job.function(), arguments, job.formula.class_axis)

    def formula(
        self,
        function: Function,
        arguments: tuple[Any, ...],
        class_axis: int | None = None,
    ) -> Any:
        """The formula itself, in the computing dtype."""
        xp, dtype = self.xp, computing_dtype(self.xp, arguments[0])
        within = xp if class_axis is None else self.within_rows(class_axis)

        def widened(argument: Any) -> Any:
            if argument is None or isinstance(argument, float):
                return argument
            return xp.astype(argument, dtype, copy=False)

        return self.carried_out(function, within, tuple(map(widened, arguments)))

    def carried_out(
        self, function: Function, within: Any, arguments: tuple[Any, ...]
    ) -> Any:
        """function(within, *arguments), all of which have one floating dtype."""
        return function(within, *arguments)

    def within_rows(self, axis: int) -> Classes:
        """What a formula of rows along an axis asks for."""
        return Classes(self, axis)

    # ---- sums: a partial sum is merged with others, and finished ---------------------

    def with_sum(self, job: Job, results: tuple[Array, ...]) -> tuple[Any, ...]:
        if not job.summed:
            return results
        first, *rest = results
        narrow = is_narrow(job.arguments[0])
        part = self.partial_sum(first, job.axis, job.keepdims, narrow)
        return self.finished(part, job.n, first.dtype), *rest

    def partial_sum(
        self,
        values: Array,
        axis: tuple[int, ...] | None,
        keepdims: bool = False,
        from_16_bits: bool = False,
    ) -> Array:
        """Over `axis`, a few ulp from the exact one: of float32 mostly in float64.

        Merged with others by a sum, in the order of the parts.
        """
        wide = self.accumulator(values, from_16_bits)
        if wide is None and self.drifts(values):
            for k in range(values.ndim) if axis is None else axis:
                values = folded(self.xp, values, k)
        dtype = values.dtype if wide is None else wide
        return self.xp.sum(values, axis=axis, dtype=dtype, keepdims=keepdims)

    def class_sum(self, values: Array, axis: int) -> Array:
        """Over a row of classes, which keeps its axis, in the dtype of the values."""
        total = self.partial_sum(values, (axis,), keepdims=True)
        return self.xp.astype(total, values.dtype, copy=False)

    def finished(self, total: Array, n: int | None, dtype: Any) -> Array:
        """A merged sum rounded to its dtype, and divided."""
        total = self.xp.astype(total, dtype, copy=False)
        return total if n is None else mean(self.xp, total, n)

    def accumulator(self, values: Array, from_16_bits: bool) -> Any:
        """float64 for a float32 sum, where the library itself would drift.

        NumPy and CuPy add one by one along most axes, and PyTorch's cascade on the CPU
        is 7 ulp off after ten million equal terms.
        """
        if dtype_name(values) != "float32":
            return None
        info = self.xp.__array_namespace_info__()
        device = self.device(values)
        return info.dtypes(device=device, kind="real floating").get("float64")

    def drifts(self, values: Array) -> bool:
        """Whether the library's own sum does: 43,000 ulp in a million on NumPy.

        Where a size is not known, nothing can be halved.
        """
        return all(isinstance(n, int) for n in values.shape)

    # ---- counts: what a mean divides by, where shapes alone do not tell it -----------

    def counted_of(
        self, first: Array, axis: tuple[int, ...] | None, *options: Any
    ) -> tuple[Array, int]:
        """What a count is taken of, in place of the logits, and how often each is."""
        return first, 1

    def of_one_class(self, first: Array, axis: int) -> Array:
        """In the place of the losses of rows, as which it has the shape."""
        return first[(slice(None),) * axis + (slice(0, 1), ...)]

    def reusable_sum(self, total: Array) -> Array:
        """A sum that is used more than once."""
        return total


def _without_warnings(function: Callable[..., Any], *args: Any) -> Any:
    np.seterr(all="ignore")
    return function(*args)


def mean(xp: Any, total: Array, n: int) -> Array:
    return total / n if n != 0 else total * math.nan


def folded(xp: Any, values: Array, axis: int) -> Array:
    """A few sums along `axis`, each of halves of halves: log2(n) roundings, not n."""
    before, odd = (slice(None),) * axis, []
    while (n := values.shape[axis]) > 1:
        half = n // 2
        if n % 2:
            odd.append(values[(*before, slice(2 * half, n), ...)])
        lower, upper = slice(0, half), slice(half, 2 * half)
        values = values[(*before, lower, ...)] + values[(*before, upper, ...)]
    return xp.concat([*odd, values], axis=axis) if odd else values
