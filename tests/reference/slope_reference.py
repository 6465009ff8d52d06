"""Exact derivatives of each formula by each of its arguments, by mpmath.

From the definitions, differentiated numerically in as many digits as that costs: 800
bits hold what a difference loses, and what 1 + exp(-|x|) loses of exp(-|x|) up to
|x| = 200.  Imports nothing of the package.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from mpmath import mp, mpf


class Exact(NamedTuple):
    slope: mpf
    term: mpf  # the largest of the terms that the slope is a sum of


def _masses(label: mpf, smoothing: mpf) -> tuple[mpf, mpf]:
    y, s = label, smoothing
    return y * (1 - s) + s / 2, (1 - y) * (1 - s) + s / 2


def _logs(logit: mpf) -> tuple[mpf, mpf]:
    """log(p) and log(1 - p) of p = sigmoid(logit)."""
    return -mp.log(1 + mp.exp(-logit)), -mp.log(1 + mp.exp(logit))


def cross_entropy(logits: mpf, labels: mpf, pos_weight: mpf, smoothing: mpf) -> mpf:
    pos, neg = _masses(labels, smoothing)
    hit, miss = _logs(logits)
    return -pos_weight * pos * hit - neg * miss


def probability(probs: mpf, labels: mpf, pos_weight: mpf, smoothing: mpf) -> mpf:
    pos, neg = _masses(labels, smoothing)
    return -pos_weight * pos * mp.log(probs) - neg * mp.log(1 - probs)


def focal(logits: mpf, labels: mpf, gamma: mpf, alpha: mpf, smoothing: mpf) -> mpf:
    pos, neg = _masses(labels, smoothing)
    p = 1 / (1 + mp.exp(-logits))
    left, balance = pos * (1 - p) + neg * p, alpha * pos + (1 - alpha) * neg
    return balance * left**gamma * cross_entropy(logits, labels, mpf(1), smoothing)


def sigmoid(logits: mpf, labels: mpf) -> mpf:
    return 1 / (1 + mp.exp(-logits)) - labels


@cache
def slope(loss: Callable[..., mpf], name: str, *arguments: float) -> Exact:
    """The derivative by one argument; the terms are what mass that moves leaves."""
    names = loss.__code__.co_varnames[: loss.__code__.co_argcount]
    orders = tuple(int(n == name) for n in names)
    with mp.workprec(800):
        given = dict(zip(names, map(mpf, arguments), strict=True))
        exact = mp.diff(loss, tuple(given.values()), orders)
        return Exact(exact, max(abs(exact), _term(name, given)))


def _term(name: str, given: dict[str, Any]) -> mpf:
    """Of a derivative that is a sum of several."""
    if name == "gamma":  # log(1 - p_t) is as far off as 1 is, and gamma times that
        return focal(**given) / given["gamma"]
    y, s = given["labels"], given.get("smoothing", mpf(0))
    share = {"labels": 1 - s, "smoothing": abs(y - 0.5), "logits": 1, "probs": 1}
    if name not in share or len(given) == 2:
        return mpf(0)
    if "probs" in given:
        p = given["probs"]
        parts = (mp.log(p), mp.log(1 - p)) if name != "probs" else (1 / p, 1 / (1 - p))
    else:
        x = given["logits"]
        # Of the loss by mass, or by the logit: both masses' shares of the slope.
        parts = (*_logs(x), x) if name != "logits" else (1 / (1 + mp.exp(abs(x))),)
    weight = max(mpf(1), given.get("pos_weight", mpf(1)))
    terms = [weight * share[name] * abs(part) for part in parts]
    if "gamma" not in given:
        return max(terms)
    gamma, (pos, neg) = given["gamma"], _masses(y, s)
    p = 1 / (1 + mp.exp(-given["logits"]))
    left = pos * (1 - p) + neg * p
    plain = cross_entropy(given["logits"], y, mpf(1), s)
    inner = gamma * plain / left * (p * (1 - p) if name == "logits" else 1)
    return left**gamma * max(*terms, plain, share[name] * inner)
