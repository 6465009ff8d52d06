"""Where exactness is tested: logits at 0, in both tails and beyond; every kind of
label; per dtype, as float64 arrays of numbers that the dtype holds."""

from functools import cache

import numpy as np
from reference import FORMATS

LOGITS = (
    0.0, 1e-30, 1.0, 17.0, 37.0, 40.0, 88.0, 100.0, 745.0, 1e4, 1e30, np.inf
)  # fmt: skip
PROBS = (0.0, 1e-300, 1e-30, 1e-7, 0.3, 0.5, 1 - 1e-7, 1 - 1e-16, 1.0)
# Where exp is still a normal number, and a little beyond.
REACH = {"float16": 20.0, "bfloat16": 95.0, "float32": 95.0, "float64": 750.0}


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """To the nearest number of `dtype`, as float64."""
    values = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype).astype(np.float64)
        single = values.astype(np.float32)
        bits = single.view(np.uint32)
        up = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        narrow = up.astype(np.uint32).view(np.float32)
        return np.where(np.isfinite(single), narrow, single).astype(np.float64)


def labels(dtype: str) -> np.ndarray:
    """0 and 1, one ulp from each, one eps from 0, and soft ones."""
    bits, least = FORMATS[dtype]
    smallest, below_one = 2.0 ** (least - bits + 1), 1 - 2.0**-bits
    hard = [0.0, 1.0, smallest, 2.0**least, 2.0 ** (1 - bits), below_one]
    return rounded(np.array([*hard, 0.3, 0.5, 0.9]), dtype)


def _cross(firsts: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.meshgrid(np.unique(firsts), seconds, indexing="ij")
    return first.ravel(), second.ravel()


@cache
def logits_and_labels(dtype: str, sweep: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Every special logit with every label, -0.0, NaN, and a random sweep."""
    special = rounded(np.concatenate([LOGITS, np.negative(LOGITS)]), dtype)
    x, y = _cross(special, labels(dtype))
    rng = np.random.default_rng(20)
    near = rng.uniform(-REACH[dtype], REACH[dtype], sweep)
    far = rng.choice([-1, 1], sweep) * np.exp2(rng.uniform(-20, 12, sweep))
    drawn = np.concatenate([rng.choice(labels(dtype), sweep), rng.uniform(0, 1, sweep)])
    x = np.concatenate([x, [-0.0, -0.0, np.nan], near, far])
    y = np.concatenate([y, [0.0, 1.0, 1.0], drawn])
    return rounded(x, dtype), rounded(y, dtype)


@cache
def probs_and_labels(dtype: str, sweep: int = 300) -> tuple[np.ndarray, np.ndarray]:
    p, y = _cross(rounded(np.array(PROBS), dtype), labels(dtype))
    rng = np.random.default_rng(21)
    drawn = rng.uniform(0, 1, sweep)
    p = np.concatenate([p, [np.nan], drawn, np.exp2(rng.uniform(-40, 0, sweep))])
    y = np.concatenate([y, [1.0], rng.choice(labels(dtype), 2 * sweep)])
    return rounded(p, dtype), rounded(y, dtype)
