"""Lines on a terminal, in colour where somebody sees it."""

import os
import sys


def styled(code: int, text: str) -> str:
    """Bold is 1, red 31; plain text where nobody sees colours or wants them."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def show(line: str = "") -> None:
    """A line, at once: libraries take their time to load."""
    print(line.rstrip(), flush=True)


def heading(line: str) -> None:
    show()
    show(styled(1, line))
