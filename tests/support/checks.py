"""Checks that catch on a CPU what would go wrong on a GPU or under a compiler.

Each takes a loss, a function of (logits, labels) that returns an array or a tuple of
arrays, and raises if it misbehaves.  `test_checks.py` runs them on the losses, and
`test_tripwires.py` on losses with a fault in them.
"""

import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from expected import each

Loss = Callable[[Any, Any], Any]

LOGITS = np.array(
    [[-3.0, -0.5, 0.0, 0.25], [2.0, 3.5, -1.0, 1.0], [0.5, -2.0, -0.25, 1.5]]
)
EPS = float(np.finfo("float32").eps)
LABELS = np.array([[0.0, 1.0, 0.3, 1.0], [0.0, 1.0, 1.0, 0.5], [0.25, 0.0, 0.0, 1.0]])


def on_numpy(loss: Loss) -> tuple[Any, ...]:
    """Of float64 arrays; copies, as a faulty loss may write to them."""
    return each(loss(LOGITS.copy(), LABELS.copy()))


def agree(loss: Loss, results: list[np.ndarray]) -> None:
    """With what the same loss returns on NumPy."""
    for result, expected in zip(results, on_numpy(loss), strict=True):
        np.testing.assert_allclose(result, expected, rtol=64 * EPS, atol=8 * EPS)
        assert result.shape == expected.shape, f"shape {result.shape}"


def is_float32(array: Any) -> None:
    assert str(array.dtype).endswith("float32"), f"dtype {array.dtype}"


# ---- array-api-strict: a device of its own, and nothing beyond the standard ----------


def stays_on_device(loss: Loss) -> None:
    """float32 in, float32 out, on a device that is not the default one."""
    import array_api_strict as strict

    for name in ("device1", "no_float64"):
        device = strict.Device(name)
        logits, labels = (
            strict.asarray(values, dtype=strict.float32, device=device)
            for values in (LOGITS.astype("float32"), LABELS.astype("float32"))
        )
        results = each(loss(logits, labels))
        for result in results:
            assert result.device == device, f"on {result.device}"
            is_float32(result)
        host = strict.Device("CPU_DEVICE")
        agree(loss, [np.asarray(result.to_device(host)) for result in results])


# ---- JAX: compiled, and no promotion that was not asked for --------------------------


def compiles_strictly(loss: Loss) -> None:
    """With float64 at hand and without."""
    import jax

    for with_float64 in (False, True):
        with (
            jax.enable_x64(with_float64),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")  # asking for float64 in vain only warns
            logits, labels = (
                jax.numpy.asarray(values, dtype="float32")
                for values in (LOGITS, LABELS)
            )
            results = each(jax.jit(loss)(logits, labels))
            for result in results:
                is_float32(result)
            agree(loss, list(map(np.asarray, results)))


# ---- torch and Dask: no value is looked at -------------------------------------------


def needs_no_values(loss: Loss) -> None:
    """torch's `meta` tensors have a shape and a dtype, and no values."""
    import torch

    logits, labels = (
        torch.tensor(values, dtype=torch.float32, device="meta")
        for values in (LOGITS, LABELS)
    )
    for result, like in zip(each(loss(logits, labels)), on_numpy(loss), strict=True):
        assert result.is_meta, f"on {result.device}"
        assert result.shape == like.shape, f"shape {result.shape}"
        is_float32(result)


def stays_lazy(loss: Loss) -> None:
    """Dask computes nothing until it is asked to."""
    import dask
    import dask.array

    computes = 0

    def counting(graph: Any, keys: Any, **options: Any) -> Any:
        nonlocal computes
        computes += 1
        return dask.get(graph, keys, **options)

    logits, labels = (
        dask.array.from_array(values.astype("float32"), chunks=2)
        for values in (LOGITS, LABELS)
    )
    with dask.config.set(scheduler=counting):
        results = each(loss(logits, labels))
        assert computes == 0, f"computed {computes} times"
        for result in results:
            assert isinstance(result, dask.array.Array), f"a {type(result).__name__}"
            is_float32(result)
        computed = [np.asarray(result.compute()) for result in results]
        for numbers in computed:
            is_float32(numbers)
        agree(loss, computed)
    assert computes == len(results), "the scheduler did not count"


# ---- NumPy: what the inputs go through -----------------------------------------------


def leaves_inputs_alone(loss: Loss) -> None:
    """Read-only arrays work, and hold afterwards what they held before."""
    for dtype in ("float32", "float64"):
        inputs = [values.astype(dtype) for values in (LOGITS, LABELS)]
        for values in inputs:
            values.flags.writeable = False
        agree(loss, list(each(loss(*inputs))))
        for values, before in zip(inputs, (LOGITS, LABELS), strict=True):
            np.testing.assert_array_equal(values, before.astype(dtype))


def refuses_other_shapes(loss: Loss) -> None:
    """Labels that would broadcast against the logits, or enlarge them."""
    refused = [
        (LOGITS[:1], LABELS[0]),
        *((LOGITS, labels) for labels in (LABELS[0], LABELS[:1], LABELS[:, :1])),
        *((LOGITS, labels) for labels in (LABELS.T, LABELS[None])),
    ]
    for logits, labels in refused:
        said = "nothing"
        try:
            loss(logits, labels)
        except ValueError as error:
            said = str(error)
        assert "`labels` must have the shape" in said, (
            f"{said} of labels {labels.shape} with logits {logits.shape}"
        )


def peak(function: Loss, logits: np.ndarray, labels: np.ndarray) -> float:
    """The most memory held at once, results included, in arrays of the logits' size."""
    function(logits[:1], labels[:1])  # what only a first call loads is left out
    tracemalloc.start()
    try:
        function(logits, labels)
        return tracemalloc.get_traced_memory()[1] / logits.nbytes
    finally:
        tracemalloc.stop()


def makes_no_copies(loss: Loss, most: float = 1.8) -> None:
    """No more memory at once than the result and three blocks take."""
    rng = np.random.default_rng(3)
    logits = rng.uniform(-4.0, 4.0, (512, 512)).astype("float32")
    labels = rng.uniform(0.0, 1.0, (512, 512)).astype("float32")
    held = peak(loss, logits, labels)
    assert held <= most, f"{held:.2f} arrays"


# The library whose test session runs the check.
LIBRARIES: dict[Callable[..., None], str] = {
    stays_on_device: "strict",
    compiles_strictly: "jax",
    needs_no_values: "torch",
    stays_lazy: "dask",
    leaves_inputs_alone: "numpy",
    refuses_other_shapes: "numpy",
    makes_no_copies: "numpy",
}
