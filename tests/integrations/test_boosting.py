"""XGBoost and LightGBM with our objectives, beside their own, on real boosters."""

from functools import partial
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_classification
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
