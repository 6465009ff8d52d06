"""Calls of losses of many classes for fuzzing: what is drawn, and the exact numbers.

As `strategies` has them of other losses, a byte that is drawn is a place in a table.
The logits of a row come from one table, since of 70 that may be anything one is NaN,
and two numbers of another one are put in their midst.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import inf, isfinite, isnan, nan, prod
from typing import Any

import expected
import hypothesis.strategies as st
import numpy as np
import strategies
from backends import Backend
from categorical_reference import (
    bits,
    masses,
    row_focal,
    row_focal_hessian,
    row_loss,
    row_of_probabilities,
    softmax,
)
from grid import REACH, rounded
from mpmath import mp, mpf
from reference import FORMATS, clipped, largest
from strategies import POS_WEIGHTS, SMOOTHINGS, Numbers, split

CLASSES = (3, 1, 2, 5, 33, 70)  # of more than 32 some libraries sum in another way
ROWS = [(3,), (4,), (), (2, 2), (1, 3, 1), (5,), (2, 1, 2), (1,), (0,)]
FEW_ROWS = [(3,), (), (2, 1, 2), (0,)]
Z_LOSSES = (0.0, 2.0**-10, 2.0)
# Numbers that are no class's, of which some are one once they are cut to fewer bits.
STRAY = (-1, -100, 100, 127, 2**8 + 1, -(2**15), 2**16 + 1, 2**32 + 1, 2**62)
EXTRA = 6  # bytes of a row, before one for each class

# ---- tables ------------------------------------------------------------------------


@cache
def logit_tables(dtype: str) -> np.ndarray:
    """Finite logits of each kind, and those of which half are masked."""
    draw, reach = np.random.default_rng(33), REACH[dtype]
    bits, least = FORMATS[dtype]
    ordinary = draw.normal(0, 3, 256)
    some = strategies.logit_table(dtype)
    tiny = draw.choice([-1, 1], 256) * np.exp2(draw.uniform(least - bits, least, 256))
    table = [
        ordinary,
        draw.uniform(-reach, reach, 256),
        draw.choice([0.0, -0.0, 1.0, -2.0], 256),  # ties
        np.where(np.isfinite(some), some, 0.0),
        np.where(draw.random(256) < 0.5, -inf, ordinary),
        tiny,
        1000.0 + ordinary / 16,
    ]
    return rounded(np.stack(table), dtype)


@cache
def spikes(dtype: str) -> np.ndarray:
    """What is put among the logits."""
    reach, most = REACH[dtype], float(largest(dtype) / 4)
    numbers = [inf, nan, -inf, inf, nan, -inf, reach, -reach, 2 * reach, 20.0, -1e4]
    return rounded(np.array([*numbers, 0.0, most, -most]), dtype)


def decoded(dtype: str, data: np.ndarray) -> np.ndarray:
    """Rows of logits."""
    x = logit_tables(dtype)[data[:, :1] % 7, data[:, EXTRA:]]
    return spiked(x, spikes(dtype), data)


def decoded_probabilities(dtype: str, data: np.ndarray) -> np.ndarray:
    """Each of any, with what is none in a few rows."""
    table = strategies.prob_table(dtype)
    numbers = np.where(np.isnan(table), 0.5, table)[data[:, EXTRA:]]
    return spiked(numbers, np.array([nan, 1.25, -0.25, 0.0, 1.0, 0.5]), data)


def spiked(x: np.ndarray, table: np.ndarray, data: np.ndarray) -> np.ndarray:
    """With at most two numbers of the table in each row."""
    n = np.arange(len(x))
    for which, where in ((data[:, 1], data[:, 2]), (data[:, 3], data[:, 4])):
        spike, places = table[which % len(table)], where % x.shape[1]
        x[n, places] = np.where(which >= 192, spike, x[n, places])
    return x


def places_of(data: np.ndarray, likeliest: np.ndarray) -> np.ndarray:
    """A class of each row: the likeliest half the time, of which an answer is sure."""
    return np.where(data[:, 3] < 128, likeliest, data[:, 1] % (data.shape[1] - EXTRA))


def decoded_masses(
    dtype: str, kind: str, data: np.ndarray, likeliest: np.ndarray
) -> np.ndarray:
    """Rows of masses that a label of a kind may have."""
    places = data[:, EXTRA:] % (32 if kind == "same" else 4 if kind == "float32" else 2)
    some, classes = strategies.label_table(dtype)[places], places.shape[1]
    hot = np.eye(classes)[places_of(data, likeliest)]
    # What is divided is of the labels' dtype again where that is the logits'.
    part = rounded(some / classes, dtype) if kind == "same" else hot
    choices = np.stack([some, part, hot, some * hot, part, hot, part, 0.0 * hot])
    return choices[data[:, 0] % len(choices), np.arange(len(data))]


def decoded_numbers(
    dtype: str, data: np.ndarray, likeliest: np.ndarray, stray: bool, ignored: Any
) -> np.ndarray:
    """Numbers of classes, with some that are ignored, and some of none."""
    info, classes = np.iinfo(dtype), data.shape[1] - EXTRA
    there = [n for n in (classes, *STRAY) if info.min <= n <= info.max]
    none = np.array([n for n in there if not 0 <= n < classes], object)
    numbers = places_of(data, likeliest).astype(object)
    if ignored is not None and info.min <= ignored:
        numbers = np.where(data[:, 4] % 4 == 0, ignored, numbers)
    out = none[data[:, 2] % len(none)]
    return np.where((data[:, 0] % 4 == 0) & stray, out, numbers)


# ---- calls -------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """Arguments as NumPy's arrays; `shape` is that of the losses."""

    dtype: str
    logits: np.ndarray
    labels: Any  # masses, numbers of classes, or the number of all rows
    label_dtype: str
    class_axis: int
    layout: str
    small_blocks: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(np.delete(self.logits.shape, self.class_axis).tolist())

    @property
    def classes(self) -> int:
        return int(self.logits.shape[self.class_axis])

    @property
    def of_numbers(self) -> bool:
        return isinstance(self.labels, int) or self.labels.ndim < self.logits.ndim

    def in_rows(self, array: np.ndarray) -> np.ndarray:
        """(rows, classes) of what is one a class."""
        rows = np.moveaxis(array, self.class_axis, -1)
        return rows.reshape(-1, self.classes)

    def as_logits(self, rows: np.ndarray) -> np.ndarray:
        """Back from (rows, classes)."""
        shape = (*self.shape, self.classes)
        return np.moveaxis(rows.reshape(shape), -1, self.class_axis)

    def label_rows(self, flushes: bool) -> list[Any]:
        """Of each row, as the library sees them."""
        if isinstance(self.labels, int):
            return [self.labels] * prod(self.shape)
        if self.of_numbers:
            return [int(n) for n in self.labels.ravel()]
        rows = self.in_rows(self.labels)
        own = self.label_dtype == self.dtype
        seen = strategies.seen(rows, self.dtype, flushes and own)
        seen = np.reshape(seen, rows.shape)
        kept = np.where(self._gone(seen, flushes), 0.0, seen)
        return [tuple(row) for row in kept.tolist()]

    def _gone(self, rows: np.ndarray, flushes: bool) -> np.ndarray:
        """Which are 0 once they are weighed, of which an infinite cost is nothing."""
        weights = self.options.get("class_weights")
        if weights is None or self.number("label_smoothing"):
            return np.zeros(rows.shape, bool)
        wide = expected.wide(self.dtype)
        with np.errstate(all="ignore"):
            weighed = rows.astype(wide) * weights.astype(wide)
        return (weighed == 0) | (flushes & (weighed < 2.0 ** FORMATS[wide][1]))

    def spread(self, name: str, default: Any) -> np.ndarray:
        option = self.options.get(name)
        return np.broadcast_to(default if option is None else option, self.shape)

    def counts(self) -> np.ndarray:
        """Which rows do."""
        kept, ignored = self.spread("where", True), self.options.get("ignore_index")
        if ignored is None:
            return kept
        labels = np.broadcast_to(np.asarray(self.labels, object), self.shape)
        return kept & (labels != ignored).astype(bool)

    def number(self, name: str) -> float:
        return float(self.options.get(name, 0.0))

    def class_weights(self) -> tuple[float, ...] | None:
        weights = self.options.get("class_weights")
        return None if weights is None else tuple(weights.tolist())


def given(backend: Backend, call: Call) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """[logits, labels], what they are views of, and the options, of the library."""
    logits, labels = call.logits, call.labels
    options = expected.of_backend(backend, call.dtype, call.options)
    options["class_axis"] = call.class_axis
    kept = [a for a in options.values() if hasattr(a, "shape")]
    if call.layout == "overlapping":
        both = np.append(logits.ravel(), labels.ravel()[-1:])
        base = backend.array(both, call.dtype)
        arrays = [base[: logits.size].reshape(logits.shape)] * 2
        if logits.size:
            arrays[1] = base[1:].reshape(logits.shape)
        return arrays, [base, *arrays, *kept], options
    layout = backend.layouts[call.layout]
    bases = [backend.array(layout.make(logits), call.dtype)]
    arrays = [layout.view(bases[0], logits.shape)]
    if isinstance(labels, int):
        # `jit` would make an array of an argument.
        return arrays, [*bases, *arrays, *kept], options | {"labels": labels}
    if "float" not in call.label_dtype:
        labels = np.asarray(labels, call.label_dtype)
    bases.append(backend.array(layout.make(labels), call.label_dtype))
    floating = "float" in call.label_dtype
    view = layout.view if floating else strategies.no_gradient(layout.view)
    arrays.append(view(bases[1], labels.shape))
    return arrays, [*bases, *arrays, *kept], options


# ---- what is drawn -----------------------------------------------------------------


def drawn_rows(draw: Any, count: int, classes: int) -> np.ndarray:
    size = count * (EXTRA + classes)
    data = draw(st.binary(min_size=size, max_size=size))
    return np.frombuffer(data, np.uint8).astype(np.intp).reshape(count, EXTRA + classes)


@st.composite
def options(draw: Any, shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """Those that every loss has, of losses of a shape."""
    drawn: dict[str, Any] = {}
    if draw(st.booleans()):
        drawn["class_weights"] = np.resize(POS_WEIGHTS[::-1], classes)
    smoothing = draw(st.sampled_from([*SMOOTHINGS, 0.0, np.array(0.125)]))
    if isinstance(smoothing, np.ndarray) or smoothing:
        drawn["label_smoothing"] = smoothing
    return drawn | draw(strategies.weights_and_masks(shape))


def spread_along_first(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array[:1], array.shape).copy() if array.ndim else array


@st.composite
def calls(
    draw: Any,
    backend: Backend,
    with_options: bool = True,
    with_z: bool = False,
    of_numbers: bool = False,
    most_classes: int = 70,
    of_probabilities: bool = False,
) -> Call:
    dtype = draw(st.sampled_from(backend.dtypes))
    classes = draw(st.sampled_from([n for n in CLASSES if n <= most_classes]))
    shape = draw(st.sampled_from(FEW_ROWS if backend.cost > 10 else ROWS))
    class_axis = draw(st.integers(0, len(shape)))
    count = prod(shape)
    data, of_labels = (drawn_rows(draw, count, classes) for _ in range(2))
    layout = draw(st.sampled_from(list(backend.layouts)))
    kinds = ["same", "same", "float32", "bool", "int32"]
    kind = (
        "numbers" if of_numbers else draw(st.sampled_from([*kinds, *["numbers"] * 5]))
    )

    def placed(rows: np.ndarray) -> np.ndarray:
        return np.moveaxis(rows.reshape(*shape, classes), -1, class_axis)

    rows = (
        decoded_probabilities(dtype, data) if of_probabilities else decoded(dtype, data)
    )
    likeliest = np.argmax(np.where(np.isnan(rows), -inf, rows), 1)
    label_dtype, labels, logits = dtype if kind == "same" else kind, None, placed(rows)
    with_options = with_options and draw(st.integers(0, 3)) > 0
    drawn = draw(options(shape, classes)) if with_options else {}
    if kind == "numbers":
        layout = "as made" if layout == "overlapping" else layout
        label_dtype = draw(st.sampled_from(backend.integers))
        stray = draw(st.sampled_from([False, False, True]))
        of_all = draw(st.integers(0, 4)) == 4
        ignored = draw(st.sampled_from([None, None, 0, -100, classes]))
        ignored = ignored if with_options else None
        drawn |= {} if ignored is None else {"ignore_index": ignored}
        labels = decoded_numbers(label_dtype, of_labels, likeliest, stray, ignored)
        labels = labels.reshape(shape)
    elif layout == "overlapping":
        label_dtype, table = dtype, strategies.label_table(dtype)
        logits = placed(table[data[:, EXTRA:] % 32])
        both = np.append(logits.ravel(), table[of_labels.ravel()[:1] % 32])
        labels = both[1:].reshape(logits.shape)
    else:
        labels = placed(decoded_masses(dtype, kind, of_labels, likeliest))
    if layout == "spread":
        logits, labels = map(spread_along_first, (logits, labels))
    if kind == "numbers" and of_all:
        labels = int(of_labels.ravel()[0] % classes) if count else 0
    if with_z:
        z = draw(st.sampled_from([*Z_LOSSES, np.array(2.0**-10)]))
        drawn |= {"z_loss": z} if isinstance(z, np.ndarray) or z else {}
    return Call(
        dtype, logits, labels, label_dtype, class_axis, layout,
        small_blocks=draw(st.booleans()), options=drawn,
    )  # fmt: skip


# ---- exact numbers -----------------------------------------------------------------


class Row:
    """Of a row, alone, by name: the exact numbers, one a class or one for the row; the
    numbers whose ulp an error is counted in; and what an exponential or a mass is
    multiplied by, which has lost digits where it is subnormal."""

    def __init__(
        self,
        exact: dict[str, list[mpf]],
        sizes: dict[str, list[mpf]],
        scale: Any,
        factor: float = 1.0,
    ) -> None:
        self.factor = factor  # of the bound
        self.exact = {name: _split(part) for name, part in exact.items()}
        self.sizes = {name: _split(part).high for name, part in sizes.items()}
        scales = scale if isinstance(scale, dict) else {name: [scale] for name in exact}
        self.scales = {
            n: [finite(float(s)) for s in part] for n, part in scales.items()
        }


def _split(numbers: list[mpf]) -> Numbers:
    with mp.workprec(1200):
        return Numbers(*np.array([split(n) for n in numbers]).reshape(-1, 2).T)


def finite(number: float) -> float:
    return number if isfinite(number) else 0.0


class Exact:
    """Of a call, in rows: weighed, and 0 where left out."""

    def __init__(self, call: Call, rows: list[Row]) -> None:
        self.call, self.rows = call, rows
        self.weights = call.spread("weights", 1.0).reshape(-1, 1)
        self.counts = call.counts().reshape(-1, 1)

    def of(self, name: str) -> Numbers:
        """What overflows before it is weighed stays infinite, or NaN."""
        parts = [row.exact[name] for row in self.rows]
        high, low = (self._rows([part[k] for part in parts]) for k in (0, 1))
        most = strategies.overflow(expected.wide(self.call.dtype))
        with np.errstate(all="ignore"):
            made = Numbers(high, low).overflown(most).times(self.weights)
        return Numbers(*(np.where(self.counts, part, 0.0) for part in made))

    def size(self, name: str) -> np.ndarray:
        with np.errstate(all="ignore"):
            sizes = self._rows([row.sizes[name] for row in self.rows]) * self.weights
        return np.where(self.counts & np.isfinite(sizes), sizes, 0.0)

    def lost(self, name: str, flushes: bool) -> np.ndarray:
        """How many smallest normal numbers are forgiven: what is subnormal is rounded,
        or flushed, before it is weighed."""
        bits, _ = FORMATS[expected.wide(self.call.dtype)]
        scales = self._rows([row.scales[name] for row in self.rows])
        each = self.call.classes * (1.0 if flushes else 2.0 ** (1 - bits))
        with np.errstate(all="ignore"):
            return np.minimum(each * scales * np.maximum(self.weights, 1.0), 1e300)

    def factors(self) -> np.ndarray:
        return self._rows([[row.factor] for row in self.rows])

    def _rows(self, parts: list[Any]) -> np.ndarray:
        if not parts:
            return np.zeros((0, 1))
        return np.array(parts).reshape(len(parts), -1)


def exact(
    call: Call, flushes: bool, of_row: Callable[..., Row], *options: Any
) -> Exact:
    """By a function of a row, its label, and the options."""
    rows = call.in_rows(call.logits)
    # A logit that is flushed to 0 is as good as 0; a probability is not.
    seen = strategies.seen(rows, call.dtype, flushes and of_row is probability_row)
    made = [
        of_row(tuple(x), or_nan(y, len(x)), call.class_weights(), *options)
        for x, y in zip(seen, call.label_rows(flushes), strict=True)
    ]
    return Exact(call, made)


def or_nan(label: Any, classes: int) -> Any:
    """Of a number that no class has there are no masses."""
    stray = isinstance(label, int) and not 0 <= label < classes
    return (nan,) * classes if stray else label


def largest_of(*parts: list[mpf]) -> list[mpf]:
    return [max(map(abs, numbers)) for numbers in zip(*parts, strict=True)]


Logits = tuple[float, ...]
Masses = tuple[float, ...]


def gaps(logits: Logits) -> list[float]:
    """Of finite logits from the largest."""
    some = [x for x in logits if isfinite(x)] or [0.0]
    return [max(some) - x for x in some]


def of_masses(weighed: bool, logits: Logits) -> float:
    """What a mass is multiplied by that may be subnormal once it is weighed."""
    return max(gaps(logits)) if weighed else 0.0


@lru_cache(20_000)
def entropy_row(
    logits: Logits,
    label: int | Masses,
    class_weights: Masses | None,
    smoothing: float,
    z: float,
) -> Row:
    """Of softmax_cross_entropy.

    A logsumexp is a sum of two of which either may be the larger, and with z_loss its
    error is of their sizes.
    """
    made = row_loss(logits, label, class_weights, smoothing, z)
    numbers = {
        "value": [made.value], "gradient": made.gradient, "hessian": made.hessian
    }  # fmt: skip
    sizes = numbers | {"gradient": made.term}
    total = mp.fsum(masses(label, len(logits), class_weights, smoothing))
    weighed = smoothing != 0 or class_weights is not None
    scale = 1 + total + of_masses(weighed, logits)
    top = max(logits)
    if z and isfinite(top) and not any(map(isnan, logits)):
        f = softmax(logits)
        size = abs(mpf(top)) + abs(f.log_sum - mpf(top))
        p, q = f.probabilities, f.complements
        pushes = [2 * z * a * size for a in p]
        sizes = {
            "value": [max(made.value, 2 * z * size * abs(f.log_sum))],
            "gradient": largest_of(made.term, made.gradient, pushes),
            "hessian": largest_of(
                made.hessian,
                [total * a * b for a, b in zip(p, q, strict=True)],
                [2 * z * a**2 for a in p],
                [push * b for push, b in zip(pushes, q, strict=True)],
            ),
        }
        scale += 2 * z * (1 + size)
    return Row(numbers, sizes, scale)


def entropy(call: Call, flushes: bool) -> Exact:
    given = call.number("label_smoothing"), call.number("z_loss")
    return exact(call, flushes, entropy_row, *given)


@lru_cache(20_000)
def focal_row(
    logits: Logits,
    label: int | Masses,
    class_weights: Masses | None,
    smoothing: float,
    gamma: float,
) -> Row:
    """Of softmax_focal_loss; its Hessian, which is by differences, at a few finite
    logits that are not far apart, and NaN of others.

    An error is of gamma * log(1 - p), which is at most the distance of the largest two.
    """
    with mp.workprec(400):
        y = masses(label, len(logits), class_weights, smoothing)
    made = row_focal(logits, y, gamma)
    numbers = {"value": [made.value], "gradient": made.gradient}
    terms = list(made.term)
    sizes = {"value": [made.value], "gradient": terms}
    spread = max(gaps(logits))
    if all(map(isfinite, logits)) and 1 < len(logits) < 6 and spread < 800:
        hessian, terms = row_focal_hessian(logits, y, gamma)
    else:
        hessian, terms = ([mp.nan] * len(logits),) * 2
    numbers, sizes = numbers | {"hessian": hessian}, sizes | {"hessian": terms}
    first, second, *_ = *sorted(gaps(logits)), 0.0
    factor = 1.0 + gamma * (1.0 + min(second - first, 3000.0))
    weighed = smoothing != 0 or class_weights is not None
    scale = 1 + mp.fsum(y) + of_masses(weighed, logits)
    return Row(numbers, sizes, scale, factor)


def focal(call: Call, flushes: bool, gamma: float) -> Exact:
    return exact(call, flushes, focal_row, call.number("label_smoothing"), gamma)


@lru_cache(20_000)
def probability_row(
    probs: Logits,
    label: int | Masses,
    class_weights: Masses | None,
    smoothing: float,
    eps: float,
) -> Row:
    """Of categorical_cross_entropy."""
    inside = [clipped(p, eps) if eps else mpf(p) for p in probs]
    wrong = [not 0 <= p <= 1 for p in inside]
    there = [mpf(1) if out else p for out, p in zip(wrong, inside, strict=True)]
    made = row_of_probabilities(there, label, class_weights, smoothing)
    value = mp.nan if any(wrong) else made.value
    kept = [p == q or out for p, q, out in zip(inside, probs, wrong, strict=True)]
    slopes = [
        mp.nan if out else slope if same else mpf(0)
        for out, slope, same in zip(wrong, made.gradient, kept, strict=True)
    ]
    numbers = {"value": [value], "gradient": slopes}
    weighed = smoothing != 0 or class_weights is not None
    rates = [mpf(1) if p == 0 else 1 / p for p in there]
    costs = [-mp.log(p) for p in there if p != 0]
    scale = {
        "value": [1 + max([*costs, mpf(0)])],
        "gradient": [1 + weighed * rate for rate in rates],
    }
    return Row(numbers, numbers, scale)


def probabilities(call: Call, flushes: bool, eps: float) -> Exact:
    smoothing = call.number("label_smoothing")
    return exact(call, flushes, probability_row, smoothing, eps)


@lru_cache(20_000)
def functions_row(logits: Logits, *_: Any) -> Row:
    """softmax, log_softmax and logsumexp."""
    with mp.workprec(bits(logits)):
        f = softmax(logits)
    numbers = {
        "softmax": f.probabilities,
        "log_softmax": [-c for c in f.costs],
        "logsumexp": [f.log_sum],
    }
    top = max(logits)
    sums = [abs(f.log_sum), abs(mpf(top)), abs(f.log_sum - mpf(top))]
    sizes = numbers | {"logsumexp": [max(sums)]} if isfinite(top) else numbers
    return Row(numbers, sizes, 1.0)


def functions(call: Call, flushes: bool) -> Exact:
    return exact(call, flushes, functions_row)
