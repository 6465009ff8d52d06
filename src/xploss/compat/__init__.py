"""Other libraries' names, argument orders and defaults, on any array.

Each function is a few lines on the core; `xploss.compat.keras.binary_crossentropy`
takes NumPy, PyTorch, JAX, CuPy or Dask arrays alike.
"""

from . import keras, tensorflow

__all__ = ["keras", "tensorflow"]
