"""The examples run, and what they claim is computed anew."""

import numpy as np
import pytest
from example_files import load

from xploss.report import by_hand, commands


@pytest.fixture
def replicas():
    return load("replicas")


@pytest.fixture
def breast_cancer():
    return load("breast_cancer")


# ---- replicas.py -------------------------------------------------------------------


def at(function, logit, label):
    with np.errstate(all="ignore"):
        return function(np.array([logit]), np.array([label])).item()


@pytest.mark.parametrize(
    ("logit", "label", "expected"),
    [
        (37.0, 0.0, np.inf),  # p rounds to 1
        (37.0, 1.0, np.nan),
        (-710.0, 0.0, np.nan),  # p rounds to 0
        (-710.0, 1.0, np.inf),
        (-38.0, 0.0, 0.0),  # 1 - p rounds to 1
    ],
)
def test_plain_definition_is_nan_and_inf_in_silence(logit, label, expected):
    result = at(by_hand.definition, logit, label)
    assert np.array_equal(result, expected, equal_nan=True)


@pytest.mark.parametrize("logit", [36.0, -709.0])
def test_plain_definition_is_finite_this_side_of_it(logit):
    assert np.isfinite([at(by_hand.definition, logit, y) for y in (0.0, 1.0)]).all()


@pytest.mark.parametrize("size", [40.0, 800.0, np.inf])
def test_epsilon_inside_is_wrong_at_every_confident_answer(size):
    for logit, right in ((size, 1.0), (-size, 0.0)):
        assert at(by_hand.epsilon_inside, logit, right) == pytest.approx(-1e-7)
        wrong = at(by_hand.epsilon_inside, logit, 1 - right)
        assert wrong == pytest.approx(-np.log(1e-7))


def test_max_form_loses_the_tail_from_37_on_and_is_nan_at_infinity():
    assert at(by_hand.max_form, 36.0, 1.0) > 0
    assert at(by_hand.max_form, 37.0, 1.0) == 0
    assert np.isnan(at(by_hand.max_form, np.inf, 1.0))
    assert np.isnan(at(by_hand.max_form, -np.inf, 0.0))


def test_the_comparison_counts_lost_cells_and_finds_the_worst(replicas):
    plain, epsilon, largest, ours = map(replicas.compare, replicas.SPELLINGS)
    assert len(ours) == 27
    assert (replicas.lost(ours), replicas.worst(ours) <= 4) == (0, True)
    assert [replicas.lost(cells) for cells in (plain, epsilon, largest)] == [11, 4, 4]
    assert min(map(replicas.worst, (plain, epsilon, largest))) > 1e15


def test_tensorflow_and_keras_are_one_loss(replicas):
    tensorflow, from_logits, from_probabilities = replicas.demonstrate().values()
    np.testing.assert_array_equal(tensorflow, from_logits)
    np.testing.assert_array_max_ulp(tensorflow, from_probabilities, maxulp=8)


def test_replicas_prints_their_lines_and_the_comparison(replicas, capsys):
    replicas.main()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "    p = 1 / (1 + np.exp(-logits))" in lines
    assert sum(line.split()[:1] == ["worst"] for line in lines) == 1


# ---- breast_cancer.py --------------------------------------------------------------


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(name, marks=pytest.mark.library(name))
        for name in ("numpy", "strict", "torch", "jax", "cupy", "dask")
    ],
)
def test_coefficients_are_scikit_learns(breast_cancer, library):
    table = breast_cancer.load_table()
    expected = breast_cancer.by_scikit_learn(table)
    assert np.max(np.abs(breast_cancer.FITS[library](table) - expected)) < 1e-5
    assert breast_cancer.main([library]) == 0


def test_without_names_the_installed_libraries_are_fitted(breast_cancer, capsys):
    assert breast_cancer.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in breast_cancer.FITS:
        assert any(line.startswith(f"{name} ") for line in lines)


@pytest.mark.parametrize("error", [1e-5, np.nan])
def test_a_coefficient_that_is_off_fails(breast_cancer, monkeypatch, error):
    def off(table):
        return breast_cancer.by_quasi_newton(table) + error

    monkeypatch.setitem(breast_cancer.FITS, "numpy", off)
    assert breast_cancer.main(["numpy"]) == 1


def test_a_library_asked_for_by_name_and_missing_fails(
    breast_cancer, monkeypatch, capsys
):
    monkeypatch.setitem(breast_cancer.MODULES, "torch", "no_such_library")
    assert breast_cancer.main(["numpy", "torch"]) == 1
    assert "torch    not run: No module named" in capsys.readouterr().out
    assert breast_cancer.main(["numpy"]) == 0


def test_an_unknown_library_is_refused(breast_cancer, capsys):
    with pytest.raises(SystemExit):
        breast_cancer.main(["numpi"])
    assert "numpi" in capsys.readouterr().err


def test_its_table_is_scored(breast_cancer, tmp_path, capsys):
    assert breast_cancer.main(["numpy", "--table", str(tmp_path)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    command = last.partition("python -m xploss ")[2].split()
    assert commands.main(command) == 0
    output = capsys.readouterr().out
    assert "569 rows; labels `label`, logits `logit`" in output
    said = [line.split()[-2] for line in output.splitlines() if "1e-7" in line]
    assert said == ["0.2028101"]  # of rows whose wrong answer costs 32
