"""docs/errors.md shows what wrong calls say, and says nothing else.

`pytest tests/pages/errors --write-errors` writes it.  The calls need NumPy, PyTorch,
JAX, SciPy and array-api-strict at once: `nox -s examples`.
"""

import re
import textwrap
import warnings
from pathlib import Path

import pytest
from errors.wrong_calls import NAMES, WRONG_CALLS

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
INTRODUCTION = """\
# What wrong calls say

A call that is wrong by kind, dtype, shape, device or option never returns a
number. The values in arrays are not looked at: `check_labels` looks at labels.
Each call below was run, with `x` float64 and `y` integers, both of shape (2,
3); it raised what stands under it. A test runs them again and compares; they
are listed in `tests/pages/errors/wrong_calls.py`. Messages are broken to fit
the page.
"""
CALLS = [call for group in WRONG_CALLS.values() for call in group]


def refusal(call):
    """What a call raises; PyTorch and NumPy warn of the kinds that are made for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as raised:  # noqa: PT011
            eval(call, dict(NAMES))
    return raised.value


def wrapped(text, indent):
    return textwrap.fill(
        text, 80, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def entry(call):
    error = refusal(call)
    message = re.sub(r" at 0x[0-9a-f]+", " at 0x...", str(error))
    answer = wrapped(f"{type(error).__name__}: {message}", "  ")
    return f"{wrapped(call, '    ')}\n{answer}\n"


def page():
    sections = (
        f"\n## {title}\n\n```text\n" + "\n".join(entry(c) for _, c in calls) + "```\n"
        for title, calls in WRONG_CALLS.items()
    )
    return INTRODUCTION + "".join(sections)


def test_there_are_many():
    assert len({call for _, call in CALLS}) == len(CALLS) >= 40


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[call for _, call in CALLS])
def test_refusal_names_what_is_wrong(name, call):
    """In backticks; Python names what a signature lacks in quotes, or the function."""
    error = refusal(call)
    assert type(error) in (TypeError, ValueError)
    by_python = (f"argument '{name}'", f"argument: '{name}'", f"{name}() takes")
    assert any(part in str(error) for part in (f"`{name}`", *by_python))


def test_page_is_what_they_say(pytestconfig):
    made = page()
    assert max(map(len, made.splitlines())) <= 80
    if pytestconfig.getoption("--write-errors"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made
