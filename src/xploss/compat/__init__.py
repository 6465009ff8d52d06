"""Other libraries' names, argument orders and defaults, on any array.

Each function is a few lines on the core; `xploss.compat.keras.binary_crossentropy`
takes NumPy, PyTorch, JAX, CuPy or Dask arrays alike.  Importing this loads none of the
libraries that are spelt here.
"""

from . import keras, optax, sklearn, tensorflow, torch

__all__ = ["keras", "optax", "sklearn", "tensorflow", "torch"]


def __dir__() -> list[str]:
    return __all__
