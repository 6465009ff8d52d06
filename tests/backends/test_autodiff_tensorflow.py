"""Under every transform of TensorFlow the derivatives are the exact ones, orders 1 to
4."""

import json
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from derivatives import derivative
from grid import rounded
from mpmath import mp, mpf
from reference import ulps
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


ways = pytest.mark.parametrize(
    "run", [lambda f: f, function, compiled], ids=["eager", "tf.function", "XLA"]
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@ways
def test_value_beside_its_derivative(run, function, dtype):
    """Under a transform the value is the exact one still."""

    @run
    def values(x, y):
        with (
            tf.GradientTape() as tape,
            tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator,
        ):
            tape.watch(x)
            value = function.call(x, y)
        return value, tape.gradient(value, x), accumulator.jvp(value)

    for result, order in zip(values(*flat(dtype)), (0, 1, 1), strict=True):
        check(result, along(function, dtype, order), dtype)


def in_data(f):
    def derived(x, y):
        data = tf.data.Dataset.from_tensor_slices((x, y)).map(reverse(f))
        return next(iter(data.batch(len(x))))

    return derived


def test_in_a_map_of_data():
    loss = FUNCTIONS["loss"]
    results = in_data(loss.call)(*flat("float64"))
    check(results, along(loss, "float64", 1), "float64")


REPLICAS = """
import json
import tensorflow as tf
from transforms import points
import xploss

(cpu,) = tf.config.list_physical_devices("CPU")
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, devices)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
data = tf.data.Dataset.from_tensor_slices(points("float64")).batch(12)
sums = []

def step(x, y):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = xploss.sigmoid_cross_entropy(x, y, reduction="sum")
    slopes = tape.gradient(loss, x)
    if tf.executing_eagerly():
        assert loss.device == slopes.device == x.device, (loss.device, x.device)
    return loss, slopes

for run in (step, tf.function(step)):
    (batch,) = strategy.experimental_distribute_dataset(data)
    losses, slopes = strategy.run(run, batch)
    total = strategy.reduce("sum", losses, axis=None)
    shares = strategy.experimental_local_results(slopes)
    print(json.dumps([float(total), tf.concat(shares, 0).numpy().tolist()]))
"""


def test_on_two_replicas():
    """Of a strategy on two devices: the exact numbers, each where its logits are."""
    lines = [a for a in python(REPLICAS).splitlines() if a.startswith("[")]
    x, y = points("float64")
    for total, slopes in map(json.loads, lines):
        check([total], summed(x, y, (), by_logit=0), "float64")
        check(slopes, along(FUNCTIONS["loss"], "float64", 1), "float64")
    assert len(lines) == 2


LOAD = """
import json, sys
import tensorflow as tf
from transforms import points

loaded = tf.saved_model.load({path!r})
x, y = (tf.constant(a) for a in points("float64"))
with tf.GradientTape() as tape:
    tape.watch(x)
    losses = loaded.losses(x, y)
print(json.dumps([a.numpy().tolist() for a in (losses, tape.gradient(losses, x))]))
assert "xploss" not in sys.modules or "xploss.backends.tensorflow" not in sys.modules
"""


def test_saved_and_loaded(tmp_path):
    """By a process that has nothing of ours: values and their derivatives."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2)
        def losses(self, x, y):
            return per_element(x, y)

    tf.saved_model.save(Model(), str(tmp_path))
    printed = python(LOAD.format(path=str(tmp_path))).splitlines()[-1]
    for order, results in enumerate(json.loads(printed)):
        check(results, along(FUNCTIONS["loss"], "float64", order), "float64")


# ---- by labels, weights and pos_weight --------------------------------------------


def by_reverse(f):
    def derived(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = f(*arguments)
        return tape.gradient(value, arguments)

    return derived


def by_forward(f):
    """Of each element by itself, as an accumulator has one direction at a time."""

    def derived(*arguments):
        return [
            tf.reshape(
                tf.stack([along_one(f, arguments, k, i) for i in elements(argument)]),
                argument.shape,
            )
            for k, argument in enumerate(arguments)
        ]

    return derived


def elements(argument):
    return range(int(np.prod(argument.shape)))


def along_one(f, arguments, k, i):
    direction = np.zeros(arguments[k].shape)
    direction.flat[i] = 1.0
    tangent = tf.constant(direction, arguments[k].dtype)
    with tf.autodiff.ForwardAccumulator(arguments[k], tangent) as accumulator:
        value = tf.reduce_sum(f(*arguments))
    return accumulator.jvp(value)


ROWS, COLUMNS = len(LOGITS), len(LABELS)
SHAPES = [(), (COLUMNS,), (1, COLUMNS), (ROWS, 1)]
MODES = {
    "reverse": by_reverse,
    "forward": by_forward,
    "reverse in a function": tower(function, by_reverse),
    "reverse by XLA": tower(compiled, by_reverse),
}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.mark.parametrize("dtype", DTYPES)
@modes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_pos_weight(shape, mode, dtype):
    x, y = tensors(dtype)

    def loss(w):
        return total(x, y, pos_weight=w, label_smoothing=0.125)

    (slopes,) = mode(loss)(tf.constant(spread(shape), dtype))
    assert slopes.shape == shape
    exacts = summed(*points(dtype), shape, by_logit=0, by_pos_weight=1, smoothing=0.125)
    check(slopes, exacts, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@modes
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) != 1], ids=str)
def test_by_weights(shape, mode, dtype):
    x, y = tensors(dtype)
    (slopes,) = mode(lambda w: total(x, y, weights=w))(
        tf.constant(spread(shape), dtype)
    )
    assert slopes.shape == shape
    check(slopes, summed(*points(dtype), shape, by_logit=0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", [m for k, m in MODES.items() if k != "forward"])
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_by_labels(options, mode, dtype):
    """At 0 and 1 too; without options it is minus the logit, to the last digit."""
    x, y = tensors(dtype)
    (slopes,) = mode(lambda y: per_element(x, y, **options))(y)
    exact = {"pos_weight": 3.75, "smoothing": 0.125} if options else {}
    exacts = summed(*points(dtype), tuple(x.shape), by_logit=0, by_label=1, **exact)
    check(slopes, exacts, dtype, BOUND if options else 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@modes
@pytest.mark.parametrize("pos_weight", [None, 3.75])
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_by_smoothing(smoothing, pos_weight, mode, dtype):
    x, y = tensors(dtype)

    def loss(s):
        return total(x, y, pos_weight=pos_weight, label_smoothing=s)

    (slope,) = mode(loss)(tf.constant(smoothing, dtype))
    exact = {"by_logit": 0, "by_smoothing": 1, "smoothing": smoothing}
    exact |= {} if pos_weight is None else {"pos_weight": pos_weight}
    check([slope], summed(*points(dtype), (), **exact), dtype)


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.25])
def test_by_eps(eps):
    """-pos / eps + neg / (1 - eps) where p is clipped from below, and the reverse."""
    p, y = np.meshgrid([0.0, 1e-4, 0.125, 0.5, 0.9999, 1.0], LABELS, indexing="ij")
    given = tf.constant(eps, tf.float64)
    with tf.autodiff.ForwardAccumulator(given, tf.ones_like(given)) as accumulator:
        losses = xploss.binary_cross_entropy(
            tf.constant(p), tf.constant(y), eps=given, reduction="none"
        )
    check(accumulator.jvp(losses), by_eps(p, y, eps), "float64")


# ---- where ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TWICE, *HIGHER])
def test_left_out(name):
    """0 at every order, whatever was left out; the others are exact still."""
    order, transform = DERIVATIVES[name]
    x, y = (a.numpy() for a in flat("float64"))
    k = np.arange(x.size)
    kept, bad = k % 5 != 0, np.array([np.nan, np.inf, -np.inf])[k % 3]
    x_bad, y_bad, w = (
        tf.constant(np.where(kept, a, bad)) for a in (x, y, np.ones(x.shape))
    )

    def loss(x, y):
        return per_element(x, y, where=tf.constant(kept), weights=w, pos_weight=3.75)

    results = transform(loss)(x_bad, y_bad).numpy()
    assert not np.any(results[~kept])
    exact = partial(derivative, by_logit=order, pos_weight=3.75)
    check(results[kept], map(exact, x[kept].tolist(), y[kept].tolist()), "float64")


# ---- dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@ways
def test_16_bits(run, dtype):
    """In the logits' dtype, rounded once; labels beside them in any."""
    x, y = flat(dtype)
    single = tf.cast(y, tf.float32)
    for labels in (y, single):
        slopes = run(reverse(per_element))(x, labels)
        assert slopes.dtype == dtype
        given = (tf.cast(a, tf.float64).numpy().tolist() for a in (x, labels))
        check(tf.cast(slopes, tf.float32), map(derivative, *given), dtype, 0.51)

    @run
    def step(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = xploss.sigmoid_cross_entropy(x, y)
        return value, tape.gradient(value, x)

    assert [a.dtype for a in step(x, y)] == ["float32", dtype]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint64"])
@ways
def test_labels_that_count(run, dtype):
    """Integer and boolean labels have no tangent and stand in nobody's way."""
    x, y = (a[:, :2] for a in tensors("float64"))
    expected = run(reverse(total))(x, y)
    slopes = run(reverse(total))(x, tf.cast(y, dtype))
    np.testing.assert_array_equal(slopes, expected)


# ---- probabilities ----------------------------------------------------------------

PROBS = [0.0, 1e-16, 1e-7, 0.25, 0.3, 0.5, 0.75, 1 - 1e-7, 1.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
@pytest.mark.parametrize("name", TWICE)
def test_probabilities(name, options, dtype):
    order, transform = DERIVATIVES[name]
    # Where a slope is infinite, an accumulator takes 0 times it for a change of 1.
    probs = PROBS[1:-1] if name.startswith("tf.autodiff") and order == 2 else PROBS
    p, y = np.meshgrid(rounded(probs, dtype), rounded(LABELS, dtype), indexing="ij")
    loss = partial(xploss.binary_cross_entropy, reduction="none", **options)
    slopes = transform(loss)(tf.constant(p, dtype), tf.constant(y, dtype))
    check(slopes, map(of_probability(options)[order], p.flat, y.flat), dtype)


# ---- many classes -----------------------------------------------------------------

INFINITE = [[0.0, 0.0, -np.inf], [3.0, 3.0, 1.0], [1e4, -1e4, 0.0], [-np.inf, 0.5, 0.5]]


@ways
@pytest.mark.parametrize("labels", ["numbers", "masses"])
def test_rows(labels, run):
    """At ties and infinities: the closed form's slopes, and the Hessian's products."""
    x = tf.constant(INFINITE, tf.float64)
    y = tf.constant([0, 1, 0, 2])
    y = y if labels == "numbers" else tf.one_hot(y, 3, dtype=tf.float64)
    loss = partial(xploss.softmax_cross_entropy, reduction="sum")
    slopes = run(reverse(loss))(x, y)
    _, expected = xploss.value_and_grad(loss)(x, y)
    np.testing.assert_array_max_ulp(slopes.numpy(), expected.numpy(), 4)
    vector = tf.constant([[1.0, -2.0, 0.5]] * 4, tf.float64)

    def product(x, y):
        return tf.reduce_sum(reverse(loss)(x, y) * vector)

    of_rows = xploss.hessian_product(xploss.softmax_cross_entropy)(x, y, vector)
    eps = np.finfo("float64").eps
    results = run(reverse(product))(x, y)
    np.testing.assert_allclose(results, of_rows, rtol=16 * eps, atol=16 * eps)


# ---- the hook ---------------------------------------------------------------------


def test_hook_restates_nothing():
    assert restated("xploss.backends.tensorflow") == set()


def test_hook_loads_when_a_tensor_comes():
    printed = python("""
import sys
import tensorflow as tf, numpy as np, xploss
xploss.sigmoid_cross_entropy(np.zeros(3), 1)
print("xploss.backends.tensorflow" in sys.modules)
xploss.sigmoid_cross_entropy(tf.zeros(3), 1)
print("xploss.backends.tensorflow" in sys.modules)
""")
    assert printed.split() == ["False", "True"]


def test_a_subnormal_slope_is_divided_as_one():
    """Which TensorFlow's own operations, eager ones too, would take for 0."""
    x, weights = tf.constant([0.0, -91.875]), tf.constant([2.0, 2.0])
    loss = partial(xploss.softmax_cross_entropy, reduction="weighted_mean")
    _, slopes = xploss.value_and_grad(loss)(
        x, tf.constant([1.0, 0.0]), class_weights=weights
    )
    exact = mp.exp(mpf(-91.875))
    for slope, sign in zip(slopes.numpy(), (-1, 1), strict=True):
        assert ulps(float(slope), sign * exact, "float32") <= 4.0
