"""The report, and the exit status: 1 if a library is broken or past its bounds.

Needs NumPy alone.
"""

import xploss

from ..backends.compiled import INSTRUCTION_SETS
from . import libraries
from .comparison import show_job, show_rows
from .errors import BOUND, BOUND_16, BOUND_APART, Report, bound, examine, fails, truth
from .exact import FORMATS
from .libraries import QUANTITIES
from .terminal import heading, show, styled


def brief(error: float) -> str:
    """An error in four characters: 0.27, 31.4, 9e15."""
    if error < 99.95:
        return f"{error:.2f}"[:4]
    return f"{error:.0e}".replace("e+0", "e").replace("e+", "e")


def marked(error: float | None, most: float) -> str:
    """In five characters, the first of them a mark past the bound."""
    if error is None:
        return "    -"
    return f" {brief(error):>4}" if error <= most else styled(31, f"!{brief(error):>4}")


WIDTH = 80
LIBRARY_TITLES = f"{'library':17} {'version':14} {'runs on':31} from NumPy"
ERROR_TITLES = " " * 17 + "  f16 bf16  f32  f64" * len(QUANTITIES)
ERROR_GROUPS = " " * 17 + "".join(f"  {quantity:18}" for quantity in QUANTITIES)
LIBRARY_MEANING = """
version: the installed one.  runs on: its devices here, or how to install it.
from NumPy: the largest distance of a result from NumPy's, in ulp, units in the
last place, of which 2**24 are all digits of float32.  Smaller is better.
"""
ERROR_MEANING = f"""
f16, bf16, f32, f64: float16, bfloat16, float32, float64.  -: no such dtype.
value: of the loss.  gradient, Hessian: of its first and second derivative.
Smaller is better; promised: {BOUND:g} ulp, {BOUND_16:g} of 16-bit values.  !: beyond.
"""


def library_row(report: Report) -> str:
    row = f"{report.name:17} {report.version:14.14} {report.note}"
    if report.errors:
        return f"{row:64.64} {marked(report.apart, BOUND_APART)} ulp"
    row = row[:WIDTH]
    return styled(31, row) if report.broken else row


def error_row(report: Report) -> str:
    cells = (
        marked(report.errors.get((quantity, dtype)), bound(quantity, dtype))
        for quantity in QUANTITIES
        for dtype in FORMATS
    )
    return f"{report.name:17}" + "".join(cells)


def show_libraries() -> list[Report]:
    heading("What runs here")
    show(LIBRARY_TITLES)
    truths = {dtype: truth(dtype) for dtype in FORMATS}
    reports = []
    for library in libraries.LIBRARIES:
        reports.append(examine(library, truths))
        show(library_row(reports[-1]))
    show(LIBRARY_MEANING)
    show()
    show(engine())
    return reports


def engine() -> str:
    """Whether the formulas are compiled here, and for which processor."""
    if not INSTRUCTION_SETS:
        return (
            "The formulas are not compiled here, and run operation by operation: "
            "slower,\nand as exact.  With a C compiler, install again from the source."
        )
    best = INSTRUCTION_SETS[-1]
    return f"On the CPU the formulas run compiled, by the instructions of {best}."


def show_errors(reports: list[Report]) -> None:
    heading(
        "Worst error against the exact number, in ulp (gradient: of its larger term)"
    )
    show(ERROR_GROUPS)
    show(ERROR_TITLES)
    for report in reports:
        if report.errors:
            show(error_row(report))
    show(ERROR_MEANING)


def verdict(reports: list[Report]) -> str:
    failing = ", ".join(report.name for report in reports if fails(report))
    if failing:
        return styled(31, f"Broken or past the promised errors: {failing}.")
    running = sum(bool(report.errors) for report in reports)
    return styled(1, f"Run here: {running} of {len(reports)} libraries, and all agree.")


def main() -> int:
    show(f"xploss {xploss.__version__}: cross-entropies that are exact on any array")
    show_job()
    show_rows()
    reports = show_libraries()
    show_errors(reports)
    show()
    show(verdict(reports))
    return int(any(map(fails, reports)))
