"""`python -m xploss`: its commands, and the exit status, 2 of a wrong call."""

import argparse
import os
import sys
from collections.abc import Sequence

import xploss

from . import page, score
from .tables import BadTable
from .terminal import progress

NAME = "python -m xploss"
ABOUT = """\
Without a command: losses by hand beside this package's, the array libraries that are
installed here, and how exact each of them is.  It ends with status 1 if one of them is
broken or past the errors that are promised.
"""


def parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser(NAME, description=ABOUT, formatter_class=plain)
    whole.add_argument(
        "--version", action="version", version=f"xploss {xploss.__version__}"
    )
    commands = whole.add_subparsers(title="commands", dest="command")
    scoring = commands.add_parser(
        "score",
        help="score the predictions in a file",
        description=score.ABOUT,
        epilog=score.EXAMPLES,
        formatter_class=plain,
    )
    score.add_options(scoring)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.command is None:
        return page.main()
    try:
        score.score(options.file, options)
    except BadTable as error:
        progress(1.0)
        line = " ".join(str(error).split())
        print(f"{NAME} score: {line}", file=sys.stderr)
        return 2
    return 0


def run() -> int:
    try:
        return main()
    except BrokenPipeError:
        # `| head` has read enough; Python's own flush at exit must not fail again:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
