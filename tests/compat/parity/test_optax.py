"""optax' losses and ours by optax' names, per element, with their gradients."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity.harness import (
    Call,
    Deviation,
    Function,
    Peer,
    call,
    calls,
    check,
    focal_elements,
    logit_elements,
    moderate_logits,
    raise_alike,
)
from parity.page import check_page
from parity.row_deviations import RowDeviation, common

from xploss.compat import optax as ours


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@cache
def compiled(function, options):
    """`function`, and the gradient of the sum of what it returns."""

    def both(x, y):
        value, backward = jax.vjp(lambda x: function(x, y, **dict(options)), x)
        return value, *backward(jnp.ones_like(value))

    return jax.jit(both)


def by(module):
    def run(made: Call):
        options = tuple(sorted(made.options.items()))
        x, y = (jnp.asarray(a).astype(made.dtype) for a in (made.x, made.y))
        results = compiled(getattr(module, made.function), options)(x, y)
        assert all(result.dtype == x.dtype for result in results)
        value, gradient = (np.asarray(result, np.float64) for result in results)
        return {"value": value, "gradient": gradient}

    return run


def exact_cross_entropy(made):
    return logit_elements(made.x, made.y)


def exact_focal(made):
    options = {"gamma": 2.0, "alpha": None} | made.options
    return focal_elements(made.x, made.y, **options)


BOTH = ("sigmoid_binary_cross_entropy", "sigmoid_focal_loss")
DEVIATIONS = [
    Deviation(
        "infinite logit",
        "0 * inf",
        ("value", "gradient"),
        BOTH,
        lambda made: np.isinf(made.x),
        call(BOTH[0], "float32", np.inf, 1.0),
    ),
    Deviation(
        "gradient in the tails",
        "logits from 4 on: sigmoid(x) comes from exp(x - softplus(x))",
        ("gradient",),
        BOTH,
        lambda made: np.abs(made.x) >= 4,
        call(BOTH[0], "float32", 11.0, 0.1),
    ),
]

PEER = Peer(
    "optax",
    optax.__version__,
    {
        "sigmoid_binary_cross_entropy": Function(
            by(optax), by(ours), exact_cross_entropy
        ),
        "sigmoid_focal_loss": Function(by(optax), by(ours), exact_focal),
    },
    DEVIATIONS,
)

DTYPES = ["float16", "bfloat16", "float32", "float64"]
SHAPES = [(1,), (4, 5)]  # each is compiled, with each of the options


def focal_options(draw, dtype, shape):
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "gamma": st.sampled_from([0.0, 0.5, 5.0]),
                "alpha": st.just(0.25),
            },
        )
    )


@given(made=calls("sigmoid_binary_cross_entropy", DTYPES, shapes=SHAPES))
def test_cross_entropy(made):
    check(PEER, made)


@given(
    made=calls(
        "sigmoid_focal_loss",
        DTYPES,
        moderate_logits,
        shapes=SHAPES[-1:],
        options=focal_options,
    )
)
def test_focal(made):
    check(PEER, made)


BAD = {
    "integers": lambda f: f(jnp.zeros(4, int), jnp.zeros(4)),
    "a list": lambda f: f([0.0], jnp.zeros(1)),
    "an unknown name": lambda f: f(jnp.zeros(4), jnp.zeros(4), reduction="mean"),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_errors(name, bad):
    raise_alike(lambda: bad(getattr(optax, name)), lambda: bad(getattr(ours, name)))


# ---- many classes: moderate logits in float64, where optax is right to a few eps

X = np.random.default_rng(1).normal(size=(2, 4, 3))
MASSES = np.random.default_rng(2).dirichlet(np.ones(3), (2, 4))
CLASS_MASK = np.random.default_rng(3).random((2, 4, 3)) < 0.75
CLASS_MASK[0, 0] = False
ROW_MASK = np.array([[True, False, True, True], [False, True, True, True]])


def alike_rows(name, *arguments, **options):
    x, *others = map(jnp.asarray, arguments)
    results = []
    for module in (optax, ours):
        function = getattr(module, name)
        value, backward = jax.vjp(lambda x, f=function: f(x, *others, **options), x)
        results.append((value, *backward(jnp.ones_like(value))))
    for theirs, made in zip(*results, strict=True):
        assert theirs.dtype == made.dtype
        np.testing.assert_allclose(made, theirs, rtol=64 * 2.0**-52, atol=16 * 2.0**-52)


@pytest.mark.parametrize(
    "where", [None, CLASS_MASK, ROW_MASK], ids=["", "classes", "rows"]
)
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_cross_entropy(axis, where):
    x, y = (np.moveaxis(a, -1, axis) for a in (X, MASSES))
    if where is not None and where.ndim == 3:
        where = np.moveaxis(where, -1, axis)
    options = {"axis": axis, "where": None if where is None else jnp.asarray(where)}
    alike_rows("softmax_cross_entropy", x, y, **options)


@pytest.mark.parametrize("where", [None, ROW_MASK], ids=["", "rows"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_cross_entropy_with_integer_labels(axis, where):
    x, y = np.moveaxis(X, -1, axis), MASSES.argmax(-1)
    if where is None:
        name = "softmax_cross_entropy_with_integer_labels"
        alike_rows(name, x, y, axis=axis)
        return
    # optax subtracts the label's logit from the 0 of a row that is not there.
    ours_alone = ours.softmax_cross_entropy_with_integer_labels(
        jnp.asarray(x), jnp.asarray(y), axis, jnp.asarray(where)
    )
    theirs = optax.softmax_cross_entropy_with_integer_labels(
        jnp.asarray(x), jnp.asarray(y), axis
    )
    np.testing.assert_allclose(
        ours_alone, np.where(where, theirs, 0), rtol=64 * 2.0**-52
    )


def test_safe_softmax_cross_entropy():
    alike_rows("safe_softmax_cross_entropy", X, MASSES)


def test_what_it_loses_of_many_classes():
    x, y = jnp.asarray([[50.0, 0.0]]), jnp.asarray([0])
    assert optax.softmax_cross_entropy_with_integer_labels(x, y)[0] == 0
    loss = ours.softmax_cross_entropy_with_integer_labels(x, y)[0]
    assert abs(loss / np.exp(-50.0) - 1) <= 8 * 2.0**-52
    masked, masses = jnp.asarray([[0.0, -jnp.inf]]), jnp.asarray([[1.0, 0.0]])
    assert jnp.isnan(optax.softmax_cross_entropy(masked, masses)[0])
    assert ours.softmax_cross_entropy(masked, masses)[0] == 0
    wrapped = optax.softmax_cross_entropy_with_integer_labels(x, jnp.asarray([-1]))
    assert wrapped[0] == 50
    none = ours.softmax_cross_entropy_with_integer_labels(x, jnp.asarray([-1]))
    assert jnp.isnan(none[0])


def of_row(name):
    """Theirs and ours."""

    def run(module):
        return lambda x, y: getattr(module, name)(jnp.asarray(x), jnp.asarray(y))[0]

    return name, run(optax), run(ours)


def slope_of_row(name):
    def run(module):
        function = getattr(module, name)

        def first(x, y):
            of_x = jax.grad(lambda x: function(x, jnp.asarray(y)).sum())
            return of_x(jnp.asarray(x))[0, 0]

        return first

    return name, run(optax), run(ours)


INTEGERS = "softmax_cross_entropy_with_integer_labels"
ROW_DEVIATIONS = [
    *common(of_row(INTEGERS), of_row("softmax_cross_entropy"), slope_of_row(INTEGERS)),
    RowDeviation(
        "no such class",
        "a number of -1: it is the last class's",
        INTEGERS,
        (1.0, 2.0, 3.0),
        -1,
        *of_row(INTEGERS)[1:],
    ),
]


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"), ROW_DEVIATIONS)
