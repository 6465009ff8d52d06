"""How many cases are drawn, and the count of what was judged.

`--hypothesis-profile=explore` draws more of them, other ones each time.
"""

from hypothesis import settings
from parity.harness import COUNTS

settings.register_profile(
    "parity", max_examples=600, derandomize=True, deadline=None, database=None
)
settings.register_profile("explore", max_examples=20_000, deadline=None, database=None)
settings.load_profile("parity")


def pytest_addoption(parser):
    parser.addoption(
        "--write-deviations",
        action="store_true",
        help="write the peers' rows in docs/deviations.md",
    )


def pytest_terminal_summary(terminalreporter):
    for peer in sorted({peer for peer, _ in COUNTS}):
        calls, numbers, wrong = (
            COUNTS[peer, what] for what in ("calls", "numbers", "wrong")
        )
        terminalreporter.write_line(
            f"{peer}: {calls} calls, {numbers} numbers, {wrong} of theirs wrong"
        )
