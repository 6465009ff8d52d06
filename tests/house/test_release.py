"""What a release says of itself, in the files that say it."""

import re
from pathlib import Path

import xploss

ROOT = Path(__file__).parents[2]
CHANGES = (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_has_this_version():
    """Under its number, below what is not released yet."""
    headings = re.findall(r"^## (\S+)", CHANGES, re.MULTILINE)
    assert xploss.__version__ in headings
    assert headings.index(xploss.__version__) == (headings[0] == "Unreleased")


def test_the_citation_is_of_this_version():
    (version,) = re.findall(
        r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE
    )
    assert version == xploss.__version__


def test_the_changelog_has_every_public_name():
    missing = [name for name in xploss.__all__ if f"`{name}" not in CHANGES]
    assert not missing
