"""The example of one loss by four calls on TensorFlow's tensors."""

import keras
import pytest
from example_files import load

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras is on another backend"
)


@pytest.fixture
def example():
    return load("tensorflow_tensors")


def test_ours_alone_is_right(example, capsys):
    assert example.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.endswith("xploss 0") for line in lines[-3:]] == [True] * 3
    for name in ("TensorFlow", "Keras", "Keras, p"):
        for way in example.WAYS:
            assert any(example.wrong(name, way, example.HOSTILE))
            if name != "Keras, p":
                assert not any(example.wrong(name, way, example.MODERATE))


@pytest.mark.parametrize("name", ["of_tensorflow", "of_keras", "of_probabilities"])
def test_another_in_the_place_of_ours_fails(example, name, monkeypatch):
    monkeypatch.setitem(example.SPELLINGS, "xploss", getattr(example, name))
    assert example.main() == 1
