"""Exact losses of many classes by mpmath, from the definition.

Another route than the code's: logsumexp in full, from no pivot, with as many bits as a
confident answer needs.  Imports nothing of the package.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mpmath import mp, mpf
from reference import times

Numbers = Sequence[float]


class ExactRow(NamedTuple):
    """Of a row: the loss; and one number a class of all others."""

    value: mpf
    gradient: list[mpf]
    hessian: list[mpf]
    term: list[mpf]  # the larger of the two terms whose difference a gradient is


class Softmax(NamedTuple):
    log_sum: mpf
    probabilities: list[mpf]
    complements: list[mpf]  # 1 - p
    costs: list[mpf]  # -log(p)


def bits(logits: Numbers) -> int:
    """What logsumexp(x) - x_j needs, so that none of its digits is lost."""
    finite = [x for x in logits if abs(x) < mp.inf]
    spread = max(finite) - min(finite) if finite else 0.0
    # What is beyond e**-3000 is no number of any dtype.
    return 300 + int(1.5 * max(min(n, 3000.0) for n in (spread, *map(abs, finite), 0)))


def softmax(logits: Numbers) -> Softmax:
    """At an infinite logit the limit: all of it is at one that is +inf."""
    x = [mpf(number) for number in logits]
    classes = range(len(x))
    up = [k for k in classes if x[k] == mp.inf]
    if any(map(mp.isnan, x)) or len(up) > 1 or _is_nowhere(x):
        nans = [mp.nan] * len(x)
        return Softmax(mp.nan, nans, nans, nans)
    there = up or [k for k in classes if x[k] != -mp.inf]
    if up or len(x) == 1 or len(there) == 1:
        at = there[0] if there else 0
        hot = [mpf(k == at) for k in classes]
        costs = [mpf(0) if k == at else mp.inf for k in classes]
        return Softmax(x[at], hot, [1 - p for p in hot], costs)
    exponentials = [mp.exp(number) for number in x]
    total = mp.fsum(exponentials)
    others = [mp.fsum(e for k, e in enumerate(exponentials) if k != j) for j in classes]
    return Softmax(
        mp.log(total),
        [e / total for e in exponentials],
        [o / total for o in others],
        [
            mp.inf if e == 0 else mp.log(1 + o / e)
            for e, o in zip(exponentials, others, strict=True)
        ],
    )


def _is_nowhere(x: list[mpf]) -> bool:
    return len(x) > 1 and all(number == -mp.inf for number in x)


def masses(
    label: int | Numbers, classes: int, class_weights: Numbers | None, smoothing: float
) -> list[mpf]:
    given = (
        [mpf(k == label) for k in range(classes)]
        if isinstance(label, int)
        else [mpf(y) for y in label]
    )
    s = mpf(smoothing)
    weights = [1.0] * classes if class_weights is None else class_weights
    return [
        mpf(w) * (y * (1 - s) + s / classes)
        for w, y in zip(weights, given, strict=True)
    ]


def row_loss(
    logits: Numbers,
    label: int | Numbers,
    class_weights: Numbers | None = None,
    smoothing: float = 0.0,
    z: float = 0.0,
    weight: float = 1.0,
) -> ExactRow:
    """weight * (sum of y_j (logsumexp(x) - x_j) + z logsumexp(x)**2), by each x."""
    with mp.workprec(bits(logits)):
        f, w = softmax(logits), mpf(weight)
        y = masses(label, len(logits), class_weights, smoothing)
        t, z, top = mp.fsum(y), mpf(z), _top(logits)
        rows = range(len(logits))
        rests = [mp.fsum(m for k, m in enumerate(y) if k != j) for j in rows]
        loss = mp.fsum(map(times, y, f.costs)) + _nan_of(f)
        slopes = [t * p - m for p, m in zip(f.probabilities, y, strict=True)]
        # 1 - p_k of the most probable class is what the code has.
        terms = [
            max(rests[j], t * f.complements[j]) if j == top
            else max(t * f.probabilities[j], y[j])
            for j in rows
        ]  # fmt: skip
        spreads = [p * q for p, q in zip(f.probabilities, f.complements, strict=True)]
        curvatures = [t * v for v in spreads]
        if z != 0:
            loss += z * f.log_sum**2
            push = [times(p, 2 * z * f.log_sum) for p in f.probabilities]
            slopes = [a + b for a, b in zip(slopes, push, strict=True)]
            terms = [max(a, abs(b)) for a, b in zip(terms, push, strict=True)]
            curvatures = [
                c + 2 * z * (p**2 + times(v, f.log_sum))
                for c, p, v in zip(curvatures, f.probabilities, spreads, strict=True)
            ]
        scaled = [[w * a for a in part] for part in (slopes, curvatures, terms)]
        return ExactRow(w * loss, *scaled)


def _nan_of(f: Softmax) -> mpf:
    return mp.nan if mp.isnan(f.log_sum) else mpf(0)


def _top(logits: Numbers) -> int:
    return max(range(len(logits)), key=lambda k: logits[k])


# ---- other losses of rows ------------------------------------------------------------


def power(base: mpf, exponent: mpf) -> mpf:
    """0**0 is 1."""
    return mpf(1) if exponent == 0 else base**exponent


def row_focal(
    logits: Numbers, label: int | Numbers, gamma: float, smoothing: float = 0.0
) -> ExactRow:
    """sum of y_j (1 - p_j)**gamma (-log p_j), and its derivatives by each x.

    The slope from that of each term by each logit, product rule and all.
    """
    with mp.workprec(bits(logits)):
        f, g, n = softmax(logits), mpf(gamma), range(len(logits))
        y = masses(label, len(logits), None, smoothing)
        p, q, c = f.probabilities, f.complements, f.costs
        loss = mp.fsum(times(y[j], times(power(q[j], g), c[j])) for j in n)
        slopes, terms = [], []
        for i in n:
            parts = [
                times(y[j], part) for j in n for part in _focal_parts(p, q, c, g, i, j)
            ]
            slopes.append(mp.fsum(parts))
            terms.append(mp.fsum(map(abs, parts)))
        return ExactRow(loss + _nan_of(f), slopes, [], terms)


def _focal_parts(
    p: list[mpf], q: list[mpf], c: list[mpf], g: mpf, i: int, j: int
) -> tuple[mpf, mpf]:
    """Of (1 - p_j)**g c_j by x_i: of the cost, and of the power."""
    down = -q[j] if i == j else p[i]  # dc_j / dx_i
    of_cost = power(q[j], g) * down
    if q[j] == 0 or p[j] == 0:
        return of_cost, mpf(0)
    return of_cost, g * q[j] ** (g - 1) * p[j] * down * c[j]


def row_focal_hessian(
    logits: Numbers, label: int | Numbers, gamma: float, smoothing: float = 0.0
) -> tuple[list[mpf], list[mpf]]:
    """By each x twice, of finite logits, by differences of the loss in many digits; and
    the sizes of what is added up to it."""
    with mp.workprec(4 * bits(logits)):
        n, g = range(len(logits)), mpf(gamma)
        y = masses(label, len(logits), None, smoothing)

        def loss(i: int, step: mpf) -> mpf:
            x = [mpf(a) + (step if k == i else 0) for k, a in enumerate(logits)]
            f = softmax(x)
            parts = zip(y, f.complements, f.costs, strict=True)
            return mp.fsum(times(m, times(power(q, g), c)) for m, q, c in parts)

        h = mpf(2) ** (-bits(logits))
        curvatures = [
            (loss(i, h) - 2 * loss(i, mpf(0)) + loss(i, -h)) / h**2 for i in n
        ]
        f = softmax(logits)
        p, q, c = f.probabilities, f.complements, f.costs
        # A slope's masses, and what a logit moves them by.
        mass = [y[j] * q[j] ** g * (1 + g * p[j] * c[j] / q[j]) for j in n]
        bend = [2 + c[j] + abs(g - 1) * p[j] * c[j] / q[j] for j in n]
        moved = [y[j] * g * p[j] * q[j] ** (g - 1) * bend[j] for j in n]
        sizes = [
            p[i] * q[i] * mp.fsum(mass)
            + p[i] ** 2 * (mp.fsum(moved) - moved[i])
            + moved[i] * q[i] ** 2
            for i in n
        ]
        return curvatures, sizes


def row_of_probabilities(
    probs: Numbers,
    label: int | Numbers,
    class_weights: Numbers | None = None,
    smoothing: float = 0.0,
) -> ExactRow:
    """-sum of y_j log(p_j), and its derivative by each p."""
    with mp.workprec(300):
        y = masses(label, len(probs), class_weights, smoothing)
        p = [mpf(number) for number in probs]
        if not all(0 <= number <= 1 for number in p):
            return ExactRow(mp.nan, [], [], [])
        costs = [mp.inf if number == 0 else -mp.log(number) for number in p]
        slopes = [
            times(m, -mp.inf if number == 0 else -1 / number)
            for m, number in zip(y, p, strict=True)
        ]
        return ExactRow(mp.fsum(map(times, y, costs)), slopes, [], [])
