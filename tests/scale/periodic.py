"""Data of any size, of which the exact mean is known: a few numbers that repeat.

Processes that have no tests import it too, so it imports nothing of the package.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from mpmath import mp, mpf
from reference import Exact, from_logit

PERIOD = 997  # a prime, so that blocks begin anywhere in it


@cache
def logits_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """One period, of ordinary numbers."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0.0, 4.0, PERIOD).astype(np.float32)
    return logits, rng.uniform(0.0, 1.0, PERIOD).astype(np.float32)


def between(period: np.ndarray, start: int, stop: int) -> np.ndarray:
    return np.resize(np.roll(period, -start), stop - start)


def _of_block(period: np.ndarray, block_info: Any = None) -> np.ndarray:
    ((start, stop),) = block_info[None]["array-location"]
    return between(period, start, stop)


def in_blocks(n: int, block: int) -> list[Any]:
    """Logits and labels as Dask arrays, made where a block is computed."""
    import dask.array as da

    chunks = da.core.normalize_chunks(block, (n,))
    return [
        da.map_blocks(_of_block, period, chunks=chunks, meta=period[:0])
        for period in logits_and_labels()
    ]


def exact() -> list[Exact]:
    """The losses of one period."""
    pairs = zip(*logits_and_labels(), strict=True)
    return [from_logit(float(logit), float(label)) for logit, label in pairs]


def _of_first(n: int) -> Iterator[tuple[int, Exact]]:
    """Each loss of the period, and how often it is among the first n."""
    for k, one in enumerate(exact()):
        yield n // PERIOD + (k < n % PERIOD), one


def mean(n: int) -> mpf:
    with mp.workprec(200):
        return mp.fsum(times * one.value for times, one in _of_first(n)) / n


def norm_of_gradient(n: int, field: str = "gradient") -> mpf:
    """Of the mean; or of the larger terms that it is made of, field "term"."""
    with mp.workprec(200):
        squares = (times * getattr(one, field) ** 2 for times, one in _of_first(n))
        return mp.sqrt(mp.fsum(squares)) / n


# ---- rows of classes -----------------------------------------------------------------


def _of_rows(period: np.ndarray, block_info: Any = None) -> np.ndarray:
    (rows, (start, stop)) = block_info[None]["array-location"]
    return np.stack([between(period, k + start, k + stop) for k in range(*rows)])


def rows_in_blocks(n: int, classes: int, chunks: tuple[int, int]) -> Any:
    """n rows of logits, each the period from another number on, again and again."""
    import dask.array as da

    period, _ = logits_and_labels()
    cut = da.core.normalize_chunks(chunks, (n, classes))
    return da.map_blocks(_of_rows, period, chunks=cut, meta=period[None, :0])


def of_rows(starts: np.ndarray, numbers: np.ndarray, classes: int) -> tuple[mpf, mpf]:
    """Of rows of whole periods from a number on, by the numbers of their classes: the
    mean of the losses, and the norm of its gradient."""
    assert classes % PERIOD == 0
    period = [mpf(float(logit)) for logit in logits_and_labels()[0]]
    counts = np.bincount((starts + numbers) % PERIOD, minlength=PERIOD)
    n, times = len(numbers), [int(count) for count in counts]
    with mp.workprec(200):
        total = mp.fsum(map(mp.exp, period)) * (classes // PERIOD)
        squares = mp.fsum(mp.exp(2 * x) for x in period) * (classes // PERIOD)
        p = [mp.exp(x) / total for x in period]
        losses = mp.fsum(-k * mp.log(one) for k, one in zip(times, p, strict=True))
        of_labels = mp.fsum(k * (1 - 2 * one) for k, one in zip(times, p, strict=True))
        return losses / n, mp.sqrt(n * squares / total**2 + of_labels) / n
