"""What the tests measured, in the summary of the run."""

import pytest

LINES = pytest.StashKey[list]()


@pytest.fixture
def tell(request):
    """Called with a line for the summary."""
    return request.config.stash.setdefault(LINES, []).append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)
