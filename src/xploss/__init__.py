"""Binary losses that are exact on any array: NumPy, PyTorch, JAX, CuPy, Dask, ...

>>> import numpy as np, xploss
>>> print(xploss.sigmoid_cross_entropy(np.array([-40.0, 2.0]), np.array([0, 1])))
0.06346400552148625
"""

from typing import TYPE_CHECKING, Any

from ._labels import check_labels
from ._losses import (
    binary_cross_entropy,
    grad_and_hess,
    log_sigmoid,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softplus,
    value_and_grad,
)

__all__ = [
    "binary_cross_entropy",
    "check_labels",
    "grad_and_hess",
    "log_sigmoid",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softplus",
    "value_and_grad",
]


if TYPE_CHECKING:  # to which a module with `__getattr__` has every name
    from . import compat as compat
    from . import objectives as objectives

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        """Load what few need when it is asked for."""
        import importlib

        if name in ("compat", "objectives"):
            return importlib.import_module(f"xploss.{name}")
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("xploss")
        raise AttributeError(f"module 'xploss' has no attribute {name!r}")
