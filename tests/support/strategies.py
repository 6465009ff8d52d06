"""Calls for fuzzing: hypothesis draws them, mpmath says what they have to return.

A byte that is drawn is a place in a table of 256 logits, or of 32 labels, so an array
is one draw and each exact number is computed once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from math import fsum, prod
from typing import Any, NamedTuple

import expected
import hypothesis.strategies as st
import layouts
import numpy as np
from backends import INTEGERS, Backend
from focal_reference import from_logit_focal
from grid import LOGITS, PROBS, REACH, labels, rounded
from hypothesis import HealthCheck, settings
from mpmath import mp, mpf
from reference import FORMATS, flushed, from_logit, from_probability, largest, ulp

import xploss

LONG = 1_000_000  # examples of `--hypothesis-profile=long`, of NumPy's eight tests
TESTS = 8
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
for name, examples in {"first": 60, "whole": 300, "rest": 360}.items():
    settings.register_profile(name, max_examples=examples, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=LONG // TESTS, **COMMON)

COUNTS: Counter[str] = Counter()  # examples by backend


def profile(backend: Backend, times: int = 1) -> settings:
    """The settings of one test on one variant, `times` as many on a fast one."""
    name = settings.get_current_profile_name()
    ours = name in ("first", "rest", "long")  # hypothesis has one for each CI
    chosen = settings.get_profile(name if ours else "whole")
    times = times if backend.cost <= 4 and name != "long" else 1
    examples = chosen.max_examples * times // backend.cost
    return settings(chosen, max_examples=max(1, examples))


# ---- numbers -----------------------------------------------------------------------

POS_WEIGHTS = np.array([1.0, 0.25, 3.5, 0.0])
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 4.0, 0.25, 8.0, 1.0])
SMOOTHINGS = (0.0, 1e-6, 0.125, 1.0)
GREATEST = 3.5 * 8.0  # what an element is weighed by at most


@cache
def label_table(dtype: str) -> np.ndarray:
    """Hard ones, those that every dtype holds, an ulp and an eps from 0 and 1, soft."""
    bits, _ = FORMATS[dtype]
    eps = 2.0 ** (1 - bits)
    chosen = [0.0, 1.0, 0.5, 0.25, *labels(dtype), 1 - eps, eps / 2, 0.75]
    soft = np.random.default_rng(30).uniform(0, 1, 32 - len(chosen))
    return rounded(np.array([*chosen, *soft]), dtype)


@cache
def logit_table(dtype: str) -> np.ndarray:
    """The labels' first, so that both may lie in one buffer."""
    bits, least = FORMATS[dtype]
    subnormal = [2.0 ** (least - bits + 1), 2.0**least * 0.75, 2.0**least]
    # Where exp(-|x|) leaves the normal and the subnormal numbers, or 1 + it is 1.
    edges = [9.7, 11.09, 16.6, 17.33, 36.7, 37.43, 87.34, 88.73, 103.98, 708.4, 745.14]
    some = np.array([*LOGITS, *subnormal, *edges])
    special = np.concatenate([some, -some, [np.nan], [np.inf, -np.inf] * 6])
    rng = np.random.default_rng(31)
    rest = 256 - 32 - len(special)
    near = rng.uniform(-REACH[dtype], REACH[dtype], rest - 40)
    far = rng.choice([-1, 1], 40) * np.exp2(rng.uniform(-20, 12, 40))
    return rounded(
        np.concatenate([label_table(dtype), special, near, far]), dtype
    )  # fmt: skip


@cache
def prob_table(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(32)
    special = np.array([*PROBS, np.nan])
    rest = 256 - 32 - len(special)
    drawn = [rng.uniform(0, 1, rest - 60), np.exp2(rng.uniform(-40, 0, 60))]
    return rounded(np.concatenate([label_table(dtype), special, *drawn]), dtype)


class Numbers(NamedTuple):
    """Exact numbers, as sums of two of float64."""

    high: np.ndarray
    low: np.ndarray

    def times(self, factor: Any) -> "Numbers":
        """A power of 2, or 0."""
        return Numbers(self.high * factor, self.low * factor)

    def overflown(self, most: float) -> "Numbers":
        """Infinite from `most` on."""
        high, low = self
        beyond = abs(high) >= most
        high = np.where(beyond, np.copysign(np.inf, high), high)
        return Numbers(high, np.where(beyond, 0.0, low))


def split(exact: mpf) -> tuple[float, float]:
    high = float(exact)
    return high, float(exact - high) if np.isfinite(high) else 0.0


class Table:
    """Exact numbers by (place of the first, of the label, of a parameter)."""

    def __init__(self, exactly: Callable[..., Any], *numbers: Any) -> None:
        self.exactly, self.numbers = exactly, numbers
        shape = tuple(map(len, numbers))
        self.known = np.zeros(shape, bool)
        self.cells: dict[str, Numbers] = {}
        self._compute((0,) * len(shape))

    def __getitem__(self, places: tuple[np.ndarray, ...]) -> dict[str, Numbers]:
        new = ~self.known[places]
        for place in set(zip(*(p[new].tolist() for p in places), strict=True)):
            self._compute(place)
        return {
            name: Numbers(*(part[places] for part in cells))
            for name, cells in self.cells.items()
        }

    def _compute(self, place: tuple[int, ...]) -> None:
        arguments = (n[k] for n, k in zip(self.numbers, place, strict=True))
        exact = self.exactly(*arguments)._asdict()
        shape = self.known.shape
        if not self.cells:
            self.cells = {n: Numbers(np.zeros(shape), np.zeros(shape)) for n in exact}
        with mp.workprec(1200):
            for name, number in exact.items():
                high, low = self.cells[name]
                high[place], low[place] = split(number)
        self.known[place] = True


# ---- losses ------------------------------------------------------------------------


def seen(numbers: np.ndarray, dtype: str, flushes: bool) -> list[float]:
    """As the library sees them (float16 is widened first, to normal ones)."""
    seen = flushed(numbers, dtype) if flushes and dtype != "float16" else numbers
    return seen.tolist()


@cache
def table(loss: Any, dtype: str, flushes: bool, smoothing: float) -> Table:
    first = logit_table if loss is xploss.sigmoid_cross_entropy else prob_table
    formula = from_logit if first is logit_table else from_probability
    # A logit that is flushed to 0 is as good as 0, and its exact loss the same.
    firsts = seen(first(dtype), dtype, flushes and first is prob_table)
    return Table(
        lambda x, y, w: formula(x, y, w, smoothing),
        firsts, seen(label_table(dtype), dtype, flushes), POS_WEIGHTS.tolist(),
    )  # fmt: skip


FOCAL = [
    {"gamma": gamma, "alpha": alpha, "label_smoothing": smoothing}
    for gamma in (0.5, 2.0, 5.0)
    for alpha, smoothing in ((None, 0.0), (0.25, 0.0), (0.25, 0.125))
]


@cache
def focal_table(dtype: str, flushes: bool) -> Table:
    def exactly(x: float, y: float, options: dict[str, Any]) -> Any:
        return from_logit_focal(
            x, y, options["gamma"], options["alpha"], options["label_smoothing"]
        )

    labels = seen(label_table(dtype), dtype, flushes)
    return Table(exactly, logit_table(dtype).tolist(), labels, FOCAL)


# ---- distances ---------------------------------------------------------------------


def units(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """The unit in the last place of each."""
    bits, least = FORMATS[dtype]
    exponents = np.maximum(np.frexp(numbers)[1] - 1, least)
    return np.ldexp(1.0, np.where(numbers == 0, least, exponents) - bits + 1)


@cache
def overflow(dtype: str) -> float:
    """From where on a number rounds to infinity."""
    most = largest(dtype)
    return float(most + ulp(most, dtype) / 2)


def away(
    result: np.ndarray, exact: Numbers, dtype: str, unit: Any, lost: float
) -> np.ndarray:
    """How many ulp of `unit` each is away; `lost` as for `reference.ulps`."""
    result = result.astype(np.float64)
    high, low = exact.overflown(overflow(dtype))
    least = FORMATS["float32" if dtype == "float16" else dtype][1]
    distance = abs((result - high) - low) - lost * 2.0**least
    same = (result == high) & np.isinf(high) | np.isnan(result) & np.isnan(high)
    distance = np.where(same, 0.0, np.maximum(distance, 0.0) / units(unit, dtype))
    return np.where(np.isnan(distance), np.inf, distance)


# ---- shapes and layouts ------------------------------------------------------------

SHAPES = [
    (3,), (), (1,), (0,), (17,), (64,), (2, 3), (1, 1), (5, 1), (1, 7), (0, 3), (4, 0),
    (8, 6), (2, 3, 4), (1, 3, 1), (2, 0, 2), (3, 1, 5), (2, 2, 2, 2), (1, 4, 1, 3),
    (2, 1, 3, 2, 2), (1, 1, 1, 1, 1), (2, 3, 1, 1, 4),
]  # fmt: skip
FEW_SHAPES = [(3,), (), (0, 3), (8, 6), (1, 3, 1), (2, 1, 3, 2, 2)]


def label_kinds(backend: Backend) -> list[str]:
    return ["same", "same", "bool", "float32", *backend.integers]


# ---- calls -------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """Places in the tables, and options as NumPy's arrays."""

    loss: Callable[..., Any]
    dtype: str
    first: np.ndarray
    labels: np.ndarray
    kind: str  # of the labels
    layout: str
    small_blocks: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label_dtype(self) -> str:
        return self.dtype if self.kind == "same" else self.kind

    @property
    def shape(self) -> tuple[int, ...]:
        return self.first.shape

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        logits = self.loss is not xploss.binary_cross_entropy
        first = (logit_table if logits else prob_table)(self.dtype)
        labels = label_table(self.dtype)[self.labels]
        return np.asarray(first[self.first]), self.as_labels(labels)

    def as_labels(self, numbers: np.ndarray) -> np.ndarray:
        """Integers as such: PyTorch makes none of a float that is 0-d."""
        whole = self.kind in ("bool", *INTEGERS)
        return np.asarray(numbers, self.kind if whole else None)

    def spread(self, name: str, default: Any) -> np.ndarray:
        option = self.options.get(name)
        return np.broadcast_to(default if option is None else option, self.shape)

    def exact(self, flushes: bool) -> dict[str, Numbers]:
        """Per element, weighed; 0 where left out."""
        pos_weight = self.spread("pos_weight", 1.0)
        places = np.searchsorted(np.sort(POS_WEIGHTS), pos_weight)
        places = np.argsort(POS_WEIGHTS)[places]
        smoothing = self.options.get("label_smoothing", 0.0)
        numbers = table(self.loss, self.dtype, flushes, smoothing)
        weights, counts = self.spread("weights", 1.0), self.spread("where", True)
        most = overflow(expected.wide(self.dtype))
        unweighted = numbers[self.first, self.labels, np.zeros_like(places)]
        weighed = numbers[self.first, self.labels, places]

        def finished(name: str) -> Numbers:
            """What overflows before it is weighed stays infinite, or NaN."""
            first, (high, low) = unweighted[name].high, weighed[name]
            lost = (abs(first) >= most) & (pos_weight != 0.0)
            high = np.where(lost, np.copysign(np.inf, first), high)
            made = Numbers(high, np.where(lost, 0.0, low)).times(weights)
            return Numbers(*(np.where(counts, part, 0.0) for part in made))

        with np.errstate(all="ignore"):
            return {name: finished(name) for name in weighed}


def given(backend: Backend, call: Call) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """[logits, labels], what they are views of, and the options, of the library."""
    first, labels = call.values()
    if call.layout == "overlapping":
        both = np.append(first.ravel(), labels.ravel()[-1:])
        base = backend.array(both, call.dtype)
        arrays = [base[: first.size].reshape(call.shape)] * 2
        if first.size:
            arrays[1] = base[1:].reshape(call.shape)
        bases = [base]
    else:
        layout = backend.layouts[call.layout]
        made = [(first, call.dtype), (labels, call.label_dtype)]
        bases = [backend.array(layout.make(values), dtype) for values, dtype in made]
        floating = "float" in call.label_dtype
        views = [layout.view, layout.view if floating else no_gradient(layout.view)]
        arrays = [v(a, call.shape) for v, a in zip(views, bases, strict=True)]
    options = expected.of_backend(backend, call.dtype, call.options)
    kept = [a for a in options.values() if hasattr(a, "shape")]
    return arrays, [*bases, *arrays, *kept], options


def no_gradient(view: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch has gradients of floating tensors alone."""
    return layouts.same if view is layouts.requires_grad else view


def placed(data: bytes, shape: tuple[int, ...], most: int = 256) -> np.ndarray:
    return np.frombuffer(data, np.uint8).astype(np.intp).reshape(shape) % most


def spreading(shape: tuple[int, ...], how: str) -> tuple[int, ...]:
    """The shape of an option that fits."""
    if how == "full":
        return shape
    if how == "0-d":
        return ()
    keep = how == "even axes"
    return tuple(n if (k % 2 == 0) == keep else 1 for k, n in enumerate(shape))


HOW = ("full", "even axes", "odd axes", "0-d")


@st.composite
def weights_and_masks(draw: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Numbers, or arrays that fit onto losses of a shape."""
    drawn: dict[str, Any] = {}
    for name, table in (("weights", WEIGHTS), ("where", np.array([True, False]))):
        how = draw(st.sampled_from([None, None, "number", *HOW]))
        if how == "number":
            drawn[name] = table[draw(st.integers(0, len(table) - 1))].item()
        elif how is not None:
            fits = spreading(shape, how)
            data = draw(st.binary(min_size=prod(fits), max_size=prod(fits)))
            drawn[name] = np.asarray(table[placed(data, fits, len(table))])
    return drawn


@st.composite
def options(draw: Any, shape: tuple[int, ...], few: bool) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    pos_weight = draw(st.sampled_from([None, None, 0.25, 3.5, "classes", *HOW]))
    if pos_weight == "classes":
        drawn["pos_weight"] = np.resize(POS_WEIGHTS[::-1], shape[-1:])
    elif isinstance(pos_weight, str):
        fits = spreading(shape, pos_weight)
        drawn["pos_weight"] = np.resize(POS_WEIGHTS[::-1], fits)
    elif pos_weight is not None:
        drawn["pos_weight"] = pos_weight
    drawn["label_smoothing"] = draw(st.sampled_from(SMOOTHINGS[:: 2 if few else 1]))
    return drawn | draw(weights_and_masks(shape))


LOSSES = tuple(loss.function for loss in expected.WEIGHED_LOSSES)


@st.composite
def calls(
    draw: Any,
    backend: Backend,
    losses: tuple[Any, ...] = LOSSES,
    with_options: bool = True,
) -> Call:
    few = backend.cost > 10
    dtype = draw(st.sampled_from(backend.dtypes))
    shape = draw(st.sampled_from(FEW_SHAPES if few else SHAPES))
    n = prod(shape)
    data = draw(st.binary(min_size=2 * n, max_size=2 * n))
    first, labels = placed(data[:n], shape), placed(data[n:], shape, 32)
    layout = draw(st.sampled_from(list(backend.layouts)))
    kind = draw(st.sampled_from(label_kinds(backend)))
    if layout == "overlapping":
        kind = "same"
        first = first % 32
        both = np.append(first.ravel(), labels.ravel()[-1:])
        labels = both[1:].reshape(shape)
    elif layout == "spread" and shape:
        first, labels = (np.broadcast_to(a[:1], shape).copy() for a in (first, labels))
    if kind != "same":
        labels = labels % (4 if kind == "float32" else 2)
    return Call(
        draw(st.sampled_from(losses)), dtype, first, labels, kind, layout,
        small_blocks=draw(st.booleans()),
        options=draw(options(shape, few)) if with_options and shape else {},
    )  # fmt: skip


REDUCTIONS = ("sum", "mean", "weighted_mean")


@st.composite
def reductions(draw: Any, call: Call) -> dict[str, Any]:
    """A reduction, and the axes it runs over."""
    bits = draw(st.integers(0, 2 ** len(call.shape) - 1))
    axis = tuple(k for k in range(len(call.shape)) if bits >> k & 1)
    how = {"reduction": draw(st.sampled_from(REDUCTIONS))}
    return how | {"axis": axis} if axis else how


# ---- what is reduced ---------------------------------------------------------------


def in_groups(array: np.ndarray, axis: tuple[int, ...] | None) -> np.ndarray:
    """(outputs, elements of each)"""
    axis = tuple(range(array.ndim)) if axis is None else axis
    kept = [k for k in range(array.ndim) if k not in axis]
    size = prod(array.shape[k] for k in axis)
    return array.transpose(*kept, *axis).reshape(
        prod(array.shape[k] for k in kept), size
    )


def divisors(call: Call, reduction: str, axis: Any) -> np.ndarray:
    """By output, its axes kept; exact, being few short numbers."""
    weights = call.spread("weights", 1.0) if reduction == "weighted_mean" else 1.0
    shares = np.where(call.spread("where", True), weights, 0.0)
    sums = shares.sum(axis, keepdims=True)
    return np.ones_like(sums) if reduction == "sum" else sums


def totals(numbers: Numbers, axis: Any) -> Iterator[mpf]:
    """Of each output; mpf, since what is divided is no sum of two any more."""
    groups = (in_groups(part, axis).tolist() for part in numbers)
    for high, low in zip(*groups, strict=True):
        yield mpf(fsum(high)) + mpf(fsum(low))


def part(call: Call, axis: int, along: slice) -> Call:
    """A call on a part of the logits, of all that goes with them."""

    def cut(array: np.ndarray) -> np.ndarray:
        own = axis - len(call.shape) + array.ndim  # one a class has the last alone
        if own < 0 or array.shape[own] != call.shape[axis]:
            return array
        return array[(slice(None),) * own + (along,)]

    options = {
        name: cut(option) if isinstance(option, np.ndarray) else option
        for name, option in call.options.items()
    }
    layout = "as made" if call.layout == "overlapping" else call.layout
    first, labels = cut(call.first), cut(call.labels)
    return replace(call, first=first, labels=labels, layout=layout, options=options)


def dtype_after(array: Any, call: Call) -> str:
    """A result per element has the logits' dtype, a reduced one may be float32."""
    name = expected.dtype_of(array)
    assert name in (call.dtype, expected.wide(call.dtype))
    return name
