"""The lines in place are the formula's, and blocks put together are the whole."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from expected import each
from grid import logits_and_labels, probs_and_labels
from reference import from_logit, from_probability, ulps

import xploss
from xploss.backends import numpy as host
from xploss.backends.base import Backend
from xploss.backends.in_place import IN_PLACE
from xploss.formulas import probability, sigmoid

pytestmark = pytest.mark.library("numpy")

cross_entropy = xploss.sigmoid_cross_entropy
value_and_grad = xploss.value_and_grad(cross_entropy)

# Formula: its outputs, by the names of `reference.Exact`.
OUTPUTS = {
    sigmoid.value: ["value"],
    sigmoid.slope: ["gradient"],
    sigmoid.value_and_slope: ["value", "gradient"],
    sigmoid.slope_and_curvature: ["gradient", "hessian"],
    probability.value: ["value"],
}


def in_place(formula, first, labels):
    """By the lines alone."""
    space = [np.empty_like(first) for _ in range(len(OUTPUTS[formula]) + 2)]
    with np.errstate(all="ignore"):
        IN_PLACE[formula](first, labels, *space)
    return space[: len(OUTPUTS[formula])]


def whole(formula, first, labels):
    extra = (None,) * 3 if formula is probability.value else ()
    with np.errstate(all="ignore"):
        results = formula(np, first, labels, None, None, *extra)
    return results if isinstance(results, tuple) else (results,)


def grid_of(formula, dtype):
    """Where the lines do not ask for the formula: no 0 * inf."""
    if formula is probability.value:
        (first, labels), exactly = probs_and_labels(dtype), from_probability
        costless = (first == 0) & (labels == 0) | (first == 1) & (labels == 1)
    else:
        (first, labels), exactly = logits_and_labels(dtype), from_logit
        costless = np.isinf(first) & ((first > 0) == (labels == 1)) & (labels % 1 == 0)
    first, labels = first[~costless], labels[~costless]
    exacts = [exactly(x, y) for x, y in zip(first, labels, strict=True)]
    return first.astype(dtype), labels.astype(dtype), exacts


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", OUTPUTS, ids=lambda f: f.__name__)
def test_lines_are_the_formula(formula, dtype):
    first, labels, exacts = grid_of(formula, dtype)
    ours, theirs = (f(formula, first, labels) for f in (in_place, whole))
    for name, mine, formulas in zip(OUTPUTS[formula], ours, theirs, strict=True):
        for k, exact in enumerate(exacts):
            unit = exact.term if name == "gradient" else None
            right = getattr(exact, name)
            assert ulps(mine[k], right, dtype, unit=unit) <= 4, (first[k], labels[k])
            apart = ulps(mine[k], formulas[k], dtype, unit=unit)
            assert apart <= 2, (first[k], labels[k])


def test_every_line_is_tested():
    assert OUTPUTS.keys() == IN_PLACE.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_costless_infinities_alone_are_the_formulas(dtype, monkeypatch):
    rng = np.random.default_rng(3)
    n = 3 * host.BLOCK // np.dtype(dtype).itemsize
    logits = rng.normal(size=n).astype(dtype)
    labels = (rng.random(n) < 0.5).astype(dtype)
    places = [5, n // 2, n // 2 + 1, n - 1]
    logits[places], labels[places] = [np.inf, -np.inf, np.inf, np.nan], [1, 0, 0, 1]
    asked = []

    class Watched(Backend):
        def per_element(self, job):
            asked.extend(job.arguments[0].tolist())
            return super().per_element(job)

    monkeypatch.setattr(host, "BACKEND", Watched(np))
    result = cross_entropy(logits, labels, reduction="none")
    assert asked == [np.inf, -np.inf]
    np.testing.assert_array_equal(result[places], [0, 0, np.inf, np.nan])
    right = whole(sigmoid.value, logits, labels)[0]
    rest = np.delete(np.arange(n), places)
    np.testing.assert_array_max_ulp(result[rest], right[rest], 2)
    mean = cross_entropy(logits[rest], labels[rest])
    exact = right[rest].mean(dtype="longdouble")
    np.testing.assert_array_max_ulp(mean, exact, 4, dtype)


def test_certain_answers():
    """As a sigmoid in float32 gives them: p is 1, and so is the label."""
    probs = np.array([1.0, 0.5, 0.0, 1.0], "float32")
    labels = np.array([1.0, 1.0, 0.0, 0.0], "float32")
    losses = xploss.binary_cross_entropy(probs, labels, reduction="none")
    np.testing.assert_array_equal(losses, np.float32([0, np.log(2), 0, np.inf]))


# ---- blocks ------------------------------------------------------------------------

SHAPES = [(50,), (7, 9), (40, 1), (1, 40), (3, 4, 5), (2, 1, 33), (5, 0)]
LAYOUTS = {
    "by rows": lambda a: a,
    "by columns": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "one for all": lambda a: np.broadcast_to(a[:1], a.shape),
}


def options(shape, rng):
    spread = tuple(1 if k % 2 else n for k, n in enumerate(shape))
    yield {}
    yield {"pos_weight": rng.uniform(1, 2, shape[-1:]), "label_smoothing": 0.1}
    yield {"weights": rng.uniform(0, 1, spread), "where": rng.random(shape) < 0.7}


def axes(shape):
    for length in range(1, len(shape) + 1):
        yield from itertools.combinations(range(len(shape)), length)


def calls(shape):
    gradient_and_hessian = xploss.grad_and_hess(cross_entropy)
    yield partial(value_and_grad, reduction="none")
    yield lambda *arguments, **kw: gradient_and_hessian(*arguments, **kw)
    for axis in (None, *axes(shape)):
        yield partial(value_and_grad, axis=axis)
        yield partial(cross_entropy, axis=axis, reduction="weighted_mean")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_are_the_whole(dtype, shape, layout, monkeypatch):
    rng = np.random.default_rng(4)
    logits = LAYOUTS[layout](rng.normal(size=shape).astype(dtype))
    labels = LAYOUTS[layout]((rng.random(shape) < 0.5).astype(dtype))
    for function, given in itertools.product(calls(shape), options(shape, rng)):
        with monkeypatch.context() as patched:
            patched.setattr(host, "BLOCK", 64)  # of 8 or 16 elements, or half of it
            results = function(logits, labels, **given)
            patched.setattr(host.NumPy, "evaluate", Backend.evaluate)
            expected = function(logits.copy(), labels.copy(), **given)
        results = results if isinstance(results, tuple) else (results,)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for result, right in zip(results, expected, strict=True):
            assert result.dtype == right.dtype
            assert type(result) is type(right)
            np.testing.assert_array_max_ulp(result, right, 8)


def test_results_lie_as_the_logits_do():
    logits = np.asfortranarray(np.zeros((300, 400)))
    for result in (
        cross_entropy(logits, 1, reduction="none"),
        *value_and_grad(logits, 1),
    ):
        assert result.ndim == 0 or result.flags.f_contiguous


def by_several(job, scratch, most):
    """As `_by_blocks`, but that several threads take blocks, in no order."""
    shape = job.arguments[0].shape
    made = [np.empty(shape, dtype) for dtype in job.dtypes[job.summed :]]
    total = np.zeros(
        host._kept(shape, job.axis), host._accumulator(job, scratch.dtype, most)
    )

    def one(slices):
        own = host._Scratch(job, scratch.lines, scratch.dtype)
        with np.errstate(all="ignore", invalid="call", call=own):
            return host._one_block(job, slices, made, own)

    blocks = list(host._slices(shape, most))
    with ThreadPoolExecutor(4) as pool:
        parts = [*pool.map(one, blocks[::-1])][::-1]
    for slices, part in zip(blocks, parts, strict=True) if job.summed else ():
        place = total if job.axis is None else host._block(total, slices)
        np.add(place, part, out=place)
    return made, total


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bits_do_not_depend_on_how_many_take_part(dtype, monkeypatch):
    """Each has scratch and flags of its own; sums are merged in the blocks' order."""
    rng = np.random.default_rng(5)
    shape = (70, 50)
    logits = rng.normal(size=shape, scale=9).astype(dtype)
    labels = (rng.random(shape) < 0.5).astype(dtype)
    logits[::7, ::3] = np.inf  # where no mass is against it, the formula is asked
    monkeypatch.setattr(host, "BLOCK", 1024)
    for function, given in itertools.product(calls(shape), options(shape, rng)):
        alone = function(logits, labels, **given)
        with monkeypatch.context() as patched:
            patched.setattr(host, "_by_blocks", by_several)
            together = function(logits, labels, **given)
        for one, other in zip(each(alone), each(together), strict=True):
            assert one.tobytes() == other.tobytes()


def test_one_block_is_written_where_it_belongs():
    """One element to eight blocks: no result is a view of scratch."""
    for n in (1, 1000, host.BLOCK // 8, host.BLOCK // 8 + 1, host.BLOCK):
        gradient, hessian = xploss.grad_and_hess(cross_entropy)(np.zeros(n), 1)
        assert gradient.base is None
        assert hessian.base is None
        np.testing.assert_array_equal(gradient, -0.5)
        np.testing.assert_array_equal(hessian, 0.25)
