"""Which way a formula is run on arrays of a library.  Every way calls `_formula.py`."""

from typing import Any

from . import _arrays, _host
from ._plain import Evaluation, plainly


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs, by the way for a namespace."""
    name = _arrays.library(xp)
    if name == "numpy":
        return _host.evaluate(xp, e)
    if name == "torch":
        from ._torch import evaluate as evaluate_tensors

        return evaluate_tensors(xp, e)
    if name == "jax":
        from ._jax import evaluate as evaluate_compiled

        return evaluate_compiled(e)
    if name == "cupy":
        from ._cupy import evaluate as evaluate_on_gpu

        return evaluate_on_gpu(xp, e)
    if name == "dask":
        from . import _dask

        return _dask.evaluate(xp, e)
    return plainly(xp, e)
