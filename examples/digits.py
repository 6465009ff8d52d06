"""Multinomial regression on the digits by Newton's method, without a Hessian.

    python examples/digits.py

1,797 images of 64 pixels and an intercept, ten classes: 650 coefficients, so that the
Hessian has 422,500 numbers.  What is minimised is

    sum of softmax_cross_entropy(A @ W, y)  +  |W without intercepts|**2 / (2 * C)

by scipy's Newton-CG, on `value_and_grad` and on `hessian_product`, which is all of the
Hessian that conjugate gradients ask for; then W is compared with scikit-learn's.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from xploss import hessian_product, softmax_cross_entropy, value_and_grad

C = 0.001  # a strong penalty
CLOSE = 1e-5  # largest difference of a coefficient from scikit-learn's


class Table(NamedTuple):
    design: Any  # (1797, 65), a column of ones last
    labels: Any  # (1797,), 0 to 9
    ridge: Any  # (65, 1), 0 for the intercepts


def load_table() -> Table:
    design, labels = load_digits(return_X_y=True)
    design = np.column_stack([design / 2.0, np.ones(len(design))])
    ridge = np.append(np.full(design.shape[1] - 1, 1 / C), 0.0)[:, None]
    return Table(design, labels, ridge)


def by_scikit_learn(table: Table) -> Any:
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=200)
    model.fit(table.design[:, :-1], table.labels)
    return np.vstack([model.coef_.T, model.intercept_])


def by_newton(table: Table) -> tuple[Any, int]:
    """The coefficients, and how many products with the Hessian they took."""
    loss = value_and_grad(softmax_cross_entropy)
    product = hessian_product(softmax_cross_entropy)
    shape, products = (table.design.shape[1], 10), 0

    def objective(w: Any) -> tuple[float, Any]:
        w = w.reshape(shape)
        value, slopes = loss(table.design @ w, table.labels, reduction="sum")
        penalty = table.ridge * w
        gradient = table.design.T @ slopes + penalty
        return float(value + (penalty * w).sum() / 2), gradient.ravel()

    def times(w: Any, v: Any) -> Any:
        nonlocal products
        products += 1
        w, v = w.reshape(shape), v.reshape(shape)
        moved = product(table.design @ w, table.labels, table.design @ v)
        return (table.design.T @ moved + table.ridge * v).ravel()

    start = np.zeros(shape[0] * shape[1])
    options = {"xtol": 1e-7, "maxiter": 200}
    found = minimize(
        objective, start, method="Newton-CG", jac=True, hessp=times, options=options
    )
    return centred(found.x.reshape(shape)), products


def centred(w: Any) -> Any:
    """One number more on all intercepts changes nothing: those of sum 0."""
    w[-1] -= w[-1].mean()
    return w


def main() -> None:
    table = load_table()
    theirs = centred(by_scikit_learn(table))
    ours, products = by_newton(table)
    apart = float(np.abs(ours - theirs).max())
    right = float(((table.design @ ours).argmax(1) == table.labels).mean())
    print(f"{'products with the Hessian':42}{products:10}")
    print(f"{'images that are told rightly':42}{right:10.4f}")
    print(f"{'largest difference from scikit-learn':42}{apart:10.1e}")
    if apart > CLOSE:
        raise SystemExit(f"the coefficients are {apart} apart, more than {CLOSE}")


if __name__ == "__main__":
    main()
