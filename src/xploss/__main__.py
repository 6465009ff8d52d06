"""`python -m xploss`: the job, shown, then what runs here and how exactly.

Needs NumPy alone.  Exit status 1 if a library is broken or past its bounds.
"""

import contextlib
import itertools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import xploss

from . import _replicas
from ._exact import FORMATS, reference, smallest_normal, ulps

# ---- on the terminal ---------------------------------------------------------------


def styled(code: int, text: str) -> str:
    """Bold is 1, red 31; plain text where nobody sees colours or wants them."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def show(line: str = "") -> None:
    """A line, at once: libraries take their time to load."""
    print(line.rstrip(), flush=True)


def heading(line: str) -> None:
    show()
    show(styled(1, line))


# ---- the job -----------------------------------------------------------------------


def ours(logits: Any, labels: Any) -> Any:
    return xploss.sigmoid_cross_entropy(logits, labels, reduction="none")


COLUMNS = {
    "plain": _replicas.plain,
    "with 1e-7": _replicas.epsilon_inside,
    "max form": _replicas.max_form,
    "xploss": ours,
}
SHOWN_LOGITS = (-math.inf, -800.0, -40.0, -2.0, 0.0, 2.0, 40.0, 800.0, math.inf)
SHOWN_LABELS = (0.0, 1.0, 0.3)


def digits(number: float) -> str:
    return f"{number:.7g}"


def job_cell(number: float, exact: float) -> str:
    """The number, marked if it shows other digits than the exact one."""
    if digits(number) == digits(exact):
        return f"{digits(number):>13} "
    return styled(31, f"{digits(number):>13}!")


def job_row(logit: float, label: float) -> str:
    exact = float(reference(logit, label).value)
    arrays = np.array([logit]), np.array([label])
    with np.errstate(all="ignore"):
        numbers = [float(function(*arrays)[0]) for function in COLUMNS.values()]
    cells = "".join(job_cell(number, exact) for number in numbers)
    return f"{label:5g}{logit:6g} {cells}{digits(exact):>12}"


def show_job() -> None:
    heading("Binary cross-entropy by hand in NumPy, by xploss, and exactly")
    titles = "".join(f"{title:>13} " for title in COLUMNS)
    show(f"label logit {titles}{'exact':>12}")
    for label in SHOWN_LABELS:
        show()
        for logit in SHOWN_LOGITS:
            show(job_row(logit, label))
    show()
    show("! wrong in the digits shown.  exact: in 100 decimals, rounded to float64.")


# ---- the libraries -----------------------------------------------------------------


class Library(NamedTuple):
    """`devices` gives by the name to print what `asarray` takes as a device."""

    name: str
    namespace: str
    install: str
    devices: Callable[[], dict[str, Any]]
    dtypes: str = ""  # where its dtypes are, if not in the namespace
    flushes: bool = False  # subnormal results to 0


def host_only() -> dict[str, Any]:
    return {"cpu": None}


def strict_devices() -> dict[str, Any]:
    device = import_module("array_api_strict").Device
    return {name: device(name) for name in ("CPU_DEVICE", "device1")}


def torch_devices() -> dict[str, Any]:
    cuda = import_module("torch").cuda.is_available()
    return {name: name for name in (("cpu", "cuda") if cuda else ("cpu",))}


def jax_devices() -> dict[str, Any]:
    jax = import_module("jax")
    devices = jax.devices()
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may rule the CPU out
        devices = [*jax.devices("cpu"), *devices]
    return {device.platform: device for device in devices}


class NoDevice(Exception):
    """The library is installed, and has nothing to run on."""


def cupy_devices() -> dict[str, Any]:
    cuda = import_module("cupy").cuda
    if not cuda.is_available():
        driver = cuda.runtime.driverGetVersion()
        raise NoDevice("installed, no GPU" if driver else "installed, no GPU driver")
    return {"cuda": None}


LIBRARIES = (
    Library("NumPy", "numpy", "numpy", host_only),
    Library("array-api-strict", "array_api_strict", "array-api-strict", strict_devices),
    Library("PyTorch", "torch", "'xploss[torch]'", torch_devices),
    Library("JAX", "jax.numpy", "'xploss[jax]'", jax_devices, flushes=True),
    Library("CuPy", "cupy", "'xploss[cupy12]' (CUDA 13: cupy13)", cupy_devices),
    Library("Dask", "dask.array", "'xploss[dask]'", host_only, dtypes="numpy"),
)


def double_precision(library: Library) -> contextlib.AbstractContextManager[Any]:
    """JAX has no float64 unless asked."""
    if library.name != "JAX":
        return contextlib.nullcontext()
    return import_module("jax").enable_x64(True)  # type: ignore[no-any-return]


# ---- what they compute -------------------------------------------------------------

QUANTITIES = ("value", "gradient", "Hessian")

# Numbers of all four dtypes: dense around 0, then where each dtype underflows.
SIZES = (2**-14, 0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 11, 13, 17, 23, 31, 37, 40, 60, 80)
FAR_SIZES = (87, 88, 100, 104, 200, 708, 744, 9984, math.inf)
LOGITS = (math.nan, 0.0, *(sign * m for m in SIZES + FAR_SIZES for sign in (1, -1)))

Columns = list[list[float]]  # of all pairs, by quantity
Results = dict[tuple[str, str], Columns]  # by device and dtype


def pairs(dtype: str) -> list[tuple[float, float]]:
    """Each logit with labels hard, soft, and within an ulp of 0 and of 1."""
    ulp = 2.0 ** -FORMATS[dtype][0]
    return list(itertools.product(LOGITS, (0.0, 1.0, 77 / 256, ulp, 1.0 - ulp)))


def on_host(array: Any) -> list[float]:
    if hasattr(array, "compute"):  # Dask
        array = array.compute()
    return [float(x) for x in (array.tolist() if hasattr(array, "tolist") else array)]


def computed(xp: Any, dtype: str, device: Any, dtypes: Any) -> Columns:
    """Value, gradient and Hessian of all pairs."""
    options = {} if device is None else {"device": device}
    logits, labels = (
        xp.asarray(np.asarray(column), dtype=getattr(dtypes, dtype), **options)
        for column in zip(*pairs(dtype), strict=True)
    )
    derivatives = xploss.grad_and_hess(xploss.sigmoid_cross_entropy)(logits, labels)
    return [on_host(array) for array in (ours(logits, labels), *derivatives)]


def compute(library: Library) -> Results:
    xp = import_module(library.namespace)
    dtypes = import_module(library.dtypes or library.namespace)
    with double_precision(library):
        return {
            (name, dtype): computed(xp, dtype, device, dtypes)
            for name, device in library.devices().items()
            for dtype in FORMATS
            if hasattr(dtypes, dtype)
        }


# ---- how exact that is -------------------------------------------------------------

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
        for (_, dtype), columns in compute(LIBRARIES[0]).items()
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


# ---- what is shown of it -----------------------------------------------------------


def brief(error: float) -> str:
    """An error in four characters: 0.27, 31.4, 9e15."""
    if error < 99.95:
        return f"{error:.2f}"[:4]
    return f"{error:.0e}".replace("e+0", "e").replace("e+", "e")


def marked(error: float | None, most: float) -> str:
    """In five characters, the first of them a mark past the bound."""
    if error is None:
        return "    -"
    return f" {brief(error):>4}" if error <= most else styled(31, f"!{brief(error):>4}")


WIDTH = 80
LIBRARY_TITLES = f"{'library':17} {'version':14} {'runs on':31} from NumPy"
ERROR_TITLES = " " * 17 + "  f16 bf16  f32  f64" * len(QUANTITIES)
ERROR_GROUPS = " " * 17 + "".join(f"  {quantity:18}" for quantity in QUANTITIES)


def library_row(report: Report) -> str:
    row = f"{report.name:17} {report.version:14.14} {report.note}"
    if report.errors:
        return f"{row:64.64} {marked(report.apart, BOUND_APART)} ulp"
    row = row[:WIDTH]
    return styled(31, row) if report.broken else row


def error_row(report: Report) -> str:
    cells = (
        marked(report.errors.get((quantity, dtype)), bound(quantity, dtype))
        for quantity in QUANTITIES
        for dtype in FORMATS
    )
    return f"{report.name:17}" + "".join(cells)


def show_libraries() -> list[Report]:
    heading("What runs here")
    show(LIBRARY_TITLES)
    truths = {dtype: truth(dtype) for dtype in FORMATS}
    reports = []
    for library in LIBRARIES:
        reports.append(examine(library, truths))
        show(library_row(reports[-1]))
    return reports


def show_errors(reports: list[Report]) -> None:
    heading(
        "Worst error against the exact number, in ulp (gradient: of its larger term)"
    )
    show(ERROR_GROUPS)
    show(ERROR_TITLES)
    for report in reports:
        if report.errors:
            show(error_row(report))


def verdict(reports: list[Report]) -> str:
    failing = ", ".join(report.name for report in reports if fails(report))
    if failing:
        return styled(31, f"Broken or past the promised errors: {failing}.")
    running = sum(bool(report.errors) for report in reports)
    return styled(1, f"Run here: {running} of {len(reports)} libraries, and all agree.")


def main() -> int:
    show(f"xploss {xploss.__version__}: binary losses that are exact on any array")
    show_job()
    reports = show_libraries()
    show_errors(reports)
    show()
    show(verdict(reports))
    return int(any(map(fails, reports)))


def run() -> int:
    try:
        return main()
    except BrokenPipeError:
        # `| head` has read enough; Python's own flush at exit must not fail again:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    raise SystemExit(run())
