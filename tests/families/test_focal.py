"""The focal loss within a few ulp of mpmath's, and its derivatives by everything."""

import itertools
from functools import partial

import numpy as np
import pytest
from expected import each
from focal_reference import from_logit_focal, label_slope_term, partial_derivative
from grid import logits_and_labels, rounded
from mpmath import mp
from reference import FORMATS, flushed, ulps

import xploss

focal = xploss.sigmoid_focal_loss
cross_entropy = xploss.sigmoid_cross_entropy

OPTIONS = [
    {"gamma": gamma, "alpha": alpha}
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)
    for alpha in (None, 0.25)
] + [
    {"gamma": 2.0, "label_smoothing": 1e-6},
    {"gamma": 0.5, "alpha": 0.25, "label_smoothing": 0.1},
    {"gamma": 5.0, "alpha": 1.0, "label_smoothing": 0.1, "weights": 1.7},
]
EXACT_NAMES = {"label_smoothing": "smoothing", "weights": "weight"}


def lost(dtype, gamma):
    """How many smallest normal numbers are forgiven.

    Where exp(-|x|), a label or 1 - p_t is subnormal it has lost digits, on XLA all
    of them.  It is multiplied by at most 1, by |x| in a value, and by 2*gamma*|x| in
    a derivative, where |x| is not more than 128 (in float64 1024).
    """
    return (1024.0 if dtype == "float64" else 128.0) * (1.0 + 2.0 * gamma)


def bound(dtype, quantity, gamma, power):
    if quantity == "value" and dtype in ("float16", "bfloat16"):
        return 1.0
    return 16.0 * (1.0 + gamma * float(power))


def exactly(x, y, options):
    names = {EXACT_NAMES.get(key, key): value for key, value in options.items()}
    return [from_logit_focal(a, b, **names) for a, b in zip(x, y, strict=True)]


def quantities(backend, x, y, options):
    """The three per element, by the public functions; the value also alone."""
    loss = partial(focal, **options)
    per_element = partial(loss, reduction="none")
    value, gradient = backend.call(xploss.value_and_grad(per_element), x, y)
    slope, hessian = backend.call(xploss.grad_and_hess(loss), x, y)
    alone = backend.call(per_element, x, y)
    return [
        (name, backend.numpy(array))
        for name, array in [
            ("value", value), ("value", alone), ("gradient", gradient),
            ("gradient", slope), ("hessian", hessian),
        ]
    ]  # fmt: skip


def check(backend, dtype, x, y, options):
    arrays = backend.array(x, dtype), backend.array(y, dtype)
    results = quantities(backend, *arrays, options)
    if backend.flushes and dtype != "float16":  # which is widened first
        y = flushed(y, dtype)
    exacts, gamma = exactly(x, y, options), options["gamma"]
    for name, numbers in results:
        for k, exact in enumerate(exacts):
            away = ulps(
                numbers[k],
                getattr(exact, name),
                dtype,
                unit=getattr(exact, f"{name}_term", None),
                lost=lost(dtype, gamma),
            )
            assert away <= bound(dtype, name, gamma, exact.power), (
                f"{name} at logit {x[k]!r}, label {y[k]!r}: {numbers[k]!r}, "
                f"exactly {mp.nstr(getattr(exact, name), 12)}"
            )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_exact(backend, dtype, options):
    x, y = logits_and_labels(dtype, 120)
    finite = ~np.isinf(x)
    check(backend, dtype, x[finite], y[finite], options)


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_infinite_logits(backend, dtype, options):
    x, y = logits_and_labels(dtype, 120)
    check(backend, dtype, x[np.isinf(x)], y[np.isinf(x)], options)


def test_nan_is_not_hidden_by_a_weight_of_0(backend):
    x = backend.array(np.array([np.nan, np.inf, 1.0]), "float32")
    focal = partial(xploss.sigmoid_focal_loss, labels=1.0, alpha=0.0, reduction="none")
    losses = backend.numpy(backend.call(focal, x))
    np.testing.assert_array_equal(losses, [np.nan, 0.0, 0.0])


@pytest.mark.parametrize("gamma", [0, 0.0, np.float64(0)], ids=repr)
def test_gamma_0_is_cross_entropy_bit_for_bit(backend, dtype, gamma):
    x, y = (backend.array(a, dtype) for a in logits_and_labels(dtype, 120))
    ours = partial(focal, gamma=gamma, label_smoothing=0.1)
    plain = partial(cross_entropy, label_smoothing=0.1)
    for function, theirs in [
        (ours, plain),
        (xploss.value_and_grad(ours), xploss.value_and_grad(plain)),
        (xploss.grad_and_hess(ours), xploss.grad_and_hess(plain)),
    ]:
        results, expected = (backend.call(f, x, y) for f in (function, theirs))
        for result, same in zip(each(results), each(expected), strict=True):
            pair = tuple(map(backend.numpy, (result, same)))
            if backend.fuses:  # the difference of two terms, none of which is above 1
                few = 2 * np.finfo(pair[0].dtype).eps
                np.testing.assert_allclose(*pair, few, few)
            else:
                np.testing.assert_array_equal(*pair)


# ---- automatic differentiation -----------------------------------------------------

NAMES = ("logits", "labels", "gamma", "alpha")
LOGITS = (-80.0, -17.0, -2.5, -0.25, 0.0, 1.0, 17.0, 40.0)
SOFT = (2.0**-20, 0.3, 0.9, 1 - 2.0**-20)
DERIVATIVES = [
    "logits", "gamma", "alpha",
    "logits logits", "logits gamma", "logits alpha", "gamma gamma", "gamma alpha",
]  # fmt: skip


def by_torch(dtype, points, by):
    import torch

    dtype = getattr(torch, dtype)
    arguments = {
        name: torch.tensor(column, dtype=dtype, requires_grad=True)
        for name, column in zip(NAMES, np.array(points).T, strict=True)
    }
    result = focal(**arguments, reduction="sum")
    for name in by:
        (result,) = torch.autograd.grad(
            result.sum(), arguments[name], create_graph=True
        )
    return result.detach().numpy()


def by_jax(dtype, points, by):
    import jax
    import jax.numpy as jnp

    def loss(logits, labels, gamma, alpha):
        return focal(logits, labels, gamma=gamma, alpha=alpha, reduction="sum")

    def summed_slope(function, name):
        slope = jax.grad(function, argnums=NAMES.index(name))
        return lambda *arguments: slope(*arguments).sum()

    for name in by[:-1]:
        loss = summed_slope(loss, name)
    slopes = jax.grad(loss, argnums=NAMES.index(by[-1]))
    with jax.enable_x64(True):
        columns = [jnp.asarray(column, dtype=dtype) for column in np.array(points).T]
        return np.asarray(jax.jit(slopes)(*columns))


LIBRARIES = [
    pytest.param(by_torch, marks=pytest.mark.library("torch"), id="torch"),
    pytest.param(by_jax, marks=pytest.mark.library("jax"), id="jax"),
]


LABELS = [pytest.param(SOFT, id="soft"), pytest.param((0.0, 1.0), id="hard")]


def grid(dtype, labels):
    points = list(itertools.product(LOGITS, labels, (0.5, 1.0, 2.0, 5.0), (0.25,)))
    return rounded(np.array(points), dtype).tolist()


def check_derivatives(differentiate, dtype, by, points):
    """In ulp of the largest term."""
    results = differentiate(dtype, points, by)
    for result, point in zip(results, points, strict=True):
        exact = partial_derivative(*point, tuple(by.count(name) for name in NAMES))
        amplified = 1.0 + point[2] * float(from_logit_focal(*point[:3]).power)
        away = ulps(result, exact, dtype, unit=largest_term(*point, by), lost=1.0)
        assert away <= 16.0 * amplified, (
            f"by {by} at {point}: {result!r}, exactly {mp.nstr(exact, 12)}"
        )


def largest_term(logit, label, gamma, alpha, by):
    """Of the derivative by the logits, times what the others bring in at most."""
    exact = from_logit_focal(logit, label, gamma)
    by_logit = by.count("logits")
    term = (abs(exact.value), exact.gradient_term, exact.hessian_term)[by_logit]
    if "labels" in by:
        term = label_slope_term(logit, label, gamma)
    return term * (exact.power + 1.0 / gamma) ** by.count("gamma")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("by", DERIVATIVES)
@pytest.mark.parametrize("differentiate", LIBRARIES)
def test_derivatives(differentiate, by, dtype):
    check_derivatives(differentiate, dtype, by.split(), grid(dtype, (0.0, *SOFT, 1.0)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("differentiate", LIBRARIES)
@pytest.mark.parametrize("labels", LABELS)
def test_derivative_by_the_label(differentiate, labels, dtype):
    """Of hard labels where the loss is no subnormal number, and as far as |x| = 41,
    beyond which a part gamma / |x| is missing."""
    points = grid(dtype, labels)
    if labels != SOFT:
        least = 2.0 ** FORMATS[dtype][1]
        values = [from_logit_focal(*p[:3]).value for p in points]
        pairs = zip(points, values, strict=True)
        points = [p for p, value in pairs if value >= least and abs(p[0]) <= 41]
    check_derivatives(differentiate, dtype, ["labels"], points)


@pytest.mark.parametrize("by", ["alpha", "labels"])
@pytest.mark.parametrize("differentiate", LIBRARIES)
def test_derivatives_where_nothing_is_weighed(differentiate, by):
    """At alpha_t = 0 the loss is 0, and its derivative by alpha_t is not."""
    points = [(x, y, 2.0, 1.0 - y) for x in (-1.3, 2.0) for y in (0.0, 1.0)]
    check_derivatives(differentiate, "float64", [by], points)


@pytest.mark.parametrize("differentiate", LIBRARIES)
def test_gradient_at_infinity_of_soft_labels(differentiate):
    """As the closed form has it: the slope of the loss times (1 - p_t)**gamma."""
    points = [(x, y, 2.0, 0.25) for x in (-np.inf, np.inf) for y in (0.3, 0.5)]
    results = differentiate("float64", points, ["logits"])
    for result, (x, y, gamma, alpha) in zip(results, points, strict=True):
        exact = from_logit_focal(x, y, gamma, alpha)
        assert ulps(result, exact.gradient, "float64") <= 16, (x, y, result)
