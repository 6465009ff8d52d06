"""Objectives of gradient boosting, without the boosters: exact, floored, weighed."""

import copy
import inspect
import pickle
from functools import partial

import numpy as np
import pytest
import reference
from expected import is_close
from focal_reference import from_logit_focal
from mpmath import mpf

import xploss
from xploss import objectives

import cupy_on_host  # isort: skip

BOOSTERS = (objectives.xgboost, objectives.lightgbm)
booster = pytest.mark.parametrize("objective", BOOSTERS, ids=lambda f: f.__name__)

MARGINS = np.array([-60.0, -17.0, -1.5, -0.0, 0.0, 0.25, 17.0, 40.0, 60.0] * 3)
LABELS = np.repeat([0.0, 1.0, 0.3], 9)
WEIGHTS = np.tile([1.0, 2.0, 0.5], 9)
ONCE_ROUNDED = 0.5 + 1e-6  # ulp of float32, of what was computed in float64


def exact(field, floor=None, **options):
    """As mpmath has it, weighed, with the Hessian's floor."""
    weights = options.pop("weights", np.ones(MARGINS.shape))

    def one(x, y, w):
        number = getattr(reference.from_logit(x, y, **options), field)
        return mpf(w) * (number if floor is None else max(number, mpf(floor)))

    return np.vectorize(one, otypes=[object])(MARGINS, LABELS, weights)


@pytest.fixture
def cupy():
    if not cupy_on_host.driver_present():
        cupy_on_host.install()
    import cupy

    return cupy


class Data:
    """Labels and weights as a DMatrix of XGBoost's hands them out on a GPU."""

    def __init__(self, labels, weights):
        self.get_label, self.get_weight = lambda: labels, lambda: weights


def test_catboost_maximises_the_likelihood():
    """Minus the derivatives of the loss, in float64; the memory is not kept."""
    objective = objectives.catboost(hessian_floor=0.0)
    for weights in (None, WEIGHTS):
        margins, labels = MARGINS.copy(), LABELS.copy()
        pairs = objective.calc_ders_range(margins, labels, weights)
        given = {} if weights is None else {"weights": weights}
        for column, field in enumerate(("gradient", "hessian")):
            result = np.array([pair[column] for pair in pairs])
            right, unit = (exact(name, **given) for name in (field, "term"))
            unit = unit if field == "gradient" else right
            is_close(-result, right, "float64", 6.0, unit)
        np.testing.assert_array_equal(margins, MARGINS)
    assert objective.calc_ders_range([0.0], [1.0], [2.0]) == [(1.0, -0.5)]


def test_catboost_is_pickled_and_is_its_own_copy():
    objective = objectives.catboost(xploss.sigmoid_focal_loss, gamma=3.0)
    assert copy.deepcopy(objective) is objective
    given = (MARGINS, LABELS, WEIGHTS)
    again = pickle.loads(pickle.dumps(objective))
    assert again.calc_ders_range(*given) == objective.calc_ders_range(*given)


@booster
@pytest.mark.parametrize("label", [-1.0, 2.0, np.nan])
def test_labels_are_looked_at(objective, label):
    labels = np.where(np.arange(27) == 5, label, LABELS)
    message = r"`labels` must be in \[0, 1\]; got 1 outside.*two classes, 0 and 1"
    with pytest.raises(ValueError, match=message):
        objective()(labels, MARGINS)
    with pytest.raises(ValueError, match=message):
        objectives.catboost().calc_ders_range(MARGINS, labels, None)


@pytest.mark.parametrize("name", objectives.__all__)
def test_the_factory_is_no_objective(name):
    factory = getattr(objectives, name)
    with pytest.raises(TypeError, match=rf"pass `objectives\.{name}\(\)`"):
        factory(LABELS, MARGINS)


@pytest.mark.parametrize("name", objectives.__all__)
@pytest.mark.parametrize("floor", [np.inf, np.nan, -1.0, 10**400])
def test_a_floor_is_a_number_of_at_least_0(name, floor):
    with pytest.raises(ValueError, match="`hessian_floor` must be"):
        getattr(objectives, name)(hessian_floor=floor)


# ---- what comes out ------------------------------------------------------------------


@booster
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"pos_weight": 3.0}, {"smoothing": 0.125}])
def test_both_are_exact_and_rounded_once(objective, dtype, options):
    given = {k.replace("smo", "label_smo"): number for k, number in options.items()}
    floor = 1e-20
    results = objective(hessian_floor=floor, **given)(
        LABELS, MARGINS.astype(dtype), WEIGHTS.astype("float32")
    )
    gradient, hessian = (result.reshape(-1) for result in results)
    right = exact("gradient", **options, weights=WEIGHTS)
    is_close(gradient, right, "float32", ONCE_ROUNDED)
    right = exact("hessian", floor, **options, weights=WEIGHTS)
    is_close(hessian, right, "float32", ONCE_ROUNDED)


@booster
def test_shapes_and_dtypes(objective):
    shape = (27, 1) if objective is objectives.xgboost else (27,)
    for result in objective()(LABELS, MARGINS):
        assert (type(result), result.dtype, result.shape) == (
            np.ndarray, np.float32, shape
        )  # fmt: skip


def test_several_outputs_and_one_weight_a_row():
    margins, labels = MARGINS.reshape(9, 3), LABELS.reshape(9, 3)
    weights = np.arange(9.0)
    results = objectives.xgboost(pos_weight=np.array([1.0, 2.0, 4.0]))(
        labels, margins, weights
    )
    for k, factor in enumerate((1.0, 2.0, 4.0)):
        column = objectives.xgboost(pos_weight=factor)(
            labels[:, k], margins[:, k], weights
        )
        for result, one in zip(results, column, strict=True):
            np.testing.assert_array_equal(result[:, k], one[:, 0])


@booster
def test_the_floor_is_that_of_weight_1(objective):
    x, y, w = np.array([-60.0, 60.0, 0.0]), np.array([0.0, 1.0, 1.0]), [2.0, 0.0, 1.0]
    for floor, expected in ((None, 1e-16), (0.01, 0.01), (0.5, 0.5)):
        _, hessian = objective(hessian_floor=floor)(y, x, np.array(w))
        last = max(0.25, expected)
        expected = np.array([2 * expected, 0.0, last], np.float32)
        np.testing.assert_array_equal(hessian.reshape(-1), expected)


@booster
def test_focal_hessians_are_floored_where_they_are_negative(objective):
    with np.errstate(all="raise"):
        results = objective(xploss.sigmoid_focal_loss, gamma=2.0)(LABELS, MARGINS)
    gradient, hessian = (result.reshape(-1) for result in results)
    pairs = zip(MARGINS.tolist(), LABELS.tolist(), strict=True)
    numbers = [from_logit_focal(x, y, 2.0) for x, y in pairs]
    assert min(number.hessian for number in numbers) < 0
    right = np.array([max(number.hessian, mpf(0.05)) for number in numbers], object)
    is_close(hessian, right, "float32", ONCE_ROUNDED)
    right = np.array([number.gradient for number in numbers], object)
    is_close(gradient, right, "float32", ONCE_ROUNDED)


@booster
def test_nan_margins_are_not_hidden_by_the_floor(objective):
    gradient, hessian = objective()(np.ones(1), np.full(1, np.nan))
    assert np.isnan(gradient).all()
    assert np.isnan(hessian).all()


# ---- what goes in --------------------------------------------------------------------


@booster
def test_a_partial_is_a_loss(objective):
    loss = partial(xploss.sigmoid_focal_loss, gamma=1.5)
    results = objective(loss, alpha=0.25)(LABELS, MARGINS)
    expected = objective(xploss.sigmoid_focal_loss, gamma=1.5, alpha=0.25)(
        LABELS, MARGINS
    )
    np.testing.assert_array_equal(results, expected)


@booster
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((xploss.binary_cross_entropy,), {}, TypeError, "takes a loss of logits, such"),
        ((abs,), {}, TypeError, "takes a loss of logits, such"),
        ((), {"gamma": 2.0}, TypeError, "gamma"),
        ((), {"weights": 2.0}, TypeError, "takes no `weights`; a sample's weight"),
        ((), {"where": True}, TypeError, "takes no `where`"),
        ((), {"reduction": "sum"}, TypeError, "reduction"),
        ((), {"hessian_floor": -1.0}, ValueError, "`hessian_floor` must be"),
        ((), {"hessian_floor": np.nan}, ValueError, "`hessian_floor` must be"),
        ((), {"hessian_floor": "small"}, TypeError, "`hessian_floor` must be a number"),
    ],
)
def test_refused_at_once(objective, arguments, options, error, message):
    with pytest.raises(error, match=message):
        objective(*arguments, **options)


def test_weights_in_a_partial_are_refused():
    loss = partial(xploss.sigmoid_cross_entropy, weights=2.0)
    with pytest.raises(TypeError, match="takes no `weights`"):
        objectives.xgboost(loss)


@booster
@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        (LABELS[1:], None, "`labels` must have the shape of `margins`"),
        (LABELS, WEIGHTS[1:], "`weights` must be a number or fit"),
        (LABELS.reshape(9, 3), None, "`labels` must have the shape"),
    ],
)
def test_other_lengths_are_refused(objective, labels, weights, message):
    with pytest.raises(ValueError, match=message):
        objective()(labels, MARGINS, weights)


@booster
@pytest.mark.parametrize(
    "library", [pytest.param(n, marks=pytest.mark.library(n)) for n in ("torch", "jax")]
)
def test_other_libraries_are_refused_and_sent_to_dlpack(objective, library):
    if library == "torch":
        import torch

        array = torch.zeros(3)
    else:
        import jax.numpy

        array = jax.numpy.zeros(3)
    with pytest.raises(TypeError, match=r"`margins` must be .* `numpy.from_dlpack"):
        objective()(array, array)


# ---- what boosters do with it --------------------------------------------------------


@booster
def test_it_is_pickled_copied_and_read(objective):
    one = objective(xploss.sigmoid_focal_loss, gamma=1.0, hessian_floor=0.01)
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        np.testing.assert_array_equal(other(LABELS, MARGINS), one(LABELS, MARGINS))
    weight = "sample_weight" if objective is objectives.xgboost else "weight"
    assert list(inspect.signature(one).parameters) == ["y_true", "y_pred", weight]


@booster
@pytest.mark.parametrize("weights", [None, np.empty(0, np.float32), WEIGHTS])
def test_data_with_and_without_weights(objective, weights):
    results = objective()(MARGINS, Data(LABELS, weights))
    given = weights if weights is not None and weights.size else None
    np.testing.assert_array_equal(results, objective()(LABELS, MARGINS, given))


# ---- CuPy ----------------------------------------------------------------------------


@pytest.mark.library("cupy")
@booster
@pytest.mark.parametrize("here", ["margins", "labels and weights", "neither"])
def test_on_the_device_where_any_is(cupy, objective, here):
    margins = MARGINS if here == "margins" else cupy.asarray(MARGINS)
    labels, weights = (
        array if here == "labels and weights" else cupy.asarray(array)
        for array in (LABELS, WEIGHTS)
    )
    results = objective()(margins, Data(labels, weights))
    expected = objective()(LABELS, MARGINS, WEIGHTS)
    for result, right in zip(results, expected, strict=True):
        assert isinstance(result, cupy.ndarray)
        np.testing.assert_array_max_ulp(cupy.asnumpy(result), right, 1)


@pytest.mark.library("cupy")
@booster
def test_nothing_leaves_the_device(cupy, objective):
    if cupy_on_host.driver_present():
        pytest.skip("copies are counted by the host runtime; a GPU is here")
    arrays = [cupy.asarray(a.astype("float32")) for a in (LABELS, MARGINS, WEIGHTS)]
    objective()(*arrays)
    before = cupy_on_host.tally()
    objective()(*arrays)
    assert (cupy_on_host.tally() - before).keys() == {"launches"}


# ---- many classes --------------------------------------------------------------------

CLASSES = np.array([[1.0, 0.0, -2.0], [0.5, 3.0, 0.0]])
NUMBERS = np.array([0.0, 2.0])


@pytest.mark.parametrize(("name", "scale"), [("xgboost", 2.0), ("lightgbm", 1.5)])
def test_many_classes(name, scale):
    """Numbers of classes as floats; the diagonal as each booster scales it."""
    objective = getattr(objectives, name)(xploss.softmax_cross_entropy)
    weights = np.array([1.0, 4.0])
    gradient, hessian = objective(NUMBERS, CLASSES, weights)
    plain = xploss.grad_and_hess(xploss.softmax_cross_entropy)
    slopes, curvatures = plain(CLASSES, NUMBERS.astype(int))
    assert gradient.dtype == hessian.dtype == np.float32
    np.testing.assert_array_equal(
        gradient, (slopes * weights[:, None]).astype("float32")
    )
    expected = np.maximum(scale * curvatures, 1e-16) * weights[:, None]
    np.testing.assert_array_equal(hessian, expected.astype("float32"))


def test_catboost_has_the_whole_hessian_of_many_classes():
    objective = objectives.catboost(xploss.softmax_cross_entropy)
    first, second = objective.calc_ders_multi(CLASSES[1].tolist(), 2.0, 3.0)
    p = np.exp(CLASSES[1]) / np.exp(CLASSES[1]).sum()
    np.testing.assert_allclose(first, 3 * (np.eye(3)[2] - p), rtol=16 * 2.0**-52)
    whole = -3 * (np.diag(p) - np.outer(p, p))
    np.testing.assert_allclose(second, whole, rtol=16 * 2.0**-52)
    with pytest.raises(TypeError, match="`hessian_floor`"):
        objectives.catboost(xploss.softmax_cross_entropy, hessian_floor=1.0)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
@pytest.mark.parametrize(
    ("labels", "margins", "message"),
    [
        (np.array([0.0, 3.0]), CLASSES, r"in \[0, 2\]; got 1 outside, the first 3"),
        (np.array([0.0, -1.0]), CLASSES, r"in \[0, 2\]; got 1 outside, the first -1"),
        (np.array([0.5, 1.0]), CLASSES, "whole numbers of classes"),
        (NUMBERS, CLASSES[:, 0], "a column a class"),
    ],
)
def test_other_labels_of_many_classes_are_refused(name, labels, margins, message):
    objective = getattr(objectives, name)(xploss.softmax_cross_entropy)
    with pytest.raises(ValueError, match=message):
        objective(labels, margins)
