"""Rows of logits of many classes, and labels of them."""

import numpy as np
from grid import rounded

# Where the terms of a row, and its exponentials, are normal numbers.
REACH = {"float16": 16, "bfloat16": 60, "float32": 60, "float64": 600}


def rows(classes, dtype, n, soft):
    """Sure, unsure and wrong answers, ties, all far from 0 and near it."""
    draw, reach = np.random.default_rng(classes), REACH[dtype]
    x = draw.normal(size=(n, classes)) * 10 ** draw.uniform(-3, 0.5, (n, 1))
    x[::5, 0] += 10 ** draw.uniform(-3, np.log10(reach), len(x[::5]))
    x[1::5] = np.round(x[1::5])
    x[2::5] = x[2::5, :1]
    x += draw.normal(size=(n, 1)) * 10 ** draw.uniform(-2, 1.5, (n, 1))
    x = rounded(x, dtype)
    if not soft:
        return x, np.where(draw.uniform(size=n) < 0.5, x.argmax(1), n % classes)
    y = draw.dirichlet(np.full(classes, 0.3), size=n)
    y[::3] = np.eye(classes)[x[::3].argmax(1)] * (1 - 2.0**-7) + 2.0**-7 / classes
    return x, rounded(y, dtype)
