"""One call, made of a peer and of ours, both judged by mpmath.

A number is right within 4 ulp of its condition: of the sum of the absolute terms that
it is defined as.  Ours must be right everywhere.  Where the peer is, both agree to
4 ulp as well; else one of its known deviations must apply.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import numpy as np
import pytest
from focal_reference import from_logit_focal
from grid import LOGITS, PROBS, REACH, rounded
from mpmath import mp, mpf
from reference import FORMATS, clipped, from_logit, from_probability, ulps

BOUND = 4.0
COUNTS: Counter[tuple[str, str]] = Counter()  # by peer and what is counted

# exp(-|x|) and 1 - p_t lose digits where they are subnormal, on XLA all of them; then
# they are multiplied by |x|, by a weight or by gamma at most.
LOST = {"float16": 1e4, "bfloat16": 1e4, "float32": 1e4, "float64": 1e5}


@dataclass(frozen=True, eq=False)
class Call:
    """`x` are logits or probabilities; numbers of `dtype`, kept in float64."""

    function: str
    dtype: str
    x: np.ndarray
    y: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)


def call(function: str, dtype: str, x: Any, y: Any, **options: Any) -> Call:
    first, labels = (rounded(np.atleast_1d(a), dtype) for a in (x, y))
    return Call(function, dtype, first, labels, options)


class Exact(NamedTuple):
    """Arrays of mpf: the numbers, and the sums of their absolute terms."""

    numbers: np.ndarray
    condition: np.ndarray


class Function(NamedTuple):
    """Each takes a call and returns "value" and, if any, "gradient"."""

    theirs: Callable[[Call], dict[str, np.ndarray]]
    ours: Callable[[Call], dict[str, np.ndarray]]
    exact: Callable[[Call], dict[str, Exact]]


@dataclass(frozen=True)
class Deviation:
    """Where a peer is known to be wrong: in words, by a predicate, by one call."""

    name: str
    where: str
    quantities: tuple[str, ...]  # the witness is of the first
    functions: tuple[str, ...]
    applies: Callable[[Call], Any]  # True or False, or so for each element
    witness: Call

    def may_show(self, made: Call, quantity: str) -> Any:
        if made.function not in self.functions or quantity not in self.quantities:
            return False
        with np.errstate(all="ignore"):
            return self.applies(made)


@dataclass(frozen=True)
class Peer:
    name: str
    version: str
    functions: dict[str, Function]
    deviations: list[Deviation]


# ---- what is exact -------------------------------------------------------------------


def each(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    """`function` of every element: an array of what it returns."""
    return np.frompyfunc(function, len(arguments), 1)(*arguments)


def parts(results: np.ndarray, name: str) -> np.ndarray:
    return each(lambda result: getattr(result, name), results)


def times(numbers: np.ndarray, factors: Any) -> np.ndarray:
    with mp.workprec(200):
        return each(lambda a, w: a * mpf(w), numbers, factors)


def as_exact(numbers: np.ndarray) -> Exact:
    """Numbers that are sums of terms >= 0."""
    return Exact(numbers, numbers)


def logit_elements(
    x: Any, y: Any, pos_weight: Any = 1.0, smoothing: float = 0.0
) -> dict[str, Exact]:
    """Of every element: the loss and its slope."""
    results = each(from_logit, x, y, pos_weight, smoothing)
    return {
        "value": as_exact(parts(results, "value")),
        "gradient": Exact(parts(results, "gradient"), parts(results, "term")),
    }


def focal_elements(
    x: Any, y: Any, gamma: float, alpha: float | None, smoothing: float = 0.0
) -> dict[str, Exact]:
    """The power amplifies by gamma what 1 - p_t, and its logarithm, are rounded."""

    def one(logit: float, label: float) -> Any:
        return from_logit_focal(logit, label, gamma, alpha, smoothing)

    results = each(one, x, y)
    amplified = 1 + gamma * (1 + parts(results, "power"))
    return {
        "value": Exact(parts(results, "value"), parts(results, "value") * amplified),
        "gradient": Exact(
            parts(results, "gradient"), parts(results, "gradient_term") * amplified
        ),
    }


def probability_elements(
    p: np.ndarray, y: np.ndarray, eps: float, smoothing: float = 0.0
) -> dict[str, Exact]:
    """Clipped to [eps, 1 - eps], with no slope outside."""
    within = each(clipped, p, eps)
    results = each(from_probability, within, y, 1.0, smoothing)
    inside = within == p
    slopes = (parts(results, name) for name in ("gradient", "term"))
    return {
        "value": as_exact(parts(results, "value")),
        "gradient": Exact(*(np.where(inside, slope, mpf(0)) for slope in slopes)),
    }


def reduced(
    elements: dict[str, Exact], weights: Any = 1.0, reduction: str = "none"
) -> dict[str, Exact]:
    """What the losses of all elements are reduced to, and its gradient."""
    shape = elements["value"].numbers.shape
    weights = np.broadcast_to(weights, shape)
    with mp.workprec(200):
        divisor = {
            "mean": mpf(weights.size),
            "weighted_mean": mp.fsum(map(mpf, weights.ravel().tolist())),
        }.get(reduction, mpf(1))
        divisor = mp.nan if divisor == 0 else divisor
        results = {
            quantity: Exact(*(times(part, weights) / divisor for part in exact))
            for quantity, exact in elements.items()
        }
        if reduction != "none":
            sums = (np.array(part.sum(), object) for part in results["value"])
            results["value"] = Exact(*sums)
    return results


# ---- the verdict ---------------------------------------------------------------------


def distance(number: Any, exact: Any, condition: Any, dtype: str) -> float:
    return ulps(number, exact, dtype, unit=condition, lost=LOST[dtype])


def known(peer: Peer, made: Call, quantity: str, shape: tuple[int, ...]) -> np.ndarray:
    """Where in a result of `shape` a deviation of the peer may show."""
    mask = np.zeros(made.x.shape, bool)
    for deviation in peer.deviations:
        mask = mask | deviation.may_show(made, quantity)
    if mask.shape == shape:
        return mask
    if len(shape) == mask.ndim - 1:
        return mask.any(axis=made.options.get("axis", -1))
    return np.broadcast_to(mask.any(), shape)


def check(peer: Peer, made: Call) -> None:
    function = peer.functions[made.function]
    theirs, ours = function.theirs(made), function.ours(made)
    COUNTS[peer.name, "calls"] += 1
    for quantity, (numbers, condition) in function.exact(made).items():
        assert np.shape(ours[quantity]) == np.shape(theirs[quantity]) == numbers.shape
        excused = known(peer, made, quantity, numbers.shape)
        for place in np.ndindex(numbers.shape):
            exact, scale = numbers[place], condition[place]
            one, other = ours[quantity][place], theirs[quantity][place]
            says = (
                f"{quantity} at {place} of {made}: theirs {other!r}, ours {one!r}, "
                f"exactly {mp.nstr(exact, 17)}, condition {mp.nstr(scale, 6)}"
            )
            COUNTS[peer.name, "numbers"] += 1
            assert distance(one, exact, scale, made.dtype) <= BOUND, f"ours, {says}"
            right = distance(other, exact, scale, made.dtype) <= BOUND
            apart = distance(other, mpf(float(one)), scale, made.dtype)
            if not (right and apart <= BOUND):
                COUNTS[peer.name, "wrong"] += 1
                assert excused[place], f"unknown deviation, {says}"


# ---- what is drawn -------------------------------------------------------------------

SHAPES = [(1,), (7,), (3, 1), (2, 3), (4, 5), (2, 2, 3)]
WIDTH = {"float16": 16, "bfloat16": 32, "float32": 32, "float64": 64}


def floats(dtype: str, low: float, high: float) -> st.SearchStrategy[float]:
    low, high = rounded(np.array([low, high]), dtype).tolist()
    return st.floats(low, high, width=WIDTH[dtype], allow_subnormal=False)


def logits(dtype: str) -> list[st.SearchStrategy[float]]:
    """Ordinary ones, tails, and special ones: an array has one kind of them."""
    special = rounded(np.concatenate([LOGITS, np.negative(LOGITS)]), dtype)
    reach = REACH[dtype]
    return [
        floats(dtype, -4, 4),
        floats(dtype, -reach, reach),
        st.sampled_from(special.tolist()),
    ]


def moderate_logits(dtype: str) -> list[st.SearchStrategy[float]]:
    """Such that no subnormal power times the logit is a number that counts."""
    *kinds, special = logits(dtype)
    return [*kinds, special.filter(lambda logit: abs(logit) <= 1e4)]


def probabilities(dtype: str) -> list[st.SearchStrategy[float]]:
    bits, _ = FORMATS[dtype]
    special = rounded(np.array([*PROBS, 2.0**-bits, 1 - 2.0**-bits, 1e-4]), dtype)
    special = special[(special == 0) | (special >= 2.0 ** FORMATS[dtype][1])]
    return [floats(dtype, 0, 1), st.sampled_from(special.tolist())]


def labels(dtype: str) -> list[st.SearchStrategy[float]]:
    """Hard ones, soft ones, and some next to 0 and 1.

    The least of them is far from subnormal numbers, to which a mean would take it.
    """
    bits, least = FORMATS[dtype]
    tiny = 2.0 ** (least // 2)
    edges = [tiny, 2.0 ** (1 - bits), 1 - 2.0**-bits, 0.0, 1.0, 0.5]
    return [
        st.sampled_from([0.0, 1.0]),
        floats(dtype, tiny, 1),
        st.sampled_from(edges),
    ]


def array(
    draw: Any, dtype: str, shape: tuple[int, ...], kinds: list[Any]
) -> np.ndarray:
    kind = draw(st.sampled_from(kinds))
    values = draw(arrays_of.arrays(np.float64, shape, elements=kind, fill=st.nothing()))
    return rounded(values, dtype)


@st.composite
def calls(
    draw: Any,
    function: str,
    dtypes: list[str],
    kinds: Callable[[str], list[Any]] = logits,
    labels: Callable[[str], list[Any]] = labels,
    shapes: list[tuple[int, ...]] = SHAPES,
    options: Callable[[Any, str, tuple[int, ...]], dict[str, Any]] | None = None,
) -> Call:
    """`options` draws them, given dtype and shape."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(st.sampled_from(shapes))
    x = array(draw, dtype, shape, kinds(dtype))
    y = array(draw, dtype, shape, labels(dtype))
    drawn = {} if options is None else options(draw, dtype, shape)
    return Call(function, dtype, x, y, drawn)


# ---- errors --------------------------------------------------------------------------


def raise_alike(theirs: Callable[[], Any], ours: Callable[[], Any]) -> None:
    """Ours raises what theirs raises: Python's own kinds of it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        theirs()
    every = (k for k in caught.type.__mro__ if k.__module__ == "builtins")
    kinds = tuple(k for k in every if k not in (Exception, BaseException, object))
    with pytest.raises(kinds or caught.type):
        ours()
