"""scikit-learn's log loss and ours by its name."""

import numpy as np
import pytest
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


def test_deviations(request):
    check_page(PEER, request.config.getoption("--write-deviations"))
