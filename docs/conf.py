"""The site: `nox -s site` builds it, of the package that is installed."""

import re
import tomllib
from pathlib import Path

from sphinx.util import logging

import xploss

project = "xploss"
release = version = xploss.__version__
html_title = f"xploss {release}"
project_copyright = "its authors, under the MIT licence"
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_codeautolink",  # from what an example calls to the reference
    "sphinx-mathjax-offline",  # which every reader would fetch from a host else
]

html_theme = "furo"  # wide tables scroll in a box of their own; pages stand beside
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
html_show_sphinx = False
pygments_style, pygments_dark_style = "default", "github-dark"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# PyTorch is loaded for its modules alone, of which the docstrings are shown.
autodoc_mock_imports = ["torch"]
autodoc_typehints = "none"  # the docstrings say more
autodoc_preserve_defaults = True
numpydoc_show_class_members = autosummary_generate = False
# A name in backticks is ours, and linked, or an argument's.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"(?!xploss\.).*"), ("py:class", r"torch\..*")]


# ---- what is read --------------------------------------------------------------------

# What a docstring has in plain text, as `help` prints it, and here in TeX.
TYPESET = {
    " ".join(formula["plain"].split()): formula["tex"].strip()
    for formula in tomllib.loads(Path("formulas.toml").read_text())["formula"]
}
PLAIN = re.compile(r"::\n\n((?:    .*\n|\n(?=    ))+)")


def typeset(app, what, name, of, options, lines):
    """The formulas of a docstring, of which none may be missing."""

    def in_tex(found):
        plain = " ".join(found[1].split())
        if plain not in TYPESET:
            logging.getLogger(__name__).warning(
                "formulas.toml lacks one of %s: %s", name, plain
            )
        tex = TYPESET.get(plain, "").replace("\n", "\n    ")
        return f":\n\n.. math::\n\n    {tex}\n"

    lines[:] = PLAIN.sub(in_tex, "\n".join(lines) + "\n").split("\n")


def trim(app, name, source):
    """A block of code ends with an empty line, by which doctest knows its end."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    app.connect("source-read", trim)
    app.connect("autodoc-process-docstring", typeset, priority=400)  # before numpydoc
