"""Loss by round of XGBoost's objective and of ours, on new rows: docs/boosting.svg.

    python benchmarks/boosting.py docs/boosting.svg

200,000 rows made by scikit-learn, 1% of them positive, three quarters to train on; from
the log odds on.  Prints the average precision on the new rows.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import figures
import matplotlib.pyplot as plt
import numpy as np
import xgboost
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

import xploss
from xploss import objectives

ROUNDS = 50
FLOORS = (1e-16, 0.01, 0.05, 0.2)
Loss = Callable[..., Any]
focal = partial(xploss.sigmoid_focal_loss, gamma=2.0)


def load() -> tuple[xgboost.DMatrix, xgboost.DMatrix]:
    design, labels = make_classification(
        200_000, 20, n_informative=8, weights=[0.99], flip_y=0.002, random_state=0
    )
    parts = train_test_split(design, labels, stratify=labels, random_state=0)
    odds = np.log(labels.mean() / (1 - labels.mean()))

    def matrix(design: Any, labels: Any) -> xgboost.DMatrix:
        start = np.full(len(labels), odds)
        return xgboost.DMatrix(design, labels, base_margin=start)

    return matrix(parts[0], parts[2]), matrix(parts[1], parts[3])


def curve(
    name: str, train: Any, new: Any, loss: Loss | None, objective: Any
) -> list[float]:
    """The loss of the new rows after each round; without one, XGBoost's logloss."""

    def metric(margins: Any, data: Any) -> tuple[str, float]:
        assert loss is not None
        return "loss", float(loss(margins.astype(float), data.get_label()))

    seen: dict[str, Any] = {}
    params = {"objective": "binary:logistic", "eval_metric": "logloss"}
    model = xgboost.train(
        params, train, ROUNDS, obj=objective, custom_metric=loss and metric,
        evals=[(new, "new")], evals_result=seen, verbose_eval=False,
    )  # fmt: skip
    margins = model.predict(new, output_margin=True)
    precision = average_precision_score(new.get_label(), margins)
    values: list[float] = seen["new"]["loss" if loss else "logloss"]
    print(f"{name}: loss {values[-1]:.6g}, average precision {precision:.2f}")
    return values


def main(path: Path) -> None:
    figures.style()
    rounds = np.arange(1, ROUNDS + 1)
    train, new = load()
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.8))
    theirs = curve("binary:logistic", train, new, None, None)
    ours = curve("ours", train, new, None, objectives.xgboost())
    left.plot(rounds, theirs, color=figures.INK, linewidth=4, label="binary:logistic")
    left.plot(rounds, ours, color=figures.COLOURS["PyTorch"], label="ours")
    left.set_title("cross-entropy", fontsize=9)
    colours = (figures.INK, *figures.COLOURS.values())
    for floor, colour in zip(FLOORS, colours, strict=True):
        objective, label = objectives.xgboost(focal, hessian_floor=floor), f"{floor:g}"
        line = curve(f"focal, floor {label}", train, new, focal, objective)
        right.plot(rounds, line, color=colour, label=label)
    right.set_title("focal loss, gamma 2", fontsize=9)
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("round")
    left.legend(fontsize=7)
    right.legend(fontsize=7, title="hessian_floor", title_fontsize=7)
    left.set_ylabel("loss of new rows")
    figures.save(figure, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
