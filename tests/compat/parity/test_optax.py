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


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"))
