"""Metrics over batches, shards and processes: a mean that does not depend on the cut.

A reduction of this package is partial, merge, finish.  Here each partial sum is two
floats, the sum and what rounding it has left over, so that merging loses nothing.
"""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from typing import Any, Self

import numpy as np

from ._arguments import check_number, number
from ._arrays import is_number, kind
from ._call import per_element
from ._derivatives import taken_apart, unwrapped
from .backends.base import Backend
from .backends.numpy import BACKEND as NUMPY

__all__ = ["Mean"]


def __dir__() -> list[str]:
    return __all__


# A sum of float64 numbers, and what its rounding has left over: 106 bits together.
Pair = tuple[float, float]
# Of losses times weights (u) and what these are divided by (d): the number of elements
# that weigh something, and the sums of u, d, u * u, u * d and d * d.
Sums = tuple[Pair, ...]

NOTHING: Sums = ((0.0, 0.0),) * 6
BLOCK = 1 << 15  # elements at a time, which stay in a cache
FEW = 64  # numbers that `math.fsum` adds, one by one


class Mean:
    """The mean of a loss over all that it was updated with, however that was cut.

    The weighted mean of the losses, as scikit-learn's `log_loss` and
    ``reduction="weighted_mean"`` have it::

        sum(w * l) / sum(w)                 w: weights, 1 without; 0 where masked
        sum(w * l) / sum(w * v)             many classes, v: the label's class weight

    Each loss is computed in the dtype of the logits; 16-bit logits are computed in
    float32, and their losses are not rounded back, as `reduction="none"` would do.
    What follows is exact to 100 bits and rounded once, to
    a float: another order, batches, shards, or weights in the place of repeated rows
    change the result by 1 ulp at most, and nearly never.  (Where a library computes an
    element in other bits when it stands elsewhere in an array, by that as well.)

    Parameters
    ----------
    loss : a loss of `xploss`, or a `functools.partial` of one with options
        As `sigmoid_cross_entropy` or `partial(softmax_cross_entropy, ignore_index=0)`.
        It takes no `axis` and no `reduction`.

    Raises
    ------
    TypeError
        Anything else than a loss of ours.

    Notes
    -----
    `update` looks at the numbers: it brings the losses to the host, waits for a device,
    and computes what is lazy (of Dask each block where it is; sums alone come back).
    Nobody can differentiate through it.  Under `jax.jit`, `tf.function` or `vmap` it
    raises a TypeError: call it on what they return.

    References
    ----------
    T. J. Dekker, "A floating-point technique for extending the available precision",
    1971; J. R. Shewchuk, "Adaptive precision floating-point arithmetic", 1997, which is
    `math.fsum`; of the standard error W. G. Cochran, "Sampling Techniques", 1977, 6.4.

    Examples
    --------
    >>> import numpy as np
    >>> from xploss import sigmoid_cross_entropy
    >>> mean = Mean(sigmoid_cross_entropy)
    >>> mean.update(np.array([-40.0, 2.0]), 0)
    Mean(sigmoid_cross_entropy): 1.0634640055214863 of 2
    >>> mean.update(np.array([0.5]), 1).result()
    0.8670016650743598
    """

    def __init__(self, loss: Callable[..., Any]) -> None:
        self._made_of, self._options = taken_apart(loss, "Mean")
        _refuse_reduction(self._options)
        self.loss = loss
        self._sums: Sums = NOTHING

    # ---- partial, merge, finish ------------------------------------------------------

    def update(self, logits: Any, labels: Any, **options: Any) -> Self:
        """Take in a batch; the arguments are those of the loss.  Returns itself.

        `weights`, `where` and all other options of the loss are this batch's, in the
        place of those that a `functools.partial` has; what they leave out counts
        nowhere.  Errors as of the loss; a TypeError for `axis` and `reduction`, and
        where arrays have no values yet, under a compiler or a transform.
        """
        _refuse_reduction(options)
        options = self._options | options | {"reduction": "none"}
        call = self._made_of.call(logits, labels, **options)
        part = partial(_part, call.anchor.name)
        parts = call.anchor.backend.in_parts(part, *per_element(call))
        self._sums = _merged([self._sums, *parts])
        return self

    def merge(self, other: "Mean") -> Self:
        """Take in what another mean of the same loss has seen.  Returns itself.

        A TypeError if it is no mean, a ValueError if its loss is another one, or has
        other numbers for options; options that are arrays are not looked at.
        """
        if not isinstance(other, Mean):
            raise TypeError(f"`other` must be a Mean; got {kind(other)}, {other!r:.40}")
        if _told_by(self.loss) != _told_by(other.loss):
            raise ValueError(
                f"`other` is a mean of {_told_by(other.loss)} and this one of "
                f"{_told_by(self.loss)}; merge means of one loss"
            )
        self._sums = _merged([self._sums, other._sums])
        return self

    def result(self) -> float:
        """The mean, a Python float; NaN of nothing, or of a total weight of 0."""
        _, numerator, denominator, *_ = self._sums
        return _quotient(numerator, denominator)

    def standard_error(self) -> float:
        """Of the mean, if the n elements were drawn at random; NaN of fewer than 2::

            sqrt(n / (n - 1) * sum((w*l - mean*w)**2)) / sum(w)

        which without weights is the standard deviation over ``sqrt(n)``.  Weights that
        count repeated rows give the right mean, and a standard error that is too large:
        repeat the rows instead.  NaN also where a loss is infinite, and where all
        squares are below the least float.
        """
        if not all(math.isfinite(total) for total, _ in self._sums) or self.count < 2:
            return math.nan
        n, u, d, uu, ud, dd = map(_exact, self._sums)
        if d == 0 or (uu == 0 != u):
            return math.nan
        spread = max(uu - 2 * ud * u / d + dd * (u / d) ** 2, Fraction(0))
        return _root(spread * n / (n - 1) / d**2)

    @property
    def count(self) -> int:
        """How many elements, or rows of classes, there were that weigh something."""
        return int(self._sums[0][0])

    # ---- carried elsewhere -----------------------------------------------------------

    @property
    def state(self) -> tuple[float, ...]:
        """Twelve floats, from which `from_state` makes the mean again.

        Six sums, each followed by what its rounding has left over.  Gather those of all
        processes and `merge`: nothing is lost.  The sum of states is a state as well,
        to one rounding a process, as an all-reduce adds them in float64.
        """
        return tuple(number for pair in self._sums for number in pair)

    @classmethod
    def from_state(cls, loss: Callable[..., Any], state: Iterable[float]) -> Self:
        """The mean of a loss that has this state: twelve numbers, as `state` gives.

        A ValueError for another count of them, a TypeError for what is no number.
        """
        if not isinstance(state, Iterable) or isinstance(state, bytes | str):
            raise TypeError(f"`state` must be 12 numbers; got {kind(state)}")
        numbers = [_number(value) for value in state]
        if len(numbers) != 12:
            raise ValueError(
                f"`state` must be the 12 numbers of a `Mean.state`; got {len(numbers)}"
            )
        if not (math.isfinite(numbers[0]) and numbers[0] >= 0):
            raise ValueError(f"`state` must begin with a count; got {numbers[0]!r}")
        mean = cls(loss)
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        mean._sums = tuple(map(_pair, map(list, pairs)))
        return mean

    def __repr__(self) -> str:
        return f"Mean({_told_by(self.loss)}): {self.result()!r} of {self.count}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_state, (self.loss, self.state)


def _told_by(loss: Any) -> str:
    """The name of a loss, and of its options, with the numbers among them."""
    function, args, options = unwrapped(loss)
    given = [*enumerate(args), *sorted(options.items())]
    told = (f"{name}={value if is_number(value) else '...'}" for name, value in given)
    return ", ".join([function.__name__, *told])


def _refuse_reduction(options: dict[str, Any]) -> None:
    for option in ("reduction", "axis"):
        if option in options:
            raise TypeError(
                f"`Mean` is one number of all elements and takes no `{option}`, got "
                f"{options[option]!r}; leave it out"
            )


def _number(value: Any) -> float:
    check_number("state", value)
    return number("state", value)


# ---- a part --------------------------------------------------------------------------


def _part(name: str, backend: Backend, *arrays: Any) -> Sums:
    """The sums of losses, weights and what classes weigh, of one memory."""
    losses, *others = (_on_host(name, backend, array) for array in arrays)
    weights, shares = (
        None if a is None else np.broadcast_to(a, losses.shape).reshape(-1)
        for a in others
    )
    sums: Sums = NUMPY.run(None, _by_blocks, losses.reshape(-1), weights, shares)
    return sums


def _on_host(name: str, backend: Backend, array: Any) -> Any:
    if array is None:
        return None
    try:
        return np.asarray(backend.on_host(array))
    # Each library has its own for an array without values: under `jax.jit` a
    # TypeError, in a graph of TensorFlow's an AttributeError, ...
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise TypeError(
            f"`{name}` has no values that `Mean.update` could add up, got "
            f"{kind(array)}: call it outside of compilers and transforms, and on the "
            f"part of an array that this process has"
        ) from error


def _by_blocks(*arrays: Any) -> Sums:
    blocks = (
        [None if a is None else a[k : k + BLOCK].astype(np.float64) for a in arrays]
        for k in range(0, arrays[0].size, BLOCK)
    )
    return _merged([NOTHING, *(_sums(*block) for block in blocks)])


def _sums(losses: Any, weights: Any, shares: Any) -> Sums:
    if weights is None and shares is None:
        count, total = (float(losses.size), 0.0), _sum(losses)
        return count, total, count, _sum(*_product(losses, losses)), total, count
    weights = np.ones_like(losses) if weights is None else weights
    u = _product(losses, weights)
    d = _product(weights, np.ones_like(losses) if shares is None else shares)
    count = float(np.count_nonzero(d[0])), 0.0
    return count, _sum(*u), _sum(*d), _squares(u, u), _squares(u, d), _squares(d, d)


def _squares(a: Any, b: Any) -> Pair:
    """Of products, each with what it has lost."""
    product, lost = _product(a[0], b[0])
    lost = lost + (a[0] * b[1] + a[1] * b[0])
    return _sum(product, np.where(np.isfinite(lost), lost, 0.0))


# ---- exact arithmetic ----------------------------------------------------------------


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """The products, and what their rounding loses, by Dekker."""
    product = a * b
    (a, low_of_a), (b, low_of_b) = _halves(a), _halves(b)
    lost = ((a * b - product) + a * low_of_b + low_of_a * b) + low_of_a * low_of_b
    # Of numbers beyond 1e300, of which no half is known, that is nothing.
    return product, np.where(np.isfinite(lost), lost, 0.0)


def _halves(a: Any) -> tuple[Any, Any]:
    """Numbers of 26 bits, whose products are exact."""
    large = a * (2.0**27 + 1.0)
    high = large - (large - a)
    return high, a - high


def _sum(values: Any, lost: Any = None) -> Pair:
    """Of values, and of what each of them has lost."""
    total = float(np.sum(values))
    if not math.isfinite(total):
        return total, 0.0
    return _pair(_few(values) + ([] if lost is None else _few(lost)))


def _few(values: Any) -> list[float]:
    """Some numbers of the same sum: of halves of halves, and of what is rounded off."""
    others: list[float] = []
    while values.size > FEW:
        half = values.size // 2
        others += values[2 * half :].tolist()
        a, b = values[:half], values[half : 2 * half]
        values = a + b
        of_b = values - a
        others.append(float(np.sum((a - (values - of_b)) + (b - of_b))))
    others += values.tolist()
    return others


def _pair(numbers: list[float]) -> Pair:
    total = sum(numbers)
    if not math.isfinite(total):
        return total, 0.0
    total = math.fsum(numbers)
    return total, math.fsum([*numbers, -total])


def _merged(parts: list[Sums]) -> Sums:
    columns = zip(*parts, strict=True)
    return tuple(_pair([n for pair in column for n in pair]) for column in columns)


def _exact(pair: Pair) -> Fraction:
    return Fraction(pair[0]) + Fraction(pair[1])


def _root(square: Fraction) -> float:
    try:
        return math.sqrt(square)
    except OverflowError:
        return math.inf


def _quotient(numerator: Pair, denominator: Pair) -> float:
    """Rounded once."""
    u, d = numerator[0], denominator[0]
    if d == 0.0:
        return math.nan
    if not (math.isfinite(u) and math.isfinite(d)):
        return u / d
    try:
        return float(_exact(numerator) / _exact(denominator))
    except OverflowError:
        return math.copysign(math.inf, u) * math.copysign(1.0, d)
