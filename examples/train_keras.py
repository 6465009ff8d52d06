"""Keras: a network compiled with ours and with Keras' loss, on JAX or on PyTorch.

    KERAS_BACKEND=jax python examples/train_keras.py [plain sample_weight ...]

scikit-learn's breast-cancer table: 569 tumours, 30 measurements, standardised; is the
tumour benign?  What is minimised, over the tumours i, is

    mean of  w_i * (y_i * softplus(-x_i)  +  (1 - y_i) * softplus(x_i))

where x = network(measurements), and w_i is 1 (`plain`), rises a hundredfold along the
table, as if late records counted more (`sample_weight`), or is 3 for malignant tumours
and else 1 (`class_weight`).  `saved` saves the network half way, loads it, and goes on
with what it loaded.  Both losses start from the same weights and see the same batches.
Printed are the losses of the trained networks on the whole table, by NumPy's logaddexp
in float64; the seconds include compiling.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer

from xploss.compat.keras import BinaryCrossentropy

EPOCHS = 20  # in two halves
BATCH = 64
CLOSE = 1e-3  # largest difference of the trained losses
CLASS_WEIGHT = {0: 3.0, 1: 1.0}  # malignant, benign
VARIANTS = ("plain", "sample_weight", "class_weight", "saved")


class Table(NamedTuple):
    measurements: Any  # (569, 30)
    labels: Any  # (569, 1)
    weights: Any  # (569,), of mean 1


def load_table() -> Table:
    design, labels = load_breast_cancer(return_X_y=True)
    measurements = (design - design.mean(axis=0)) / design.std(axis=0)
    weights = np.geomspace(1, 100, len(labels))
    table = measurements, labels[:, None], weights / weights.mean()
    return Table(*(column.astype(np.float32) for column in table))


# ---- training ----------------------------------------------------------------------


def theirs() -> Any:
    return keras.losses.BinaryCrossentropy(from_logits=True)


def ours() -> Any:
    return BinaryCrossentropy(from_logits=True)


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden, head = keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)
    return keras.Sequential([keras.layers.Input((30,)), hidden, head])


def saved_and_loaded(model: keras.Model) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.saving.load_model(path)


def train(loss: Any, table: Table, name: str) -> keras.Model:
    data = {"x": table.measurements, "y": table.labels}
    if name == "sample_weight":
        data["sample_weight"] = table.weights
    if name == "class_weight":
        data["class_weight"] = CLASS_WEIGHT
    model = network()
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    model.fit(**data, batch_size=BATCH, epochs=EPOCHS // 2, verbose=0)
    if name == "saved":
        model = saved_and_loaded(model)
    model.fit(**data, batch_size=BATCH, epochs=EPOCHS // 2, verbose=0)
    return model


# ---- what is printed ---------------------------------------------------------------


def exact_loss(model: keras.Model, table: Table, name: str) -> float:
    """On the whole table, in float64."""
    inner, bias, outer, last = (w.astype(np.float64) for w in model.get_weights())
    x = np.maximum(table.measurements @ inner + bias, 0) @ outer + last
    losses = np.where(table.labels == 1, np.logaddexp(0, -x), np.logaddexp(0, x))[:, 0]
    if name == "sample_weight":
        losses = losses * table.weights
    if name == "class_weight":
        losses = losses * [CLASS_WEIGHT[label] for label in table.labels[:, 0]]
    return float(losses.mean())


def run(name: str, table: Table) -> tuple[float, float]:
    """Train with both and print; their loss and ours."""
    losses, seconds = [], []
    for loss in (theirs(), ours()):
        started = time.perf_counter()
        model = train(loss, table, name)
        seconds.append(time.perf_counter() - started)
        losses.append(exact_loss(model, table, name))
    columns = *losses, abs(losses[1] - losses[0]), *seconds
    print("{:16}{:10.6f}{:10.6f}{:12.1e}{:12.2f}{:10.2f}".format(name, *columns))
    return losses[0], losses[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One network, two losses: Keras")
    parser.add_argument("variants", nargs="*", metavar="variant")
    named = parser.parse_args(arguments).variants
    if unknown := set(named) - set(VARIANTS):
        parser.error(f"no such variant: {unknown}; choose from {', '.join(VARIANTS)}")

    table = load_table()
    start = exact_loss(network(), table, "plain")
    print(f"{len(table.labels)} tumours, {EPOCHS} epochs, {keras.backend.backend()}.")
    print(f"The loss is {start:.6f} before, and after, with the seconds:\n")
    header = ("", "theirs", "ours", "difference", "theirs", "ours")
    print("{:16}{:>10}{:>10}{:>12}{:>12}{:>10}".format(*header))
    pairs = [run(name, table) for name in named or VARIANTS]
    return int(not all(abs(b - a) <= CLOSE for a, b in pairs))


if __name__ == "__main__":
    sys.exit(main())
