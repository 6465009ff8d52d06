"""Under every transform of TensorFlow the derivatives are the exact ones, orders 1 to
4."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from derivatives import derivative
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
    tower,
)

import xploss

pytestmark = [pytest.mark.library("tensorflow"), pytest.mark.one_of(6)]

DTYPES = ["float32", "float64"]
total = partial(xploss.sigmoid_cross_entropy, reduction="sum")


@pytest.fixture(autouse=True)
def _quietly():
    """Each case is traced anew, of which TensorFlow would warn."""
    tf.get_logger().setLevel("ERROR")


# ---- transforms: from a function per element to its derivative per element --------


def reverse(f):
    def derived(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = f(x, y)
        return tape.gradient(value, x)

    return derived


def of_variable(f):
    def derived(x, y):
        variable = tf.Variable(x)
        with tf.GradientTape() as tape:
            value = f(variable, y)
        return tape.gradient(value, variable)

    return derived


def forward(f):
    def derived(x, y):
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            value = f(x, y)
        return accumulator.jvp(value)

    return derived


def by_gradients(f):
    @tf.function
    def derived(x, y):
        return tf.gradients(f(x, y), x)[0]

    return derived


def hessians(f):
    @tf.function
    def derived(x, y):
        return tf.hessians(tf.reduce_sum(f(x, y)), x)[0]

    return derived


def jacobian(f, **options):
    def derived(x, y):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            value = f(x, y)
        return tape.jacobian(value, x, **options)

    return derived


def batched(f):
    def derived(x, y):
        x = x[:, None]
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = f(x, y[:, None])
        return tape.batch_jacobian(value, x)[:, 0, 0]

    return derived


def mapped(way):
    def derivative_of(f):
        of_one = reverse(f)
        return lambda x, y: way(
            lambda at: of_one(*at), (x, y), fn_output_signature=x.dtype
        )

    return derivative_of


def recomputed(f):
    return reverse(tf.recompute_grad(f))


def in_loop(f):
    """A sum that a loop adds up."""

    def sum_of(x, y):
        def step(k, found):
            return k + 1, found + f(x[k], y[k])

        start = tf.constant(0), tf.zeros((), x.dtype)
        return tf.while_loop(lambda k, _: k < len(LOGITS) * len(LABELS), step, start)[1]

    return reverse(sum_of)


function, compiled = tf.function, partial(tf.function, jit_compile=True)
DERIVATIVES = {
    "tf.GradientTape": (1, reverse),
    "tf.GradientTape of a tf.Variable": (1, of_variable),
    "tf.autodiff.ForwardAccumulator": (1, forward),
    "tf.gradients": (1, by_gradients),
    "tape.jacobian": (1, jacobian),
    "tape.jacobian without pfor": (1, partial(jacobian, experimental_use_pfor=False)),
    "tape.batch_jacobian": (1, batched),
    "tf.function": (1, tower(function, reverse)),
    "tf.GradientTape of tf.function": (1, tower(reverse, function)),
    "tf.autodiff.ForwardAccumulator of tf.function": (1, tower(forward, function)),
    "tf.function(jit_compile=True)": (1, tower(compiled, reverse)),
    "tf.GradientTape of tf.function(jit_compile=True)": (1, tower(reverse, compiled)),
    "tf.vectorized_map": (1, mapped(lambda f, at, **_: tf.vectorized_map(f, at))),
    "tf.map_fn": (1, mapped(tf.map_fn)),
    "tf.while_loop": (1, tower(function, in_loop)),
    "tf.recompute_grad": (1, recomputed),
    "tf.hessians": (2, hessians),
    "tf.GradientTape, 2 times": (2, tower(*[reverse] * 2)),
    "tf.autodiff.ForwardAccumulator, 2 times": (2, tower(*[forward] * 2)),
    "tf.autodiff.ForwardAccumulator of tf.GradientTape": (2, tower(forward, reverse)),
    "tf.GradientTape of tf.autodiff.ForwardAccumulator": (2, tower(reverse, forward)),
    "tape.jacobian of tf.GradientTape": (2, tower(jacobian, reverse)),
    "tf.GradientTape, 3 times": (3, tower(*[reverse] * 3)),
    "tf.autodiff.ForwardAccumulator, 3 times": (3, tower(*[forward] * 3)),
    "tf.GradientTape, 4 times": (4, tower(*[reverse] * 4)),
    "tf.function of tf.GradientTape, 4 times": (4, tower(function, *[reverse] * 4)),
    "tf.function(jit_compile=True) of tf.GradientTape, 4 times": (
        4,
        tower(compiled, *[reverse] * 4),
    ),
    "tape.jacobian of tf.GradientTape, 3 times": (4, tower(jacobian, *[reverse] * 3)),
}
PLACES = ("tf.data", "tf.distribute.MirroredStrategy", "tf.saved_model")
TRANSFORMS = (*DERIVATIVES, *PLACES)


def tensors(dtype):
    return tuple(tf.constant(a, dtype) for a in points(dtype))


def flat(dtype):
    return tuple(tf.reshape(a, -1) for a in tensors(dtype))


def diagonal(results):
    """Of a Jacobian, whose other elements are exactly 0; or what is no Jacobian."""
    results = np.asarray(results)
    if results.ndim == 1:
        return results
    np.testing.assert_array_equal(results, np.diag(np.diag(results)))
    return np.diag(results)


# The loss under each; what it rests on under these.
TWICE = [
    "tf.GradientTape",
    "tf.function(jit_compile=True)",
    "tf.autodiff.ForwardAccumulator",
    "tf.autodiff.ForwardAccumulator of tf.GradientTape",
    "tf.GradientTape of tf.autodiff.ForwardAccumulator",
]
HIGHER = [
    "tf.GradientTape, 3 times",
    "tf.GradientTape, 4 times",
    "tf.function of tf.GradientTape, 4 times",
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
    results = transform(function.call)(*flat(dtype))
    assert results.dtype == dtype
    check(diagonal(results), along(function, dtype, order), dtype)
