"""Binary cross-entropy as people write it by hand in NumPy, run beside xploss.

    python examples/replicas.py

First the three spellings, line by line.  Then how far each is from the exact loss, in
units in the last place of it (ulp), at unsure, confident and infinite logits.  Then
that TensorFlow's and Keras' spellings are one loss, of logits or of probabilities.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from xploss import sigmoid, sigmoid_cross_entropy
from xploss.compat import keras, tensorflow
from xploss.report import by_hand
from xploss.report.exact import reference, ulps

LOGITS = (-math.inf, -800.0, -40.0, -2.0, 0.0, 2.0, 40.0, 800.0, math.inf)
LABELS = (0.0, 1.0, 0.3)  # two hard ones and a soft one


def ours(logits: Any, labels: Any) -> Any:
    return sigmoid_cross_entropy(logits, labels, reduction="none")


REPLICAS = (by_hand.definition, by_hand.epsilon_inside, by_hand.max_form)
SPELLINGS = (*REPLICAS, ours)


# ---- the comparison ----------------------------------------------------------------


class Cell(NamedTuple):
    """One result, and its distance from the exact loss in ulp."""

    result: float
    exact: Decimal
    error: float

    @property
    def lost(self) -> bool:
        """nan or inf instead of a number, or something else instead of inf."""
        finite = math.isfinite(self.result) and self.exact.is_finite()
        return self.error > 0 and not finite

    def __str__(self) -> str:
        return f"= {self.result:.3g}" if self.lost else brief(self.error)


def compare(spelling: Callable[[Any, Any], Any]) -> list[Cell]:
    """A cell for each label and each logit."""
    labels, logits = np.array(list(itertools.product(LABELS, LOGITS))).T
    with np.errstate(all="ignore"):  # where they fail, NumPy warns, no more
        results = spelling(logits, labels).tolist()
    exact = [reference(*pair).value for pair in zip(logits, labels, strict=True)]
    errors = map(ulps, results, exact, itertools.repeat("float64"))
    return list(map(Cell, results, exact, errors))


def worst(cells: list[Cell]) -> float:
    """The largest error in ulp where there is a number to compare."""
    return max(cell.error for cell in cells if not cell.lost)


def lost(cells: list[Cell]) -> int:
    return sum(cell.lost for cell in cells)


# ---- TensorFlow and Keras ----------------------------------------------------------


def demonstrate() -> dict[str, Any]:
    """The same loss by three calls."""
    labels = np.array([1.0, 0.0, 1.0, 0.0, 0.3])
    logits = np.array([3.0, -1.0, 0.0, 2.0, -0.5])
    from_logits = keras.backend_binary_crossentropy(labels, logits, from_logits=True)
    from_probs = keras.backend_binary_crossentropy(labels, sigmoid(logits))
    return {
        "tensorflow, logits": tensorflow.sigmoid_cross_entropy_with_logits(
            labels=labels, logits=logits
        ),
        "keras, from_logits=True": from_logits,
        "keras, from_logits=False": from_probs,
    }


# ---- what is printed ---------------------------------------------------------------


def brief(error: float) -> str:
    return f"{error:.2g}" if math.isfinite(error) else ">1e308"


def row(*cells: Any) -> str:
    first, second, *rest = cells
    return f"{first:>10}{second:>7}" + "".join(f"{cell!s:>15}" for cell in rest)


def show_comparison() -> None:
    columns = [compare(spelling) for spelling in SPELLINGS]
    print(
        "Error in ulp; after = the result, where just one of it and the exact loss is"
    )
    print("a finite number.\n")
    print(row("label", "logit", *(spelling.__name__ for spelling in SPELLINGS)))
    pairs = itertools.product(LABELS, LOGITS)
    for (label, logit), *cells in zip(pairs, *columns, strict=True):
        print(row(f"{label:g}", f"{logit:g}", *cells))
    print(row("worst", "ulp", *(brief(worst(cells)) for cells in columns)))
    print(row("lost", f"of {len(columns[0])}", *map(lost, columns)))


def show_demonstration() -> None:
    losses = demonstrate()
    first = next(iter(losses.values()))
    print(f"{'One loss, three calls':62}largest difference")
    for call, loss in losses.items():
        numbers = " ".join(f"{number:6.4f}" for number in loss)
        print(f"{call:25} {numbers} {np.max(np.abs(loss - first)):18.2g}")


def main() -> None:
    for replica in REPLICAS:
        print(inspect.getsource(replica))
    show_comparison()
    print()
    show_demonstration()


if __name__ == "__main__":
    main()
