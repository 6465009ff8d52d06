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


def clipped(logits: Any, labels: Any) -> Any:
    """-(y*log(p) + (1-y)*log(1-p)) with p kept in [1e-7, 1 - 1e-7].

    Fails at every answer that is surer than that: each costs 1e-7 if right, and 16.1
    if wrong, with no slope left to learn from.
    """
    return clipped_probabilities(1 / (1 + np.exp(-logits)), labels)


def clipped_probabilities(p: Any, labels: Any) -> Any:
    """The same of probabilities."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def probabilities(p: Any, labels: Any) -> Any:
    """-(y*log(p) + (1-y)*log(1-p)).

    Fails at 0 and 1, with NaN by 0 * inf.
    """
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def textbook(logits: Any, labels: Any) -> Any:
    """max(x, 0) - x*y + log1p(exp(-|x|)), the textbook's cure with the tail kept.

    Fails where x*y has no digits of the loss left, and at infinite logits, with NaN.
    """
    tail = np.log1p(np.exp(-np.abs(logits)))
    return np.maximum(logits, 0) - logits * labels + tail


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


def log_of_softmax(logits: Any, masses: Any) -> Any:
    """-sum(y * log(p)) of p = softmax(x), the definition.

    Fails where p rounds to 1, with a loss of 0, and to 0, with inf, and NaN by 0 * inf.
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return class_probabilities(e / e.sum(axis=-1, keepdims=True), masses)


def class_probabilities(p: Any, masses: Any) -> Any:
    """-sum(y * log(p)); fails where a p is 0, with NaN by 0 * inf."""
    return -(masses * np.log(p)).sum(axis=-1)


def softmax_clipped(logits: Any, masses: Any) -> Any:
    """-sum(y * log(p)) with p kept in [1e-7, 1 - 1e-7]; fails as `clipped` does."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return clipped_class_probabilities(e / e.sum(axis=-1, keepdims=True), masses)


def clipped_class_probabilities(p: Any, masses: Any) -> Any:
    """The same of probabilities."""
    return -(masses * np.log(np.clip(p, 1e-7, 1 - 1e-7))).sum(axis=-1)


def softmax_epsilon(logits: Any, masses: Any) -> Any:
    """-sum(y * log(p + 1e-7)) of p = softmax(x).

    Fails at every confident answer, as `epsilon_inside` does.
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return -(masses * np.log(p + 1e-7)).sum(axis=-1)
