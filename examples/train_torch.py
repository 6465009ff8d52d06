"""PyTorch: a network for a multi-label problem, trained with ours and with theirs.

    python examples/train_torch.py [float32 bfloat16 float16 compile]

scikit-learn's 1,797 digits of 64 pixels, with three labels each: is it even, is it at
least five, is it prime?  What is minimised, over the digits i and the labels k, is

    mean of  w_k * y_ik * softplus(-x_ik)  +  (1 - y_ik) * softplus(x_ik)

where x = network(pixels) and w_k = negatives of k / positives of k, `pos_weight`; in
float32, in bfloat16 and float16 by autocast, the latter with a gradient scaler, and
with network and loss compiled into one graph.  Both losses start from the same weights
and see the same batches.  Printed are the losses of the trained networks on the whole
table, by NumPy's logaddexp in float64; the first run of all and of a compiled one
include what PyTorch loads and compiles.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import xploss

EPOCHS = 60
BATCH = 599  # a third of the digits
CLOSE = 1e-3  # largest difference of the trained losses


class Table(NamedTuple):
    pixels: Any  # (1797, 64), from 0 to 1
    labels: Any  # (1797, 3)
    pos_weight: Any  # (3,)


def load_table() -> Table:
    pixels, digits = load_digits(return_X_y=True)
    even, large, prime = digits % 2 == 0, digits >= 5, np.isin(digits, (2, 3, 5, 7))
    labels = torch.tensor(np.column_stack([even, large, prime]), dtype=torch.float32)
    positives = labels.sum(dim=0)
    pos_weight = (len(labels) - positives) / positives
    return Table(torch.tensor(pixels / 16, dtype=torch.float32), labels, pos_weight)


# ---- training ----------------------------------------------------------------------


def theirs(logits: Any, labels: Any, pos_weight: Any) -> Any:
    return nn.functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=pos_weight
    )


def ours(logits: Any, labels: Any, pos_weight: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels, pos_weight=pos_weight)


class Variant(NamedTuple):
    dtype: torch.dtype = torch.float32
    scaled: bool = False
    compiled: bool = False


VARIANTS = {
    "float32": Variant(),
    "bfloat16": Variant(torch.bfloat16),
    "float16": Variant(torch.float16, scaled=True),
    "compile": Variant(compiled=True),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))


def train(loss: Callable[..., Any], table: Table, variant: Variant) -> nn.Module:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    scaler = torch.amp.GradScaler("cpu", enabled=variant.scaled)
    narrow = variant.dtype is not torch.float32

    def forward(pixels: Any, labels: Any) -> Any:
        return loss(model(pixels), labels, table.pos_weight)

    if variant.compiled:
        forward = torch.compile(forward, fullgraph=True)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(table.labels)).split(BATCH):
            optimizer.zero_grad()
            with torch.autocast("cpu", variant.dtype, enabled=narrow):
                value = forward(table.pixels[rows], table.labels[rows])
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
    return model


# ---- what is printed ---------------------------------------------------------------


def exact_loss(model: nn.Module, table: Table) -> float:
    """On the whole table, in float64."""
    with torch.no_grad():
        x = copy.deepcopy(model).double()(table.pixels.double()).numpy()
    y, w = table.labels.double().numpy(), table.pos_weight.double().numpy()
    losses = w * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
    return float(losses.mean())


def run(name: str, table: Table) -> tuple[float, float]:
    """Train with both and print; their loss and ours."""
    losses, seconds = [], []
    for loss in (theirs, ours):
        started = time.perf_counter()
        model = train(loss, table, VARIANTS[name])
        seconds.append(time.perf_counter() - started)
        losses.append(exact_loss(model, table))
    columns = *losses, abs(losses[1] - losses[0]), *seconds
    print("{:16}{:10.6f}{:10.6f}{:12.1e}{:12.2f}{:10.2f}".format(name, *columns))
    return losses[0], losses[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One network, two losses: PyTorch")
    parser.add_argument("variants", nargs="*", metavar="variant")
    named = parser.parse_args(arguments).variants
    if unknown := set(named) - set(VARIANTS):
        parser.error(f"no such variant: {unknown}; choose from {', '.join(VARIANTS)}")

    table = load_table()
    print(f"Three labels of {len(table.labels)} digits, {EPOCHS} epochs.  The loss is")
    print(f"{exact_loss(network(), table):.6f} before, and after, with the seconds:\n")
    header = ("", "theirs", "ours", "difference", "theirs", "ours")
    print("{:16}{:>10}{:>10}{:>12}{:>12}{:>10}".format(*header))
    pairs = [run(name, table) for name in named or VARIANTS]
    return int(not all(abs(b - a) <= CLOSE for a, b in pairs))


if __name__ == "__main__":
    torch.set_num_threads(1)  # more take longer over so few numbers
    sys.exit(main())
