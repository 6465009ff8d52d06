"""The loss classes as `keras.losses.Loss`es, which needs Keras.

They, and the functions, are registered under names of their own, and the classes are
called otherwise than Keras' are, so that what was saved with one of them is loaded with
it or not at all.
"""

import contextlib
from typing import Any

import keras

# What `keras.Loss` asks itself; there is no public way to the mask:
# https://github.com/keras-team/keras/blob/v3.15.1/keras/src/losses/loss.py
from keras.src.backend.common.masking import get_keras_mask

from . import _categorical as rows
from . import _functions as spelt
from ._losses import (
    OF_KERAS,
    PREFIX,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    Loss,
    SparseCategoricalCrossentropy,
)


class _OfKeras(Loss):
    """What Keras asks of a loss besides."""

    def _mask(self, y_pred: Any) -> Any:
        return get_keras_mask(y_pred)

    def get_config(self) -> dict[str, Any]:
        """Every argument, by name.

        A name that Keras calls a loss of its own by, such as the default one, has a
        prefix, which is taken off again: where Keras does not find the class of an
        `.h5` file, it takes the loss of that name instead.
        """
        config = super().get_config()
        with contextlib.suppress(ValueError):
            keras.losses.get(config["name"])
            config["name"] = PREFIX + config["name"]
        return config

    __reduce__ = object.__reduce__  # Keras would pickle it as a model


@keras.saving.register_keras_serializable("xploss", "BinaryCrossentropy")
class ExactBinaryCrossentropy(_OfKeras, BinaryCrossentropy, keras.losses.Loss):
    __doc__ = BinaryCrossentropy.__doc__


@keras.saving.register_keras_serializable("xploss", "BinaryFocalCrossentropy")
class ExactBinaryFocalCrossentropy(
    _OfKeras, BinaryFocalCrossentropy, keras.losses.Loss
):
    __doc__ = BinaryFocalCrossentropy.__doc__


@keras.saving.register_keras_serializable("xploss", "CategoricalCrossentropy")
class ExactCategoricalCrossentropy(
    _OfKeras, CategoricalCrossentropy, keras.losses.Loss
):
    __doc__ = CategoricalCrossentropy.__doc__


@keras.saving.register_keras_serializable("xploss", "SparseCategoricalCrossentropy")
class ExactSparseCategoricalCrossentropy(
    _OfKeras, SparseCategoricalCrossentropy, keras.losses.Loss
):
    __doc__ = SparseCategoricalCrossentropy.__doc__


@keras.saving.register_keras_serializable("xploss", "CategoricalFocalCrossentropy")
class ExactCategoricalFocalCrossentropy(
    _OfKeras, CategoricalFocalCrossentropy, keras.losses.Loss
):
    __doc__ = CategoricalFocalCrossentropy.__doc__


OF_KERAS[CategoricalCrossentropy] = ExactCategoricalCrossentropy
OF_KERAS[SparseCategoricalCrossentropy] = ExactSparseCategoricalCrossentropy
OF_KERAS[CategoricalFocalCrossentropy] = ExactCategoricalFocalCrossentropy
OF_KERAS[BinaryCrossentropy] = ExactBinaryCrossentropy
OF_KERAS[BinaryFocalCrossentropy] = ExactBinaryFocalCrossentropy

for _module, _names in (
    (spelt, ("binary_crossentropy", "binary_focal_crossentropy")),
    (
        rows,
        (
            "categorical_crossentropy",
            "categorical_focal_crossentropy",
            "sparse_categorical_crossentropy",
        ),
    ),
):
    for _name in _names:
        keras.saving.register_keras_serializable("xploss", _name)(
            getattr(_module, _name)
        )
