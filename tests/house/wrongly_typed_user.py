"""What two type checkers have to refuse beside the libraries: `nox -s examples`.

It is not run.  Each line is refused: an ignore without an error is an error itself.
"""

import numpy as np
import numpy.typing as npt
import torch

import xploss
from xploss import objectives
from xploss.compat import torch as like_torch

Doubles = npt.NDArray[np.float64]


def arguments(x: Doubles, y: Doubles) -> None:
    xploss.sigmoid_cross_entropy(x)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy(x, y, 3.0)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy([0.5], y)  # type: ignore[type-var]
    xploss.sigmoid_cross_entropy(x, [1.0])  # type: ignore[arg-type]
    xploss.check_labels(y, x)  # type: ignore[call-arg, arg-type]
    xploss.softmax_cross_entropy(x, y, 1)  # type: ignore[call-arg]
    xploss.sigmiod(x)  # type: ignore[attr-defined]
    like_torch.BCELoss()  # type: ignore[attr-defined]


def options(x: Doubles, y: Doubles) -> None:
    xploss.sigmoid_cross_entropy(x, y, label_smothing=0.1)  # type: ignore[call-arg]
    xploss.sigmoid_cross_entropy(x, y, label_smoothing="0.1")  # type: ignore[arg-type]
    xploss.sigmoid_cross_entropy(x, y, reduction="avg")  # type: ignore[arg-type]
    xploss.sigmoid_focal_loss(x, y, reduction=None)  # type: ignore[arg-type]
    xploss.sigmoid_focal_loss(x, y, gamma=[2.0])  # type: ignore[arg-type]
    xploss.binary_cross_entropy(x, y, axis=1.0)  # type: ignore[arg-type]
    objectives.lightgbm(hessian_floor="small")  # type: ignore[arg-type]


def transforms(x: Doubles, y: Doubles) -> None:
    xploss.value_and_grad("sigmoid_cross_entropy")  # type: ignore[arg-type]
    xploss.value_and_grad(xploss.softplus)(x, y)  # type: ignore[call-arg]
    both = xploss.value_and_grad(xploss.sigmoid_cross_entropy)
    both(x, y, bogus=1)  # type: ignore[call-arg]
    both(x, y, reduction="avg")  # type: ignore[arg-type]


def results(logits: torch.Tensor, y: torch.Tensor) -> None:
    loss: Doubles = xploss.sigmoid_cross_entropy(logits, y)  # type: ignore[arg-type]
    both = xploss.value_and_grad(xploss.sigmoid_focal_loss)
    pair: tuple[Doubles, Doubles] = both(logits, y)  # type: ignore[arg-type]
    print(loss, pair)
