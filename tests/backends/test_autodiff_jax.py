"""Under every transform of JAX the derivatives are the exact ones, orders 1 to 4."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from derivatives import Exact, derivative
from grid import rounded
from mpmath import mp, mpf
from transforms import (
    BOUND,
    FUNCTIONS,
    LABELS,
    LOGITS,
    OPTIONS,
    along,
    by_eps,
    check,
    of_probability,
    per_element,
    points,
    python,
    restated,
    spread,
    summed,
    summing,
    tower,
)

import xploss

jnp = jax.numpy
pytestmark = [pytest.mark.library("jax"), pytest.mark.one_of(6)]

DTYPES = ["float32", "float64"]
total = partial(xploss.sigmoid_cross_entropy, reduction="sum")


@pytest.fixture(autouse=True)
def _strictly():
    """No dtype is promoted and no rank: both raise."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


# ---- transforms: from a function per element to its derivative per element --------


def reverse(f):
    return jax.grad(summing(f))


def forward(f):
    def derived(x, y):
        return jax.jvp(lambda x: f(x, y), (x,), (jnp.ones_like(x),))[1]

    return derived


def linearized(f):
    def derived(x, y):
        return jax.linearize(lambda x: f(x, y), x)[1](jnp.ones_like(x))

    return derived


def pulled_back(f):
    def derived(x, y):
        value, pull = jax.vjp(lambda x: f(x, y), x)
        return pull(jnp.ones_like(value))[0]

    return derived


def scanned(f):
    def sum_of(x, y):
        start = jnp.zeros((), x.dtype)
        return jax.lax.scan(lambda sum, at: (sum + f(*at), None), start, (x, y))[0]

    return jax.grad(sum_of)


def hessian(transform):
    return lambda f: transform(summing(f))


DERIVATIVES = {
    "jax.grad": (1, reverse),
    "jax.value_and_grad": (
        1,
        lambda f: lambda x, y: jax.value_and_grad(summing(f))(x, y)[1],
    ),
    "jax.vjp": (1, pulled_back),
    "jax.jvp": (1, forward),
    "jax.linearize": (1, linearized),
    "jax.jacfwd": (1, jax.jacfwd),
    "jax.jacrev": (1, jax.jacrev),
    "jax.jit": (1, tower(jax.jit, reverse)),
    "jax.vmap": (1, tower(jax.vmap, reverse)),
    "jax.checkpoint": (1, tower(reverse, jax.checkpoint)),
    "jax.lax.scan": (1, scanned),
    "jax.hessian": (2, hessian(jax.hessian)),
    "jax.jacfwd of jax.jacfwd": (2, hessian(tower(jax.jacfwd, jax.jacfwd))),
    "jax.jacrev of jax.jacfwd": (2, hessian(tower(jax.jacrev, jax.jacfwd))),
    "jax.jacrev of jax.jacrev": (2, hessian(tower(jax.jacrev, jax.jacrev))),
    "jax.jvp of jax.grad": (2, tower(forward, reverse)),
    "jax.grad of jax.jvp": (2, tower(reverse, forward)),
    "jax.jvp, 3 times": (3, tower(*[forward] * 3)),
    "jax.grad, 3 times": (3, tower(*[reverse] * 3)),
    "jax.grad of jax.jvp of jax.grad": (3, tower(reverse, forward, reverse)),
    "jax.jvp, 4 times": (4, tower(*[forward] * 4)),
    "jax.grad, 4 times": (4, tower(*[reverse] * 4)),
    "jax.hessian of jax.hessian": (4, tower(jax.vmap, jax.hessian, jax.hessian)),
    "jax.jit of jax.vmap of jax.grad, 4 times": (
        4,
        tower(jax.jit, jax.vmap, *[reverse] * 4),
    ),
}
SHARDED = "sharded arrays"
TRANSFORMS = (*DERIVATIVES, SHARDED)


def arrays(dtype):
    return tuple(jnp.asarray(a, dtype) for a in points(dtype))


def flat(dtype):
    return tuple(a.ravel() for a in arrays(dtype))


def diagonal(results):
    """Of a Jacobian, whose other elements are exactly 0; or what is no Jacobian."""
    if results.ndim == 1:
        return results
    np.testing.assert_array_equal(results, np.diag(np.diag(results)))
    return np.diag(results)


# The loss under each; what it rests on without Jacobians, which take long.
TWICE = ["jax.grad", "jax.jvp", "jax.jvp of jax.grad", "jax.grad of jax.jvp"]
HIGHER = [
    "jax.jvp, 3 times",
    "jax.grad, 3 times",
    "jax.jvp, 4 times",
    "jax.grad, 4 times",
]
PAIRS = [
    pytest.param(name, function, id=f"{name}-{of}")
    for of, function in FUNCTIONS.items()
    for name in (DERIVATIVES if of.startswith("loss") else TWICE + HIGHER)
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "function"), PAIRS)
def test_transform(name, function, dtype):
    order, transform = DERIVATIVES[name]
    results = jax.jit(transform(function.call))(*flat(dtype))
    assert results.dtype == dtype
    check(diagonal(results), along(function, dtype, order), dtype)


EAGER = ["jax.grad", "jax.jvp", "jax.vmap", "jax.hessian", "jax.grad, 4 times"]


@pytest.mark.parametrize("name", EAGER)
def test_transform_without_jit(name):
    order, transform = DERIVATIVES[name]
    loss = FUNCTIONS["loss"]
    results = transform(loss.call)(*flat("float64"))
    check(diagonal(results), along(loss, "float64", order), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_value_beside_its_derivative(function, dtype):
    """Under a transform the value is the exact one still."""
    x, y = flat(dtype)

    @jax.jit
    def values(x):
        def f(x):
            return function.call(x, y)

        return jax.jvp(f, (x,), (jnp.ones_like(x),))[0], jax.vjp(f, x)[0]

    for value in values(x):
        check(value, along(function, dtype, 0), dtype)


SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from transforms import points
import xploss

jax.config.update("jax_enable_x64", True)

def loss(x, y, pos_weight):
    return xploss.sigmoid_cross_entropy(x, y, pos_weight=pos_weight)

step = jax.value_and_grad(loss, (0, 1, 2))
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4, 2), ("rows", "columns"), (kind, kind))
    shards = NamedSharding(mesh, PartitionSpec("rows", "columns"))
    x, y = (jax.device_put(a, shards) for a in points("float64"))
    pos_weight = jnp.array([0.5, 1.0, 3.75, 2.0])
    with jax.set_mesh(mesh):
        compiled = jax.jit(step).lower(x, y, pos_weight).compile()
        assert "all-gather" not in compiled.as_text()
        for run in (step, compiled):
            value, slopes = run(x, y, pos_weight)
            for slope in slopes[:2]:
                assert slope.sharding.is_equivalent_to(shards, 2), slope.sharding
                assert len({s.device for s in slope.addressable_shards}) == 8
            print(json.dumps([np.asarray(a).tolist() for a in (value, *slopes)]))
"""


@pytest.mark.parametrize("name", [SHARDED])
def test_sharded(name):
    """On 8 devices: the exact numbers, each where its logit is, nothing gathered."""
    flags = "--xla_force_host_platform_device_count=8"
    lines = python(SCRIPT, XLA_FLAGS=flags).splitlines()
    x, y = points("float64")
    n, pos_weight = x.size, np.array([0.5, 1.0, 3.75, 2.0])
    for results in map(json.loads, lines):
        for result, shape, by in zip(
            results,
            ((), x.shape, x.shape, (4,)),
            ({"by_logit": 0}, {}, {"by_logit": 0, "by_label": 1},
             {"by_logit": 0, "by_pos_weight": 1}),
            strict=True,
        ):  # fmt: skip
            exacts = summed(x, y, shape, pos_weight=pos_weight, weight=1 / n, **by)
            check(result, exacts, "float64", BOUND)
    assert len(lines) == 4


# ---- by labels, weights and pos_weight --------------------------------------------

ROWS, COLUMNS = len(LOGITS), len(LABELS)
SHAPES = [(), (COLUMNS,), (1, COLUMNS), (ROWS, 1), (ROWS, COLUMNS)]
MODES = {"forward": jax.jacfwd, "reverse": jax.jacrev}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_pos_weight(shape, mode, dtype):
    x, y = arrays(dtype)
    pos_weight = spread(shape)

    def loss(w):
        return total(x, y, pos_weight=w, label_smoothing=0.125)

    slopes = jax.jit(mode(loss))(jnp.asarray(pos_weight, dtype))
    assert slopes.shape == shape
    exacts = summed(*points(dtype), shape, by_logit=0, by_pos_weight=1, smoothing=0.125)
    check(slopes, exacts, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) != 1], ids=str)
def test_by_weights(shape, mode, dtype):
    x, y = arrays(dtype)
    by_weights = jax.jit(mode(lambda w: total(x, y, weights=w)))
    slopes = by_weights(jnp.asarray(spread(shape), dtype))
    assert slopes.shape == shape
    check(slopes, summed(*points(dtype), shape, by_logit=0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_by_labels(options, mode, dtype):
    """At 0 and 1 too; without options it is minus the logit, to the last digit."""
    x, y = arrays(dtype)
    by_labels = jax.jit(mode(lambda y: per_element(x.ravel(), y, **options)))
    slopes = diagonal(by_labels(y.ravel()))
    exact = {"pos_weight": 3.75, "smoothing": 0.125} if options else {}
    exacts = summed(*points(dtype), x.shape, by_logit=0, by_label=1, **exact)
    check(slopes, exacts, dtype, BOUND if options else 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("pos_weight", [None, 3.75])
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_by_smoothing(smoothing, pos_weight, mode, dtype):
    x, y = arrays(dtype)
    slope = jax.jit(
        mode(lambda s: total(x, y, pos_weight=pos_weight, label_smoothing=s))
    )
    exact = {"by_logit": 0, "by_smoothing": 1, "smoothing": smoothing}
    exact |= {} if pos_weight is None else {"pos_weight": pos_weight}
    check(slope(smoothing), summed(*points(dtype), (), **exact), dtype)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_by_a_label_of_all(mode):
    """A 0-d one, alone and with the options."""
    x = arrays("float64")[0]
    for given, exact in (({}, {}), (OPTIONS, {"pos_weight": 3.75, "smoothing": 0.125})):
        slope = jax.jit(mode(lambda y, given=given: total(x, y, **given)))
        of_all = summed(points("float64")[0], np.full(x.shape, 0.25), (), by_logit=0,
                        by_label=1, **exact)  # fmt: skip
        check(slope(0.25), of_all, "float64")


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.25])
def test_by_eps(eps):
    """-pos / eps + neg / (1 - eps) where p is clipped from below, and the reverse."""
    p, y = np.meshgrid([0.0, 1e-4, 0.125, 0.5, 0.9999, 1.0], LABELS, indexing="ij")
    loss = partial(xploss.binary_cross_entropy, reduction="none")
    slopes = jax.jit(jax.jacfwd(lambda e: loss(jnp.asarray(p), jnp.asarray(y), eps=e)))
    check(slopes(eps), by_eps(p, y, eps), "float64")


# ---- options as arguments ---------------------------------------------------------


TRACED = {
    "label_smoothing": (xploss.sigmoid_cross_entropy, (0.0, 0.125, 1.0)),
    "pos_weight": (xploss.sigmoid_cross_entropy, (0.0, 3.0)),
    "labels": (xploss.sigmoid_cross_entropy, (0.0, 0.25, 1.0)),
    "weights": (xploss.sigmoid_cross_entropy, (0.0, 3.0)),
    "where": (xploss.sigmoid_cross_entropy, (False, True)),
    "eps": (xploss.binary_cross_entropy, (0.0, 1e-7, 0.25)),
    "gamma": (xploss.sigmoid_focal_loss, (0.5, 3.0)),
    "alpha": (xploss.sigmoid_focal_loss, (0.0, 0.25)),
}


@pytest.mark.parametrize("name", TRACED)
def test_an_option_is_an_argument(name):
    """Of `jit`, which compiles once for all its values, and of `vmap`."""
    function, numbers = TRACED[name]
    first = jax.nn.sigmoid(arrays("float64")[0]) * 0.75
    given = {"labels": arrays("float64")[1], "reduction": "none"}
    compiles = []

    def call(number):
        compiles.append(number)
        return function(first, **given | {name: number})

    expected = np.stack([function(first, **given | {name: n}) for n in numbers])
    jitted = jax.jit(call)
    for one, results in zip(numbers, expected, strict=True):
        np.testing.assert_array_max_ulp(jitted(one), results, maxulp=8)
    assert len(compiles) == 1
    mapped = jax.vmap(call)(jnp.asarray(numbers))
    np.testing.assert_array_max_ulp(np.asarray(mapped), expected, maxulp=8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weighted_mean_by_weights(dtype):
    """(loss - mean) / sum(weights), within ulp of the larger of the two."""
    x, y = arrays(dtype)
    weights = spread(x.shape)

    @jax.jit
    @jax.grad
    def slopes(w):
        return xploss.sigmoid_cross_entropy(x, y, weights=w, reduction="weighted_mean")

    losses = [e.value for e in summed(*points(dtype), x.shape, by_logit=0)]
    whole = mpf(weights.sum())
    mean = mp.fsum(map(mp.fmul, losses, map(mpf, weights.flat))) / whole
    exacts = (Exact((one - mean) / whole, max(one, mean) / whole) for one in losses)
    check(slopes(jnp.asarray(weights, dtype)), exacts, dtype)


VARIABLES = ("by_logit", "by_label", "by_pos_weight", "by_smoothing")
ORDERS = {
    "jax.hessian": jax.hessian,
    "jax.jacfwd of jax.jacfwd": lambda f, n: jax.jacfwd(jax.jacfwd(f, n), n),
    "jax.jacrev of jax.jacfwd": lambda f, n: jax.jacrev(jax.jacfwd(f, n), n),
    "jax.jacrev of jax.jacrev": lambda f, n: jax.jacrev(jax.jacrev(f, n), n),
}


@pytest.mark.parametrize("transform", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_by_all_variables_twice(transform, smoothing):
    def loss(x, y, w, s):
        return per_element(x, y, pos_weight=w, label_smoothing=s)

    x, y = flat("float64")
    options = (jnp.full_like(x, option) for option in (3.75, smoothing))
    rows = jax.jit(jax.vmap(transform(loss, (0, 1, 2, 3))))(x, y, *options)
    for first, row in zip(VARIABLES, rows, strict=True):
        for second, results in zip(VARIABLES, row, strict=True):
            by = {"by_logit": 0} | {v: (v == first) + (v == second) for v in VARIABLES}
            exact = partial(derivative, **by, pos_weight=3.75, smoothing=smoothing)
            check(results, map(exact, x.tolist(), y.tolist()), "float64")


# ---- where ------------------------------------------------------------------------


def with_bad(arrays):
    """Every fifth element NaN or infinite, and the others, which are kept."""
    k = jnp.arange(arrays[0].size)
    bad = jnp.asarray([np.nan, np.inf, -np.inf])[k % 3]
    return k % 5 != 0, tuple(jnp.where(k % 5 != 0, a, bad) for a in arrays)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_left_out(name):
    """0 at every order, whatever was left out; the others are exact still."""
    order, transform = DERIVATIVES[name]
    x, y = flat("float64")
    kept, (x_bad, y_bad, bads) = with_bad((x, y, jnp.ones_like(x)))

    def loss(x, at):
        y, w, kept = at
        return per_element(x, y, where=kept, weights=w, pos_weight=3.75 * w)

    results = diagonal(jax.jit(transform(loss))(x_bad, (y_bad, bads, kept)))
    assert not np.any(results[~kept])
    exact = partial(derivative, by_logit=order, pos_weight=3.75)
    check(results[kept], map(exact, x[kept].tolist(), y[kept].tolist()), "float64")


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_left_out_of_the_others(reduction, mode):
    x, y = flat("float64")
    ones = jnp.ones_like(x)
    kept, inputs = with_bad((x, y, ones, ones))

    def loss(x, y, w, pos_weight):
        return xploss.sigmoid_cross_entropy(
            x, y, weights=w, pos_weight=pos_weight, where=kept, reduction=reduction
        )

    for slopes in jax.jit(mode(loss, (0, 1, 2, 3)))(*inputs):
        assert not np.any(slopes[~kept])
        assert np.all(np.isfinite(slopes[kept]))


# ---- dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("transform", [forward, reverse])
def test_16_bits(transform, dtype):
    """In the logits' dtype, rounded once; labels beside them in any."""
    x, y = flat(dtype)
    single = y.astype("float32")
    for labels in (y, single):
        slopes = jax.jit(transform(per_element))(x, labels)
        assert slopes.dtype == dtype
        exacts = map(derivative, x.tolist(), labels.tolist())
        check(slopes.astype("float32"), exacts, dtype, 0.51)
    mean = jax.jit(jax.value_and_grad(xploss.sigmoid_cross_entropy))(x, y)
    assert [a.dtype for a in mean] == ["float32", dtype]
    by_labels = jax.jit(jax.grad(total, 1))(x, single)
    assert by_labels.dtype == "float32"
    np.testing.assert_array_equal(by_labels, -x.astype("float32"))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
def test_labels_that_count(dtype):
    """Integer and boolean labels have no tangent and stand in nobody's way."""
    x, y = (a[:, :2] for a in arrays("float64"))
    labels = y.astype(dtype)
    expected = jax.jit(jax.grad(total))(x, y)
    np.testing.assert_array_equal(jax.jit(jax.grad(total))(x, labels), expected)
    nothing = np.zeros(labels.shape, jax.dtypes.float0)
    slopes = jax.jit(
        lambda x: jax.jvp(per_element, (x, labels), (jnp.ones_like(x), nothing))
    )
    np.testing.assert_array_equal(slopes(x)[1], expected)


# ---- probabilities ----------------------------------------------------------------

# Where 1 / p**2 overflows, JAX' own second derivative of log(p) is NaN times 0 labels.
PROBS = [0.0, 1e-16, 1e-7, 0.25, 0.3, 0.5, 0.75, 1 - 1e-7, 1.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
@pytest.mark.parametrize("name", TWICE)
def test_probabilities(name, options, dtype):
    order, transform = DERIVATIVES[name]
    p, y = np.meshgrid(rounded(PROBS, dtype), rounded(LABELS, dtype), indexing="ij")
    loss = partial(xploss.binary_cross_entropy, reduction="none", **options)
    slopes = jax.jit(transform(loss))(jnp.asarray(p, dtype), jnp.asarray(y, dtype))
    check(slopes, map(of_probability(options)[order], p.flat, y.flat), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_probabilities_by_labels(options, dtype):
    """log(1 - p) - log(p), at labels 0 and 1 too."""
    p = rounded(PROBS[1:-1], dtype)
    p, y = np.meshgrid(p, rounded(LABELS, dtype), indexing="ij")
    loss = partial(xploss.binary_cross_entropy, reduction="sum", **options)
    slopes = jax.jit(jax.grad(loss, 1))(jnp.asarray(p, dtype), jnp.asarray(y, dtype))
    check(slopes, map(of_probability(options)["label"], p.flat, y.flat), dtype)


# ---- jax_debug_nans ---------------------------------------------------------------

INFINITE = np.array([np.inf, -np.inf, np.inf, -np.inf, 0.0])
BESIDE = np.array([1.0, 0.0, 0.0, 1.0, 0.5])
WATCHED = {
    "sigmoid_cross_entropy": (
        xploss.sigmoid_cross_entropy,
        ({}, {"pos_weight": 3.0}, {"label_smoothing": 0.125}),
    ),
    "sigmoid_focal_loss": (
        xploss.sigmoid_focal_loss,
        ({}, {"gamma": 0.5, "alpha": 0.25}, {"label_smoothing": 0.125}),
    ),
    "binary_cross_entropy": (
        lambda x, y, **options: xploss.binary_cross_entropy(
            jax.nn.sigmoid(x), y, **options
        ),
        ({}, {"eps": 1e-7}, {"pos_weight": 0.0}),
    ),
}
REDUCED = (
    {"reduction": "none"},
    {},
    {"weights": np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "reduction": "weighted_mean"},
    {"where": BESIDE != 1.0},
)


def without_nans(*results):
    for result in results:
        assert not np.any(np.isnan(result))


def sum_of(function, **options):
    return lambda x, *rest: function(x, *rest, **options).sum()


@pytest.mark.parametrize("reduction", REDUCED, ids=lambda r: "-".join(r) or "mean")
@pytest.mark.parametrize("name", WATCHED)
def test_infinite_logits_are_no_nan_on_the_way(name, reduction):
    """Eager, where `jax_debug_nans` stops at the first that is made; none is."""
    loss, options = WATCHED[name]
    x, y = map(jnp.asarray, (INFINITE, BESIDE))
    # Where a loss is infinite a derivative may be inf - inf.
    finite = jnp.where(jnp.isfinite(x) | ((x > 0) == (y > 0)), x, 1.0)
    with jax.debug_nans(True):
        arrays = {k: jnp.asarray(v) if k[0] == "w" else v for k, v in reduction.items()}
        for chosen in options:
            without_nans(loss(x, y, **chosen, **arrays))
            total = sum_of(loss, **chosen, **arrays)
            for derived in (jax.grad(total), jax.jacfwd(total), jax.hessian(total)):
                without_nans(derived(finite, y))


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid"])
def test_functions_of_infinity_are_no_nan_on_the_way(name):
    x, function = jnp.asarray(INFINITE), getattr(xploss, name)
    with jax.debug_nans(True):
        without_nans(function(x), jax.grad(sum_of(function))(x))


@pytest.mark.parametrize("closed", [xploss.value_and_grad, xploss.grad_and_hess])
def test_closed_forms_at_infinity_are_no_nan_on_the_way(closed):
    x, y = map(jnp.asarray, (INFINITE, BESIDE))
    with jax.debug_nans(True):
        for loss in (xploss.sigmoid_cross_entropy, xploss.sigmoid_focal_loss):
            without_nans(*closed(loss)(x, y))


def test_debug_nans_still_finds_one():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        xploss.sigmoid_cross_entropy(jnp.asarray([np.nan, 0.0]), 1.0)


# ---- the hook ---------------------------------------------------------------------


def test_hook_restates_nothing():
    assert restated("xploss.backends.jax") == set()


def test_hook_loads_when_an_array_comes():
    printed = python("""
import sys
import jax.numpy as jnp, numpy as np, xploss
xploss.sigmoid_cross_entropy(np.zeros(3), 1)
print("xploss.backends.jax" in sys.modules)
xploss.sigmoid_cross_entropy(jnp.zeros(3), 1)
print("xploss.backends.jax" in sys.modules)
""")
    assert printed.split() == ["False", "True"]


def test_an_infinite_logit_without_weight():
    """Its loss and its derivative by the label are 0, whatever the label."""
    x, y = jnp.full(3, -jnp.inf), jnp.array([0.0, 0.5, 1.0])

    def loss(labels):
        return xploss.sigmoid_cross_entropy(x, labels, pos_weight=0.0, reduction="sum")

    value, slopes = jax.value_and_grad(loss)(y)
    assert value == 0.0
    np.testing.assert_array_equal(slopes, 0.0)


@pytest.mark.parametrize(
    ("dtype", "most"), [("bfloat16", 4), ("float32", 1), ("float64", 1)]
)
def test_memory(dtype, most):
    """So many arrays of the logits' size, beyond inputs and gradient, hold a step.

    Those of bfloat16 are two of float32.
    """
    x = jnp.zeros(1_000_000, dtype)
    step = jax.jit(jax.value_and_grad(xploss.sigmoid_cross_entropy))
    memory = step.lower(x, x).compile().memory_analysis()
    most += 0 if jax.__version_info__ >= (0, 10, 2) else 1 / 32  # parts of the sum
    assert memory.temp_size_in_bytes <= most * x.nbytes


RULED = {
    "cross-entropy": xploss.sigmoid_cross_entropy,
    "focal": xploss.sigmoid_focal_loss,
    "focal, options": partial(
        xploss.sigmoid_focal_loss, gamma=0.5, alpha=0.25, label_smoothing=0.125
    ),
    "probabilities": xploss.binary_cross_entropy,
    "probabilities, options": partial(
        xploss.binary_cross_entropy, eps=1e-7, pos_weight=3.0, label_smoothing=0.125
    ),
    "sigmoid": lambda x, y: xploss.sigmoid(x).sum(),
    "log_sigmoid": lambda x, y: xploss.log_sigmoid(x).sum(),
}


@pytest.mark.parametrize("loss", RULED.values(), ids=RULED)
def test_every_rule_keeps_the_slope_alone(loss):
    """One array for backward, of the argument that is differentiated."""
    x = jnp.linspace(0.1, 0.9, 1000)
    y = jnp.flip(x)
    _, pullback = jax.vjp(lambda x: loss(x, y), x)
    kept = [leaf.size for leaf in jax.tree.leaves(pullback) if leaf.size > 1]
    assert kept == [x.size]


def test_what_value_and_grad_returns_is_differentiated():
    """Where the lines for nobody who differentiates would not do: at 0 and at ties."""
    x = jnp.array([0.0, -0.0, 2.0, -40.0, jnp.inf, -jnp.inf])
    y = jnp.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    entropy = partial(xploss.sigmoid_cross_entropy, reduction="sum")
    made = jax.grad(lambda x: xploss.value_and_grad(entropy)(x, y)[1].sum())(x)
    _, right = xploss.grad_and_hess(xploss.sigmoid_cross_entropy)(x, y)
    np.testing.assert_array_max_ulp(np.asarray(made), np.asarray(right), 4)


@pytest.mark.parametrize("labels", [[0, 1, 2], [[0.2, 0.3, 0.5]] * 3], ids=str)
def test_what_value_and_grad_of_rows_returns_is_differentiated(labels):
    x = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [-3.0, 2.0, 2.0]])
    v, y = jnp.array([[1.0, -2.0, 0.5]] * 3), jnp.asarray(labels)
    entropy = partial(xploss.softmax_cross_entropy, reduction="sum")
    _, made = jax.jvp(lambda x: xploss.value_and_grad(entropy)(x, y)[1], (x,), (v,))
    right = xploss.hessian_product(xploss.softmax_cross_entropy)(x, y, v)
    within = 8 * jnp.finfo(x.dtype).eps
    np.testing.assert_allclose(made, right, rtol=within, atol=within)
