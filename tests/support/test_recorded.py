"""What moved is seen, by a bit."""

import numpy as np
import pytest
import recorded

ONE = {"a": np.array([1.0, 0.0, np.nan]), "b": np.float32([2.0])}
OTHERS = {
    "a number": {"a": np.array([np.nextafter(1.0, 2.0), 0.0, np.nan])},
    "the sign of 0": {"a": np.array([1.0, -0.0, np.nan])},
    "a dtype": {"b": np.array([2.0])},
    "a shape": {"b": np.float32(2.0)},
    "a result more": {"c": np.array([1.0])},
}


def test_what_is_the_same_is_the_same(capsys):
    assert recorded.compare(ONE, {k: a.copy() for k, a in ONE.items()}) == 0
    assert "0 of 2 results moved" in capsys.readouterr().out


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_moved_is_seen(other, capsys):
    assert recorded.compare(ONE, ONE | other) == 1
    assert "1 of" in capsys.readouterr().out


def test_every_loss_is_recorded(backend):
    """With each of its options; not called here."""
    names = [name for name, _ in recorded.calls(backend, "float32")]
    assert len(names) == len(set(names))
    for loss in ("sigmoid_cross_entropy", "sigmoid_focal_loss", "binary_cross_entropy"):
        for option in ("label_smoothing", "weights", "where", "all"):
            assert any(name.startswith(f"{loss} {option} ") for name in names)
