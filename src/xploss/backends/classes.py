"""What a formula of rows of classes asks for: a namespace, and sums over a row."""

from typing import Any

from .._arrays import Array, dtype_name
from ..formulas.difference import (
    differentiable_exp_of_difference,
    exp_of_difference,
)

MOST_NUMBERS = 1 << 24  # that float32 tells apart


def are_told_apart(classes: Any, logits: Array) -> bool:
    """By their numbers, in the dtype in which logits are computed; or not known."""
    return not classes > MOST_NUMBERS or dtype_name(logits) == "float64"


class Classes:
    """A library's namespace, for rows along an axis, which a sum keeps as of size 1."""

    start = 0  # the number of the first class, of a part of a row

    def __init__(self, backend: Any, axis: int) -> None:
        xp = backend.xp
        self.where, self.isinf, self.ones_like = xp.where, xp.isinf, xp.ones_like
        self.exp, self.log, self.log1p = xp.exp, xp.log, xp.log1p
        self.backend, self.axis = backend, axis

    def class_count(self, logits: Array) -> Any:
        """C."""
        return logits.shape[self.axis]

    def exp_of_difference(self, a: Array, b: Array) -> Array:
        return exp_of_difference(self, a, b)

    def differentiable_exp_of_difference(
        self, a: Array, b: Array, none: Array
    ) -> Array:
        return differentiable_exp_of_difference(self, a, b, none)

    def class_max(self, values: Array) -> Array:
        return self.backend.xp.max(values, axis=self.axis, keepdims=True)

    def class_sum(self, values: Array) -> Array:
        return self.backend.class_sum(values, self.axis)

    def argmax(self, logits: Array) -> Array:
        """The number of the first of the largest, or of those that are NaN; of a NaN
        that is alone, of which nothing else would tell, that of no class."""
        if self.class_count(logits) == 1:
            return self.where(logits == logits, self.ones_like(logits) - 1.0, 1.0)
        return self.backend.xp.argmax(logits, axis=self.axis, keepdims=True)

    def argmax_by_maximum(self, logits: Array) -> Array:
        """By two reductions of floating numbers, which compilers vectorise: XLA's own
        takes ten times as long on the CPU, as does one of integers."""
        xp, axis, classes = self.backend.xp, self.axis, self.class_count(logits)
        if classes == 1 or not classes <= MOST_NUMBERS:
            return Classes.argmax(self, logits)
        found = (logits == xp.max(logits, axis=axis, keepdims=True)) | (
            logits != logits
        )
        numbers = xp.where(found, self._index(logits, xp.float32), float(classes))
        return xp.min(numbers, axis=axis, keepdims=True)

    def is_class(self, like: Array, numbers: Array) -> Array:
        """Of each class, whether the number is its."""
        return self._index(like, numbers.dtype) == numbers

    def _index(self, like: Array, dtype: Any) -> Array:
        """0 to C - 1 along the axis."""
        xp, device = self.backend.xp, self.backend.device(like)
        stop = self.start + like.shape[self.axis]
        index = xp.arange(self.start, stop, dtype=dtype, device=device)
        shape = [1] * like.ndim
        shape[self.axis] = -1
        return xp.reshape(index, tuple(shape))

    def same_class(self, numbers: Array, others: Array) -> Array:
        return self.backend.xp.astype(numbers, others.dtype, copy=False) == others

    def pick(self, values: Array, numbers: Array) -> Array:
        """Those of classes by their numbers; of a number that no class has, any.

        A sum, whose derivative is right for the largest at ties too.
        """
        hot = self.is_class(values, numbers)
        return self.class_sum(self.where(hot, values, 0.0))
