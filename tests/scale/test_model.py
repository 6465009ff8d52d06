"""The model of a step against XLA's own account of it, at 1, 2, 4 and 8 devices."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scale.model import collectives, cost, seconds

import xploss

jax.config.update("jax_num_cpu_devices", 8)  # which JAX heeds before its first array
pytestmark = pytest.mark.library("jax")

cross_entropy = xploss.sigmoid_cross_entropy
SHAPE = (4096, 64)


class Step(NamedTuple):
    call: Callable[..., Any]
    flops: int  # an element
    bytes: int  # an element, read and written
    axis: tuple[int, ...] | None = None
    sums: int = 1
    dtype: str = "float32"


def masked(logits: Any, labels: Any) -> Any:
    derived = xploss.value_and_grad(cross_entropy)
    return derived(logits, labels, where=labels > 0.0)


by_jax = jax.value_and_grad(cross_entropy)
# What XLA counts on the CPU, where a sum of everything reads what was written first.
STEPS = {
    "per element": Step(partial(cross_entropy, reduction="none"), 10, 12, ()),
    "grad_and_hess": Step(xploss.grad_and_hess(cross_entropy), 16, 32, ()),
    "mean": Step(cross_entropy, 11, 20),
    "mean, axis=0": Step(partial(cross_entropy, axis=0), 12, 16, (0,)),
    "jax.value_and_grad": Step(by_jax, 24, 32),
    "xploss.value_and_grad": Step(xploss.value_and_grad(cross_entropy), 21, 44),
    "where": Step(masked, 34, 60, None, 2),
    "mean, bfloat16": Step(cross_entropy, 14, 22, dtype="bfloat16"),
    "jax.value_and_grad, bfloat16": Step(by_jax, 30, 28, dtype="bfloat16"),
}


def compiled(step: Step, devices: int) -> Any:
    mesh = jax.make_mesh((devices,), ("i",), devices=jax.devices()[:devices])
    rows = NamedSharding(mesh, PartitionSpec("i"))
    array = jax.ShapeDtypeStruct(SHAPE, step.dtype, sharding=rows)
    return jax.jit(step.call).lower(array, array).compile()


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_step(step, devices):
    """So much an element, a little a sum, and nothing that grows with the devices."""
    program = compiled(step, devices)
    account, memory = program.cost_analysis(), program.memory_analysis()
    model = cost(SHAPE, (devices, 1), step.axis, step.sums)
    found = collectives(program.as_text())
    assert [c.payload for c in found] == model.payloads
    itemsize = jax.numpy.dtype(step.dtype).itemsize
    assert memory.argument_size_in_bytes == 2 * itemsize * model.elements
    for counted, per_element, per_sum in (
        (account["flops"], step.flops, 4),
        (account["bytes accessed"], step.bytes, 32),
    ):
        rest = counted - per_element * model.elements
        assert 0 <= rest <= per_sum * (1 + model.results)


# ---- the page ------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 1000, 100_000])
def test_row_of_the_page(devices):
    """The model carried on: 1e9 elements, cut along the batch."""
    per_element = STEPS["jax.value_and_grad"].bytes
    model = cost((10**6, 10**3), (devices, 1))
    memory, network = seconds(model, devices, per_element)
    row = (
        f"{devices:7}{model.elements:16}{per_element * model.elements:14}"
        f"{1e3 * memory:13.3f}{1e3 * network:17.3f}{memory / (memory + network):13.2f}"
    )
    assert row in PAGE.splitlines()


ROWS = {  # of the page
    "per element": "per element",
    "grad_and_hess": "`grad_and_hess`",
    "mean": "mean",
    "mean, axis=0": "mean along axis 0 of (N, C)",
    "jax.value_and_grad": "`jax.value_and_grad` of the mean",
    "xploss.value_and_grad": "`xploss.value_and_grad`",
    "where": "the same with `where`",
}


@pytest.mark.parametrize(("name", "title"), ROWS.items(), ids=ROWS)
def test_page_has_what_xla_counts(name, title):
    step = STEPS[name]
    assert f"| {title} | {step.flops} | {step.bytes} |" in PAGE
