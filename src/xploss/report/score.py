"""`python -m xploss score`: the loss of a table's predictions, and where it comes from.

Computed in float64, some rows at a time, whatever the file holds.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import xploss

from ..metrics import Mean
from . import by_hand
from .tables import BadTable, Table, opened
from .terminal import heading, progress, show

WORST, BINS = 10, 10
DIGITS = 1e-6  # a loss that is off by more shows another number in six digits


# ---- which columns -------------------------------------------------------------------


class Columns(NamedTuple):
    labels: str
    predictions: list[str]  # several of many classes
    weights: str | None
    of_logits: bool

    @property
    def names(self) -> list[str]:
        weights = [] if self.weights is None else [self.weights]
        return [self.labels, *self.predictions, *weights]


# Their usual names, and whether these are logits.
PREDICTIONS = {
    "logit": True, "logits": True, "probability": False, "probabilities": False,
}  # fmt: skip


def chosen(table: Table, options: argparse.Namespace) -> Columns:
    """The columns that were asked for, or those with the usual names."""
    names = table.names
    usual = ["label", "labels"] if options.labels is None else [options.labels]
    labels = _first(names, usual)
    weights = None if options.weights is None else _first(names, [options.weights])
    asked = ((options.logits, True), (options.probabilities, False))
    wanted = {name: kind for name, kind in asked if name is not None} or PREDICTIONS
    for name, of_logits in wanted.items():
        predictions = _predictions(names, name)
        if predictions:
            return _once(names, Columns(labels, predictions, weights, of_logits))
    raise _missing(names, [f"{name}{end}" for name in wanted for end in ("", "_0")])


def _once(names: list[str], columns: Columns) -> Columns:
    twice = [name for name in columns.names if names.count(name) > 1]
    if twice:
        raise BadTable(f"two columns are called `{twice[0]}`; rename one")
    return columns


def _first(names: list[str], wanted: list[str]) -> str:
    for name in wanted:
        if name in names:
            return name
    raise _missing(names, wanted)


def _predictions(names: list[str], name: str) -> list[str]:
    """The column of that name; or one a class, of that name with _0, _1, ..."""
    if name in names:
        return [name]
    there, numbered = set(names), [f"{name}_{k}" for k in range(len(names))]
    found = [column for column in numbered if column in there]
    if found != numbered[: len(found)]:
        missing = next(column for column in numbered if column not in there)
        raise BadTable(f"no column `{missing}`, though there is one of a later class")
    return found


def _missing(names: list[str], wanted: list[str]) -> BadTable:
    told = " or ".join(f"`{name}`" for name in wanted)
    return BadTable(f"no column {told}; there are: {', '.join(names)[:200] or 'none'}")


# ---- some rows, checked --------------------------------------------------------------


class Rows(NamedTuple):
    numbers: Any  # of the rows, from 1 on
    labels: Any
    predictions: Any  # (rows,), or (rows, classes)
    weights: Any | None


def checked_rows(table: Table, columns: Columns) -> Iterator[Rows]:
    """Without those that weigh nothing."""
    for part in table.parts(columns.names):
        progress(part.done)
        labels, *others = part.columns
        weights = others.pop() if columns.weights else None
        numbers = np.arange(part.first, part.first + len(labels)) + 1
        rows = Rows(numbers, labels, _together(others, columns), weights)
        if weights is not None:
            _check_weights(rows, weights, str(columns.weights))
            kept = weights > 0
            rows = Rows(*(a[kept] for a in (*rows[:3], weights)))
        _check(rows, columns)
        yield rows
    progress(1.0)


def _together(columns: list[Any], named: Columns) -> Any:
    """(rows,), or (rows, classes)."""
    if len(columns) == 1:
        (column,) = columns
        return column[:, 0] if column.shape[1:] == (1,) else column
    for name, column in zip(named.predictions, columns, strict=True):
        if column.ndim != 1:
            raise BadTable(f"`{name}` must have one number a row; got {column.shape}")
    return np.stack(columns, axis=1)


def _check_weights(rows: Rows, weights: Any, name: str) -> None:
    if weights.ndim != 1:
        raise BadTable(f"`{name}` must have one number a row; got {weights.shape}")
    wrong = ~((weights >= 0) & np.isfinite(weights))
    _refuse(rows, wrong, name, weights, "finite and at least 0")


def _check(rows: Rows, columns: Columns) -> None:
    labels, x = rows.labels, rows.predictions
    if labels.ndim != 1 or x.ndim > 2:
        raise BadTable(
            f"`{columns.labels}` must have one number a row, and predictions one, or "
            f"one a class; got shapes {labels.shape} and {x.shape}"
        )
    if x.ndim == 2 and not x.shape[1]:
        raise BadTable(f"`{columns.predictions[0]}` has no class; got shape {x.shape}")
    if x.ndim == 2:
        classes = x.shape[1]
        right = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
        _refuse(rows, ~right, columns.labels, labels, f"from 0 to {classes - 1}")
    else:
        right = (labels >= 0) & (labels <= 1)
        _refuse(rows, ~right, columns.labels, labels, "from 0 to 1")
    name = columns.predictions[0]
    if columns.of_logits:
        _refuse(rows, np.isnan(x), name, x, "a number")
    else:
        _refuse(rows, ~((x >= 0) & (x <= 1)), name, x, "from 0 to 1")


def _refuse(rows: Rows, wrong: Any, name: str, values: Any, wanted: str) -> None:
    if not wrong.any():
        return
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    raise BadTable(
        f"row {rows.numbers[at[0]]}: `{name}` must be {wanted}; got {values[at]:g}"
    )


def _refuse_nan(rows: Rows, losses: Any) -> None:
    if np.isnan(losses).any():
        row = rows.numbers[np.argmax(np.isnan(losses))]
        raise BadTable(f"row {row}: no loss, since two logits are inf, or all are -inf")


# ---- losses --------------------------------------------------------------------------

Loss = Callable[[Any, Any], Any]


class Scored(NamedTuple):
    """A loss, and by what names and functions others write it by hand."""

    loss: Callable[..., Any]
    of_logits: bool
    of_classes: bool
    others: dict[str, Loss]


SCORED = (
    Scored(
        xploss.sigmoid_cross_entropy,
        of_logits=True,
        of_classes=False,
        others={
            "log(sigmoid(x))": by_hand.definition,
            "clipped at 1e-7": by_hand.clipped,
            "max(x, 0) - x*y + log1p(exp(-|x|))": by_hand.textbook,
        },
    ),
    Scored(
        xploss.binary_cross_entropy,
        of_logits=False,
        of_classes=False,
        others={
            "-(y*log(p) + (1-y)*log(1-p))": by_hand.probabilities,
            "clipped at 1e-7": by_hand.clipped_probabilities,
        },
    ),
    Scored(
        xploss.softmax_cross_entropy,
        of_logits=True,
        of_classes=True,
        others={
            "-log(softmax(x))": by_hand.log_of_softmax,
            "clipped at 1e-7": by_hand.softmax_clipped,
            "log-softmax: x - max - log(sum(exp))": by_hand.log_softmax,
        },
    ),
    Scored(
        xploss.categorical_cross_entropy,
        of_logits=False,
        of_classes=True,
        others={
            "-sum(y*log(p))": by_hand.class_probabilities,
            "clipped at 1e-7": by_hand.clipped_class_probabilities,
        },
    ),
)


def scored_by(of_logits: bool, of_classes: bool) -> Scored:
    wanted = (of_logits, of_classes)
    return next(s for s in SCORED if (s.of_logits, s.of_classes) == wanted)


# ---- what is found -------------------------------------------------------------------


@dataclass
class Tally:
    """Of all rows so far."""

    scored: Scored
    mean: Mean
    rows: int = 0
    weight: float = 0.0
    weighted: bool = False
    right: float = 0.0  # the weight of those that are
    beside: int = 0  # rows whose probabilities do not sum to 1
    others: dict[str, list[float]] = field(default_factory=dict)  # sum, rows off
    # Of each bin: rows, and weighted sums of 1, of predictions, and of what is so.
    bins: Any = field(default_factory=lambda: np.zeros((4, BINS)))
    worst: list[Any] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        labels = rows.labels.astype(int) if self.scored.of_classes else rows.labels
        weights = np.ones(len(labels)) if rows.weights is None else rows.weights
        self.mean.update(rows.predictions, labels, weights=rows.weights)
        losses = self.scored.loss(rows.predictions, labels, reduction="none")
        _refuse_nan(rows, losses)
        self.rows += len(labels)
        self.weighted = rows.weights is not None
        self.beside += self._beside_one(rows.predictions)
        self.weight += weights.sum()
        self._compare(rows, labels, weights, losses)
        predicted, sure, so = self._answers(rows.predictions, labels)
        self.right += weights[predicted].sum()
        self._calibrate(sure, so, weights)
        self._keep_worst(rows, losses)

    def _compare(self, rows: Rows, labels: Any, weights: Any, losses: Any) -> None:
        x = rows.predictions
        masses = labels
        if self.scored.of_classes:
            masses = np.zeros_like(x)
            masses[np.arange(len(x)), labels] = 1.0
        for name, by in self.scored.others.items():
            with np.errstate(all="ignore"):
                theirs = by(x, masses)
                close = (theirs == losses) | (abs(theirs - losses) <= DIGITS * losses)
            found = self.others.setdefault(name, [0.0, 0])
            found[0] += float((weights * theirs).sum())
            found[1] += int((~close).sum())

    def _answers(self, x: Any, labels: Any) -> tuple[Any, Any, Any]:
        """Whether each is right; how sure of what it is; and how much that is so."""
        if self.scored.of_classes:
            right = x.argmax(axis=1) == labels
            p = xploss.softmax(x) if self.scored.of_logits else x
            return right, p.max(axis=1), right
        p = xploss.sigmoid(x) if self.scored.of_logits else x
        return (p > 0.5) == (labels > 0.5), p, labels

    def _beside_one(self, x: Any) -> int:
        if self.scored.of_logits or not self.scored.of_classes:
            return 0
        return int((abs(x.sum(axis=1) - 1.0) > DIGITS).sum())

    def _calibrate(self, sure: Any, so: Any, weights: Any) -> None:
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        columns = (None, weights, weights * sure, weights * so)
        for sums, column in zip(self.bins, columns, strict=True):
            sums += np.bincount(place, column, BINS)

    def _keep_worst(self, rows: Rows, losses: Any) -> None:
        """The first of equals."""
        order = np.argsort(-losses, kind="stable")[:WORST]
        columns = (losses, rows.numbers, rows.labels, rows.predictions)
        found = [tuple(column[k] for column in columns) for k in order]
        both = [*self.worst, *found]
        self.worst = sorted(both, key=lambda row: (-row[0], row[1]))[:WORST]


# ---- what is printed -----------------------------------------------------------------


LOSS_MEANING = """
mean: of the losses; smaller is better.  standard error: of that mean, if the
rows were drawn at random.  rows off: whose loss differs from that of xploss by
more than one part in a million, or is no number.
"""
BIN_MEANING = """
rows: how many.  The other columns are means of these rows, by weight.  Where
they differ, the predictions are too sure, or not sure enough.
"""


def show_losses(tally: Tally) -> None:
    heading("Loss")
    mean = tally.mean.result()
    show(f"{'':37}{'mean':>12}  {'standard error':>14}  {'rows off':>9}")
    error = tally.mean.standard_error()
    show(f"{'xploss':37}{mean:12.7g}  {error:14.3g}  {0:9d}")
    for name, (total, off) in tally.others.items():
        show(f"{name:37}{total / tally.weight:12.7g}  {'':14}  {off:9d}")
    show(LOSS_MEANING)
    show()
    if tally.beside:
        show(f"Rows whose probabilities do not sum to 1: {tally.beside}.")
    share, by = tally.right / tally.weight, ", by weight" if tally.weighted else ""
    show(f"Accuracy {share:.4f}: share of rows {_right(tally)}{by}.")


def _right(tally: Tally) -> str:
    if tally.scored.of_classes:
        return "whose likeliest class is the label"
    return "with p and label on one side of 1/2"


def show_calibration(tally: Tally) -> None:
    what = "class is right" if tally.scored.of_classes else "positive"
    of = "of the likeliest class" if tally.scored.of_classes else "of label 1"
    heading(f"Calibration, by the probability {of}")
    show(f"{'probability':13}{'rows':>12}  {'mean predicted':>14}  {what:>14}")
    for k, (rows, weight, sure, so) in enumerate(tally.bins.T):
        cells = f"{k / BINS:.1f} to {(k + 1) / BINS:.1f}   {int(rows):12d}"
        if rows:
            cells += f"  {sure / weight:14.4f}  {so / weight:14.4f}"
        show(cells)
    show(BIN_MEANING)


def show_worst(tally: Tally) -> None:
    kind = "logit" if tally.scored.of_logits else "probability"
    of_classes = tally.scored.of_classes
    heading(f"The rows of the largest loss, {WORST} at most")
    titles = f"{'row':>12}  {'label':>8}  {kind:>14}"
    titles += f"  {'likeliest':>10}" if of_classes else ""
    show(f"{titles}  {'loss':>12}")
    for loss, row, label, x in tally.worst:
        cells = f"{row:12d}  {label:8g}"
        if of_classes:
            cells += f"  {x[int(label)]:14.7g}  {int(x.argmax()):10d}"
        else:
            cells += f"  {x:14.7g}"
        show(f"{cells}  {loss:12.7g}")
    show()
    show("row: counted from 1, without a line of names.")
    if of_classes:
        show(f"{kind}: of the label's class.  likeliest: the class predicted.")


def told(columns: Columns, tally: Tally, path: str) -> str:
    kind = "logits" if columns.of_logits else "probabilities"
    first, *_, last = [*columns.predictions, columns.predictions[-1]]
    named = f"`{first}`" if first == last else f"`{first}` to `{last}`"
    weights = f", weights `{columns.weights}`" if columns.weights else ""
    return (
        f"{path}\n{tally.rows} rows; labels `{columns.labels}`, {kind} {named}{weights}"
    )


# ---- the command ---------------------------------------------------------------------


def tallied(path: str, options: argparse.Namespace) -> tuple[Columns, Tally]:
    table = opened(path)
    columns = chosen(table, options)
    tally = None
    for rows in checked_rows(table, columns):
        if tally is None:
            scored = scored_by(columns.of_logits, rows.predictions.ndim == 2)
            tally = Tally(scored, Mean(scored.loss))
        tally.add(rows)
    if tally is None or not tally.rows:
        raise BadTable(f"{path}: no rows, or none that weighs anything")
    return columns, tally


def score(path: str, options: argparse.Namespace) -> None:
    columns, tally = tallied(path, options)
    show(told(columns, tally, path))
    show_losses(tally)
    show_calibration(tally)
    show_worst(tally)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".npy, .npz, .csv or .parquet")
    parser.add_argument("--labels", metavar="NAME", help="column of the labels [label]")
    which: Any = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--logits",
        metavar="NAME",
        help="column of the logits; of many classes NAME_0, NAME_1, ... [logit]",
    )
    which.add_argument(
        "--probabilities",
        metavar="NAME",
        help="column of probabilities of label 1 instead; of many classes NAME_0, "
        "NAME_1, ... [probability]",
    )
    parser.add_argument("--weights", metavar="NAME", help="column of weights [none]")


ABOUT = """\
The mean loss of a table's predictions and its standard error, accuracy, calibration,
the worst ten rows, and what losses that are often written by hand would have said.

A .csv begins with a line of names.  A .npz has one array for each column, of shape
(rows,); predictions of many classes may be one array of (rows, classes).  A .npy is a
structured array, or has the columns label and logit, or label, logit_0, logit_1, ...,
in this order.  Binary labels are from 0 to 1; of many classes they are numbers from 0
on.  Without options the columns label or labels, and logit, logits, probability or
probabilities are taken, the first of them that is there.  Rows of weight 0 are left
out.  However large the file is, some rows at a time are in memory.  Losses are computed
in float64.  The exit status is 2 if the file cannot be scored.  In brackets: what is
taken without the option.
"""


EXAMPLES = """\
examples:
  python -m xploss score predictions.csv
  python -m xploss score table.parquet --labels y --probabilities p --weights w
"""
