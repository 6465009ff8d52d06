"""The recipes of docs/scale.md, run as they stand."""

import re
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import xploss

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
RECIPES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHARDED, TOGETHER, WEIGHTED, FILES = RECIPES

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0.0, 4.0, 1000).astype(np.float32)
LABELS, WEIGHTS = RNG.uniform(0.1, 1.0, (2, 1000)).astype(np.float32)


def ran(recipe, **names):
    """What it leaves behind."""
    names |= {"xploss": xploss, "np": np, "da": da, "dask": dask, "partial": partial}
    exec(recipe, names)
    return names


def test_on_sharded_arrays():
    rows = {"logits": LOGITS.reshape(200, 5), "labels": np.arange(200) % 5}
    left = ran(
        SHARDED,
        jax=jax,
        NamedSharding=NamedSharding,
        PartitionSpec=PartitionSpec,
        **rows,
    )
    loss = xploss.value_and_grad(xploss.softmax_cross_entropy)
    value, gradient = loss(rows["logits"].astype(float), rows["labels"])
    within = 8 * np.finfo(np.float32).eps
    np.testing.assert_allclose(left["value"], value, rtol=within)
    np.testing.assert_allclose(left["gradient"], gradient, rtol=0, atol=within / 200)
    assert left["gradient"].sharding.is_equivalent_to(left["by_rows"], 2)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (TOGETHER, {}),
        (WEIGHTED, {"weights": WEIGHTS, "reduction": "weighted_mean"}),
    ],
)
def test_on_dask(recipe, options):
    arrays = {"logits": LOGITS, "labels": LABELS, "weights": WEIGHTS}
    left = ran(recipe, **{k: da.from_array(a, 100) for k, a in arrays.items()})
    loss = xploss.value_and_grad(xploss.sigmoid_cross_entropy)
    value, gradient = loss(*(a.astype(float) for a in (LOGITS, LABELS)), **options)
    pair, within = (left["value"], left["norm"]), 8 * np.finfo(np.float32).eps
    np.testing.assert_allclose(pair, (value, np.linalg.norm(gradient)), rtol=within)


def test_on_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logits, labels = np.tile(LOGITS, 600), np.tile(LABELS, 600)
    logits.tofile("logits.f32")
    labels.tofile("labels.f32")
    left = ran(FILES)
    loss = xploss.value_and_grad(xploss.sigmoid_cross_entropy)
    value, gradient = loss(logits, labels)
    assert logits.size > 2 * left["step"]
    np.testing.assert_allclose(left["mean"], value, rtol=np.finfo(np.float32).eps)
    written = np.fromfile("gradient.f32", np.float32)
    np.testing.assert_array_max_ulp(written, gradient, 2)
