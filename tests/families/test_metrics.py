"""`xploss.metrics.Mean`: one number, however the data is cut."""

import math
import pickle
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from categorical_reference import row_loss
from expected import is_close, wide
from mpmath import mp
from reference import from_logit

import xploss
from xploss.metrics import Mean

cross_entropy = xploss.sigmoid_cross_entropy
drawn = np.random.default_rng(11)
# Numbers that every dtype holds.
LOGITS = drawn.integers(-160, 160, 35) / 8
LABELS = drawn.choice([0.0, 1.0, 0.25], 35)
WEIGHTS = drawn.integers(1, 64, 35) / 16
KEPT = drawn.random(35) < 0.8

ROWS = drawn.integers(-40, 40, (24, 3)) / 8
CLASSES = drawn.integers(0, 3, 24)
PER_CLASS = np.array([0.5, 2.0, 1.25])


def batch(backend, dtype, index):
    """Some elements: the arguments of `update`."""
    logits, labels, weights = (
        backend.array(a[index], dtype) for a in (LOGITS, LABELS, WEIGHTS)
    )
    where = backend.array(KEPT[index], "bool")
    return (logits, labels), {"weights": weights, "where": where}


def mean_of(backend, dtype, *indices):
    mean = Mean(cross_entropy)
    for index in indices:
        args, options = batch(backend, dtype, index)
        mean.update(*args, **options)
    return mean


def exact_mean():
    columns = (map(float, a[KEPT]) for a in (LOGITS, LABELS, WEIGHTS))
    with mp.workprec(200):
        losses = [w * from_logit(x, y).value for x, y, w in zip(*columns, strict=True)]
        return mp.fsum(losses) / mp.fsum(map(float, WEIGHTS[KEPT]))


def within_an_ulp(one, other):
    return abs(one - other) <= math.ulp(other)


def fractions(array):
    return [Fraction(float(number)) for number in np.ravel(array)]


ALL = np.arange(35)

# ---- the number ----------------------------------------------------------------------


def test_it_is_the_exact_weighted_mean(backend, dtype):
    result = mean_of(backend, dtype, ALL).result()
    assert type(result) is float
    is_close(np.array(result), np.array(exact_mean()), wide(dtype), 4.0)


def test_losses_are_added_exactly_and_rounded_once(backend):
    """Those of float32 too, which is what the library returns of each."""
    for dtype in {"float32", "float64"} & {*backend.dtypes}:
        args, options = batch(backend, dtype, ALL)
        losses = backend.numpy(cross_entropy(*args, reduction="none"))
        terms = zip(fractions(losses), fractions(WEIGHTS), KEPT, strict=True)
        kept = [(loss * w, w) for loss, w, counts in terms if counts]
        numerator, denominator = map(sum, zip(*kept, strict=True))
        result = Mean(cross_entropy).update(*args, **options).result()
        assert result == float(numerator / denominator)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, lambda weights, kept: np.ones(35)),
        ({"weights": 3.0}, lambda weights, kept: np.ones(35)),
        ({"where": KEPT}, lambda weights, kept: kept),
        ({"weights": WEIGHTS}, lambda weights, kept: weights),
    ],
    ids=["plain", "a number", "masked", "weighed"],
)
def test_each_option_alone(backend, options, taken):
    dtype = backend.dtypes[-1]
    given = {
        name: value if isinstance(value, float) else batch(backend, dtype, ALL)[1][name]
        for name, value in options.items()
    }
    mean = Mean(cross_entropy).update(*batch(backend, dtype, ALL)[0], **given)
    weights = taken(WEIGHTS, KEPT).astype(float)
    with mp.workprec(200):
        losses = [
            float(w) * from_logit(float(x), float(y)).value
            for x, y, w in zip(LOGITS, LABELS, weights, strict=True)
        ]
        exact = mp.fsum(losses) / mp.fsum(weights)
    is_close(np.array(mean.result()), np.array(exact), wide(dtype), 4.0)
    assert mean.count == np.count_nonzero(weights)


def test_no_digit_is_lost_of_a_million():
    """Large and small ones, of float64; 10,000 elements at a time or all at once."""
    probabilities = 2.0 ** -np.random.default_rng(3).uniform(0, 700, 1_000_000)
    mean = Mean(xploss.binary_cross_entropy)
    for part in np.split(probabilities, 100):
        mean.update(part, 1)
    losses = xploss.binary_cross_entropy(probabilities, 1, reduction="none")
    exact = float(Fraction(math.fsum(losses)) / losses.size)
    assert within_an_ulp(mean.result(), exact)
    at_once = Mean(xploss.binary_cross_entropy).update(probabilities, 1)
    assert at_once.result() == mean.result()


@pytest.mark.parametrize("batches", [1, 3, 1000])
def test_small_losses_survive_large_ones(batches):
    """A plain sum in float64 would lose all of them; of 106 bits 40 are left."""
    logits = np.full(1000, -30.0)
    logits[[0, 900]] = 2.0**30
    weights = np.where(np.arange(1000) == 900, -1.0, 1.0)
    mean = Mean(cross_entropy)
    for rows in np.array_split(np.arange(1000), batches):
        mean.update(logits[rows], 0, weights=weights[rows])
    small = float(cross_entropy(np.array([-30.0]), 0))
    assert mean.result() == pytest.approx(small, rel=2**-30, abs=0)


# ---- however it is cut ---------------------------------------------------------------


def test_batches_order_shards_and_pickles_change_nothing(backend, dtype):
    whole = mean_of(backend, dtype, ALL).result()
    order = np.random.default_rng(5).permutation(35)
    batches = mean_of(backend, dtype, *np.split(order, [1, 8, 9, 25]))
    assert within_an_ulp(batches.result(), whole)
    shards = [mean_of(backend, dtype, part) for part in np.split(order, [16])]
    shards = pickle.loads(pickle.dumps(shards))
    for one, other in (shards, shards[::-1]):
        merged = Mean.from_state(cross_entropy, one.state).merge(other)
        assert within_an_ulp(merged.result(), whole)
        assert merged.count == batches.count == KEPT.sum()


def test_a_weight_is_as_good_as_repeated_rows(backend):
    dtype = backend.dtypes[-1]
    times = np.random.default_rng(6).integers(0, 5, 35)
    logits, labels = batch(backend, dtype, ALL)[0]
    weighed = Mean(cross_entropy).update(
        logits, labels, weights=backend.array(times, dtype)
    )
    repeated = Mean(cross_entropy).update(
        *batch(backend, dtype, np.repeat(ALL, times))[0]
    )
    assert within_an_ulp(weighed.result(), repeated.result())
    assert repeated.count == times.sum()
    assert weighed.count == np.count_nonzero(times)


def test_weights_of_size_1_axes_are_spread(backend):
    dtype = backend.dtypes[-1]
    x, y = (backend.array(a.reshape(7, 5), dtype) for a in (LOGITS, LABELS))
    for shape in ((7, 1), (1, 5), (1, 1), ()):
        weights = np.resize(WEIGHTS, shape)
        spread = np.broadcast_to(weights, (7, 5))
        results = [
            Mean(cross_entropy).update(x, y, weights=backend.array(w, dtype)).result()
            for w in (weights, spread)
        ]
        assert results[0] == results[1]


def test_states_add_up_to_a_rounding_each():
    shards = [Mean(cross_entropy).update(LOGITS[k::5], LABELS[k::5]) for k in range(5)]
    summed = np.sum([shard.state for shard in shards], axis=0)
    whole = Mean(cross_entropy).update(LOGITS, LABELS)
    result = Mean.from_state(cross_entropy, summed).result()
    assert abs(result - whole.result()) <= 5 * math.ulp(result)
    assert all(type(number) is float for number in whole.state)


# ---- many classes --------------------------------------------------------------------

OF_CLASSES = {
    "plain": {},
    "class_weights": {"class_weights": PER_CLASS},
    "ignore_index": {"ignore_index": 1},
    "all": {
        "class_weights": PER_CLASS,
        "ignore_index": 1,
        "weights": np.resize(WEIGHTS, 24),
        "where": np.resize(KEPT, 24),
    },
}


@pytest.mark.parametrize("options", OF_CLASSES.values(), ids=OF_CLASSES)
def test_rows_of_classes_as_their_weighted_mean(backend, options):
    dtype = backend.dtypes[-1]
    weights = options.get("weights", np.ones(24))
    kept = options.get("where", np.full(24, True)) & (
        options.get("ignore_index", -1) != CLASSES
    )
    v = options.get("class_weights", np.ones(3))
    with mp.workprec(200):
        exact = mp.fsum(
            row_loss(row.tolist(), int(y), v.tolist(), weight=float(w)).value
            for row, y, w in zip(ROWS[kept], CLASSES[kept], weights[kept], strict=True)
        ) / mp.fsum(map(float, (weights * v[CLASSES])[kept]))
    own = {
        name: partial(
            backend.array, dtype="bool" if name == "where" else dtype
        )(value)
        if isinstance(value, np.ndarray)
        else value
        for name, value in options.items()
    }  # fmt: skip
    rows = backend.array(ROWS, dtype)
    numbers = backend.array(CLASSES, "int32")
    mean = Mean(xploss.softmax_cross_entropy).update(rows, numbers, **own)
    is_close(np.array(mean.result()), np.array(exact), wide(dtype), 8.0)
    assert mean.count == kept.sum()


def test_options_of_a_partial_and_of_a_batch():
    rows = partial(xploss.softmax_cross_entropy, class_weights=PER_CLASS)
    logits = np.moveaxis(ROWS, -1, 0)
    bound = Mean(partial(rows, class_axis=0)).update(logits, CLASSES)
    given = Mean(rows).update(logits, CLASSES, class_axis=0)
    other = Mean(partial(rows, class_axis=1)).update(logits, CLASSES, class_axis=0)
    assert bound.result() == given.result() == other.result()


# ---- standard error ------------------------------------------------------------------


def test_standard_error_is_that_of_losses_drawn_at_random(backend):
    dtype = backend.dtypes[-1]
    args, _ = batch(backend, dtype, ALL)
    losses = backend.numpy(cross_entropy(*args, reduction="none")).astype(float)
    expected = np.std(losses, ddof=1) / math.sqrt(35)
    mean = Mean(cross_entropy).update(*args)
    assert mean.standard_error() == pytest.approx(expected, rel=2**-46, abs=0)


def test_standard_error_of_a_weighted_mean():
    """Of a ratio of sums; a sample of weight 0 is none."""
    weights = np.where(KEPT, WEIGHTS, 0.0)
    losses = cross_entropy(LOGITS, LABELS, reduction="none")
    mean = Mean(cross_entropy).update(LOGITS, LABELS, weights=weights)
    n, away = KEPT.sum(), weights * (losses - mean.result())
    expected = math.sqrt(n / (n - 1) * np.sum(away**2)) / weights.sum()
    assert mean.standard_error() == pytest.approx(expected, rel=2**-46, abs=0)


def test_standard_error_of_equal_losses_is_0():
    """By sums of squares that are rounded it would be 1e-8 of the loss, or NaN."""
    mean = Mean(cross_entropy)
    for _ in range(10):
        mean.update(np.full(7, 1.3), 0)
    assert mean.standard_error() == 0.0


def test_standard_error_of_weighted_losses_that_are_nearly_equal():
    """Exact, by fractions: the spread is 1e-16 of its terms."""
    rng = np.random.default_rng(7)
    logits, weights = 1 + 1e-8 * rng.normal(size=50), rng.random(50)
    losses = cross_entropy(logits, 0, reduction="none")
    mean = Mean(cross_entropy).update(logits, 0, weights=weights)
    w, x = ([Fraction(float(a)) for a in array] for array in (weights, losses))
    middle = sum(a * b for a, b in zip(w, x, strict=True)) / sum(w)
    square = sum((a * (b - middle)) ** 2 for a, b in zip(w, x, strict=True))
    expected = math.sqrt(square * Fraction(50, 49) / sum(w) ** 2)
    assert mean.standard_error() == pytest.approx(expected, rel=2**-46, abs=0)


def test_standard_error_beyond_the_range_of_floats():
    small, large = np.array([-400.0, -401.0, -402.0]), np.array([1e160, 1.0, 3.0])
    assert math.isnan(Mean(cross_entropy).update(small, 0).standard_error())
    error = Mean(cross_entropy).update(large, 0, weights=1e-10).standard_error()
    assert error > 1e100


@pytest.mark.parametrize(
    "state", [[math.nan] * 12, [math.inf] * 12, [10**400] * 12, [-1.0] * 12]
)
def test_a_state_of_no_count_is_refused(state):
    with pytest.raises(ValueError, match="`state`"):
        Mean.from_state(cross_entropy, state)


def test_bytes_are_no_state():
    with pytest.raises(TypeError, match="`state`"):
        Mean.from_state(cross_entropy, b"123456789012")


# ---- what has no mean ----------------------------------------------------------------

NOTHING = {
    "nothing": (np.zeros(0), {}),
    "all left out": (np.array([np.nan, 1.0]), {"where": False}),
    "no weight": (np.zeros(2), {"weights": 0}),
}


@pytest.mark.parametrize(("logits", "options"), NOTHING.values(), ids=NOTHING)
def test_empty_mean_is_nan(logits, options):
    for mean in (Mean(cross_entropy), Mean(cross_entropy).update(logits, 0, **options)):
        assert math.isnan(mean.result())
        assert math.isnan(mean.standard_error())
        assert mean.count == 0
        mean.update(np.array([0.5]), 0)
        assert mean.result() == cross_entropy(np.array([0.5]), 0)


def test_infinite_and_nan_losses():
    with np.errstate(all="raise"):
        infinite = Mean(cross_entropy).update(np.array([np.inf, 1.0]), 0)
        nan = Mean(cross_entropy).update(np.array([np.nan, 1.0]), 0)
        large = Mean(cross_entropy).update(np.full(2, 1e300), 0, weights=1e-300)
    assert infinite.result() == infinite.merge(infinite).result() == math.inf
    assert math.isnan(nan.result())
    assert math.isnan(infinite.standard_error())
    assert large.result() == 1e300


# ---- refusals ------------------------------------------------------------------------

REFUSED = {
    "no loss": (lambda: Mean(xploss.sigmoid), TypeError, "`Mean` takes a loss"),
    "reduction": (
        lambda: Mean(partial(cross_entropy, reduction="sum")),
        TypeError,
        "takes no `reduction`, got 'sum'",
    ),
    "axis": (
        lambda: Mean(cross_entropy).update(LOGITS, 0, axis=0),
        TypeError,
        "takes no `axis`, got 0",
    ),
    "option": (
        lambda: Mean(cross_entropy).update(LOGITS, 0, wieghts=2),
        TypeError,
        "wieghts",
    ),
    "labels": (
        lambda: Mean(cross_entropy).update(LOGITS, LABELS[:3]),
        ValueError,
        "`labels` must have the shape",
    ),
    "other": (lambda: Mean(cross_entropy).merge(1.0), TypeError, "`other` must be a M"),
    "another loss": (
        lambda: Mean(cross_entropy).merge(Mean(xploss.binary_cross_entropy)),
        ValueError,
        "`other` is a mean of binary_cross_entropy and this one of sigmoid_cross",
    ),
    "another option": (
        lambda: Mean(cross_entropy).merge(Mean(partial(cross_entropy, pos_weight=2))),
        ValueError,
        "`other` is a mean of sigmoid_cross_entropy, pos_weight=2",
    ),
    "few": (lambda: Mean.from_state(cross_entropy, [1.0]), ValueError, "`state`.*12"),
    "text": (lambda: Mean.from_state(cross_entropy, "a"), TypeError, "`state`.*str"),
    "number": (lambda: Mean.from_state(cross_entropy, 3), TypeError, "`state`.*12"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_refused_batch_changes_nothing():
    mean = Mean(cross_entropy).update(LOGITS, LABELS)
    before = mean.state
    with pytest.raises(ValueError, match="labels"):
        mean.update(LOGITS, LABELS[:3])
    assert mean.state == before


def into_mean(logits):
    return Mean(cross_entropy).update(logits, 1).result()


NO_VALUES = "`logits` has no values that `Mean.update` could add up"


@pytest.mark.library("jax")
def test_no_values_under_transforms_of_jax():
    import jax

    for transform in (jax.jit, jax.vmap, jax.grad):
        with pytest.raises(TypeError, match=NO_VALUES):
            transform(into_mean)(jax.numpy.zeros((2, 2)))


@pytest.mark.library("torch")
def test_no_values_under_transforms_of_torch():
    import torch

    for transform in (torch.func.vmap, torch.func.grad):
        with pytest.raises(TypeError, match=NO_VALUES):
            transform(into_mean)(torch.zeros(2, 2))
    with pytest.raises(TypeError, match=NO_VALUES):
        into_mean(torch.zeros(2, device="meta"))
    assert into_mean(torch.zeros(2, requires_grad=True)) == pytest.approx(
        math.log(2), rel=2**-23
    )


@pytest.mark.library("tensorflow")
def test_no_values_in_a_graph_of_tensorflow():
    import tensorflow as tf

    with pytest.raises(TypeError, match=NO_VALUES):
        tf.function(into_mean)(tf.zeros(2))


@pytest.mark.library("dask")
def test_dask_computes_once_and_brings_sums_alone(computes):
    import dask.array

    logits, labels = (dask.array.from_array(a, chunks=8) for a in (LOGITS, LABELS))
    mean = Mean(cross_entropy).update(logits, labels, weights=2.0)
    assert mean.result() == Mean(cross_entropy).update(LOGITS, LABELS).result()
    (keys,) = computes
    assert len(keys) == 5
