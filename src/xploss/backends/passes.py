"""Rows of classes that are cut into parts, each where it is: gone over in passes.

A formula of rows asks for sums over a row, and for its largest.  Of a part it is
carried out as far as those that are known allow, which finds the part's share of the
next ones: a few numbers a row, which are merged.  When all are known, so is the rest.
The formula runs unchanged; what an unknown number makes unknown is `LATER`.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array, computing_dtype
from .base import Backend
from .classes import Classes
from .job import Job
from .numpy import BACKEND as NUMPY
from .numpy import _block, _slices

# Bytes an array of a piece, of which a formula makes ten: of an eighth of it half of
# the time may be Python's own.
PIECE = 1 << 20
SUM, LARGEST = 1, 2  # numbers each: the largest, and the number of its class
# What a pass finds: of the formula's calls that go over a row, which, and their kinds.
Pass = tuple[tuple[int, int], ...]
Known = dict[int, list[Any]]  # by the number of the call

# ---- a formula of a part -------------------------------------------------------------


class _Later:
    """In the place of what is not known yet, and of all that is made of it."""

    __array_ufunc__ = None  # arrays leave operators to this

    def __neg__(self) -> "_Later":
        return self

    def __add__(self, other: Any) -> "_Later":
        return self

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __add__
    __truediv__ = __rtruediv__ = __and__ = __rand__ = __or__ = __ror__ = __add__
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __add__  # type: ignore[assignment]
    __invert__ = __abs__ = __neg__
    __hash__ = None  # type: ignore[assignment]


LATER = _Later()


def _is_later(*operands: Any) -> bool:
    return any(operand is LATER for operand in operands)


def _unless_later(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: LATER if _is_later(*operands) else function(*operands)


class _Part(Classes):
    """The classes from `start` on, of rows of which some numbers are known."""

    def __init__(self, within: Classes, classes: int, start: int, known: Known) -> None:
        super().__init__(within.backend, within.axis)
        for name in ("where", "isinf", "ones_like", "exp", "log", "log1p"):
            setattr(self, name, _unless_later(getattr(within, name)))
        self.within, self.classes, self.start = within, classes, start
        self.known, self.calls = known, 0
        self.found: Known = {}
        self.largest: tuple[Any, ...] = (None, None, None)

    def _over_row(self, share: Callable[..., list[Any]], *operands: Any) -> list[Any]:
        """What is known of a call; if nothing is, its share is found, if it can be."""
        call, self.calls = self.calls, self.calls + 1
        if call in self.known:
            return self.known[call]
        if not _is_later(*operands):
            self.found[call] = share(*operands)
        return []

    def _cast(self, values: Array, dtype: Any) -> Array:
        return self.backend.xp.astype(values, dtype, copy=False)

    def class_count(self, logits: Array) -> int:
        return self.classes

    def class_sum(self, values: Array) -> Array:
        sums = self._over_row(self._sum, values)
        return self._cast(sums[0], values.dtype) if sums else LATER

    def _sum(self, values: Array) -> list[Array]:
        return [self.backend.partial_sum(values, (self.axis,), keepdims=True)]

    def class_max(self, values: Array) -> Array:
        pair = self._over_row(self._largest, values)
        return self._cast(pair[0], values.dtype) if pair else LATER

    def argmax(self, logits: Array) -> Array:
        pair = self._over_row(self._largest, logits)
        if not pair:
            return LATER
        number = self._cast(pair[1], self.backend.xp.int64)
        self.largest = logits, number, self._cast(pair[0], logits.dtype)
        return number

    def _largest(self, logits: Array) -> list[Array]:
        number, float64 = self.within.argmax(logits), self.backend.xp.float64
        largest = self.within.pick(logits, number)
        return [largest, self._cast(number, float64) + self.start]

    def pick(self, values: Array, numbers: Array) -> Array:
        logits, number, largest = self.largest
        if values is logits and numbers is number:
            self.calls += 1
            return largest
        picked = self._over_row(self._picked, values, numbers)
        return self._cast(picked[0], values.dtype) if picked else LATER

    def _picked(self, values: Array, numbers: Array) -> list[Array]:
        """0 where the class is another part's."""
        own = numbers - self.start
        here = (own >= 0) & (own < values.shape[self.axis])
        return [self.where(here, self.within.pick(values, own), 0.0)]

    def is_class(self, like: Array, numbers: Array) -> Array:
        return LATER if _is_later(like, numbers) else super().is_class(like, numbers)

    def same_class(self, numbers: Array, others: Array) -> Array:
        later = _is_later(numbers, others)
        return LATER if later else super().same_class(numbers, others)


def _of_part(
    function: Callable[..., Any],
    classes: int,
    start: int,
    known: Known,
    finds: bool,
    within: Classes,
    *arguments: Any,
) -> Any:
    """A formula's function of a part; or what it finds there, along the class axis."""
    part = _Part(within, classes, start, known)
    outputs = function(part, *arguments)
    if not finds:
        return outputs
    xp = within.backend.xp
    shares = [xp.astype(n, xp.float64) for of in part.found.values() for n in of]
    return xp.concat(shares, axis=within.axis)


def passes_of(job: Job) -> tuple[Pass, ...]:
    """Found on arrays of one element."""

    def one(argument: Any) -> Any:
        ndim = getattr(argument, "ndim", None)
        return argument if ndim is None else np.full((1,) * ndim, 0.5)

    passes: list[Pass] = []
    known: Known = {}
    within = NUMPY.within_rows(job.formula.class_axis or 0)
    arguments = tuple(map(one, job.arguments))
    while True:
        part = _Part(within, 1, 0, known)
        NUMPY.run(None, job.undifferentiated(), part, *arguments)
        if not part.found:
            return tuple(passes)
        passes.append(tuple((call, len(n)) for call, n in part.found.items()))
        known |= part.found


def merged(backend: Backend, found: Pass, shares: Array, axis: int) -> Array:
    """Of what a pass found in several parts, side by side along the class axis."""
    xp, before = backend.xp, (slice(None),) * axis
    count = sum(kind for _, kind in found)

    def of(k: int) -> Array:
        return shares[(*before, slice(k, None, count), ...)]

    numbers, k = [], 0
    for _, kind in found:
        if kind == SUM:
            numbers.append(backend.partial_sum(of(k), (axis,), keepdims=True))
        else:  # the first of the largest, or of those that are NaN
            first = xp.argmax(of(k), axis=axis, keepdims=True)
            pair = of(k), of(k + 1)
            numbers += [xp.take_along_axis(a, first, axis=axis) for a in pair]
        k += kind
    return xp.concat(numbers, axis=axis)


# ---- a block -------------------------------------------------------------------------


class Cut(NamedTuple):
    """Along which axis rows are cut, where, and the passes over them."""

    axis: int
    starts: tuple[int, ...]  # of the blocks, and C
    passes: tuple[Pass, ...]


class _Block(NamedTuple):
    """Arrays with the class axis last, and what has been found of their rows."""

    job: Job
    cut: Cut
    start: int
    known: list[Any]

    @property
    def first(self) -> Any:
        return self.job.arguments[0]

    def most(self) -> int:
        """Elements at a time: NumPy's stay in cache."""
        if not isinstance(self.first, np.ndarray):
            return max(int(math.prod(self.first.shape)), 1)
        computing: np.dtype[Any] = np.dtype(computing_dtype(np, self.first))
        return PIECE // computing.itemsize

    def rows(self) -> Iterator[tuple[slice, ...]]:
        """So many rows at a time that a piece has that many elements, or a row."""
        *outer, classes = self.first.shape
        return _slices(tuple(outer), max(self.most() // max(classes, 1), 1))

    def pieces(
        self, rows: tuple[slice, ...], finds: bool = False
    ) -> Iterator[tuple[slice, Job]]:
        """Some classes of some rows at a time, and what is to be done of them."""
        traced = [_block(a, rows) if _has_axes(a) else a for a in self.job.traced()]
        known = _by_call(self.cut.passes, [_block(a, rows) for a in self.known])
        formula, step = self.job.formula, self.most()
        for start in range(0, traced[0].shape[-1], step):
            along = slice(start, start + step)
            piece = tuple(
                a[..., along] if _has_axes(a) and a.shape[-1] > 1 else a for a in traced
            )
            function = partial(
                _of_part,
                self.job.undifferentiated(),
                self.cut.starts[-1],
                self.start + start,
                known,
                finds,
            )
            changed: dict[str, Any] = {self.job.quantity: function, "static": ()}
            of_part = formula._replace(**changed)
            yield along, self.job.with_traced(piece)._replace(formula=of_part)


def _has_axes(argument: Any) -> bool:
    return getattr(argument, "ndim", 0) > 0


def _block_of(
    job: Job, cut: Cut, backend: Backend, place: tuple[int, ...], arrays: Any
) -> _Block:
    def last(a: Any) -> Any:
        return backend.xp.moveaxis(a, cut.axis, -1) if _has_axes(a) else a

    count, moved = len(job.formula.traced) + 2, tuple(map(last, arrays))
    formula = job.formula._replace(class_axis=moved[0].ndim - 1)
    job = job.with_traced(moved[:count])._replace(formula=formula)
    return _Block(job, cut, cut.starts[place[cut.axis]], list(moved[count:]))


def _by_call(passes: tuple[Pass, ...], known: list[Any]) -> Known:
    """What was found, by the calls that asked for it."""
    by_call: Known = {}
    for found, numbers in zip(passes, known, strict=False):
        k = 0
        for call, kind in found:
            by_call[call] = [numbers[..., i : i + 1] for i in range(k, k + kind)]
            k += kind
    return by_call


def share_of(
    job: Job, cut: Cut, backend: Backend, place: tuple[int, ...], *arrays: Any
) -> Array:
    """What the next pass finds in a block: float64 numbers along the class axis.

    The arrays are those of the job, and what each pass before it has found.
    """
    block, xp = _block_of(job, cut, backend, place, arrays), backend.xp
    found = cut.passes[len(block.known)]
    shape = (*block.first.shape[:-1], sum(kind for _, kind in found))
    made = xp.empty(shape, dtype=xp.float64, device=backend.device(block.first))
    for rows in block.rows():
        shares = [
            backend.applied(of_piece, of_piece.arguments)
            for _, of_piece in block.pieces(rows, finds=True)
        ]
        together = xp.concat(shares, axis=-1)
        made[(*rows, ...)] = merged(backend, found, together, together.ndim - 1)
    return xp.moveaxis(made, -1, cut.axis)


def output_of(
    job: Job, cut: Cut, k: int, backend: Backend, place: tuple[int, ...], *arrays: Any
) -> Array:
    """The k-th output of a block, from what all passes have found."""
    block, xp = _block_of(job, cut, backend, place, arrays), backend.xp
    device = backend.device(block.first)
    made = xp.empty(block.first.shape, dtype=job.dtypes[k], device=device)
    for rows in block.rows():
        for along, of_piece in block.pieces(rows):
            made[(*rows, ..., along)] = backend.per_element(of_piece)[k]
    return xp.moveaxis(made, -1, cut.axis)
