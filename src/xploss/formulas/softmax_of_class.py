"""Cross-entropy of softmax(logits) whose label is one class, c: its value and slope.

It is `softmax.py`'s, of all mass on one class, but asks for less of a row.  With m the
largest logit, e_j = exp(x_j - m), and s the sum of all e_j but that of c,

    L = logsumexp(x) - x_c = log(s + e_c) - (x_c - m),

    r = s                   where c is the largest, e_c = 1
        (s - 1) + e_c       where another is: s >= 1

    L = (m - x_c) + log1p(r)

so that a confident answer, which is r where it is right and m - x_c where it is not,
keeps its digits.  Which class is the largest has not to be known: of the sum it is c
that is left out.  With p_j = e_j / (1 + r),

    dL/dx_j = p_j,    dL/dx_c = -r / (1 + r)    where c is the largest
                                p_c - 1         where another is: p_c <= 1/2

Not for what is differentiated by its lines, since `max` is not, at ties; nor for what
asks for r itself, of which (s - 1) + e_c has no digits to spare.
"""

from typing import Any, NamedTuple

from .class_masses import one_or_nan
from .record import Array


class Row(NamedTuple):
    """A row of logits seen from its largest, and from the label's class."""

    hot: Array  # at c alone
    own: Array  # x_c
    largest: Array  # m
    exponential: Array  # e, 0 at c
    of_own: Array  # e_c
    others: Array  # r
    one: Array  # or NaN of a number that no class has

    def is_sure(self) -> Array:
        return self.own == self.largest


def row(
    xp: Any,
    logits: Array,
    number: Array,
    statistic: tuple[Array, Array] | None = None,
) -> Row:
    """With the `statistic` of the row, (m, r), where that is known."""
    hot, own = xp.is_class(logits, number), xp.pick(logits, number)
    largest, others = (xp.class_max(logits), None) if statistic is None else statistic
    exponential = xp.where(hot, 0.0, from_largest(xp, logits, largest))
    of_own = from_largest(xp, own, largest)
    if others is None:
        others = others_of(xp, xp.class_sum(exponential), own, largest, of_own)
    one = one_or_nan(xp, logits, number)
    return Row(hot, own, largest, exponential, of_own, others, one)


def from_largest(xp: Any, x: Array, largest: Array) -> Array:
    """exp(x - m), which is 1 of an infinite m too."""
    return xp.where(x == largest, 1.0, xp.exp_of_difference(x, largest))


def others_of(
    xp: Any, sum_of_others: Array, own: Array, largest: Array, of_own: Array
) -> Array:
    """r; NaN of several infinite logits alike, whose difference may be anything."""
    others = xp.where(own == largest, sum_of_others, (sum_of_others - 1.0) + of_own)
    several = xp.isinf(largest) & (sum_of_others + of_own != 1.0)
    return xp.where(several, float("nan"), others)


def loss_of(xp: Any, f: Row) -> Array:
    """L."""
    gap = xp.where(f.is_sure(), 0.0, f.largest - f.own)
    return gap + f.one * xp.log1p(f.others)


def slope_of(xp: Any, f: Row) -> Array:
    """dL/dx."""
    share = f.one / (1.0 + f.others)
    of_own = xp.where(f.is_sure(), -(f.others * share), f.of_own * share - 1.0)
    return xp.where(f.hot, of_own, f.exponential * share)
