"""What every loss returns, recorded bit for bit: did a change of the code move any?

python tests/support/recorded.py write FILE.npz LIBRARY...
python tests/support/recorded.py compare ONE.npz OTHER.npz

Value, gradient and Hessian of every loss, with each option alone and with all of them,
under every reduction, in every dtype, on the matrix's grid.  Of the tests it needs no
more than `backends` and `grid`, so that it runs on older commits as well.
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import backends
import grid
import numpy as np

import xploss

# Variants of which the results are the same, or too slow to be recorded.
WITHOUT = ("numpy-read-only", "torch-default-float64", "torch-meta", "jax-jit")
REDUCTIONS = (
    {"reduction": "none"}, {"reduction": "sum"}, {"reduction": "mean"},
    {"reduction": "weighted_mean"}, {"axis": 0}, {"axis": 1, "reduction": "sum"},
    {"axis": -1, "reduction": "weighted_mean"},
)  # fmt: skip
COMMON: dict[str, Any] = {
    "label_smoothing": 0.125,
    "weights": "row",
    "where": "mask",
}
FUNCTIONS = (xploss.sigmoid, xploss.softplus, xploss.log_sigmoid)


def options_of(loss: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    own: dict[str, Any] = {"pos_weight": "column"}
    if loss is xploss.sigmoid_focal_loss:
        own = {"gamma": 0.5, "alpha": "column"}
    elif loss is xploss.binary_cross_entropy:
        own["eps"] = 1e-7
    whole = own | COMMON
    yield "plain", {}
    yield from ((name, {name: value}) for name, value in whole.items())
    yield "all", whole


def arrays_of(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Multiples of 1/16, which every dtype holds."""
    rng = np.random.default_rng(22)
    return {
        "row": rng.integers(0, 48, (shape[0], 1)) / 16,
        "column": rng.integers(1, 16, (1, shape[1])) / 16,
        "mask": rng.random(shape) < 0.8,
    }


def calls(backend: Any, dtype: str) -> Iterator[tuple[str, Any]]:
    """A name and a call without arguments."""
    losses = (
        (xploss.sigmoid_cross_entropy, grid.logits_and_labels),
        (xploss.sigmoid_focal_loss, grid.logits_and_labels),
        (xploss.binary_cross_entropy, grid.probs_and_labels),
    )
    for loss, drawn in losses:
        pair = [a[: len(a) // 3 * 3].reshape(-1, 3) for a in drawn(dtype)]
        made = {
            name: backend.array(a, "bool" if name == "mask" else dtype)
            for name, a in arrays_of(pair[0].shape).items()
        }
        first, labels = (backend.array(a, dtype) for a in pair)
        for title, options in options_of(loss):
            given = {
                k: made[v] if isinstance(v, str) else v for k, v in options.items()
            }
            name = f"{loss.__name__} {title}"
            for reduction in REDUCTIONS:
                under = f"{name} {reduction}"
                yield under, partial(loss, first, labels, **given, **reduction)
                pair_of = xploss.value_and_grad(loss)
                both = partial(pair_of, first, labels, **given, **reduction)
                yield f"{under} grad", both
            if loss is not xploss.binary_cross_entropy:
                derivatives = xploss.grad_and_hess(loss)
                yield f"{name} hess", partial(derivatives, first, labels, **given)
    logits = backend.array(grid.logits_and_labels(dtype)[0], dtype)
    yield from ((f.__name__, partial(f, logits)) for f in FUNCTIONS)


def record(library: str) -> Iterator[tuple[str, np.ndarray]]:
    for backend in backends.variants(library):
        if str(backend) in WITHOUT:
            continue
        for dtype in backend.dtypes:
            with backend.around():
                for name, call in calls(backend, dtype):
                    results = call()
                    results = results if isinstance(results, tuple) else (results,)
                    for k, result in enumerate(results):
                        yield f"{backend} {dtype} {name} {k}", backend.numpy(result)


def compare(one: Any, other: Any) -> int:
    """The number of results that differ, each said with how far apart it is."""
    moved = 0
    for name in sorted(set(one) | set(other)):
        if name not in one or name not in other:
            print(f"{name}: in one of them alone")
            moved += 1
            continue
        a, b = one[name], other[name]
        if a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes():
            continue
        apart = "of another kind"
        if a.dtype == b.dtype and a.shape == b.shape:
            different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
            unit = np.spacing(np.maximum(np.abs(a), np.abs(b))[different])
            far = np.abs(a - b)[different] / unit
            apart = f"{far.max():.2f} ulp" if far.size else "in the sign of 0 or NaN"
        print(f"{name}: {apart}")
        moved += 1
    print(f"{moved} of {len(set(one) | set(other))} results moved")
    return int(moved > 0)


def main(command: str, *rest: str) -> int:
    if command == "write":
        path, *libraries = rest
        results = dict(pair for name in libraries for pair in record(name))
        np.savez(path, **results)
        print(f"{len(results)} results")
        return 0
    one, other = (dict(np.load(path)) for path in rest)
    return compare(one, other)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
