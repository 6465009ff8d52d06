"""scikit-learn's log loss and ours by its name."""

import warnings

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.harness import (
    Call,
    Deviation,
    Function,
    Peer,
    array,
    call,
    calls,
    check,
    floats,
    probabilities,
    probability_elements,
    raise_alike,
    reduced,
)
from parity.page import check_page
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from xploss.compat import sklearn as ours

NAMES = ["ham", "spam"]


def both_columns(p, dtype):
    p = p.astype(dtype)
    return np.stack([1 - p, p], axis=1)


def by(function):
    def run(made: Call):
        options = dict(made.options)
        y_true = [int(label) for label in made.y]
        y_proba = made.x.astype(made.dtype)
        if options.pop("columns", False):
            y_proba = both_columns(y_proba, made.dtype)
        options["labels"] = [0, 1]
        if options.pop("named", False):
            y_true, options["labels"] = [NAMES[k] for k in y_true], NAMES
        result = function(y_true, y_proba, **options)
        assert type(result) is float
        return {"value": np.array(result)}

    return run


def exact(made):
    """Of two columns, the one of the label counts."""
    p, y = made.x, made.y
    if made.options.get("columns"):
        pair = both_columns(p, made.dtype).astype(np.float64)
        p, y = np.where(y == 1, pair[:, 1], pair[:, 0]), np.ones_like(y)
    eps = float(np.finfo(made.dtype).eps)
    elements = {"value": probability_elements(p, y, eps)["value"]}
    weights = made.options.get("sample_weight", 1.0)
    normalize = made.options.get("normalize", True)
    return reduced(elements, weights, "weighted_mean" if normalize else "sum")


DEVIATIONS = [
    Deviation(
        "one column",
        "probabilities below 0.5 of label 0, in one column: 1 - p is rounded",
        ("value",),
        ("log_loss",),
        lambda made: (made.x < 0.5) & (made.y == 0) & (not made.options.get("columns")),
        call("log_loss", "float32", 1e-4, 0.0),
    ),
]

PEER = Peer(
    "scikit-learn",
    sklearn.__version__,
    {"log_loss": Function(by(sklearn.metrics.log_loss), by(ours.log_loss), exact)},
    DEVIATIONS,
)


def hard_labels(dtype):
    return [st.sampled_from([0.0, 1.0])]


def options(draw, dtype, shape):
    drawn = {name: True for name in ("columns", "named") if draw(st.booleans())}
    if draw(st.booleans()):
        drawn["normalize"] = draw(st.booleans())
    if draw(st.booleans()):
        kinds = [st.sampled_from([0.0, 0.5, 1.0]), floats(dtype, 0.125, 8)]
        drawn["sample_weight"] = array(draw, dtype, shape, kinds)
        drawn["sample_weight"][0] = 1.0  # they must not sum to 0
    return drawn


@settings(max_examples=3 * settings.default.max_examples)
@given(
    made=calls(
        "log_loss",
        ["float16", "float32", "float64"],
        probabilities,
        hard_labels,
        shapes=[(1,), (2,), (5,), (20,)],
        options=options,
    )
)
def test_log_loss(made):
    check(PEER, made)


HALF = np.full(2, 0.5)
BAD = {
    "one class": lambda f: f([1, 1], HALF),
    "unknown label": lambda f: f([0, 2], HALF, labels=[0, 1]),
    "soft labels": lambda f: f([0.3, 0.7], HALF),
    "lengths": lambda f: f([0, 1, 1], HALF),
    "a probability of 2": lambda f: f([0, 1], HALF * 4),
    "NaN": lambda f: f([0, 1], HALF * np.nan),
    "weights of another length": lambda f: f([0, 1], HALF, sample_weight=[1.0]),
    "three columns": lambda f: f([0, 1], np.full((2, 3), 1 / 3)),
    "an unknown name": lambda f: f([0, 1], HALF, eps=1e-7),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_errors(bad):
    raise_alike(lambda: bad(sklearn.metrics.log_loss), lambda: bad(ours.log_loss))


# ---- what is handed over, and what is refused ----------------------------------------

WORDS, CLASSES = ["ham", "spam", "spam", "ham"], np.array([0, 1, 1, 0])
EPS = np.finfo("float64").eps
TABLE = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
COLUMN, WEIGHTS = TABLE[:, 1], np.array([1.0, 2.0, 3.0, 4.0])
INDEX = [10, 3, 7, 2]  # which counts for nothing


def series(values, dtype=None):
    return pandas.Series(values, index=INDEX, dtype=dtype)


TAKEN = {
    "Series of strings": lambda f: f(series(WORDS), TABLE),
    "Series of classes": lambda f: f(series(CLASSES), series(COLUMN)),
    "Series of categories": lambda f: f(series(WORDS, "category"), TABLE),
    "Series of string": lambda f: f(series(WORDS, "string"), TABLE),
    "Series of Int64": lambda f: f(series(CLASSES, "Int64"), TABLE),
    "Series of boolean": lambda f: f(series(CLASSES > 0, "boolean"), TABLE),
    "Series of objects": lambda f: f(series(WORDS, object), TABLE),
    "DataFrame": lambda f: f(WORDS, pandas.DataFrame(TABLE, index=INDEX)),
    "DataFrame of one column": lambda f: f(pandas.DataFrame({"y": CLASSES}), TABLE),
    "Series of Float64": lambda f: f(CLASSES, series(COLUMN, "Float64")),
    "Series of weights": lambda f: f(WORDS, TABLE, sample_weight=series(WEIGHTS)),
    "weights of Float64": lambda f: f(
        WORDS, TABLE, sample_weight=series(WEIGHTS, "Float64")
    ),
    "weights of integers": lambda f: f(WORDS, TABLE, sample_weight=[1, 2, 3, 4]),
    "weights of booleans": lambda f: f(WORDS, TABLE, sample_weight=CLASSES > 0),
    "weights of objects": lambda f: f(
        WORDS, TABLE, sample_weight=WEIGHTS.astype(object)
    ),
    "negative weights": lambda f: f(WORDS, TABLE, sample_weight=[1, -1, 1, 1]),
    "integers": lambda f: f(CLASSES, np.array([0, 1, 0, 0])),
    "a table of integers": lambda f: f(CLASSES, np.eye(2, dtype=int)[CLASSES]),
    "booleans": lambda f: f(CLASSES, CLASSES > 0),
    "objects": lambda f: f(CLASSES, COLUMN.astype(object)),
    "a tuple": lambda f: f(tuple(WORDS), tuple(COLUMN)),
    "a column": lambda f: f(CLASSES[:, None], COLUMN[:, None]),
    "labels": lambda f: f(WORDS, TABLE, labels=pandas.Series(["ham", "spam"])),
    "-1 and 1": lambda f: f([-1, 1, 1, -1], COLUMN),
    "rows that do not sum to 1": lambda f: f(CLASSES, TABLE * 0.875),
}


@pytest.mark.parametrize("taken", TAKEN.values(), ids=list(TAKEN))
def test_taken(taken):
    """With the same warnings, which are of what is suspicious."""
    results, warned = [], []
    for function in (sklearn.metrics.log_loss, ours.log_loss):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results.append(taken(function))
        warned.append([w.category for w in caught])
    assert isinstance(results[1], float)
    np.testing.assert_allclose(*results, rtol=8 * EPS)
    assert warned[0] == warned[1]


def refused(**options):
    return lambda f: f(WORDS, TABLE, **options)


REFUSED = {
    "repeated labels": refused(labels=["ham", "spam", "spam"]),
    "labels of two axes": refused(labels=[["ham", "spam"]]),
    "no labels": refused(labels=[]),
    "NaN weight": refused(sample_weight=[1.0, np.nan, 1.0, 1.0]),
    "NaN in a Series": refused(sample_weight=series([1.0, np.nan, 1.0, 1.0])),
    "infinite weight": refused(sample_weight=[1.0, np.inf, 1.0, 1.0]),
    "weights of sum 0": refused(sample_weight=[1.0, -1.0, 1.0, -1.0]),
    "weights of 0": refused(sample_weight=[0.0] * 4, normalize=False),
    "a column of weights": refused(sample_weight=WEIGHTS[:, None]),
    "too few weights": refused(sample_weight=series(WEIGHTS)[:3]),
    "normalize by a word": refused(normalize="no"),
    "a missing label": lambda f: f([0, None, 1, 0], COLUMN),
    "a NaN label": lambda f: f([0.0, np.nan, 1.0, 0.0], COLUMN),
    "numbers and strings": lambda f: f([0, "1", 1, 0], COLUMN),
    "bytes": lambda f: f([b"a", b"b", b"b", b"a"], COLUMN),
    "a number": lambda f: f(1, COLUMN),
    "no samples": lambda f: f([], []),
    "three classes": lambda f: f([0, 1, 2, 0], COLUMN),
    "three axes": lambda f: f(CLASSES, TABLE[None]),
    "no columns": lambda f: f(CLASSES, TABLE[:, :0]),
    "an infinite probability": lambda f: f(CLASSES, [0.1, np.inf, 0.2, 0.3]),
    "a matrix": lambda f: f(CLASSES, np.asmatrix(TABLE)),
    "a sparse matrix": lambda f: f(CLASSES, scipy.sparse.csr_matrix(TABLE)),
    "sparse labels": lambda f: f(scipy.sparse.csr_matrix(CLASSES[:, None]), COLUMN),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # theirs casts NaN first
@pytest.mark.parametrize("bad", REFUSED.values(), ids=list(REFUSED))
def test_refused(bad):
    raise_alike(lambda: bad(sklearn.metrics.log_loss), lambda: bad(ours.log_loss))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": [1.0, np.nan, 1.0, 1.0]}, "`sample_weight` must be finite"),
        ({"sample_weight": WEIGHTS + 0j}, "`sample_weight` must be boolean, integer"),
        ({"sample_weight": np.ma.masked_array(WEIGHTS)}, "`sample_weight` is a numpy"),
        ({"labels": ["ham", "ham"]}, "`labels` must differ"),
    ],
)
def test_errors_name_the_argument_as_it_is_written(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ours.log_loss(WORDS, TABLE, **options)


def test_a_mask_is_not_lost():
    for y, p in ((np.ma.masked_array(CLASSES), COLUMN), (CLASSES, np.ma.array(COLUMN))):
        with pytest.raises(TypeError, match=r"`y_(true|proba)` is a numpy\.ma"):
            ours.log_loss(y, p)


def test_a_scorer_of_tables():
    """Labels, weights and measurements in pandas', through a scorer and a search."""
    measurements, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    measurements = (measurements - measurements.mean()) / measurements.std()
    scores = []
    for function in (sklearn.metrics.log_loss, ours.log_loss):
        scorer = sklearn.metrics.make_scorer(
            function, response_method="predict_proba", greater_is_better=False
        )
        model = LogisticRegression().fit(measurements, labels)
        weights = pandas.Series(np.linspace(0.5, 2.0, len(labels)))
        scores.append(
            [
                scorer(model, measurements, labels, sample_weight=weights),
                scorer(model, measurements, labels.to_frame()),
                *cross_val_score(model, measurements, labels, scoring=scorer, cv=3),
            ]
        )
    np.testing.assert_allclose(*scores, rtol=64 * EPS)


# ---- many classes --------------------------------------------------------------------

CLASS_PROBS = np.random.default_rng(1).dirichlet(np.ones(4), 60)
CLASS_NUMBERS = np.random.default_rng(2).integers(0, 4, 60)
ANIMALS = np.array(["ant", "bee", "cat", "dog"])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_classes(normalize, weighted, dtype):
    weights = np.linspace(0.5, 2.0, 60) if weighted else None
    options = {"normalize": normalize, "sample_weight": weights}
    probs = CLASS_PROBS.astype(dtype)
    probs[3] = [1.0, 0.0, 0.0, 0.0]  # clipped
    for labels in (CLASS_NUMBERS, ANIMALS[CLASS_NUMBERS], CLASS_NUMBERS * 2 - 3):
        theirs = sklearn.metrics.log_loss(labels, probs, **options)
        made = ours.log_loss(labels, probs, **options)
        assert abs(made / theirs - 1) < 64 * np.finfo(dtype).eps


def test_classes_that_are_named():
    """Of which some have no sample; their order is the sorted one, as it is there."""
    few = np.array([0, 1, 1, 0])
    labels = [0, 1, 2, 3]
    theirs = sklearn.metrics.log_loss(few, CLASS_PROBS[:4], labels=labels)
    made = ours.log_loss(few, CLASS_PROBS[:4], labels=labels)
    assert abs(made / theirs - 1) < 64 * EPS
    for module in (sklearn.metrics, ours):
        with pytest.raises(ValueError, match="different number of classes"):
            module.log_loss(few, CLASS_PROBS[:4])
        with pytest.raises(ValueError, match="not belonging to the passed"):
            module.log_loss([0, 9, 1, 2], CLASS_PROBS[:4], labels=[0, 1, 2, 3])


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"))
