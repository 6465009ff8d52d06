"""What the tests of automatic differentiation share: functions, points, distances."""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from derivatives import Exact, derivative
from grid import rounded
from mpmath import mp, mpf
from reference import from_probability, ulps

import xploss

LOGITS = np.array([0.0, -0.0, 1, -1, 0.3, -1.3, 2.5, -5, 40, -40, 700, -700])
LABELS = np.array([0.0, 1.0, 0.3, 1e-3])
BOUND = 6.0  # in ulp of the largest term of the exact derivative, whatever its order

# Numbers that every dtype holds.
OPTIONS = {"pos_weight": 3.75, "label_smoothing": 0.125}
EXACT_OPTIONS = {"pos_weight": 3.75, "smoothing": 0.125}


class Function(NamedTuple):
    """Per element of logits and labels; its exact derivative by the logit."""

    call: Callable[[Any, Any], Any]
    exact: Callable[[float, float, int], Exact]


def _minus(exact: Exact) -> Exact:
    return Exact(-exact.value, exact.term)


per_element = partial(xploss.sigmoid_cross_entropy, reduction="none")
FUNCTIONS = {
    "loss": Function(per_element, derivative),
    "loss with options": Function(
        partial(per_element, **OPTIONS), partial(derivative, **EXACT_OPTIONS)
    ),
    "sigmoid": Function(
        lambda x, y: xploss.sigmoid(x), lambda x, y, n: derivative(x, 0.0, n + 1)
    ),
    "softplus": Function(
        lambda x, y: xploss.softplus(x), lambda x, y, n: derivative(x, 0.0, n)
    ),
    "log_sigmoid": Function(
        lambda x, y: xploss.log_sigmoid(x),
        lambda x, y, n: _minus(derivative(x, 1.0, n)),
    ),
}


def summing(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: function(x, y).sum()


def tower(*ways: Callable[..., Any]) -> Callable[..., Any]:
    """The first of `ways` is the outermost."""

    def derived(function: Callable[..., Any]) -> Callable[..., Any]:
        for way in reversed(ways):
            function = way(function)
        return function

    return derived


def points(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Every logit (rows) with every label (columns), as float64."""
    x, y = np.meshgrid(LOGITS, LABELS, indexing="ij")
    return rounded(x, dtype), rounded(y, dtype)


def check(
    results: Any, exacts: Iterable[Exact], dtype: str, bound: float = BOUND
) -> None:
    """Each result within `bound` ulp of the largest term of its exact value."""
    for k, (result, exact) in enumerate(zip(np.ravel(results), exacts, strict=True)):
        away = ulps(result, exact.value, dtype, unit=exact.term)
        assert away <= bound, f"{k}: {result!r}, exactly {exact}: {away:.3g} ulp"


def along(function: Function, dtype: str, order: int) -> Iterator[Exact]:
    """The exact derivatives at `points`."""
    x, y = points(dtype)
    return (
        function.exact(float(a), float(b), order)
        for a, b in zip(x.ravel(), y.ravel(), strict=True)
    )


def of_probability(options: dict[str, float]) -> dict[Any, Callable[..., Exact]]:
    """By the probability once and twice, and by the label."""
    w, s = options.values() if options else (1.0, 0.0)

    def once(p: float, y: float) -> Exact:
        exact = from_probability(float(p), float(y), w, s)
        return Exact(exact.gradient, exact.term)

    def twice(p: float, y: float) -> Exact:
        exact = from_probability(float(p), float(y), w, s).hessian
        return Exact(exact, exact)

    def by_label(p: float, y: float) -> Exact:
        with mp.workprec(200):
            yes, no = -w * mp.log(mpf(float(p))), -mp.log(1 - mpf(float(p)))
            return Exact((1 - s) * (yes - no), (1 - s) * max(yes, no))

    return {1: once, 2: twice, "label": by_label}


def by_eps(p: np.ndarray, y: np.ndarray, eps: float) -> Iterator[Exact]:
    """0 where p is not clipped; an eps of 0 clips nothing."""
    for prob, label in zip(p.flat, y.flat, strict=True):
        with mp.workprec(200):
            low, high = prob < eps, 1 - mpf(float(prob)) < eps
            pos, neg = (mpf(float(m)) for m in (label, 1 - label))
            pos, neg = (neg, pos) if high else (pos, neg)
            parts = (neg / (1 - mpf(eps)), pos / mpf(eps)) if low or high else (0, 0)
            yield Exact(parts[0] - parts[1], max(*parts, mpf(2) ** -1000))


# ---- by labels, weights and pos_weight --------------------------------------------


def spread(shape: tuple[int, ...]) -> np.ndarray:
    """Positive numbers that every dtype holds."""
    return 0.5 + 0.25 * np.arange(np.prod(shape, dtype=int)).reshape(shape)


def summed(
    x: np.ndarray, y: np.ndarray, shape: tuple[int, ...], **arguments: Any
) -> Iterator[Exact]:
    """`derivative` at every point, summed over the axes that `shape` does not have.

    An argument may be an array: it is spread over the points.  The largest term stands
    for the sum of them all, which is what rounding errors of a sum go by.
    """
    sums = {k: (mpf(0), mpf(0)) for k in np.ndindex(shape)}
    arrays = {name: np.broadcast_to(a, x.shape) for name, a in arguments.items()}
    padded = (1,) * (x.ndim - len(shape)) + shape
    for k in np.ndindex(x.shape):
        here = {name: a[k].item() for name, a in arrays.items()}
        exact = derivative(float(x[k]), float(y[k]), **here)
        kept = tuple(i if n > 1 else 0 for i, n in zip(k, padded, strict=True))
        kept = kept[len(kept) - len(shape) :]
        value, term = sums[kept]
        sums[kept] = (value + exact.value, term + exact.term)
    return (Exact(*pair) for pair in sums.values())


# ---- the hooks --------------------------------------------------------------------

MATHEMATICS = {"exp", "expm1", "log", "log1p", "logaddexp", "sigmoid", "softplus"}
MATHEMATICS |= {"expit", "log_sigmoid", "logsigmoid", "tanh", "abs", "reciprocal"}


def restated(module: str) -> set[str]:
    """The functions of mathematics that a module calls itself."""
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {getattr(f, "attr", getattr(f, "id", None)) for f in calls}
    return names & MATHEMATICS


def python(script: str, **environment: str) -> str:
    """What a script prints in an interpreter of its own, where warnings are errors."""
    tests = Path(__file__).parents[1]
    folders = [str(tests / name) for name in ("support", "reference", "backends")]
    environment["PYTHONPATH"] = os.pathsep.join(folders)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
