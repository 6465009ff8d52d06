"""The job, shown: cross-entropies by hand, by xploss, and exactly."""

import math
from typing import Any

import numpy as np

import xploss

from . import by_hand
from .exact import reference, row_reference
from .terminal import heading, show, styled


def ours(logits: Any, labels: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels, reduction="none")


COLUMNS = {
    "plain": by_hand.definition,
    "with 1e-7": by_hand.epsilon_inside,
    "max form": by_hand.max_form,
    "xploss": ours,
}
MEANING = """
! wrong in the digits shown.  exact: in 100 decimals, rounded to float64.

label y, logit x: what is given.  The other columns say the loss.
plain: -(y*log(p) + (1-y)*log(1-p)) of p = 1 / (1 + exp(-x)).
with 1e-7: the same with 1e-7 added in each logarithm.
max form: max(x, 0) - x*y + log(1 + exp(-|x|)).
xploss: sigmoid_cross_entropy(x, y).
"""
SHOWN_LOGITS = (-math.inf, -800.0, -40.0, -2.0, 0.0, 2.0, 40.0, 800.0, math.inf)
SHOWN_LABELS = (0.0, 1.0, 0.3)


def digits(number: float) -> str:
    return f"{number:.7g}"


def job_cell(number: float, exact: float) -> str:
    """The number, marked if it shows other digits than the exact one."""
    if digits(number) == digits(exact):
        return f"{digits(number):>13} "
    return styled(31, f"{digits(number):>13}!")


def job_row(logit: float, label: float) -> str:
    exact = float(reference(logit, label).value)
    arrays = np.array([logit]), np.array([label])
    with np.errstate(all="ignore"):
        numbers = [float(function(*arrays)[0]) for function in COLUMNS.values()]
    cells = "".join(job_cell(number, exact) for number in numbers)
    return f"{label:5g}{logit:6g} {cells}{digits(exact):>12}"


def show_job() -> None:
    heading("Binary cross-entropy by hand in NumPy, by xploss, and exactly")
    titles = "".join(f"{title:>13} " for title in COLUMNS)
    show(f"label logit {titles}{'exact':>12}")
    for label in SHOWN_LABELS:
        show()
        for logit in SHOWN_LOGITS:
            show(job_row(logit, label))
    show(MEANING)


# ---- many classes --------------------------------------------------------------------


def our_rows(logits: Any, masses: Any) -> Any:
    return xploss.softmax_cross_entropy(logits, masses, reduction="none")


ROW_COLUMNS = {
    "log-softmax": by_hand.log_softmax,
    "with 1e-7": by_hand.softmax_epsilon,
    "xploss": our_rows,
}
ROW_MEANING = """
log-softmax: x - max(x) - log(sum(exp(x - max(x)))) of the label, negated.
with 1e-7: -log(p + 1e-7) of the label, p = softmax(x).
xploss: softmax_cross_entropy(x, label).
"""
SHOWN_ROWS = (
    (1.0, 2.0, 3.0),
    (40.0, 0.0, -5.0),
    (0.0, 40.0, -5.0),
    (0.0, 0.0, -math.inf),
    (math.inf, 0.0, 0.0),
)


def row_of_classes(logits: tuple[float, ...]) -> str:
    """Of the first class's label."""
    exact = float(row_reference(logits, 0))
    arrays = np.array([logits]), np.eye(len(logits))[:1]
    with np.errstate(all="ignore"):
        numbers = [float(function(*arrays)[0]) for function in ROW_COLUMNS.values()]
    cells = "".join(job_cell(number, exact) for number in numbers)
    return f"{'  '.join(f'{x:g}' for x in logits):18} {cells}{digits(exact):>12}"


def show_rows() -> None:
    heading("Three classes, the first of them the label's")
    titles = "".join(f"{title:>13} " for title in ROW_COLUMNS)
    show(f"{'logits':18} {titles}{'exact':>12}")
    show()
    for logits in SHOWN_ROWS:
        show(row_of_classes(logits))
    show(ROW_MEANING)
