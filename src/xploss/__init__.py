"""Cross-entropies that are exact on any array: NumPy, PyTorch, JAX, TensorFlow, ...

>>> import numpy as np, xploss
>>> print(xploss.sigmoid_cross_entropy(np.array([-40.0, 2.0]), np.array([0, 1])))
0.06346400552148625
"""

from typing import TYPE_CHECKING, Any

from ._binary import (
    binary_cross_entropy,
    log_sigmoid,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softplus,
)
from ._categorical import (
    categorical_cross_entropy,
    log_softmax,
    logsumexp,
    softmax,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from ._derivatives import grad_and_hess, hessian_product, value_and_grad
from ._labels import check_labels

__all__ = [
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "check_labels",
    "grad_and_hess",
    "hessian_product",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "softplus",
    "value_and_grad",
]


__version__ = "0.1.0"


def __dir__() -> list[str]:
    return [*__all__, "__version__", "compat", "metrics", "objectives"]


if TYPE_CHECKING:  # to which a module with `__getattr__` has every name
    from . import compat as compat
    from . import metrics as metrics
    from . import objectives as objectives
else:

    def __getattr__(name: str) -> Any:
        """Load what few need when it is asked for."""
        import importlib

        if name in ("compat", "metrics", "objectives"):
            return importlib.import_module(f"xploss.{name}")
        raise AttributeError(f"module 'xploss' has no attribute {name!r}")
