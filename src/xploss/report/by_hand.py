"""Cross-entropy as it is written by hand in NumPy, faults and all.

The losses use nothing of this: it is what they are shown beside.  None of them
raises an exception where it fails; NumPy warns at most.
"""

from typing import Any

import numpy as np


def definition(logits: Any, labels: Any) -> Any:
    """-(y*log(p) + (1-y)*log(1-p)), the definition.

    Fails where p rounds to 1 (in float64 from x = 37 on) or to 0 (from x = -710
    on): a wrong answer costs inf there and a right one NaN, by 0 * inf.  On the
    way to 0, 1 - p loses the digits of p, and from x = -38 on all of them.
    """
    p = 1 / (1 + np.exp(-logits))
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def epsilon_inside(logits: Any, labels: Any) -> Any:
    """-(y*log(p + 1e-7) + (1-y)*log(1-p + 1e-7)), often called stable.

    Fails at every confident answer: a right one costs -1e-7, less than nothing,
    and a wrong one at most -log(1e-7) = 16.1, with no slope left to learn from.
    """
    p = 1 / (1 + np.exp(-logits))
    return -(labels * np.log(p + 1e-7) + (1 - labels) * np.log(1 - p + 1e-7))


def max_form(logits: Any, labels: Any) -> Any:
    """max(x, 0) - x*y + log(1 + exp(-|x|)), the textbook's cure, on logits.

    Fails in the tail: in float64 1 + exp(-|x|) is 1 from |x| = 37 on, so that a
    small loss comes out as 0; and at infinite logits, with NaN by 0 * inf or
    inf - inf.
    """
    tail = np.log(1 + np.exp(-np.abs(logits)))
    return np.maximum(logits, 0) - logits * labels + tail


def log_softmax(logits: Any, masses: Any) -> Any:
    """-sum(y * (z - log(sum(exp(z))))) of z = x - max(x), often called stable.

    Fails at a confident right answer: in float64 the sum is 1 from a margin of 37 on,
    and the loss 0; and at infinite logits, with NaN by 0 * inf or inf - inf.
    """
    z = logits - logits.max(axis=-1, keepdims=True)
    logs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -(masses * logs).sum(axis=-1)


def softmax_epsilon(logits: Any, masses: Any) -> Any:
    """-sum(y * log(p + 1e-7)) of p = softmax(x).

    Fails at every confident answer, as `epsilon_inside` does.
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return -(masses * np.log(p + 1e-7)).sum(axis=-1)
