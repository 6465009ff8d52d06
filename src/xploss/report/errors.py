"""How exact a library is here, and whether that is what is promised."""

from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

from . import libraries
from .exact import FORMATS, reference, smallest_normal, ulps
from .libraries import QUANTITIES, Library, NoDevice, Results, compute, pairs

# Promised, in ulp: from the exact number (16 bits are rounded once), and from NumPy's.
BOUND, BOUND_16, BOUND_APART = 4.0, 0.51, 8.0

Errors = dict[tuple[str, str], float]  # by quantity and dtype


class Truth(NamedTuple):
    """By quantity, the numbers of all pairs, and those whose ulp is the unit."""

    numbers: list[list[Decimal]]
    units: list[list[Decimal]]


def truth(dtype: str) -> Truth:
    exact = [reference(*pair) for pair in pairs(dtype)]
    value, gradient, hessian, term = map(list, zip(*exact, strict=True))
    return Truth([value, gradient, hessian], [value, term, hessian])


def by_numpy(truths: dict[str, Truth]) -> dict[str, Truth]:
    """NumPy's numbers instead of the exact ones."""
    return {
        dtype: truths[dtype]._replace(numbers=[list(map(Decimal, c)) for c in columns])
        for (_, dtype), columns in compute(libraries.LIBRARIES[0]).items()
    }


def worst(dtype: str, flushes: bool, *columns: Any) -> float:
    """The largest distance in ulp; where subnormal results are flushed, 0 is right."""
    least = smallest_normal(dtype) if flushes else Decimal(0)
    distances = (
        ulps(result, number, dtype, of=unit)
        for result, number, unit in zip(*columns, strict=True)
        if result != 0 or number.is_nan() or number.copy_abs() >= least
    )
    return max(distances, default=0.0)


def errors(library: Library, results: Results, truths: dict[str, Truth]) -> Errors:
    """The worst on any device."""
    found: Errors = {}
    for (_, dtype), columns in results.items():
        if dtype not in truths:
            continue
        for quantity, *of_all in zip(QUANTITIES, columns, *truths[dtype], strict=True):
            error = worst(dtype, library.flushes, *of_all)
            found[quantity, dtype] = max(error, found.get((quantity, dtype), 0.0))
    return found


@dataclass(frozen=True)
class Report:
    """Of a library: where it runs, or why it does not, and its errors."""

    name: str
    version: str = "-"
    note: str = ""
    broken: bool = False
    errors: Errors = field(default_factory=dict)
    apart: float = 0.0  # from NumPy


def measure(library: Library, truths: dict[str, Truth]) -> Report:
    results = compute(library)
    version = import_module(library.namespace.partition(".")[0]).__version__
    return Report(
        library.name,
        version,
        ", ".join(dict.fromkeys(device for device, _ in results)),
        errors=errors(library, results, truths),
        apart=max(errors(library, results, by_numpy(truths)).values()),
    )


def examine(library: Library, truths: dict[str, Truth]) -> Report:
    """What is missing or broken is reported, not raised."""
    root = library.namespace.partition(".")[0]
    try:
        return measure(library, truths)
    except NoDevice as error:
        return Report(library.name, import_module(root).__version__, str(error))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == root:
            return Report(library.name, note=f"pip install {library.install}")
        note = f"broken: {type(error).__name__}: {error}".partition("\n")[0]
        return Report(library.name, note=note, broken=True)


def bound(quantity: str, dtype: str) -> float:
    return BOUND_16 if quantity == "value" and FORMATS[dtype][0] <= 11 else BOUND


def fails(report: Report) -> bool:
    return (
        report.broken
        or report.apart > BOUND_APART
        or any(error > bound(*key) for key, error in report.errors.items())
    )
