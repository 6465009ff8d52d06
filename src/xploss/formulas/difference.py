"""exp(a - b), without what rounding a - b loses.

The rounding of a difference, an absolute one, is a relative one of its exponential: as
much as (a - b) / 2 units.  It is known exactly, being a difference of such differences,
and

    exp(a - b) = exp(d) * (1 + e),    d = a - b as it is rounded, e = (a - b) - d.

Source: the error of a difference is in Knuth, "The Art of Computer Programming", volume
2, 4.2.2.
"""

from typing import Any

from .record import Array


def exp_of_difference(xp: Any, a: Array, b: Array) -> Array:
    """Where a <= b."""
    rounded, rest = xp.exp(a - b), error(a, b)
    # That of an infinite difference is NaN.
    return rounded * (1.0 + xp.where(rest == rest, rest, 0.0))


def differentiable_exp_of_difference(xp: Any, a: Array, b: Array, none: Array) -> Array:
    """0 where there is to be `none`; at infinities no NaN reaches a derivative."""
    difference = a - b
    infinite = xp.isinf(difference) | xp.isinf(b)
    operands = xp.where(infinite, 0.0, a), xp.where(infinite, 0.0, b)
    rounded = xp.exp(xp.where(none, -float("inf"), difference))
    # Not of 1 + error, of which TensorFlow adds the number to one of the parts:
    # https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/grappler/optimizers/constant_folding.cc
    return rounded + rounded * error(*operands)


def error(a: Array, b: Array) -> Array:
    """Of the rounded a - b: what exact minus rounded is."""
    difference = a - b
    back = a - difference
    return (a - (difference + back)) + (back - b)
