"""The error of each peer's loss in ulp against the logit, and the figures of it.

    python benchmarks/errors.py measure torch optax keras ...    into errors.json
    python benchmarks/errors.py draw docs                        the two figures

In float32, logits from -80 to 80, where no loss is subnormal (XLA makes those 0):
of two classes, and the first of three of which the others are 0.  The exact loss is
`xploss.report.exact`'s, by decimal arithmetic.  TensorFlow wants an environment of its
own, so each run writes what it is asked for and keeps the rest.
"""

import json
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xploss import sigmoid_cross_entropy, softmax_cross_entropy
from xploss.report import by_hand
from xploss.report.exact import reference, row_reference, ulps

FOUND = Path(__file__).parent / "errors.json"
LOGITS = np.linspace(-80, 80, 1281, dtype=np.float32)
LEAST = 0.3  # ulp; what is less is drawn there
STEP = 20  # logits of which the worst is drawn
NOTHING_RIGHT = 2.0**24  # ulp: no digit is; also nan, or inf, in a number's place
Loss = Callable[[Any, Any], Any]

# ---- the peers -----------------------------------------------------------------------


def by_torch(name: str, **options: Any) -> Loss:
    def loss(logits: Any, labels: Any) -> Any:
        import torch

        function = getattr(torch.nn.functional, name)
        pair = map(torch.from_numpy, (logits, labels))
        return function(*pair, reduction="none").numpy()

    return loss


def by_optax(name: str) -> Loss:
    def loss(logits: Any, labels: Any) -> Any:
        import optax

        return getattr(optax, name)(logits, labels)

    return loss


def by_keras(name: str, activation: str) -> Loss:
    """Of probabilities, which is what Keras' losses take by default."""

    def loss(logits: Any, labels: Any) -> Any:
        import keras

        rows = (a.reshape(len(a), -1) for a in (logits, labels))
        logits, labels = rows
        probabilities = getattr(keras.ops, activation)(logits)
        return getattr(keras.losses, name)(labels, probabilities)

    return loss


def by_tensorflow(name: str) -> Loss:
    def loss(logits: Any, labels: Any) -> Any:
        import tensorflow

        return getattr(tensorflow.nn, name)(labels=labels, logits=logits).numpy()

    return loss


def by_us(loss: Loss) -> Loss:
    return lambda logits, labels: loss(logits, labels, reduction="none")


# ---- the families --------------------------------------------------------------------


class Family(NamedTuple):
    """Its peers; the labels of its panels; logits; the exact loss of one of them."""

    peers: dict[str, Loss]
    panels: dict[str, Any]
    logits: Any
    exact: Callable[[Any, Any], Decimal]


def exact_row(logits: Any, masses: Any) -> Decimal:
    pairs = [(k, Decimal(mass)) for k, mass in enumerate(masses) if mass]
    return sum((m * row_reference(tuple(logits), k) for k, m in pairs), Decimal(0))


FAMILIES = {
    "sigmoid": Family(
        {
            "textbook": by_hand.definition,
            "keras": by_keras("binary_crossentropy", "sigmoid"),
            "tensorflow": by_tensorflow("sigmoid_cross_entropy_with_logits"),
            "torch": by_torch("binary_cross_entropy_with_logits"),
            "optax": by_optax("sigmoid_binary_cross_entropy"),
            "xploss": by_us(sigmoid_cross_entropy),
        },
        {"label 0": 0.0, "label 1": 1.0, "label 1 - 2⁻²⁴": 1 - 2**-24},
        LOGITS,
        lambda logit, label: reference(logit, label).value,
    ),
    "softmax": Family(
        {
            "textbook": by_hand.log_softmax,
            "keras": by_keras("categorical_crossentropy", "softmax"),
            "tensorflow": by_tensorflow("softmax_cross_entropy_with_logits"),
            "torch": by_torch("cross_entropy"),
            "optax": by_optax("softmax_cross_entropy"),
            "xploss": by_us(softmax_cross_entropy),
        },
        {
            "that class is right": [1.0, 0.0, 0.0],
            "another is right": [0.0, 1.0, 0.0],
            "its mass is 1 - 2⁻²³": [1 - 2**-23, 2**-24, 2**-24],
        },
        np.stack([LOGITS, 0 * LOGITS, 0 * LOGITS], 1),
        exact_row,
    ),
}
TITLES = {
    "textbook": "by hand, in NumPy",
    "keras": "Keras, probabilities",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
    "optax": "optax",
    "xploss": "xploss",
}

FIGURES = {
    "sigmoid": ("Error of the binary cross-entropy, by its logit", "errors.svg"),
    "softmax": (
        "Error of the cross-entropy of three classes, by the logit of one (others: 0)",
        "errors_of_classes.svg",
    ),
}
LINES = (
    "The worst of each stretch of logits, in units in the last place (ulp) of the loss",
    "in float32. Smaller is better; red is more than 4 ulp, where digits are lost.",
)
BOUND = 4  # ulp, which the README promises
RIGHT, WRONG = "#2e8257", "#c0392b"

# ---- measured ------------------------------------------------------------------------


def errors(family: Family, name: str, label: Any) -> list[float]:
    """In ulp of the exact loss, at each of the logits."""
    labels = np.broadcast_to(np.float32(label), family.logits.shape).copy()
    with np.errstate(all="ignore"):
        results = np.asarray(family.peers[name](family.logits, labels)).tolist()
    pairs = zip(family.logits.tolist(), results, strict=True)
    away = [ulps(r, family.exact(x, label), "float32") for x, r in pairs]
    return [float(a) if a < NOTHING_RIGHT else NOTHING_RIGHT for a in away]


def measure(names: Sequence[str]) -> None:
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    packages = {"textbook": "numpy", "tensorflow": "tensorflow-cpu"}
    for name in names:
        package = packages.get(name, name)
        found[name] = {"version": f"{package} {version(package)}"} | {
            title: {
                panel: worst(errors(family, name, label))
                for panel, label in family.panels.items()
            }
            for title, family in FAMILIES.items()
        }
    FOUND.write_text(json.dumps(found, indent=1) + "\n")


def worst(away: list[float]) -> list[float]:
    """Of each stretch of logits."""
    return [max(away[k : k + STEP]) for k in range(0, len(away), STEP)]


# ---- drawn ---------------------------------------------------------------------------


def draw(title: str, heading: str, path: Path) -> None:
    """A row of panels for each peer, so that no line lies on another."""
    import figures
    import matplotlib.pyplot as plt

    found = json.loads(FOUND.read_text())
    figures.style()
    panels = FAMILIES[title].panels
    size = (len(TITLES), len(panels))
    figure, axes = plt.subplots(*size, figsize=(6.4, 5.4), sharex=True, sharey=True)
    for row, (name, peer) in zip(axes, TITLES.items(), strict=True):
        row[0].set_ylabel(peer, rotation=0, ha="right", va="center", labelpad=8)
        for axis, panel in zip(row, panels, strict=True):
            draw_panel(axis, np.array(found[name][title][panel]))
        beside(row[0], "ulp", (-0.04, 1e9), ha="right")
        beside(row[-1], "4 ulp", (1.02, BOUND), ha="left")
    for top, low, panel in zip(axes[0], axes[-1], panels, strict=True):
        top.set_title(panel)
        low.set_xlabel("logit")
    figures.save(figure, path, figures.head(figure, heading, *LINES))


def draw_panel(axis: Any, away: Any) -> None:
    import figures

    x, line, most = LOGITS[::STEP], np.maximum(away, LEAST), away.max()
    axis.plot(x, line, color=RIGHT if most <= BOUND else WRONG)
    axis.fill_between(x, BOUND, line, where=line > BOUND, color=WRONG, alpha=0.15)
    axis.axhline(BOUND, color=figures.INK, linewidth=0.7, linestyle="--")
    beside(axis, in_words(most), (0.5, 1e9), ha="center")
    axis.set(yscale="log", ylim=(LEAST / 2, 3e10), yticks=(1, 1e3, 1e6))
    axis.minorticks_off()


def in_words(most: float) -> str:
    """Of an error as large as the number itself, or of two digits."""
    if most >= NOTHING_RIGHT / 2:
        return "at worst no digit is right"
    return f"at worst {float(f'{most:.2g}'):,.7g} ulp"


def beside(axis: Any, text: str, place: tuple[float, float], **options: Any) -> None:
    """At a share of the width, and an error."""
    where = axis.get_yaxis_transform()
    axis.text(*place, text, transform=where, va="center", fontsize=7.5, **options)


def main(arguments: Sequence[str]) -> None:
    command, *rest = arguments
    if command == "measure":
        measure(rest)
    else:
        for title, (heading, file) in FIGURES.items():
            draw(title, heading, Path(rest[0]) / file)


if __name__ == "__main__":
    main(sys.argv[1:])
