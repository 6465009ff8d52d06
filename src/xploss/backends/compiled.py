"""Arrays in host memory, by the compiled formulas (`xploss/kernels`), where they are.

They are there if a C compiler was when the package was built.  What they do not take,
such as another byte order, goes the way that it would go without them.
"""

from typing import Any

import numpy as np

from ..formulas.record import Function
from ..kernels.catalogue import kernels
from .job import Job

try:
    from ..kernels import _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

# NumPy has no bfloat16, and a structure of that name stands for it.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])

# As `kernels/host/loops.h` counts them.
TYPES = {"float16": 8, "bfloat16": 9, "float32": 10, "float64": 11}

# Those that this processor has, the best last.
INSTRUCTION_SETS: tuple[str, ...] = (
    () if _compiled is None else _compiled.instruction_sets
)

# By the function of a formula, and by which of its arguments are there: the kernel, and
# what it is called with, the place of an argument or a number instead of one.
Plan = tuple[int, tuple[int | float, ...]]
PLANS: dict[tuple[Function, tuple[bool, ...]], Plan] = {}
# Of calls without options: the kernel, and how many results it has.
WITHOUT_OPTIONS: dict[Function, tuple[int, int]] = {}
for _number, _kernel in enumerate(kernels() if INSTRUCTION_SETS else ()):
    for _there, _called_with in _kernel.taken():
        PLANS.setdefault((_kernel.function, _there), (_number, _called_with))
    if _kernel.arguments.count(None) == len(_kernel.arguments) - 2:
        WITHOUT_OPTIONS[_kernel.function] = (_number, _kernel.results)


class Compiled:
    """The evaluation of jobs by one instruction set.

    `threads` are made for the call, or are those of `team`, the address of
    `GOMP_parallel` in the OpenMP of the arrays' library.
    """

    def __init__(self, instruction_set: str) -> None:
        self.set = INSTRUCTION_SETS.index(instruction_set)

    def at_once(
        self,
        function: Function,
        first: Any,
        labels: Any,
        reduction: str,
        threads: int = 1,
        team: int = 0,
    ) -> Any:
        """Of a call without options, of arrays alike: the sum, divided as the reduction
        says, or None; and a list of the results per element."""
        summed, n = reduction != "none", first.size
        divided = summed and reduction != "sum"
        number, results = WITHOUT_OPTIONS[function]
        made = [np.empty_like(first) for _ in range(results - summed)]
        total = _compiled.evaluate(
            self.set, number, (first, labels), None, None,
            (None, 1.0 / n if divided else None), (*made,),
            True if summed else None, n if divided else 1.0, threads, team,
        )  # fmt: skip
        return total, made

    def flat(
        self,
        function: Function,
        dtype: int,
        size: int,
        arguments: tuple[int, ...],
        outputs: tuple[int, ...],
        total: int | None = None,
        divisor: float = 1.0,
        scale: float = 1.0,
        threads: int = 1,
        team: int = 0,
    ) -> None:
        """Of a call without options, of arrays of one dtype in a row, by addresses.

        The sum of the first result is written to `total`, and those of the rest, or all
        of them, to `outputs`; the last is multiplied by `scale`.
        """
        number, _ = WITHOUT_OPTIONS[function]
        _compiled.evaluate_flat(
            self.set, number, dtype, size, arguments, outputs, total, divisor, scale,
            threads, team,
        )  # fmt: skip

    def evaluate(
        self, job: Job, threads: int = 1, team: int = 0
    ) -> tuple[Any, ...] | None:
        """The outputs, or None of what is not taken."""
        there = tuple([a is not None for a in job.arguments])
        plan = PLANS.get((job.function(), there))
        if plan is None:
            return None
        number, called_with = plan
        first, given = job.arguments[0], job.arguments
        arguments = tuple([given[a] if type(a) is int else a for a in called_with])
        made = tuple(
            [np.empty_like(first, d, subok=False) for d in job.dtypes[job.summed :]]
        )
        total = _room_for_sum(job)
        divisor = 1.0 if job.n is None else job.n
        result = _compiled.evaluate(
            self.set, number, arguments, job.weights, job.where, job.scales, made,
            total, divisor, threads, team,
        )  # fmt: skip
        if result is NotImplemented:
            return None
        if total is None:
            return made
        return (_sum_of(job, result if total is True else total), *made)


def _room_for_sum(job: Job) -> Any:
    """None where nothing is summed, True where everything is."""
    if not job.summed:
        return None
    if job.axis is None:
        return True
    shape = job.arguments[0].shape
    kept = [1 if k in job.axis else n for k, n in enumerate(shape)]
    return np.empty(kept, job.dtypes[0])


def _sum_of(job: Job, total: Any) -> Any:
    if job.axis is None:
        return job.dtypes[0](total)
    return (total if job.keepdims else total.squeeze(job.axis))[()]


BEST = Compiled(INSTRUCTION_SETS[-1]) if INSTRUCTION_SETS else None
