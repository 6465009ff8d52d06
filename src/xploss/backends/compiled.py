"""Arrays in host memory, by the compiled formulas (`xploss/kernels`), where they are.

They are there if a C compiler was when the package was built.  What they do not take,
such as another byte order, goes the way that it would go without them.
"""

from typing import Any, NamedTuple

import numpy as np

from ..formulas.record import Function
from ..kernels.catalogue import kernels, row_kernels
from .job import Job

try:
    from ..kernels import _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

# NumPy has no bfloat16, and a structure of that name stands for it.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])

# As `kernels/host/loops.h` counts them.
TYPES = {
    "int32": 5, "int64": 7, "float16": 8, "bfloat16": 9, "float32": 10, "float64": 11,
}  # fmt: skip

# Those that this processor has, the best last.
INSTRUCTION_SETS: tuple[str, ...] = (
    () if _compiled is None else _compiled.instruction_sets
)


class Plan(NamedTuple):
    """A kernel, what it is called with (the place of an argument, or a number instead
    of one), and how many results it has."""

    kernel: int
    called_with: tuple[int | float, ...]
    results: int

    def arguments(self, *given: Any) -> tuple[Any, ...]:
        if len(given) == len(self.called_with) == 2:
            return given
        return tuple([given[a] if type(a) is int else a for a in self.called_with])


# By the function of a formula, and by which of its arguments are there.
PLANS: dict[tuple[Function, tuple[bool, ...]], Plan] = {}
WITHOUT_OPTIONS: dict[tuple[Function, tuple[bool, ...]], Plan] = {}
for _number, _kernel in enumerate(kernels() if INSTRUCTION_SETS else ()):
    for _there, _called_with in _kernel.taken():
        _plan = Plan(_number, _called_with, _kernel.results)
        PLANS.setdefault((_kernel.function, _there), _plan)
        if sum(_there) == 2:
            WITHOUT_OPTIONS.setdefault((_kernel.function, (True, True)), _plan)
for _number, _kernel in enumerate(row_kernels() if INSTRUCTION_SETS else ()):
    for _there, _called_with in _kernel.taken():
        _plan = Plan(_number, _called_with, _kernel.results)
        PLANS.setdefault((_kernel.function, _there), _plan)


def plan_of(function: Function, arguments: tuple[Any, ...]) -> Plan | None:
    """Of arguments that are None where they are absent, or of logits and labels."""
    key = function, tuple([argument is not None for argument in arguments])
    return PLANS.get(key) or WITHOUT_OPTIONS.get(key)


class Compiled:
    """The evaluation of jobs by one instruction set.

    `threads` are made for the call, or are those of `team`, the address of
    `GOMP_parallel` in the OpenMP of the arrays' library.
    """

    def __init__(self, instruction_set: str) -> None:
        self.set = INSTRUCTION_SETS.index(instruction_set)

    def at_once(
        self,
        plan: Plan,
        arguments: tuple[Any, ...],
        reduction: str,
        per_class: tuple[bool, ...] = (),
        threads: int = 1,
        team: int = 0,
    ) -> Any:
        """Of two arrays alike and numbers: the sum, divided as the reduction says, or
        None; and a list of the results per element.

        Of rows, whose classes are on the last axis, they are one a class or one a row.
        """
        first, summed = arguments[0], reduction != "none"
        n, divided, class_axis = first.size, summed and reduction != "sum", -1
        if per_class:
            n, class_axis = n // first.shape[-1], first.ndim - 1
            row = (*first.shape[:-1], 1)
            made = [
                np.empty_like(first) if of_class else np.empty(row, first.dtype)
                for of_class in per_class[summed:]
            ]
        else:
            made = [np.empty_like(first) for _ in range(plan.results - summed)]
        total = _compiled.evaluate(
            self.set, plan.kernel, arguments, None, None,
            (None, 1.0 / n if divided else None), (*made,),
            True if summed else None, n if divided else 1.0, threads, team, class_axis,
        )  # fmt: skip
        return total, made

    def flat(
        self,
        plan: Plan,
        dtype: int,
        size: int,
        arguments: tuple[int | float, ...],
        outputs: tuple[int, ...],
        total: int | None = None,
        divisor: float = 1.0,
        scale: float = 1.0,
        threads: int = 1,
        team: int = 0,
        labels: int | None = None,
        classes: int = 0,
    ) -> None:
        """Of arrays in a row, by addresses, and numbers: of a dtype, and labels of
        theirs; or of rows of so many classes.

        The sum of the first result is written to `total`, and those of the rest, or all
        of them, to `outputs`; the last is multiplied by `scale`.
        """
        _compiled.evaluate_flat(
            self.set, plan.kernel, dtype, size, arguments, outputs, total, divisor,
            scale, threads, team, dtype if labels is None else labels, classes,
        )  # fmt: skip

    def evaluate(
        self, job: Job, threads: int = 1, team: int = 0
    ) -> tuple[Any, ...] | None:
        """The outputs, or None of what is not taken."""
        class_axis = job.formula.class_axis
        plan = plan_of(job.function(), job.arguments)
        if plan is None or not job.tells_classes_apart():
            return None
        arguments = plan.arguments(*job.arguments)
        made = _room(job) if class_axis is None else _room_of_rows(job)
        total = _room_for_sum(job)
        divisor = 1.0 if job.n is None else job.n
        result = _compiled.evaluate(
            self.set, plan.kernel, arguments, job.weights, job.where, job.scales, made,
            total, divisor, threads, team, -1 if class_axis is None else class_axis,
        )  # fmt: skip
        if result is NotImplemented:
            return None
        if total is None:
            return made
        return (_sum_of(job, result if total is True else total), *made)


def _room(job: Job) -> tuple[Any, ...]:
    """For the results per element."""
    first = job.arguments[0]
    return tuple(
        [np.empty_like(first, d, subok=False) for d in job.dtypes[job.summed :]]
    )


def _room_of_rows(job: Job) -> tuple[Any, ...]:
    """For results that are one a class, or one a row."""
    first, axis = job.arguments[0], job.formula.class_axis or 0
    row = first[(slice(None),) * axis + (slice(0, 1),)]
    kinds = list(zip(job.per_class(), job.dtypes, strict=True))[job.summed :]
    return tuple(
        [
            np.empty_like(first if per_class else row, dtype, subok=False)
            for per_class, dtype in kinds
        ]
    )


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
