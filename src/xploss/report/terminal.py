"""Lines on a terminal, in colour where somebody sees it."""

import os
import sys


def styled(code: int, text: str) -> str:
    """Bold is 1, red 31; plain text where nobody sees colours or wants them."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def show(line: str = "") -> None:
    """A line or more, at once: libraries take their time to load."""
    print(line.rstrip(), flush=True)


def progress(done: float) -> None:
    """A bar, from 0 to 1, where somebody watches; at 1 it goes away."""
    if not sys.stderr.isatty():
        return
    bar = "" if done >= 1 else f"[{'#' * int(40 * done):40}] {done:4.0%}"
    print(f"\r\x1b[K{bar}", end="", file=sys.stderr, flush=True)


def heading(line: str) -> None:
    show()
    show(styled(1, line))
