"""DTensor and DistributedDataParallel on two and four gloo processes.

A sum over what is sharded stays `Partial`: nothing is sent until its value is asked
for, and nothing at all for gradients.
"""

from functools import partial

import numpy as np
import pytest
import torch
from scale import processes
from scale.model import cost
from scale.processes import (
    CASES,
    EVEN,
    HESSIANS,
    LAYOUTS,
    ROW_CASES,
    ROW_LABELS,
    ROW_WAYS,
    UNEVEN,
    drawn,
    drawn_rows,
    first,
    given,
    row_options,
    row_results,
)
from torch.distributed.tensor import Partial, Replicate, Shard

import xploss

pytestmark = pytest.mark.library("torch")

WORLDS = (2, 4)
PLACES = [
    (world, layout, shape)
    for world in WORLDS
    for layout in LAYOUTS[world]
    for shape in (EVEN, UNEVEN)
]
places = pytest.mark.parametrize(("world", "layout", "shape"), PLACES, ids=str)


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What each process returned, by how many there were."""
    folder = tmp_path_factory.mktemp
    run = partial(processes.everywhere, processes.everything)
    return {world: run(world, folder(f"{world}-processes")) for world in WORLDS}


# ---- DTensor -----------------------------------------------------------------------


def on_numpy(function, case, shape):
    """The same in float64."""
    arrays = drawn(shape)
    return function(arrays[first(case)], arrays["labels"], **given(case, arrays))


def agree(record, expected, dtypes):
    """8 eps; little cancels in the gradients of labels that are 0 or 1."""
    assert record.dtypes == dtypes
    for result, right, dtype in zip(record.results, expected, dtypes, strict=True):
        within = 8 * torch.finfo(getattr(torch, dtype)).eps
        np.testing.assert_allclose(result, right, rtol=within, atol=0.0)


def summed_axes(case):
    if case.options.get("reduction") == "none":
        return ()
    axis = case.options.get("axis")
    return (0, 1) if axis is None else (axis,)


def is_counted(case):
    """Whether N is a sum too: then it has to be known when the mean is made."""
    options = case.options
    counted = "where" in options or options.get("reduction") == "weighted_mean"
    return counted and options.get("reduction") != "sum"


def left(placement, axes, summed):
    """Where a sum along axes is."""
    if placement.is_replicate():
        return placement
    if placement.dim in axes:
        return summed
    return Shard(placement.dim - sum(axis < placement.dim for axis in axes))


@pytest.mark.parametrize("case", CASES)
@places
def test_losses(heard, world, layout, shape, case):
    sizes, placements = LAYOUTS[world][layout]
    c = CASES[case]
    axes, counted = summed_axes(c), is_counted(c)
    where = tuple(
        left(p, axes, Replicate() if counted else Partial()) for p in placements
    )
    shards = [1, 1]
    for size, p in zip(sizes, placements, strict=True):
        if isinstance(p, Shard):
            shards[p.dim] *= size
    sent = ["all_reduce"] * cost(shape, tuple(shards), axes).all_reduces
    collectives = ([], 2 * sent, []) if counted else (sent, [], [])
    value, gradient = on_numpy(xploss.value_and_grad(c.loss), c, shape)
    reduced = "float32" if axes else c.dtype
    for process, *_ in heard[world]:
        for record in process[layout, shape, case]:
            assert record.placements == [where, placements]
            assert record.collectives == collectives[: len(record.collectives)]
            agree(record, (value, gradient), [reduced, c.dtype])


@pytest.mark.parametrize("case", HESSIANS)
@places
def test_hessians(heard, world, layout, shape, case):
    _, placements = LAYOUTS[world][layout]
    c = HESSIANS[case]
    expected = on_numpy(xploss.grad_and_hess(c.loss), c, shape)
    for process, *_ in heard[world]:
        (record,) = process[layout, shape, case]
        assert record.placements == [placements] * 2
        assert record.collectives == ([], [])
        agree(record, expected, ["float32"] * 2)


@places
def test_native_mean(heard, world, layout, shape):
    """PyTorch's own averages the shards' means, whatever the shards' sizes.

    As of its `DTensor.mean` once: https://github.com/pytorch/pytorch/issues/162692
    """
    value = on_numpy(xploss.sigmoid_cross_entropy, CASES["mean"], shape)
    for process, *_ in heard[world]:
        (record,) = process[layout, shape, "native"]
        off = abs(record.results[0] / value - 1.0)
        if shape == EVEN or layout == "Replicate":
            assert off <= 4 * torch.finfo(torch.float32).eps
        else:
            assert not off <= 1e-3


# ---- rows of classes ---------------------------------------------------------------


def is_cut(placements):
    return Shard(1) in placements


@pytest.mark.parametrize("way", ROW_WAYS)
@pytest.mark.parametrize("case", ROW_CASES)
@pytest.mark.parametrize("kind", ROW_LABELS)
@places
def test_rows(heard, world, layout, shape, kind, case, way):
    """No more is sent than a number a row at a time, and nothing is gathered."""
    _, placements = LAYOUTS[world][layout]
    arrays = drawn_rows(shape)
    options = row_options(case, arrays)
    called = "value_and_grad" if way == "backward" else way
    expected = row_results(called, arrays["logits"], arrays[kind], options)
    for *_, process in heard[world]:
        record = process[layout, shape, kind, case, way]
        for result, right in zip(record.results, expected, strict=True):
            # Of a unit, what is left where terms cancel.
            eps = 16 * np.finfo(np.float32).eps
            np.testing.assert_allclose(result, right, rtol=eps, atol=eps / shape[0])
        assert record.placements[-1] == placements
        assert {name for name, _ in record.sent} <= {"all_reduce"}
        assert all(n <= shape[0] for _, n in record.sent)
        if not is_cut(placements):
            counted = way != "grad_and_hess" and case in ("where", "all")
            axes = sum(p == Shard(0) for p in placements)
            assert len(record.sent) == 2 * axes * counted


def test_all_reduces_of_rows(heard):
    """Of numbers, of a loss and its backward: the largest, the label's logit, a sum;
    the label's logit again."""
    for *_, process in heard[2]:
        key = "Shard(1)", EVEN
        for way, sent in (("value_and_grad", 5), ("backward", 4), ("grad_and_hess", 4)):
            assert len(process[*key, "numbers", "mean", way].sent) == sent
        for way, sent in (("value_and_grad", 8), ("backward", 9), ("grad_and_hess", 7)):
            assert len(process[*key, "masses", "mean", way].sent) == sent


# ---- DistributedDataParallel -------------------------------------------------------


def alone():
    """One process with all rows."""
    return processes.trained(processes.network(), xploss.sigmoid_cross_entropy)


def off(parameters):
    """How far the parameters are from those of one process."""
    pairs = zip(parameters, alone(), strict=True)
    return max(np.max(np.abs(one - other)) for one, other in pairs)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("way", ["mean, equal", "share, unequal"])
def test_replicas_train_as_one(heard, world, way):
    """By the mean on equal shards; by shares of the whole mean on any."""
    for _, process, _ in heard[world]:
        assert off(process[way]) <= 8 * np.finfo(np.float32).eps


@pytest.mark.parametrize("world", WORLDS)
def test_means_of_unequal_shards_do_not(heard, world):
    """DDP gives each process's mean the same weight."""
    for _, process, _ in heard[world]:
        assert off(process["mean, unequal"]) > 1e-3


def test_training_changes_the_parameters():
    before = [p.detach().numpy() for p in processes.network().parameters()]
    assert off(before) > 1e-2
