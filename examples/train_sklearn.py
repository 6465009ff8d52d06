"""scikit-learn and SciPy: ours as a score to choose by, and as what is minimised.

    python examples/train_sklearn.py [proba logits ridge pos_weight]

A logistic regression on the breast-cancer table, its penalty chosen by five-fold
cross-validation: by scikit-learn's "neg_log_loss", or by ours,

    proba   compat.sklearn.log_loss, of the probabilities of `predict_proba`
    logits  sigmoid_cross_entropy, of the logits of `decision_function`

And a logistic regression of three labels at once, on the 1,797 digits: is it even, is
it at least five, is it prime?  With scipy.optimize and `jac=True` is minimised

    sum of sigmoid_cross_entropy(A @ W, Y)  +  |W without intercepts|**2 / (2 * C)

(`ridge`), and the same with a pos_weight of 3; theirs is OneVsRestClassifier, with
that class weight.  Printed are, for the first two, the best penalty's loss on what was
held out; for the last two what is minimised, by NumPy's logaddexp, over the number of
labels.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xploss
from xploss.compat.sklearn import log_loss

C = 1.0  # of the three labels
CLOSE = 1e-3  # largest difference of the losses


# ---- a score to choose by ----------------------------------------------------------


def loss_of_logits(labels: Any, logits: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels)


OF_PROBABILITIES = make_scorer(
    log_loss, response_method="predict_proba", greater_is_better=False
)
OF_LOGITS = make_scorer(
    loss_of_logits, response_method="decision_function", greater_is_better=False
)


def search(scoring: Any) -> GridSearchCV:
    """Fitted with each penalty, and with the best one."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    penalties = {"logisticregression__C": np.logspace(-3, 3, 7)}
    measurements, labels = load_breast_cancer(return_X_y=True)
    return GridSearchCV(model, penalties, scoring=scoring).fit(measurements, labels)


def best_loss(scoring: Any) -> float:
    return float(-search(scoring).best_score_)


# ---- what is minimised -------------------------------------------------------------


class Table(NamedTuple):
    design: Any  # (1797, 65), a column of ones last
    labels: Any  # (1797, 3)
    ridge: Any  # (65, 1), 0 for the intercepts


def load_table() -> Table:
    pixels, digits = load_digits(return_X_y=True)
    even, large, prime = digits % 2 == 0, digits >= 5, np.isin(digits, (2, 3, 5, 7))
    design = np.column_stack([pixels / 16, np.ones(len(pixels))])
    labels = np.column_stack([even, large, prime]).astype(np.float64)
    ridge = np.append(np.full(64, 1 / C), 0.0)
    return Table(design, labels, ridge[:, None])


def by_scikit_learn(table: Table, pos_weight: float) -> Any:
    weights = {0: 1.0, 1: pos_weight}
    one = LogisticRegression(C=C, class_weight=weights, tol=1e-6, max_iter=1000)
    fitted = OneVsRestClassifier(one).fit(table.design[:, :-1], table.labels)
    columns = [np.append(one.coef_, one.intercept_) for one in fitted.estimators_]
    return np.column_stack(columns)


def by_scipy(table: Table, pos_weight: float) -> Any:
    """All labels' coefficients at once; scipy.optimize knows a flat array only."""
    value_and_slope = xploss.value_and_grad(xploss.sigmoid_cross_entropy)
    options = {"pos_weight": pos_weight, "reduction": "sum"}
    start = np.zeros((table.design.shape[1], table.labels.shape[1]))

    def objective(flat: Any) -> tuple[Any, Any]:
        w = flat.reshape(start.shape)
        value, slope = value_and_slope(table.design @ w, table.labels, **options)
        penalty = table.ridge * w
        slope = table.design.T @ slope + penalty
        return value + np.sum(penalty * w) / 2, slope.ravel()

    found = minimize(objective, start.ravel(), method="L-BFGS-B", jac=True)
    return found.x.reshape(start.shape)


def exact_objective(w: Any, table: Table, pos_weight: float) -> float:
    x, y = table.design @ w, table.labels
    losses = pos_weight * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
    return float((losses.sum() + np.sum(table.ridge * w**2) / 2) / y.size)


def minimum(fit: Callable[..., Any], pos_weight: float) -> float:
    table = load_table()
    return exact_objective(fit(table, pos_weight), table, pos_weight)


# ---- what is printed ---------------------------------------------------------------


class Variant(NamedTuple):
    theirs: Callable[[], float]
    ours: Callable[[], float]


def searched(scoring: Any) -> Variant:
    return Variant(partial(best_loss, "neg_log_loss"), partial(best_loss, scoring))


def minimised(pos_weight: float) -> Variant:
    fits = by_scikit_learn, by_scipy
    return Variant(*(partial(minimum, fit, pos_weight) for fit in fits))


VARIANTS = {
    "proba": searched(OF_PROBABILITIES),
    "logits": searched(OF_LOGITS),
    "ridge": minimised(1.0),
    "pos_weight": minimised(3.0),
}


def run(name: str) -> tuple[float, float]:
    """Compute both and print; their loss and ours."""
    losses, seconds = [], []
    for loss in VARIANTS[name]:
        started = time.perf_counter()
        losses.append(loss())
        seconds.append(time.perf_counter() - started)
    columns = *losses, abs(losses[1] - losses[0]), *seconds
    print("{:16}{:10.6f}{:10.6f}{:12.1e}{:12.2f}{:10.2f}".format(name, *columns))
    return losses[0], losses[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="scikit-learn and SciPy, two losses")
    parser.add_argument("variants", nargs="*", metavar="variant")
    named = parser.parse_args(arguments).variants
    if unknown := set(named) - set(VARIANTS):
        parser.error(f"no such variant: {unknown}; choose from {', '.join(VARIANTS)}")

    print("Cross-validated and minimised losses, with the seconds:\n")
    header = ("", "theirs", "ours", "difference", "theirs", "ours")
    print("{:16}{:>10}{:>10}{:>12}{:>12}{:>10}".format(*header))
    pairs = [run(name) for name in named or VARIANTS]
    return int(not all(abs(b - a) <= CLOSE for a, b in pairs))


if __name__ == "__main__":
    sys.exit(main())
