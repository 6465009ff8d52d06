"""The pages of the site: nothing public is missing, no code is left unrun."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))

# Whose blocks of code have tests of their own: test_using.py, test_page.py of the
# recipes, test_moving.py.
RUN_BY_A_TEST = {"using.md", "scale.md", "moving.md"}


def documented():
    """The names of the directives on the reference's pages."""
    for page in sorted((DOCS / "api").glob("*.rst")):
        text = page.read_text()
        module = re.findall(r"^\.\. currentmodule:: (.*)$", text, re.MULTILINE)
        names = re.findall(r"^\.\. auto(?:function|class):: (\w+)", text, re.MULTILINE)
        yield from (f"{module[0]}.{name}" for name in names)


def public():
    """The functions and classes of api.txt, without methods."""
    lines = (ROOT / "tests" / "house" / "api.txt").read_text().splitlines()
    names = [line.partition("(")[0] for line in lines if "(" in line]
    return [name for name in names if not name.split(".")[-2][0].isupper()]


def test_every_public_name_is_on_a_page_once():
    assert sorted(documented()) == sorted(public())
    assert len(public()) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_has_a_prompt_and_is_run_or_has_a_test(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    if page.name not in RUN_BY_A_TEST:
        assert all(block.startswith(">>> ") for block in blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_list_starts_within_a_sentence(page):
    """A line that goes on with an item and starts with a sign starts a list."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    assert not re.findall(r"^ +[-+*] .*", text, re.MULTILINE)
