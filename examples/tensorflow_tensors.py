"""One loss by TensorFlow, by Keras and by xploss, on the same TensorFlow tensors.

    KERAS_BACKEND=tensorflow python examples/tensorflow_tensors.py

Four calls that tutorials say are the same: TensorFlow's operation of logits, Keras'
loss of logits, Keras' loss of their sigmoid, and ours.  At moderate logits they are;
of a confident answer, and at infinity, ours alone is right.  Each is evaluated eagerly,
in a function and by XLA, with its derivative by a tape.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import xploss
from xploss.report.exact import reference, ulps

MODERATE = [(-2.0, 0.0), (-0.5, 1.0), (0.0, 0.25), (1.0, 0.0), (3.0, 1.0)]
HOSTILE = [
    (40.0, 1.0), (-40.0, 0.0), (40.0, 0.0), (100.0, 1 - 2.0**-24), (np.inf, 1.0),
    (-np.inf, 0.0),
]  # fmt: skip
CLOSE = 2.0**-20  # of float32, of sums of a few terms


def of_tensorflow(labels: Any, logits: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def of_keras(labels: Any, logits: Any) -> Any:
    columns = labels[:, None], logits[:, None]
    return keras.losses.binary_crossentropy(*columns, from_logits=True)


def of_probabilities(labels: Any, logits: Any) -> Any:
    # Not `keras.ops.sigmoid`, of which Keras would find the logits again.
    probabilities = 1.0 / (1.0 + tf.exp(-logits))
    return keras.losses.binary_crossentropy(labels[:, None], probabilities[:, None])


def ours(labels: Any, logits: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels, reduction="none")


SPELLINGS = {
    "TensorFlow": of_tensorflow,
    "Keras": of_keras,
    "Keras, p": of_probabilities,
    "xploss": ours,
}
WAYS: dict[str, Callable[[Any], Any]] = {
    "eager": lambda function: function,
    "tf.function": tf.function,
    "XLA": lambda function: tf.function(function, jit_compile=True),
}


class Results(NamedTuple):
    losses: np.ndarray
    slopes: np.ndarray


def evaluated(name: str, way: str, pairs: list[tuple[float, float]]) -> Results:
    """The losses, and their derivatives by the logits."""
    logits, labels = (tf.constant(c, tf.float32) for c in zip(*pairs, strict=True))

    def step(labels: Any, logits: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = SPELLINGS[name](labels, logits)
        return losses, tape.gradient(losses, logits)

    return Results(*(a.numpy() for a in WAYS[way](step)(labels, logits)))


def exact(pairs: list[tuple[float, float]]) -> list[Decimal]:
    return [reference(*pair).value for pair in pairs]


def wrong(name: str, way: str, pairs: list[tuple[float, float]]) -> list[bool]:
    """Which losses are further than 4 units in the last place from the exact one."""
    losses = evaluated(name, way, pairs).losses.tolist()
    columns = zip(losses, exact(pairs), strict=True)
    return [not ulps(loss, right, "float32") <= 4 for loss, right in columns]


def differs(way: str) -> float:
    """The most by which the four are apart at moderate logits, derivatives too."""
    results = [np.stack(evaluated(name, way, MODERATE)) for name in SPELLINGS]
    return max(float(np.max(np.abs(one - results[-1]))) for one in results)


def row(logit: float, label: float, right: Decimal, losses: list[float]) -> str:
    cells = "".join(f"{loss:13.6g}" for loss in losses)
    return f"{logit:6g} {label:6.4g} {float(right):12.6g}{cells}"


def main() -> int:
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}: float32 losses")
    print(f"{'logit':>6} {'label':>6} {'exact':>12}" + "".join(
        f"{name:>13}" for name in SPELLINGS
    ))  # fmt: skip
    for pairs in (MODERATE, HOSTILE):
        columns = [evaluated(name, "eager", pairs).losses for name in SPELLINGS]
        rows = zip(pairs, exact(pairs), *columns, strict=True)
        for (logit, label), right, *losses in rows:
            print(row(logit, label, right, losses))
        print()
    apart = {way: differs(way) for way in WAYS}
    counts = {
        way: {name: sum(wrong(name, way, HOSTILE)) for name in SPELLINGS}
        for way in WAYS
    }
    for way in WAYS:
        wrongs = ", ".join(f"{name} {n}" for name, n in counts[way].items())
        print(f"{way}: apart by {apart[way]:.0e}; wrong: {wrongs}")
    right = all(counts[way]["xploss"] == 0 for way in WAYS)
    return 0 if right and max(apart.values()) <= CLOSE else 1


if __name__ == "__main__":
    raise SystemExit(main())
