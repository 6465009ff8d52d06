"""`python -m xploss`: the job, shown, then what runs here and how exactly."""

from .report.page import run

if __name__ == "__main__":
    raise SystemExit(run())
