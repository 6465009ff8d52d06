"""The exact derivatives are those of the definition: difference quotients of it come to
the same numbers, with so many digits that nothing of them is lost."""

import itertools

import pytest
from derivatives import derivative
from mpmath import mp, mpf

LOGITS = [0.0, -0.0, 1.0, -1.0, 40.0, -40.0, 700.0]
# How often by the logit, by the label, by pos_weight, by the smoothing.
ORDERS = [(n, 0, 0, 0) for n in range(6)] + [
    by for by in itertools.product(range(3), repeat=4) if sum(by) <= 2 and any(by[1:])
]


def definition(x, y, pos_weight, smoothing):
    pos = pos_weight * (y * (1 - smoothing) + smoothing / 2)
    neg = (1 - y) * (1 - smoothing) + smoothing / 2
    return neg * mp.log1p(mp.exp(x)) + pos * mp.log1p(mp.exp(-x))


@pytest.mark.parametrize("orders", ORDERS, ids=str)
@pytest.mark.parametrize(
    ("label", "pos_weight", "smoothing"),
    [(0.0, 1.0, 0.0), (1.0, 3.75, 0.0), (0.3, 3.75, 0.125)],
)
def test_derivative(label, pos_weight, smoothing, orders):
    options = {"pos_weight": pos_weight, "smoothing": smoothing}
    for logit in LOGITS:
        exact = derivative(logit, label, *orders, **options)
        digits = 60 + int(abs(logit) / 2)
        with mp.workdps(digits):
            quotient = mp.diff(
                definition,
                tuple(map(mpf, (logit, label, pos_weight, smoothing))),
                orders,
            )
            away, most = abs(quotient - exact.value), mpf(10) ** -30 * exact.term
            assert away <= most + mpf(10) ** (20 - digits), logit
