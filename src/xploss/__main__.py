"""`python -m xploss`: a report of what runs here and how exactly; or a score."""

from .report.commands import run

if __name__ == "__main__":
    raise SystemExit(run())
