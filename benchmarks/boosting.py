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
SEEN = range(1, ROUNDS + 1)
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
    train, new = load()
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.6))
    draw_cross_entropy(left, train, new)
    draw_focal(right, train, new)
    for axes in (left, right):
        axes.set_xlabel("boosting round")
        axes.legend(fontsize=7.5)
    title = "XGBoost trained with its own objective and with those of xploss"
    says = "Mean loss of 50,000 new rows, of which 1% are positive. Smaller is better."
    figures.save(figure, path, figures.head(figure, title, says))


def draw_cross_entropy(axes: Any, train: Any, new: Any) -> None:
    """Theirs as rings about our line: the two are one."""
    theirs = curve("binary:logistic", train, new, None, None)
    ours = curve("ours", train, new, None, objectives.xgboost())
    colour = figures.COLOURS["PyTorch"]
    axes.plot(SEEN, theirs, "o", mfc="none", color=figures.INK, label="binary:logistic")
    axes.plot(SEEN, ours, color=colour, label="objectives.xgboost()")
    axes.set(title="cross-entropy: the same model", ylabel="mean cross-entropy")


def draw_focal(axes: Any, train: Any, new: Any) -> None:
    colours = (figures.INK, *figures.COLOURS.values())
    for floor, colour, marker in zip(FLOORS, colours, "os^D", strict=True):
        objective = objectives.xgboost(focal, hessian_floor=floor)
        line = curve(f"focal, floor {floor:g}", train, new, focal, objective)
        axes.plot(SEEN, line, color=colour, marker=marker, markevery=7, ms=4,
                  label=f"hessian_floor={floor:g}")  # fmt: skip
    axes.set_yscale("log")
    axes.set(title="focal loss: its Hessian needs a floor", ylabel="mean focal loss")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
