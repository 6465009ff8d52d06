"""Timing calls side by side: interleaved in one process, so that drift cancels."""

import statistics
import time
from collections.abc import Callable, Iterator

WARM = {  # freed pages stay with the process: no page faults in the timings
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def times(
    calls: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call, round by round; each is called twice before."""
    for call in calls.values():
        call(), call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def ratios(taken: dict[str, list[float]], ours: str, theirs: str) -> list[float]:
    """Ours over theirs: median, least, most, of the rounds."""
    each = [a / b for a, b in zip(taken[ours], taken[theirs], strict=True)]
    return [statistics.median(each), min(each), max(each)]


def nanoseconds(taken: dict[str, list[float]], n: int) -> Iterator[tuple[str, float]]:
    """Median time an element."""
    return ((name, statistics.median(t) / n * 1e9) for name, t in taken.items())
