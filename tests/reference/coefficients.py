"""The polynomials of exp and log of the compiled formulas, in 60 digits by mpmath.

python tests/reference/coefficients.py > src/xploss/kernels/host/coefficients.h

Each interpolates at Chebyshev's nodes, which is within a bit of the best, and is
rounded coefficient by coefficient.
"""

import struct
from collections.abc import Callable

from mpmath import mp

mp.dps = 60

HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.01")  # by what rounding x / log(2) leaves
FIFTH_SQUARED = mp.mpf(1) / 25  # s**2 of f from -1/4 (or 1/2, of less), s = f / (2 + f)
NEAR_1 = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mp.mpf("1.02")  # up to sqrt(2)


def exp_rest(r):
    """(exp(r) - 1 - r) / r**2"""
    if abs(r) < mp.mpf(10) ** -12:
        return mp.mpf(1) / 2 + r / 6
    return (mp.exp(r) - 1 - r) / r**2


def log_rest(z):
    """(log((1 + s) / (1 - s)) - 2s) / s**3, z = s**2"""
    if z < mp.mpf(10) ** -25:
        return mp.mpf(2) / 3 + z * 2 / 5
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) - 2 * s) / (s * z)


def interpolated(function: Callable, low, high, degree: int) -> list:
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n))
        for n in [degree + 1]
        for k in range(n)
    ]
    powers = mp.matrix([[x**k for k in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(powers, mp.matrix([function(x) for x in nodes])))


def float64(number) -> str:
    return float(number).hex()


def float32(number) -> str:
    (rounded,) = struct.unpack("f", struct.pack("f", float(number)))
    return rounded.hex().replace("0000000p", "p") + "f"


POLYNOMIALS = (
    ("EXP_REST_F", exp_rest, -HALF_LN2, HALF_LN2, 4, float32),
    ("EXP_REST_D", exp_rest, -HALF_LN2, HALF_LN2, 9, float64),
    ("LOG1P_REST_F", log_rest, mp.mpf(0), FIFTH_SQUARED, 2, float32),
    ("LOG1P_REST_D", log_rest, mp.mpf(0), FIFTH_SQUARED, 7, float64),
    ("LOG_REST_F", log_rest, mp.mpf(0), NEAR_1, 2, float32),
    ("LOG_REST_D", log_rest, mp.mpf(0), NEAR_1, 6, float64),
)


def horner(coefficients: list, written: Callable) -> str:
    suffix = "F" if written is float32 else "D"
    *rest, text = map(written, coefficients)
    for coefficient in reversed(rest):
        text = f"FMA_{suffix}({text}, x, {coefficient})"
    return text


def polynomial(name, function, low, high, degree, written) -> str:
    coefficients = interpolated(function, low, high, degree)
    points = mp.linspace(low, high, 200)

    def value(x):
        return sum(c * x**k for k, c in enumerate(coefficients))

    away = max(abs(value(x) / function(x) - 1) for x in points)
    bits = mp.nstr(-mp.log(away, 2), 3)
    return f"/* {bits} bits */\n#define {name}(x) {horner(coefficients, written)}"


def parts_of_ln2(name: str, bits: int, written: Callable) -> str:
    """A high part of so many bits, of which whole multiples are exact, and the rest."""
    high = mp.nint(mp.log(2) * 2**bits) / 2**bits
    return (
        f"#define LN2_HIGH_{name} {written(high)}\n"
        f"#define LN2_LOW_{name} {written(mp.log(2) - high)}\n"
        f"#define LOG2_E_{name} {written(1 / mp.log(2))}"
    )


def header() -> str:
    lines = [
        "/* Written by tests/reference/coefficients.py, which has the mathematics. */",
        *(polynomial(*row) for row in POLYNOMIALS),
        parts_of_ln2("F", 15, float32),
        parts_of_ln2("D", 32, float64),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(header(), end="")
