"""Logistic regression on scikit-learn's breast-cancer table, fitted on every library.

    python examples/breast_cancer.py [numpy strict torch jax cupy dask] [--table FOLDER]

569 patients, 30 measurements, standardised, and an intercept.  What is minimised is

    sum of sigmoid_cross_entropy(A @ w, y)  +  |w without intercept|**2 / (2 * C)

with NumPy by quasi-Newton steps on `value_and_grad`, on the other libraries by
Newton's method on `grad_and_hess`; then w is compared with scikit-learn's.  Named
libraries have to be there; without names it takes those that are.

With `--table` it writes breast_cancer.csv into a folder, by default a temporary one: of
each patient the label, and the logit by a model that was fitted without them, for
`python -m xploss score`.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from xploss import grad_and_hess, sigmoid_cross_entropy, value_and_grad

C = 100.0  # a light penalty
CLOSE = 1e-5  # largest difference of a coefficient from scikit-learn's
CONVERGED = 1e-10  # largest change of a coefficient in the last Newton step


class Table(NamedTuple):
    design: Any  # (569, 31), a column of ones last
    labels: Any  # (569,)
    ridge: Any  # (31,), 0 for the intercept


def load_table() -> Table:
    design, labels = load_breast_cancer(return_X_y=True)
    design = (design - design.mean(axis=0)) / design.std(axis=0)
    design = np.column_stack([design, np.ones(len(design))])
    ridge = np.append(np.full(design.shape[1] - 1, 1 / C), 0.0)
    return Table(design, labels.astype(np.float64), ridge)


# ---- three ways to the coefficients ------------------------------------------------


def by_scikit_learn(table: Table) -> Any:
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=100)
    model.fit(table.design[:, :-1], table.labels)
    return np.append(model.coef_, model.intercept_)


def by_quasi_newton(table: Table) -> Any:
    """scipy.optimize on the value and the gradient, with NumPy."""
    value_and_slope = value_and_grad(sigmoid_cross_entropy)

    def objective(w: Any) -> tuple[Any, Any]:
        value, slope = value_and_slope(table.design @ w, table.labels, reduction="sum")
        penalty = table.ridge * w
        return value + penalty @ w / 2, slope @ table.design + penalty

    start = np.zeros_like(table.ridge)
    return minimize(objective, start, method="BFGS", jac=True, options={"gtol": 1e-7}).x


def by_newton(table: Table, asarray: Callable[[Any], Any]) -> Any:
    """w -= H**-1 @ g, the two made in another library, the 31 x 31 solved in NumPy."""
    design, labels = asarray(table.design), asarray(table.labels)
    w = np.zeros_like(table.ridge)
    for _ in range(50):
        derivatives = grad_and_hess(sigmoid_cross_entropy)(design @ asarray(w), labels)
        slope, curvature = derivatives
        g = to_numpy(design.T @ slope) + table.ridge * w
        h = to_numpy(design.T @ (curvature[:, None] * design)) + np.diag(table.ridge)
        step = np.linalg.solve(h, g)
        w = w - step
        if np.max(np.abs(step)) < CONVERGED:
            return w
    raise RuntimeError("Newton's method did not converge")


# ---- the libraries -----------------------------------------------------------------


def to_numpy(array: Any) -> Any:
    if hasattr(array, "compute"):  # Dask
        return array.compute()
    return array.get() if hasattr(array, "get") else np.from_dlpack(array)


def fit_numpy(table: Table) -> Any:
    return by_quasi_newton(table)


def fit_strict(table: Table) -> Any:
    return by_newton(table, import_module("array_api_strict").asarray)


def fit_torch(table: Table) -> Any:
    return by_newton(table, import_module("torch").asarray)


def fit_jax(table: Table) -> Any:
    jax = import_module("jax")
    with jax.enable_x64(True):
        return by_newton(table, jax.numpy.asarray)


def fit_cupy(table: Table) -> Any:
    return by_newton(table, import_module("cupy").asarray)


def fit_dask(table: Table) -> Any:
    """In chunks of 100 patients; the coefficients are one chunk."""
    from_array = import_module("dask.array").from_array
    return by_newton(table, lambda array: from_array(array, (100, -1)[: array.ndim]))


FITS = {
    "numpy": fit_numpy,
    "strict": fit_strict,
    "torch": fit_torch,
    "jax": fit_jax,
    "cupy": fit_cupy,
    "dask": fit_dask,
}
MODULES = {"strict": "array_api_strict"}


def missing(name: str) -> str:
    """Why a library cannot take part, or nothing."""
    try:
        module = import_module(MODULES.get(name, name))
    except ImportError as error:
        return str(error)
    if name == "cupy" and not module.cuda.is_available():
        return "installed, no GPU"
    return ""


# ---- a table to score --------------------------------------------------------------


def held_out(table: Table, folds: int = 5) -> Any:
    """The logit of each patient by a model of the other folds."""
    logits = np.empty_like(table.labels)
    for k in range(folds):
        kept = np.arange(len(logits)) % folds != k
        others = Table(table.design[kept], table.labels[kept], table.ridge)
        logits[~kept] = table.design[~kept] @ by_quasi_newton(others)
    return logits


def write_table(table: Table, folder: str) -> Path:
    path = Path(folder) / "breast_cancer.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "logit"])
        labels, logits = table.labels.astype(int), held_out(table)
        rows.writerows(zip(labels.tolist(), logits.tolist(), strict=True))
    return path


# ---- what is printed ---------------------------------------------------------------


def run(name: str, table: Table, expected: Any) -> float:
    """Fit and print; the largest difference of a coefficient."""
    started = time.perf_counter()
    coefficients = FITS[name](table)
    seconds = time.perf_counter() - started
    difference = float(np.max(np.abs(coefficients - expected)))
    print(f"{name:8} {difference:12.1e} {seconds:9.3f} s")
    return difference


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Logistic regression, six libraries")
    parser.add_argument("libraries", nargs="*", metavar="library", help=", ".join(FITS))
    parser.add_argument(
        "--table", nargs="?", const="", metavar="FOLDER",
        help="write breast_cancer.csv there, or into a temporary folder",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    named = options.libraries
    if unknown := set(named) - set(FITS):
        parser.error(f"no such library: {unknown}; choose from {', '.join(FITS)}")
    absent = {name: reason for name in named or FITS if (reason := missing(name))}

    table = load_table()
    expected = by_scikit_learn(table)
    print(f"Logistic regression, {table.design.shape[0]} patients, C = {C:g}.  Largest")
    print("difference of a coefficient from scikit-learn's, and the time:\n")
    differences = [
        run(name, table, expected) for name in named or FITS if name not in absent
    ]
    for name, reason in absent.items():
        print(f"{name:8} not run: {reason}")
    if options.table is not None:
        path = write_table(table, options.table or tempfile.mkdtemp())
        print(f"\nScore its predictions: python -m xploss score {path}")
    close = all(difference < CLOSE for difference in differences)
    return int(not close or any(name in absent for name in named))


if __name__ == "__main__":
    sys.exit(main())
