"""Which way a formula is run on arrays of a library.  Every way calls `_formula.py`."""

from functools import partial
from typing import Any

from . import _arrays, _host
from ._plain import Evaluation, plainly, with_sum


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs, by the way for a namespace."""
    name = _arrays.library(xp)
    if name == "numpy":
        return _host.evaluate(xp, e)
    if name == "dask":
        from . import _dask

        dtypes = e.dtypes[:1] * len(e.dtypes)
        block = e._replace(arguments=(), dtypes=dtypes, summed=False, axis=None)
        function = partial(_on_block, block)
        return with_sum(xp, e, _dask.blockwise(function, e.arguments, e.dtypes))
    return plainly(xp, e)


def _on_block(e: Evaluation, xp: Any, *arguments: Any) -> tuple[Any, ...]:
    return evaluate(xp, e._replace(arguments=arguments))
