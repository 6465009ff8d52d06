"""The loss classes as `keras.losses.Loss`es, which needs Keras.

They, and the functions, are registered under names of their own, and the classes are
called otherwise than Keras' are, so that what was saved with one of them is loaded with
it or not at all.
"""

import copyreg
from typing import Any

import keras

# What `keras.Loss` asks itself; there is no public way to the mask:
# https://github.com/keras-team/keras/blob/v3.15.1/keras/src/losses/loss.py
from keras.src.backend.common.masking import get_keras_mask

from . import keras as spelt
from ._keras_losses import BinaryCrossentropy, BinaryFocalCrossentropy, Loss


class _OfKeras(Loss):
    """What Keras asks of a loss besides."""

    def _mask(self, y_pred: Any) -> Any:
        return get_keras_mask(y_pred)

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name.

        Not the name of Keras' own function: where Keras does not find the class of an
        `.h5` file, it takes the function of that name instead.
        """
        config = super().get_config()
        if config["name"] == self.KERAS_NAME:
            del config["name"]
        return config

    def __reduce__(self) -> tuple[Any, ...]:
        """Keras would pickle it as a model."""
        return copyreg.__newobj__, (type(self),), vars(self)  # type: ignore[attr-defined]


@keras.saving.register_keras_serializable("xploss", "BinaryCrossentropy")
class ExactBinaryCrossentropy(_OfKeras, BinaryCrossentropy, keras.losses.Loss):
    __doc__ = BinaryCrossentropy.__doc__


@keras.saving.register_keras_serializable("xploss", "BinaryFocalCrossentropy")
class ExactBinaryFocalCrossentropy(
    _OfKeras, BinaryFocalCrossentropy, keras.losses.Loss
):
    __doc__ = BinaryFocalCrossentropy.__doc__


CLASSES: dict[Any, Any] = {
    BinaryCrossentropy: ExactBinaryCrossentropy,
    BinaryFocalCrossentropy: ExactBinaryFocalCrossentropy,
}

for _name in ("binary_crossentropy", "binary_focal_crossentropy"):
    keras.saving.register_keras_serializable("xploss", _name)(getattr(spelt, _name))
