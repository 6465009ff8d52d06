"""What a formula of rows of classes asks for: a namespace, and sums over a row."""

from typing import Any

from .._arrays import Array


class Classes:
    """A library's namespace, for rows along an axis, which a sum keeps as of size 1."""

    def __init__(self, backend: Any, axis: int) -> None:
        xp = backend.xp
        self.where, self.isinf, self.ones_like = xp.where, xp.isinf, xp.ones_like
        self.exp, self.log, self.log1p = xp.exp, xp.log, xp.log1p
        self.backend, self.axis = backend, axis

    def class_count(self, logits: Array) -> Any:
        """C."""
        return logits.shape[self.axis]

    def class_sum(self, values: Array) -> Array:
        return self.backend.class_sum(values, self.axis)

    def class_index(self, logits: Array) -> Array:
        """0 to C - 1 along the axis, in the logits' dtype."""
        return self._index(logits, logits.dtype)

    def is_top(self, logits: Array) -> Array:
        """At the first of the largest alone, or of those that are NaN."""
        largest = self.backend.xp.argmax(logits, axis=self.axis, keepdims=True)
        return self._index(logits, largest.dtype) == largest

    def largest(self, logits: Array, top: Array) -> Array:
        """A sum, whose derivative is right at ties too."""
        return self.class_sum(self.where(top, logits, 0.0))

    def pick(self, values: Array, numbers: Array) -> Array:
        """Those of classes by their numbers; of a number that no class has, any."""
        hot = self.class_index(values) == numbers
        return self.class_sum(self.where(hot, values, 0.0))

    def _index(self, logits: Array, dtype: Any) -> Array:
        xp, device = self.backend.xp, self.backend.device(logits)
        index = xp.arange(self.class_count(logits), dtype=dtype, device=device)
        shape = [1] * logits.ndim
        shape[self.axis] = -1
        return xp.reshape(index, tuple(shape))
