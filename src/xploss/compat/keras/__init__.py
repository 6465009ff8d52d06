"""Keras' losses by their own names: labels first, probabilities by default.

The signatures are of Keras 3.15 (`keras.losses`) and of the Keras backend of
TensorFlow (`tf.keras.backend`).  Keras itself is not needed, and not loaded; where it
is, each class is a `keras.losses.Loss`.

As by Keras' own, labels and weights of the host, NumPy's, pandas' or lists, are taken
beside predictions of any library, and go where those are.
"""

from typing import TYPE_CHECKING, Any

from ..._arrays import loaded_class
from ._categorical import (
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)
from ._functions import (
    backend_binary_crossentropy,
    binary_crossentropy,
    binary_focal_crossentropy,
)
from ._import import once_keras_is_loaded

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalCrossentropy",
    "backend_binary_crossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
]


CLASSES = tuple(name for name in __all__ if name[0].isupper())


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:  # to which a module with `__getattr__` has every name
    from ._losses import BinaryCrossentropy as BinaryCrossentropy
    from ._losses import BinaryFocalCrossentropy as BinaryFocalCrossentropy
    from ._losses import CategoricalCrossentropy as CategoricalCrossentropy
    from ._losses import CategoricalFocalCrossentropy as CategoricalFocalCrossentropy
    from ._losses import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
else:

    def __getattr__(name: str) -> Any:
        """The classes, which Keras' subclasses of are made where it is loaded."""
        if name not in CLASSES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _losses

        _register()
        return _losses.with_keras(getattr(_losses, name))


def _register() -> None:
    """From then on Keras finds ours by their names, and takes none of its own."""
    if loaded_class("keras.losses", "Loss") is not None:
        from . import _module as _module


once_keras_is_loaded(_register)
