"""Value, gradient and Hessian within a few ulp of mpmath's, for every dtype."""

from functools import partial

import numpy as np
import pytest
from backends import Backend
from grid import logits_and_labels, probs_and_labels
from mpmath import mpf
from reference import clipped, flushed, from_logit, from_probability, ulps

import xploss

OPTIONS = [
    {},
    {"label_smoothing": 1e-6},
    {"label_smoothing": 0.1},
    {"pos_weight": 3.7},
    {"pos_weight": 0.2, "label_smoothing": 0.01},
    {"weights": 1.7},
]
QUANTITIES = ("value", "gradient", "hessian")


def bound(dtype, quantity, options):
    if options:
        return 8
    return 0.51 if quantity == "value" and dtype in ("float16", "bfloat16") else 4


def exact_names(options):
    names = {"label_smoothing": "smoothing", "weights": "weight"}
    return {names.get(key, key): value for key, value in options.items()}


def quantities(backend, x, y, options):
    """The three per element, by the public functions."""
    loss = partial(xploss.sigmoid_cross_entropy, **options)
    per_element = partial(loss, reduction="none")
    value, gradient = backend.call(xploss.value_and_grad(per_element), x, y)
    slope, hessian = backend.call(xploss.grad_and_hess(loss), x, y)
    numbers = [backend.numpy(a) for a in (value, gradient, hessian, slope)]
    # -0 may be taken for either side.
    apart = numbers[1] != numbers[3]
    either = (backend.numpy(x) == 0) | np.isnan(numbers[1])
    assert not np.any(apart & ~either)
    return dict(zip(QUANTITIES, numbers[:3], strict=True))


def distances(backend, dtype, results, exacts, options):
    """Ulp from the exact value; for the gradient, of its larger term."""
    factor = max(options.get("pos_weight", 1.0), options.get("weights", 1.0))
    return {
        name: [
            ulps(
                result,
                getattr(exact, name),
                dtype,
                unit=exact.term if name == "gradient" else None,
                lost=factor * backend.flushes,
            )
            for result, exact in zip(results[name], exacts, strict=True)
        ]
        for name in results
    }


def seen(backend, y, dtype):
    """Labels as the library sees them (float16 is widened first, to normal ones)."""
    return flushed(y, dtype) if backend.flushes and dtype != "float16" else y


def numpy_quantities(x, y, dtype, options):
    """NumPy's answer; it has no bfloat16, so its float32 one stands for that."""
    dtype = "float32" if dtype == "bfloat16" else dtype
    plain = Backend("numpy", "numpy", (), np.array, np.asarray)
    return quantities(plain, x.astype(dtype), y.astype(dtype), options)


def exactly(number, like):
    """A result of NumPy's in the place of the exact ones."""
    return like._replace(**{name: mpf(float(n)) for name, n in number.items()})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits(backend, dtype, options, matrix):
    x, y = logits_and_labels(dtype, 100 if options else 600)
    results = quantities(
        backend, backend.array(x, dtype), backend.array(y, dtype), options
    )
    y = seen(backend, y, dtype)
    names = exact_names(options)
    exacts = [from_logit(a, b, **names) for a, b in zip(x, y, strict=True)]
    away = distances(backend, dtype, results, exacts, options)
    for name in QUANTITIES:
        worst = int(np.argmax(away[name]))
        assert away[name][worst] <= bound(dtype, name, options), (
            f"{name} at logit {x[worst]!r}, label {y[worst]!r}: "
            f"{results[name][worst]!r}, exactly {getattr(exacts[worst], name)}"
        )
    theirs = numpy_quantities(x, y, dtype, options)
    alike = [
        exactly({name: theirs[name][k] for name in QUANTITIES}, exact)
        for k, exact in enumerate(exacts)
    ]
    apart = distances(backend, dtype, results, alike, options)
    assert max(map(max, apart.values())) <= (16 if options else 8)
    if not options:
        matrix[f"{backend} {dtype}"] = [max(away[name]) for name in QUANTITIES] + [
            max(apart[name]) for name in QUANTITIES
        ]


def test_gradient_of_hard_labels(backend, dtype):
    """Where one term is 0 nothing can hide behind it: 4 ulp of the gradient itself."""
    x, y = logits_and_labels(dtype)
    x, y = x[(y == 0) | (y == 1)], y[(y == 0) | (y == 1)]
    results = quantities(backend, backend.array(x, dtype), backend.array(y, dtype), {})
    for logit, label, result in zip(x, y, results["gradient"], strict=True):
        exact = from_logit(logit, label).gradient
        assert ulps(result, exact, dtype, lost=backend.flushes) <= 4, (logit, label)


def clipped_exact(p, y, eps, names):
    """The logarithms of a clip are of the number eps, not of what it is rounded to."""
    inside = clipped(p, eps)
    exact = from_probability(inside, y, **names)
    return exact if inside == p or np.isnan(p) else exact._replace(gradient=mpf(0))


@pytest.mark.parametrize("eps", [0.0, 1e-7, 1e-50, 0.25])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_probabilities(backend, dtype, options, eps):
    p, y = probs_and_labels(dtype)
    function = xploss.value_and_grad(xploss.binary_cross_entropy)
    results = backend.call(
        function, backend.array(p, dtype), backend.array(y, dtype),
        reduction="none", eps=eps, **options,
    )  # fmt: skip
    results = dict(zip(QUANTITIES, map(backend.numpy, results), strict=False))
    y = seen(backend, y, dtype)
    p = seen(backend, p, dtype)
    names = exact_names(options)
    exacts = [
        clipped_exact(a, b, eps, names) if eps else from_probability(a, b, **names)
        for a, b in zip(p, y, strict=True)
    ]
    away = distances(backend, dtype, results, exacts, options)
    for name, distance in away.items():
        worst = int(np.argmax(distance))
        assert distance[worst] <= bound(dtype, name, options), (
            f"{name} at probability {p[worst]!r}, label {y[worst]!r}: "
            f"{results[name][worst]!r}, exactly {getattr(exacts[worst], name)}"
        )


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid"])
def test_functions(backend, dtype, name):
    x = np.unique(logits_and_labels(dtype)[0])
    results = backend.numpy(
        backend.call(getattr(xploss, name), backend.array(x, dtype))
    )
    exact = {
        "sigmoid": lambda a: from_logit(a, 0.0).gradient,
        "softplus": lambda a: from_logit(a, 0.0).value,
        "log_sigmoid": lambda a: -from_logit(a, 1.0).value,
    }[name]
    for logit, result in zip(x, results, strict=True):
        away = ulps(result, exact(logit), dtype, lost=backend.flushes)
        assert away <= bound(dtype, "value", {}), (logit, result)
