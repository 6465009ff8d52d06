"""The error of each peer's loss in ulp against the logit, and the figure of it.

    python benchmarks/errors.py measure torch optax keras ...    into errors.json
    python benchmarks/errors.py draw docs/errors.svg

In float32, logits from -80 to 80, where no loss is subnormal (XLA makes those 0);
labels 0, 1 and one ulp below 1; the exact loss is `xploss.report.exact`'s, by decimal
arithmetic.  TensorFlow wants an environment of its own, so each run writes what it is
asked for and keeps the rest.
"""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xploss import sigmoid_cross_entropy
from xploss.report import by_hand
from xploss.report.exact import reference, ulps

FOUND = Path(__file__).parent / "errors.json"
LOGITS = np.linspace(-80, 80, 1281, dtype=np.float32)
LABELS = {"0": 0.0, "1": 1.0, "1 - 2**-24": 1 - 2**-24}
LEAST = 0.3  # ulp; what is less is drawn there
STEP = 20  # logits of which the worst is drawn
NOTHING_RIGHT = 2.0**24  # ulp: no digit is; also nan, or inf, in a number's place


# ---- the peers -----------------------------------------------------------------------


def of_torch(logits: Any, labels: Any) -> Any:
    import torch

    pair = map(torch.from_numpy, (logits, labels))
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(*pair, reduction="none").numpy()


def of_optax(logits: Any, labels: Any) -> Any:
    import optax

    return optax.sigmoid_binary_cross_entropy(logits, labels)


def of_keras(logits: Any, labels: Any) -> Any:
    """Of probabilities, which is what Keras' loss takes by default."""
    import keras

    loss = keras.losses.binary_crossentropy
    return loss(labels[:, None], keras.ops.sigmoid(logits)[:, None])


def of_tensorflow(logits: Any, labels: Any) -> Any:
    import tensorflow

    loss = tensorflow.nn.sigmoid_cross_entropy_with_logits
    return loss(labels=labels, logits=logits).numpy()


def ours(logits: Any, labels: Any) -> Any:
    return sigmoid_cross_entropy(logits, labels, reduction="none")


PEERS: dict[str, Callable[[Any, Any], Any]] = {
    "textbook": by_hand.definition,
    "keras": of_keras,
    "tensorflow": of_tensorflow,
    "torch": of_torch,
    "optax": of_optax,
    "xploss": ours,
}
TITLES = {
    "textbook": "the textbook line",
    "keras": "Keras, probabilities",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
    "optax": "optax",
    "xploss": "xploss",
}


# ---- measured ------------------------------------------------------------------------


def errors(loss: Callable[[Any, Any], Any], label: float) -> list[float]:
    """In ulp of the exact loss, at each of the logits."""
    with np.errstate(all="ignore"):
        results = np.asarray(loss(LOGITS, np.full_like(LOGITS, label))).tolist()
    pairs = zip(LOGITS.tolist(), results, strict=True)
    away = [ulps(r, reference(x, label).value, "float32") for x, r in pairs]
    return [float(a) if a < NOTHING_RIGHT else NOTHING_RIGHT for a in away]


def measure(names: Sequence[str]) -> None:
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name in names:
        package = "numpy" if name == "textbook" else name
        if name == "tensorflow":
            package = "tensorflow-cpu"
        found[name] = {
            "version": f"{package} {version(package)}",
            "worst": {
                title: worst(errors(PEERS[name], label))
                for title, label in LABELS.items()
            },
        }
    FOUND.write_text(json.dumps(found, indent=1) + "\n")


def worst(away: list[float]) -> list[float]:
    """Of each stretch of logits."""
    return [max(away[k : k + STEP]) for k in range(0, len(away), STEP)]


# ---- drawn ---------------------------------------------------------------------------


def draw(path: Path) -> None:
    import figures
    import matplotlib.pyplot as plt

    found = json.loads(FOUND.read_text())
    figures.style()
    colours = {"keras": "#a05195", "tensorflow": "#c9a227", "textbook": figures.INK}
    colours |= {"torch": "#d9622b", "optax": "#3b82c4", "xploss": "#3f9b6c"}
    figure, axes = plt.subplots(1, 3, figsize=(7.6, 3.2), sharey=True)
    for panel, label in zip(axes, LABELS, strict=True):
        for name, title in TITLES.items():
            line = np.maximum(found[name]["worst"][label], LEAST)
            x = LOGITS[::STEP]
            width = 1.2 if name == "xploss" else 2.2
            panel.plot(x, line, color=colours[name], linewidth=width, label=title)
        panel.set(yscale="log", xlabel=f"logit, label {label}")
        panel.axhline(4, color=figures.INK, linewidth=0.6, linestyle=":")
    axes[0].set_ylabel("worst error, ulp of float32")
    handles, titles = axes[0].get_legend_handles_labels()
    figure.legend(handles, titles, fontsize=7, ncols=6, loc="upper center")
    figures.save(figure, path, top=0.93)


def main(arguments: Sequence[str]) -> None:
    command, *rest = arguments
    if command == "measure":
        measure(rest)
    else:
        draw(Path(rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
