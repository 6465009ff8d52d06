"""Which way a formula is run on arrays of a library.  Every way calls `_formula.py`.

A way takes the inputs as they came, so that nothing is widened before it is saved for
a derivative; it answers in the computing dtype.  What no other way knows takes the
plain one, which is always right.
"""

from collections.abc import Callable
from typing import Any

from . import _arrays

Way = Callable[..., Any]


def plain(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The formula itself: `others` are labels, then its parameters."""
    dtype = _arrays.computing_dtype(xp, logits)

    def widened(argument: Any) -> Any:
        if argument is None or isinstance(argument, float):
            return argument
        return xp.astype(argument, dtype, copy=False)

    return formula(xp, *map(widened, (logits, *others)))


def way(xp: Any) -> Way:
    """The way for a namespace; what differentiates is loaded when its arrays come."""
    name = _arrays.library(xp)
    if name == "jax":
        from ._jax import with_rule

        return with_rule
    if name == "torch":
        from ._torch import with_rule as with_torch_rule

        return with_torch_rule
    return plain
