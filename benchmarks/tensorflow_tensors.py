"""TensorFlow's losses and ours on its own tensors: a mean of a million, float32.

    KERAS_BACKEND=tensorflow python benchmarks/tensorflow_tensors.py

On one thread, eager, in a function and by XLA, with the gradient by a tape and without:
the two take turns, and the median of their ratios is printed.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import xploss

COUNT, TURNS = 1_000_000, 25
RANDOM = np.random.default_rng(0)
WAYS: dict[str, Callable[[Any], Any]] = {
    "eager": lambda function: function,
    "tf.function": tf.function,
    "XLA": lambda function: tf.function(function, jit_compile=True),
}


def of_elements() -> tuple[Any, Any]:
    logits = RANDOM.normal(scale=3, size=COUNT).astype("float32")
    return tf.constant(logits), tf.constant(RANDOM.integers(0, 2, COUNT), tf.float32)


def of_rows(classes: int) -> tuple[Any, Any]:
    rows = COUNT // classes
    logits = RANDOM.normal(scale=3, size=(rows, classes)).astype("float32")
    return tf.constant(logits), tf.constant(RANDOM.integers(0, classes, rows))


def two_classes(x: Any, y: Any) -> Any:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, x))


def many_classes(x: Any, y: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, x))


def focal(x: Any, y: Any) -> Any:
    loss = keras.losses.binary_focal_crossentropy
    return tf.reduce_mean(loss(y[:, None], x[:, None], from_logits=True))


CASES = {
    "two classes": (two_classes, xploss.sigmoid_cross_entropy, of_elements),
    "10 classes": (many_classes, xploss.softmax_cross_entropy, lambda: of_rows(10)),
    "1,000 classes": (
        many_classes,
        xploss.softmax_cross_entropy,
        lambda: of_rows(1000),
    ),
    "focal": (focal, xploss.sigmoid_focal_loss, of_elements),
}


def with_gradient(loss: Callable[..., Any]) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x, y)
        return value, tape.gradient(value, x)

    return step


def seconds(function: Callable[..., Any], arguments: tuple[Any, Any]) -> float:
    start = time.perf_counter()
    for result in tf.nest.flatten(function(*arguments)):
        np.asarray(result)  # when it is there
    return time.perf_counter() - start


def ratio(pair: list[Callable[..., Any]], arguments: tuple[Any, Any]) -> float:
    """Of our time to theirs."""
    for function in pair * 2:
        seconds(function, arguments)
    turns = [[seconds(f, arguments) for f in pair] for _ in range(TURNS)]
    return statistics.median(ours / theirs for theirs, ours in turns)


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(f"{'':14}" + "".join(f"{way:>12}{'gradient':>10}" for way in WAYS))
    for name, (theirs, ours, made) in CASES.items():
        arguments, cells = made(), ""
        for way in WAYS.values():
            pair = [theirs, ours]
            value = ratio(list(map(way, pair)), arguments)
            step = ratio([way(with_gradient(f)) for f in pair], arguments)
            cells += f"{value:12.2f}{step:10.2f}"
        print(f"{name:14}{cells}", flush=True)


if __name__ == "__main__":
    main()
