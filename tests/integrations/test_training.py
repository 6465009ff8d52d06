"""The training examples: ours reaches the loss that the frameworks' own reach."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from example_files import load
from integrations.counting import noted
from sklearn.metrics import make_scorer

import xploss

CLOSE = 1e-3
EPS = np.finfo(np.float64).eps

pytestmark = [
    # PyTorch's own, as its compiler is loaded.
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),
    pytest.mark.filterwarnings("ignore:.*not be instantiated:DeprecationWarning"),
]


# ---- PyTorch -----------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """Two of them take ten times as long where they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.compiler.reset()


LOGITS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "compile": torch.float32,
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("variant", LOGITS)
def test_torch(variant, monkeypatch):
    seen = set()  # a list that grows would be compiled again at each step

    def note(logits):
        seen.add(logits.dtype)

    noted(monkeypatch, xploss, "sigmoid_cross_entropy", note)
    example = load("train_torch")
    table = example.load_table()
    start = example.exact_loss(example.network(), table)
    theirs, ours = example.run(variant, table)
    assert abs(ours - theirs) <= CLOSE
    assert ours < start / 5
    assert seen == {LOGITS[variant]}
    assert example.VARIANTS.keys() == LOGITS.keys()


# ---- Flax --------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["float32", "bfloat16"])
def test_flax(variant, monkeypatch):
    traced = []
    noted(monkeypatch, xploss, "sigmoid_cross_entropy", traced.append)
    example = load("train_flax")
    table = example.load_table()
    start = example.exact_loss(example.Network(jnp.float32), table)
    theirs, ours = example.run(variant, table)
    assert abs(ours - theirs) <= CLOSE
    assert ours < start / 10
    assert {logits.dtype for logits in traced} == {jnp.dtype(variant)}
    assert len(traced) < 5  # not once a step
    assert list(example.VARIANTS) == ["float32", "bfloat16"]


def test_flax_batches_hold_every_row_once():
    example = load("train_flax")
    table = example.load_table()
    shuffled = list(example.batches(table, np.random.default_rng(0)))
    assert {len(labels) for _, labels, _ in shuffled} == {example.BATCH}
    real = np.concatenate([pixels[where[:, 0]] for pixels, _, where in shuffled])
    rows = np.sort(real.reshape(len(real), -1), axis=0)
    expected = np.sort(table.pixels.reshape(len(table.pixels), -1), axis=0)
    np.testing.assert_array_equal(rows, expected)


# ---- scikit-learn and SciPy --------------------------------------------------------

PENALTIES, FOLDS = 7, 5
CALLED = {
    "proba": (xploss.compat.sklearn, "log_loss", PENALTIES * FOLDS),
    "logits": (xploss, "sigmoid_cross_entropy", PENALTIES * FOLDS),
    "ridge": (xploss, "value_and_grad", 1),
    "pos_weight": (xploss, "value_and_grad", 1),
}


@pytest.mark.parametrize("variant", CALLED)
def test_sklearn(variant, monkeypatch):
    home, name, times = CALLED[variant]
    calls = []
    noted(monkeypatch, home, name, calls.append)
    example = load("train_sklearn")
    theirs, ours = example.run(variant)
    assert abs(ours - theirs) <= CLOSE
    assert len(calls) == times
    assert example.VARIANTS.keys() == CALLED.keys()


def test_what_is_minimised_falls():
    example = load("train_sklearn")
    table = example.load_table()
    zeros = np.zeros((table.design.shape[1], table.labels.shape[1]))
    for pos_weight in (1.0, 3.0):
        start = example.exact_objective(zeros, table, pos_weight)
        assert example.minimum(example.by_scipy, pos_weight) < start / 3


def test_every_search_finds_the_same_penalty_and_logits_are_clipped_nowhere():
    """Under the lightest penalty a logit is wrong by more than log(1 / eps) = 36."""
    example = load("train_sklearn")
    exact = make_scorer(
        lambda y, x: np.mean(np.logaddexp(0, np.where(y == 1, -x, x))),
        response_method="decision_function",
        greater_is_better=False,
    )
    scores = "neg_log_loss", example.OF_PROBABILITIES, example.OF_LOGITS, exact
    searches = [example.search(score) for score in scores]
    assert {search.best_index_ for search in searches} == {3}
    theirs, ours, by_logits, expected = (
        -search.cv_results_["mean_test_score"] for search in searches
    )
    # Theirs rounds 1 - p, by half an eps beside a mean of 0.08 at least.
    np.testing.assert_allclose(ours, theirs, rtol=16 * EPS)
    np.testing.assert_allclose(by_logits, expected, rtol=16 * EPS)
    assert np.all(abs(by_logits - theirs)[:-1] <= CLOSE)
    assert by_logits[-1] > theirs[-1] + 0.05


# ---- what the scripts do -----------------------------------------------------------

SCRIPTS = {
    "train_torch": "float32",
    "train_flax": "float32",
    "train_sklearn": "ridge",
}
each_script = pytest.mark.parametrize(("name", "variant"), SCRIPTS.items())


@each_script
def test_a_table_of_80_columns_is_printed(name, variant, capsys):
    assert load(name).main([variant]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    header, row = lines[-2].split(), lines[-1].split()
    assert header == ["theirs", "ours", "difference", "theirs", "ours"]
    assert row[0] == variant
    assert len(row) == 6


@pytest.mark.parametrize("name", ["train_torch", "train_flax"])
def test_another_loss_fails(name, monkeypatch):
    """So what is called ours is what trains, and 1e-3 tells the two apart."""
    example = load(name)

    def smoothed(logits, labels, *_):
        return xploss.sigmoid_cross_entropy(logits, labels, label_smoothing=0.01)

    monkeypatch.setattr(example, "ours", smoothed)
    assert example.main(["float32"]) == 1


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("difference", "status"), [(0.9e-3, 0), (-1.1e-3, 1), (np.nan, 1)]
)
def test_the_largest_difference_is_1e_3(name, difference, status, monkeypatch):
    example = load(name)
    monkeypatch.setattr(example, "run", lambda *_: (0.5, 0.5 + difference))
    assert example.main([]) == status


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_unknown_variant_is_refused(name, capsys):
    with pytest.raises(SystemExit):
        load(name).main(["float23"])
    assert "float23" in capsys.readouterr().err
