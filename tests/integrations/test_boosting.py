"""XGBoost, LightGBM and CatBoost with our objectives, beside their own."""

from functools import partial
from typing import Any, NamedTuple

import catboost
import lightgbm
import numpy as np
import pandas
import pytest
import xgboost
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine, make_classification
from sklearn.metrics import average_precision_score

import xploss
from xploss import objectives

ROUNDS = 50
CLOSE = 1e-4  # margins of theirs and ours
OWN = {"nthread": 1, "objective": "binary:logistic", "base_score": 0.5}
LIGHT: dict[str, Any] = {
    "verbosity": -1, "num_threads": 1, "seed": 0, "deterministic": True,
    "force_row_wise": True, "boost_from_average": False,
}  # fmt: skip
BOOSTERS = ("xgboost", "lightgbm")
booster = pytest.mark.parametrize("name", BOOSTERS)
focal = partial(xploss.sigmoid_focal_loss, gamma=2.0)


class Table(NamedTuple):
    design: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def cancer():
    return Table(*load_breast_cancer(return_X_y=True))


@pytest.fixture(scope="module")
def rare():
    """200,000 rows, 1% of them positive."""
    design, labels = make_classification(
        200_000, 20, n_informative=8, weights=[0.99], flip_y=0.002, random_state=0
    )
    assert 0.009 < labels.mean() < 0.012
    return Table(design.astype(np.float32), labels)


def boosted(name, table, objective, rounds=ROUNDS, start=None, **options):
    """The margins after `rounds` rounds by an objective, theirs by its name."""
    if name == "xgboost":
        data = xgboost.DMatrix(*table, base_margin=start, weight=options.pop("w", None))
        params, ours = OWN | options, {}
        if callable(objective):
            ours = {"obj": objective}
        elif objective is not None:
            params["objective"] = objective
        model = xgboost.train(params, data, rounds, **ours)
        return model.predict(data, output_margin=True)
    data = lightgbm.Dataset(*table, init_score=start, weight=options.pop("w", None))
    model = lightgbm.train({"objective": objective} | LIGHT | options, data, rounds)
    margins = model.predict(table.design, raw_score=True)
    return margins if start is None else margins + start


def log_odds(labels):
    mean = labels.mean()
    return np.full(len(labels), np.log(mean / (1 - mean)))


def difference(name, table, objective, theirs, own_options=None, **options):
    """The largest, of a margin."""
    expected = boosted(name, table, theirs, **options, **(own_options or {}))
    assert np.ptp(expected) > 1  # it learnt something
    return np.max(np.abs(boosted(name, table, objective, **options) - expected))


# ---- as their own --------------------------------------------------------------------

OBJECTIVES = {"xgboost": objectives.xgboost, "lightgbm": objectives.lightgbm}
PLAIN = {"xgboost": "binary:logistic", "lightgbm": "binary"}
SOFT = {"xgboost": "binary:logistic", "lightgbm": "cross_entropy"}


@booster
@pytest.mark.parametrize("table", ["cancer", "rare"])
def test_the_plain_loss_gives_their_margins(name, table, request, record_property):
    table = request.getfixturevalue(table)
    away = difference(name, table, OBJECTIVES[name](), PLAIN[name])
    record_property("difference", away)
    assert away < CLOSE


@booster
def test_weights_of_samples(name, cancer):
    weights = np.random.default_rng(0).integers(0, 4, len(cancer.labels)) / 2.0
    away = difference(name, cancer, OBJECTIVES[name](), PLAIN[name], w=weights)
    assert away < CLOSE


@booster
def test_pos_weight_is_scale_pos_weight(name, rare):
    objective = OBJECTIVES[name](pos_weight=9.0)
    scaled = {"scale_pos_weight": 9.0}
    assert difference(name, rare, objective, PLAIN[name], scaled) < CLOSE


@booster
def test_soft_and_smoothed_labels(name, cancer):
    labels = np.random.default_rng(0).uniform(size=len(cancer.labels))
    soft = cancer._replace(labels=(0.75 * cancer.labels + 0.25 * labels))
    assert difference(name, soft, OBJECTIVES[name](), SOFT[name]) < CLOSE
    smoothed = cancer._replace(labels=0.9 * cancer.labels + 0.05)
    expected = boosted(name, smoothed, SOFT[name])
    ours = boosted(name, cancer, OBJECTIVES[name](label_smoothing=0.1))
    assert np.max(np.abs(ours - expected)) < CLOSE


def test_several_outputs_of_xgboost(cancer):
    labels = np.column_stack([cancer.labels, cancer.design[:, 0] > 14.0])
    table = cancer._replace(labels=labels)
    objective = objectives.xgboost()
    assert difference("xgboost", table, objective, PLAIN["xgboost"]) < CLOSE


@booster
def test_a_start_that_they_would_estimate(name, cancer):
    """XGBoost's `base_score` and LightGBM's `boost_from_average`, as margins."""
    start = log_odds(cancer.labels)
    ours = boosted(name, cancer, OBJECTIVES[name](), start=start)
    estimated = {"base_score": None} if name == "xgboost" else {}
    estimated |= {"boost_from_average": True} if name == "lightgbm" else {}
    theirs = boosted(name, cancer, PLAIN[name], **estimated)
    assert np.max(np.abs(ours - theirs)) < CLOSE


# ---- CatBoost ------------------------------------------------------------------------

# One Newton step a leaf, from 0, and nothing drawn: what an objective can change.
CAT: dict[str, Any] = {
    "depth": 4, "learning_rate": 0.1, "random_seed": 0, "thread_count": 1,
    "leaf_estimation_method": "Newton", "leaf_estimation_iterations": 1,
    "boost_from_average": False, "bootstrap_type": "No", "random_strength": 0,
    "verbose": False, "allow_writing_files": False,
}  # fmt: skip
CLOSER = 1e-12  # both are computed in float64


def cat_boosted(table, loss, rounds=ROUNDS, w=None, **options):
    pool = catboost.Pool(*table, weight=w)
    own = {} if isinstance(loss, str) else {"eval_metric": "Logloss"}
    params = CAT | own | {"loss_function": loss, "iterations": rounds} | options
    model = catboost.CatBoost(params).fit(pool)
    return model.predict(pool, prediction_type="RawFormulaVal")


def cat_difference(table, objective, **options):
    expected = cat_boosted(table, "Logloss", **options)
    assert np.ptp(expected) > 1  # it learnt something
    return np.max(np.abs(cat_boosted(table, objective, **options) - expected))


@pytest.mark.parametrize("weighted", [False, True])
def test_catboost_gives_its_own_margins(cancer, weighted):
    weights = np.random.default_rng(0).integers(1, 4, len(cancer.labels)) / 2.0
    options = {"w": weights} if weighted else {}
    assert cat_difference(cancer, objectives.catboost(), **options) < CLOSER


def test_catboost_soft_labels(cancer):
    labels = np.random.default_rng(0).uniform(size=len(cancer.labels))
    soft = cancer._replace(labels=0.75 * cancer.labels + 0.25 * labels)
    theirs = cat_boosted(soft, "CrossEntropy")
    ours = cat_boosted(soft, objectives.catboost(), eval_metric="RMSE")
    assert np.max(np.abs(ours - theirs)) < CLOSER


def test_catboost_estimator(cancer):
    """Cloned, with tables of pandas' and weights, as it does with its own."""
    design, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    weights = pandas.Series(np.linspace(0.5, 2.0, len(labels)))
    scores = []
    for loss in ("Logloss", objectives.catboost(label_smoothing=0.0)):
        model = clone(
            catboost.CatBoostClassifier(
                loss_function=loss, eval_metric="Logloss", iterations=10, **CAT
            )
        )
        model.fit(design, labels, sample_weight=weights)
        scores.append(model.predict(design, prediction_type="RawFormulaVal"))
    np.testing.assert_allclose(*scores, atol=CLOSER)


def test_catboost_focal(cancer):
    loss = partial(objectives.catboost, xploss.sigmoid_focal_loss, gamma=2.0)
    margins = cat_boosted(cancer, loss())
    assert average_precision_score(cancer.labels, margins) > 0.99


# ---- what goes wrong, and is said ----------------------------------------------------

EVERY = {
    "xgboost": lambda table, objective: boosted("xgboost", table, objective, 3),
    "lightgbm": lambda table, objective: boosted("lightgbm", table, objective, 3),
    "catboost": lambda table, objective: cat_boosted(
        table, objective, 3, eval_metric="RMSE"
    ),
}
every = pytest.mark.parametrize("name", EVERY)


@every
@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        (lambda labels: 2 * labels - 1, "-1.0"),
        (lambda labels: labels + 1, "2.0"),
        (lambda labels: np.arange(len(labels)) % 3, "2.0"),
    ],
    ids=["-1 and 1", "1 and 2", "three classes"],
)
def test_other_labels_are_refused(name, wrong, first, cancer):
    """In the first round, with what to pass; CatBoost wraps what it is told."""
    table = cancer._replace(labels=wrong(cancer.labels).astype(float))
    objective = getattr(objectives, name)()
    with pytest.raises(Exception, match=rf"the first {first}.*\(labels \+ 1\) / 2"):
        EVERY[name](table, objective)


@every
def test_the_factory_is_no_objective(name, cancer):
    factory = getattr(objectives, name)
    message = rf"pass `objectives\.{name}\(\)` to the booster"
    with pytest.raises(Exception, match=message):
        EVERY[name](cancer, factory)


@pytest.mark.parametrize("estimator", ["xgboost", "lightgbm"])
def test_the_factory_is_no_objective_of_an_estimator(estimator, cancer):
    factory = getattr(objectives, estimator)
    kinds = {"xgboost": xgboost.XGBClassifier, "lightgbm": lightgbm.LGBMClassifier}
    with pytest.raises(TypeError, match=rf"pass `objectives\.{estimator}\(\)`"):
        kinds[estimator](objective=factory, n_estimators=3).fit(*cancer)


@every
def test_tables_of_pandas(name, cancer):
    """As a booster keeps them: Series, and for LightGBM a column or a list too."""
    design = pandas.DataFrame(cancer.design)
    labels = pandas.Series(cancer.labels, index=design.index[::-1])
    right = EVERY[name](cancer, getattr(objectives, name)())
    kinds = [labels]
    if name == "lightgbm":
        kinds += [labels.to_frame(), cancer.labels.tolist()]
    for given in kinds:
        table = Table(design, given)
        margins = EVERY[name](table, getattr(objectives, name)())
        np.testing.assert_array_equal(margins, right)


@booster
def test_weights_of_pandas(name, cancer):
    weights = np.linspace(0.5, 2.0, len(cancer.labels))
    objective = OBJECTIVES[name]()
    right = boosted(name, cancer, objective, 3, w=weights)
    ours = boosted(name, cancer, objective, 3, w=pandas.Series(weights))
    np.testing.assert_array_equal(ours, right)


# ---- far from 0 ----------------------------------------------------------------------


@booster
@pytest.mark.parametrize("floor", [None, 0.0, 0.01])
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (xploss.sigmoid_cross_entropy, {}),
        (xploss.sigmoid_cross_entropy, {"pos_weight": 100.0}),
        (focal, {}),
        (focal, {"alpha": 0.25}),
    ],
)
def test_margins_of_60_are_numbers(name, cancer, loss, options, floor):
    """Half of them on the wrong side, where the Hessian is 1e-26, or -1e-24."""
    labels = cancer.labels.astype(np.float64)
    start = np.where(np.arange(len(labels)) % 2, 60.0, -60.0)
    objective = OBJECTIVES[name](loss, hessian_floor=floor, **options)
    margins = boosted(name, cancer, objective, start=start)
    assert np.isfinite(margins).all()
    # Lower Hessians weigh no leaf, so that their own objectives learn nothing.
    if floor == 0.01:
        assert (
            loss(margins.astype(float), labels, **options)
            < loss(start, labels, **options) / 2
        )


@booster
def test_the_focal_loss_ranks_the_rare_class(name, rare):
    """From the log odds on, where the positives' Hessians are negative."""
    start = log_odds(rare.labels)

    def precision(objective):
        margins = boosted(name, rare, objective, start=start)
        return average_precision_score(rare.labels, margins)

    plain = precision(OBJECTIVES[name]())
    assert precision(OBJECTIVES[name](focal)) > plain - 0.1
    assert precision(OBJECTIVES[name](focal, hessian_floor=1e-16)) < plain - 0.3


# ---- estimators, metrics -------------------------------------------------------------


def test_xgboost_s_estimator(cancer):
    """With weights, cloned, and with probabilities."""
    options = {"n_estimators": 20, "base_score": 0.5, "n_jobs": 1}
    weights = np.where(cancer.labels == 1, 1.0, 2.0)
    ours = clone(xgboost.XGBClassifier(objective=objectives.xgboost(), **options))
    theirs = xgboost.XGBClassifier(**options)
    fitted = [model.fit(*cancer, sample_weight=weights) for model in (ours, theirs)]
    probs = [model.predict_proba(cancer.design) for model in fitted]
    np.testing.assert_allclose(*probs, rtol=0, atol=CLOSE)


def test_lightgbm_s_estimator(cancer):
    options: dict[str, Any] = {"n_estimators": 20, "n_jobs": 1, **LIGHT}
    options = {k: v for k, v in options.items() if k != "num_threads"}
    weights = np.where(cancer.labels == 1, 1.0, 2.0)
    ours = clone(lightgbm.LGBMClassifier(objective=objectives.lightgbm(), **options))
    theirs = lightgbm.LGBMClassifier(objective="binary", **options)
    margins = [
        model.fit(*cancer, sample_weight=weights).predict(cancer.design, raw_score=True)
        for model in (ours, theirs)
    ]
    assert np.max(np.abs(margins[0] - margins[1])) < CLOSE


def test_a_metric_of_xgboost_s_is_the_loss(cancer):
    """A custom metric is handed margins beside a custom objective."""
    data, seen = xgboost.DMatrix(*cancer), {}

    def loss(margins, data):
        return "loss", float(xploss.sigmoid_cross_entropy(margins, data.get_label()))

    options = {"evals": [(data, "train")], "evals_result": seen, "verbose_eval": False}
    model = xgboost.train(
        OWN | {"disable_default_eval_metric": True}, data, 10,
        obj=objectives.xgboost(), custom_metric=loss, **options,
    )  # fmt: skip
    margins = model.predict(data, output_margin=True).astype(float)
    expected = xploss.sigmoid_cross_entropy(margins, cancer.labels)
    assert seen["train"]["loss"][-1] == round(float(expected), 6)  # XGBoost writes "%f"
    assert seen["train"]["loss"][0] > 2 * seen["train"]["loss"][-1]


def test_a_metric_of_lightgbm_s_is_the_loss(cancer):
    data, seen = lightgbm.Dataset(*cancer), {}

    def loss(scores, data):
        return "loss", xploss.sigmoid_cross_entropy(scores, data.get_label()), False

    model = lightgbm.train(
        {"objective": objectives.lightgbm(), "metric": "none", **LIGHT}, data, 10,
        valid_sets=[data], valid_names=["train"], feval=loss,
        callbacks=[lightgbm.record_evaluation(seen)],
    )  # fmt: skip
    margins = model.predict(cancer.design, raw_score=True)
    expected = xploss.sigmoid_cross_entropy(margins, cancer.labels)
    within = 64 * float(
        np.finfo(np.float64).eps
    )  # ten trees are added in another order
    assert seen["train"]["loss"][-1] == pytest.approx(expected, rel=within)


# ---- many classes --------------------------------------------------------------------

ENTROPY = xploss.softmax_cross_entropy


def wine_margins(name, objective):
    """Of the wines' three kinds after 50 rounds, rows of unequal weights."""
    design, labels = load_wine(return_X_y=True)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(labels))
    own = {"num_class": 3}
    if name == "xgboost":
        data = xgboost.DMatrix(design, labels, weight=weights)
        own |= {"base_score": 0.5, "nthread": 1, "disable_default_eval_metric": 1}
        ours = {"obj": objective} if objective else {}
        own |= {} if objective else {"objective": "multi:softprob"}
        model = xgboost.train(own, data, ROUNDS, **ours)
        return model.predict(data, output_margin=True)
    if name == "lightgbm":
        data = lightgbm.Dataset(design, labels, weight=weights)
        own |= LIGHT | {"objective": objective or "multiclass"}
        return lightgbm.train(own, data, ROUNDS).predict(design, raw_score=True)
    model = catboost.CatBoostClassifier(
        iterations=ROUNDS, depth=3, learning_rate=0.1, verbose=False, random_seed=0,
        allow_writing_files=False, leaf_estimation_iterations=1, thread_count=1,
        leaf_estimation_method="Newton", bootstrap_type="No", score_function="L2",
        boost_from_average=False, loss_function=objective or "MultiClass",
        eval_metric="MultiClass", classes_count=3,
    )  # fmt: skip
    model.fit(design, labels, sample_weight=weights)
    return model.predict(design, prediction_type="RawFormulaVal")


@pytest.mark.filterwarnings("ignore::UserWarning")  # CatBoost's, of numba
@pytest.mark.parametrize("name", [*BOOSTERS, "catboost"])
def test_many_classes_give_their_margins(name):
    objective = getattr(objectives, name)
    theirs, made = wine_margins(name, None), wine_margins(name, objective(ENTROPY))
    assert theirs.shape == made.shape == (178, 3)
    np.testing.assert_allclose(made, theirs, rtol=0, atol=1e-5)
    other = wine_margins(name, objective(ENTROPY, label_smoothing=0.5))
    assert np.abs(other - theirs).max() > 0.1
