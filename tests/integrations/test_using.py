"""Each section of docs/using.md runs as a reader would run it and prints the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "using.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections():
    """By heading, the Python code, and the text that it says it prints."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        blocks = BLOCK.findall(body)
        assert body.count("```") == 2 * len(blocks), f"{heading}: an unknown block"
        found[heading] = tuple(
            "".join(text for kind, text in blocks if kind == wanted)
            for wanted in ("python", "text")
        )
    return found


@pytest.mark.parametrize("heading", sections())
def test_section(heading, tmp_path):
    code, printed = sections()[heading]
    assert code
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == printed


def test_lines_are_short():
    lines = PAGE.read_text().splitlines()
    assert max(map(len, lines)) <= 88
