"""What more than one spelling needs."""

from collections.abc import Callable
from typing import Any

from .._arrays import namespace
from .._problem import Problem, carried_out, reduced


def with_leading_axes(name: str, values: Any, rank: int) -> Any:
    """`values` with size-1 axes in front, up to `rank` axes.

    So other libraries broadcast; the core wants it written out.
    """
    xp = namespace(name, values)
    missing = rank - values.ndim
    if missing <= 0:
        return values
    return xp.reshape(values, (1,) * missing + tuple(values.shape))


def by_formula(formula: Callable[..., Any], p: Problem) -> Any:
    """A checked call by a formula that only another library has."""
    return carried_out(reduced, p, formula)
