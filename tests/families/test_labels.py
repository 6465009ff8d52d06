"""check_labels finds what is outside [0, 1], says how many and where the first is."""

import numpy as np
import pytest

import xploss


def test_right_labels(backend, dtype):
    for values in ([], [0.0, 1.0, 0.5], [[0.0], [1.0]]):
        labels = backend.array(np.array(values), dtype)
        assert xploss.check_labels(labels) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 2.0, 1.0], r"got 1 outside, the first 2.0 at index \(1,\)"),
        ([[0.0, 1.0], [-0.5, 3.0]], r"got 2 outside, the first -0.5 at index \(1, 0\)"),
        ([1.0, np.nan], r"got 1 outside, the first nan at index \(1,\)"),
        ([-np.inf, np.inf], r"got 2 outside, the first -inf at index \(0,\)"),
        ([1.0 + 2.0**-7, 0.5], r"got 1 outside, the first 1.0078125 at index \(0,\)"),
        (7.0, r"got 1 outside, the first 7.0 at index \(\)"),
    ],
)
def test_wrong_labels(backend, values, message):
    labels = backend.array(np.array(values), backend.dtypes[0])
    with pytest.raises(ValueError, match=r"`labels` must be in \[0, 1\]; " + message):
        xploss.check_labels(labels)


def test_masked_labels(backend, dtype):
    values = np.array([[0.0, 9.0], [1.0, np.nan]])
    labels = backend.array(values, dtype)
    right = labels < 2
    assert xploss.check_labels(labels, where=right) is None
    with pytest.raises(
        ValueError, match=r"got 1 outside, the first 9.0 at index \(0, "
    ):
        xploss.check_labels(labels, where=labels == labels)  # all but NaN


INTEGERS = ["int8", "int16", "int32", "uint8", "uint16", "uint32"]


def test_integers(backend):
    for dtype in INTEGERS:
        assert xploss.check_labels(backend.array(np.array([0, 1]), dtype)) is None
        with pytest.raises(ValueError, match=r"the first 2 at index \(1,\)"):
            xploss.check_labels(backend.array(np.array([1, 2]), dtype))


def test_integers_of_64_bits():
    for dtype in (np.int64, np.uint64):
        with pytest.raises(ValueError, match="the first 9223372036854775807 at index"):
            xploss.check_labels(np.array([2**63 - 1], dtype))


@pytest.mark.library("torch")
@pytest.mark.parametrize("where", [None, True])
def test_unsigned_tensors_beyond_int64(where):
    """Which PyTorch's own `int` does not take."""
    import torch

    for label in (2, 2**63 + 5, 2**64 - 1):
        labels = torch.tensor([[0, 1], [label, 1]], dtype=torch.uint64)
        with pytest.raises(ValueError, match=rf"the first {label} at index \(1, 0\)"):
            xploss.check_labels(labels, where=where)
    assert xploss.check_labels(torch.ones(3, dtype=torch.uint64)) is None


def test_booleans(backend):
    labels = backend.array(np.array([True, False]), "bool")
    assert xploss.check_labels(labels) is None
    with pytest.raises(ValueError, match="`where` must be a boolean or fit"):
        xploss.check_labels(labels, where=backend.array(np.ones((1, 1)), "bool"))


@pytest.mark.library("dask")
def test_sizes_that_dask_does_not_know():
    import dask.array as da

    labels = da.from_array(np.array([0.0, 9.0, 1.0, 3.0]), chunks=2)
    some = labels[labels != 1.0]
    with pytest.raises(ValueError, match=r"got 2 outside, the first 9.0 at index \(1,"):
        xploss.check_labels(some)
    with pytest.raises(ValueError, match=r"got 1 outside, the first 3.0 at index \(2,"):
        xploss.check_labels(some, where=some < 5)
    assert xploss.check_labels(labels[labels <= 1.0]) is None
    # A mask in other blocks, of more elements, or of as many blocks that differ.
    with pytest.raises(ValueError, match=r"blocks of sizes .* call `\.compute_chunk_s"):
        xploss.check_labels(some, where=da.ones(3, chunks=1, dtype=bool))
    with pytest.raises(ValueError, match=r"blocks of shapes \(1,\) and \(2,\) do not"):
        xploss.check_labels(some, where=labels > -1.0)


def test_wrong_kinds():
    with pytest.raises(TypeError, match="`labels` is a list"):
        xploss.check_labels([0, 1])
    with pytest.raises(TypeError, match=r"`labels` must be boolean.*complex128"):
        xploss.check_labels(np.array([1j]))
    with pytest.raises(ValueError, match="`where` must be a boolean or fit"):
        xploss.check_labels(np.zeros((2, 2)), where=np.ones(2, bool))


def test_numbers_of_classes(backend):
    for dtype in INTEGERS:
        labels = backend.array(np.array([[0, 4], [6, 2]]), dtype)
        assert xploss.check_labels(labels, classes=7) is None
        few = backend.array(np.array([[1, 1], [0, 1]]), "bool")
        assert xploss.check_labels(labels, classes=6, where=few) is None
        with pytest.raises(ValueError, match=r"in \[0, 5\]; got 1 .*6 at index \(1, 0"):
            xploss.check_labels(labels, classes=6)
    with pytest.raises(ValueError, match="the first -1 at"):
        xploss.check_labels(backend.array(np.array([0, -1]), "int8"), classes=3)


@pytest.mark.parametrize("classes", [2.0, True, "3", (3,)])
def test_classes_of_another_kind(classes):
    with pytest.raises(TypeError, match="`classes` must be an int"):
        xploss.check_labels(np.array([0, 1]), classes=classes)


def test_numbers_of_classes_are_integers():
    with pytest.raises(TypeError, match="`labels` must be integer; got float64"):
        xploss.check_labels(np.array([0.0, 1.0]), classes=3)
    with pytest.raises(ValueError, match="`classes` must be at least 1; got 0"):
        xploss.check_labels(np.array([0]), classes=0)
