"""docs/moving.md: what one writes and what one gets are the same numbers.

TensorFlow's section wants its own environment, and Keras' runs on any of its backends.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "moving.md"
SECTIONS = dict(
    section.split("\n", 1) for section in PAGE.read_text().split("\n## ")[1:]
)
ROW = re.compile(r"^\| `(.*)` \| `(.*)` \|$", re.MULTILINE)
ROWS = [
    pytest.param(heading, *pair, id=f"{heading}-{k}")
    for heading, text in SECTIONS.items()
    for k, pair in enumerate(ROW.findall(text))
]


@functools.cache
def names(heading):
    """What the block of code above a table leaves behind."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", SECTIONS[heading], re.M | re.S)
    left = {}
    exec(code, left)
    return left


def test_every_line_of_a_table_is_a_row():
    lines = re.findall(r"^\| .*", PAGE.read_text(), re.MULTILINE)
    heads = [line for line in lines if line == "| you write | you get |"]
    assert len(heads) == len(SECTIONS)
    assert len(ROWS) == len(lines) - len(heads)


@pytest.mark.parametrize(("heading", "theirs", "ours"), ROWS)
def test_row(heading, theirs, ours):
    """Of ordinary logits, where nobody's digits are lost."""
    theirs, ours = (np.asarray(eval(c, names(heading))) for c in (theirs, ours))
    assert theirs.shape == ours.shape
    eps = max(np.finfo(number.dtype).eps for number in (theirs, ours))
    np.testing.assert_allclose(ours, theirs, rtol=32 * eps)
