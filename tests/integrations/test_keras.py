"""Keras' example, on the backend that KERAS_BACKEND names: JAX or PyTorch."""

import keras
import numpy as np
import pytest
from example_files import load
from integrations.counting import noted

from xploss.compat.keras import BinaryCrossentropy

CLOSE = 1e-3
VARIANTS = ("plain", "sample_weight", "class_weight", "saved")

pytestmark = [
    # Keras 3.15's variables are older than NumPy 2's `copy`.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture
def example():
    return load("train_keras")


@pytest.mark.parametrize("variant", VARIANTS)
def test_fit(variant, monkeypatch, example):
    losses = []
    noted(monkeypatch, BinaryCrossentropy, "__call__", losses.append)
    table = example.load_table()
    start = example.exact_loss(example.network(), table, variant)
    theirs, ours = example.run(variant, table)
    assert abs(ours - theirs) <= CLOSE
    assert ours < start / 5
    assert {type(loss) for loss in losses} == {BinaryCrossentropy}
    assert set(example.VARIANTS) == set(VARIANTS)


@pytest.mark.parametrize("variant", ["sample_weight", "class_weight"])
def test_weights_that_are_dropped_fail(variant, monkeypatch, example):
    class Unweighted(BinaryCrossentropy):
        def __call__(self, y_true, y_pred, sample_weight=None):
            assert sample_weight is not None
            return super().__call__(y_true, y_pred)

    monkeypatch.setattr(example, "ours", lambda: Unweighted(from_logits=True))
    assert example.main([variant]) == 1


# ---- save and load -----------------------------------------------------------------


def trained(example, loss):
    return example.train(loss, example.load_table(), "plain")


def test_what_is_loaded_is_what_was_saved(example):
    table = example.load_table()
    loss = BinaryCrossentropy(from_logits=True, label_smoothing=0.125, name="mine")
    model = trained(example, loss)
    loaded = example.saved_and_loaded(model)
    assert type(loaded.loss) is BinaryCrossentropy
    assert loaded.loss.get_config() == loss.get_config()
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))
    assert loaded.optimizer.iterations == model.optimizer.iterations
    data = table.measurements, table.labels, example.BATCH, 0, table.weights
    assert loaded.evaluate(*data) == model.evaluate(*data)


def test_what_keras_saved_stays_its_own(example):
    loaded = example.saved_and_loaded(trained(example, example.theirs()))
    assert type(loaded.loss) is keras.losses.BinaryCrossentropy


def test_a_clone_has_the_loss(example):
    model = trained(example, example.ours())
    clone = keras.models.clone_model(model)
    assert type(clone.loss) is BinaryCrossentropy
    assert clone.loss.get_config() == model.loss.get_config()


# ---- what the script does ----------------------------------------------------------


def test_a_table_of_80_columns_is_printed(example, capsys):
    assert example.main(["plain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert keras.backend.backend() in lines[0]
    header, row = lines[-2].split(), lines[-1].split()
    assert header == ["theirs", "ours", "difference", "theirs", "ours"]
    assert (row[0], len(row)) == ("plain", 6)


@pytest.mark.parametrize(
    ("difference", "status"), [(0.9e-3, 0), (-1.1e-3, 1), (np.nan, 1)]
)
def test_the_largest_difference_is_1e_3(example, difference, status, monkeypatch):
    monkeypatch.setattr(example, "run", lambda *_: (0.5, 0.5 + difference))
    assert example.main([]) == status


def test_an_unknown_variant_is_refused(example, capsys):
    with pytest.raises(SystemExit):
        example.main(["weights"])
    assert "weights" in capsys.readouterr().err
