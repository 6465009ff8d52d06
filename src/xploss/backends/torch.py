"""PyTorch: one derivative rule for every formula, and tensors in memory as NumPy's.

The rule saves nothing but its inputs.  It has no `jvp`: with one, full-graph
compilation refuses it and `jacfwd` of `jacfwd` is silently wrong.  Forward mode and
functorch therefore take the plain formula, as do tensor subclasses.

Operation by operation PyTorch takes five to eight times as long as its own loss.  In
eager mode, tensors on the CPU are therefore evaluated through views of their memory,
block by block as NumPy's arrays are, and those on a GPU by kernels of the formula's
text.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from array_api_compat import torch as torch_namespace
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .._arrays import computing_dtype, instead_of, kind
from ..formulas.record import STATISTIC, Formula
from ..kernels.cuda import BLOCK
from . import device, torch_operations, torch_private
from .base import Backend
from .classes import MOST_NUMBERS, Classes
from .compiled import BFLOAT16, TYPES, plan_of
from .job import Job, are_per_class, of_label, undifferentiated
from .numpy import BACKEND as NUMPY

SECOND = "slope_and_curvature"  # which has no static options
MOST_AXES = 64  # of NumPy's arrays
NARROW = {torch.float16, torch.bfloat16}
NUMPYS: dict[Any, Any] = {
    torch.float16: np.float16, torch.bfloat16: BFLOAT16,
    torch.float32: np.float32, torch.float64: np.float64,
}  # fmt: skip
NUMBERS = {
    torch.float16: TYPES["float16"], torch.bfloat16: TYPES["bfloat16"],
    torch.float32: TYPES["float32"], torch.float64: TYPES["float64"],
    torch.int32: TYPES["int32"], torch.int64: TYPES["int64"],
}  # fmt: skip
FLOATS = {*NARROW, torch.float32, torch.float64}
INTEGERS = {torch.int32, torch.int64}
LARGEST = torch.iinfo(torch.int64).max
VIEWED = {
    *NARROW, torch.float32, torch.float64, torch.bool,
    torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


class Torch(Backend):
    # ---- its arrays ------------------------------------------------------------------

    def instead_of(self, array: Any) -> str | None:
        # `torch.masked` is loaded for those who use it.
        if type(array).__name__ == "MaskedTensor":
            return "its mask would be lost; pass `.get_data()`, `where=.get_mask()`"
        if array.is_nested:
            return "it is nested; pass `.to_padded_tensor(0.0)` and its mask as `where`"
        if array.layout is torch.strided:
            return None
        return instead_of(array) or "pass `.to_dense()` of it"

    def on_host(self, array: Any) -> Any:
        return array.detach().cpu()

    # ---- running ---------------------------------------------------------------------

    def run(self, like: Any, function: Callable[..., Any], *args: Any) -> Any:
        """In the mode of a tensor that has one."""
        mode = torch_private.fake_mode(like)
        if mode is None:
            return function(*args)
        flat, together = torch_private.flattened(args)

        def run(*flat: Any) -> Any:
            return function(*together(flat))

        if _is_differentiated(_tensors(tuple(flat))):
            return _Faked.apply(mode, run, *flat)
        with mode:
            return function(*args)

    def at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Any,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
    ) -> Any:
        """Of tensors in memory; what a value's derivative needs is kept."""
        if (
            NUMPY.compiled is None
            or _is_watched()
            or not (_is_in_a_row(first) and _is_in_a_row(labels))
            or labels.dtype is not first.dtype
            or labels.shape != first.shape
        ):
            return None
        n = first.numel()
        return _at_once(formula, quantity, first, labels, options, reduction, n)

    def rows_at_once(
        self,
        formula: Formula,
        quantity: str,
        first: Any,
        labels: Any,
        options: tuple[float | None, ...],
        reduction: str,
        class_axis: Any,
        ignored: Any,
    ) -> Any:
        if (
            NUMPY.compiled is None
            or _is_watched()
            or not _is_in_a_row(first)
            or not _is_in_a_row(labels, NUMBERS)
            or first.ndim < 2
            or type(class_axis) is not int
            or class_axis not in (-1, first.ndim - 1)
        ):
            return None
        are_numbers = labels.ndim < first.ndim
        if are_numbers and not _are_numbers(first, labels, ignored):
            return None
        if not are_numbers and not _are_masses(first, labels, ignored):
            return None
        rows = first.numel() // first.shape[-1]
        return _at_once(formula, quantity, first, labels, options, reduction, rows)

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """By kernels where nothing is differentiated, or by a rule that has a sum's."""
        tensors = _tensors(job.traced())
        if not _has_kernels(tensors):
            return super().evaluate(job)
        if not _is_differentiated(tensors):
            return _by_kernels(job)
        if not _has_slopes(job) or _needs_gradient(job.weights):
            return super().evaluate(job)
        given = (job.weights, job.where, *job.arguments)
        if job.summed and job.axis is None:
            n = 1 if job.n is None else job.n
            return (_Ruled.apply(job.formula, n, *given),)
        losses = _Ruled.apply(job.formula, None, *given)
        if not job.summed:
            return (losses.to(job.dtypes[0]),)
        return self.with_sum(job, (losses,))

    def applied(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        """Under the rule where that applies, else plainly."""
        if torch.jit.is_tracing():  # which has no operations of a bool that is known
            arguments = tuple(self.as_array(arguments[0], a) for a in arguments)
        ruled = job._replace(arguments=arguments)
        of_rows = job.formula.class_axis is not None
        if _has_slopes(ruled) and _rule_applies(_tensors(arguments), of_rows):
            return _Ruled.apply(job.formula, None, None, None, *arguments)
        function: Any = job.function()
        if _is_undifferentiated(_tensors(arguments)) and job.quantity != SECOND:
            function = undifferentiated(job.formula, function)
        return self.formula(function, arguments, job.formula.class_axis)

    def carried_out(
        self, function: Any, within: Any, arguments: tuple[Any, ...]
    ) -> Any:
        """By as few operations as there are, where they are nobody else's to see."""
        of_rows = isinstance(within, Classes)
        if of_rows or not _is_run_plainly(_tensors(arguments)):
            return super().carried_out(function, within, arguments)
        return torch_operations.evaluate(function, arguments)

    def within_rows(self, axis: int) -> Classes:
        return _Classes(self, axis)

    # ---- sums ------------------------------------------------------------------------

    def accumulator(self, values: Any, from_16_bits: bool) -> Any:
        """GPU kernels add in trees; subclasses are left to add in their own way."""
        if kind(values) != "torch.Tensor" or not values.is_cpu:
            return None
        if from_16_bits and torch.compiler.is_compiling():
            return None  # a fifth slower, for digits that 16-bit logits do not have
        return super().accumulator(values, from_16_bits)

    def drifts(self, values: Any) -> bool:
        """A compiler must not see the sizes, or it compiles anew for each."""
        in_memory = kind(values) == "torch.Tensor" and values.is_cpu
        return in_memory and not torch.compiler.is_compiling()

    def counted_of(self, first: Any, axis: Any, *options: Any) -> tuple[Any, int]:
        return first.detach(), 1

    def of_one_class(self, first: Any, axis: int) -> Any:
        """To cut one off, a DTensor whose classes are apart is gathered."""
        if not _is_dtensor(first):
            return super().of_one_class(first, axis)
        from torch.distributed.tensor import Replicate, zeros

        places = [Replicate() if p.is_shard(axis) else p for p in first.placements]
        shape, mesh = list(first.shape), first.device_mesh
        shape[axis] = 1
        return zeros(*shape, dtype=first.dtype, device_mesh=mesh, placements=places)

    def reusable_sum(self, total: Any) -> Any:
        """A DTensor's partial sums as their sum, which each use would ask for anew."""
        if not _is_dtensor(total):
            return total
        from torch.distributed.tensor import Replicate

        places = [Replicate() if p.is_partial() else p for p in total.placements]
        return total.redistribute(placements=places)

    def class_sum(self, values: Any, axis: int) -> Any:
        """Which each class needs."""
        return self.reusable_sum(super().class_sum(values, axis))


class _Classes(Classes):
    def argmax(self, logits: Any) -> Any:
        if torch.compiler.is_compiling() or _is_dtensor(logits):
            return self.backend.reusable_sum(self.argmax_by_maximum(logits))
        return super().argmax(logits)

    def class_max(self, values: Any) -> Any:
        return self.backend.reusable_sum(super().class_max(values))

    def pick(self, values: Any, numbers: Any) -> Any:
        """A subclass may have its classes apart."""
        if not numbers.ndim or not _is_ordinary(values):
            return super().pick(values, numbers)
        last = self.class_count(values) - 1
        index = torch.clamp(numbers, 0, last).to(torch.int64)
        if torch.jit.is_tracing():  # whose exporter to ONNX has no other
            return torch.gather(values, self.axis, index)
        # Inductor takes a fifth less of it.
        return torch.take_along_dim(values, index, dim=self.axis)

    def _index(self, like: Any, dtype: Any) -> Any:
        """Of a DTensor, cut as its classes are."""
        index = super()._index(like, dtype)
        if not _is_dtensor(like):
            return index
        from torch.distributed.tensor import DTensor, Replicate

        whole = [Replicate() for _ in like.placements]
        places = [p if p.is_shard(self.axis) else Replicate() for p in like.placements]
        replicated = DTensor.from_local(index, like.device_mesh, whole, run_check=False)
        return replicated.redistribute(placements=places)


BACKEND = Torch(torch_namespace)

# ---- tensors in memory -------------------------------------------------------------


def _tensors(arguments: tuple[Any, ...]) -> list[Any]:
    return [a for a in arguments if isinstance(a, torch.Tensor)]


def _has_kernels(tensors: list[Any]) -> bool:
    """In memory, where NumPy can be shown them, or on a GPU; and nobody has to be shown
    what is done."""
    if _is_watched():
        return False
    return all(map(_has_view, tensors)) or _are_on_gpu(tensors)


def _is_watched() -> bool:
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch_private.functorch_is_active()
        or torch_private.forward_mode_is_active()
        or torch_private.mode_is_active()
    )


def _is_dtensor(tensor: Any) -> bool:
    return kind(tensor) == "torch.distributed.tensor.DTensor"


def _is_ordinary(tensor: Any) -> bool:
    """A subclass may have operations of its own."""
    return type(tensor) in (torch.Tensor, torch.nn.Parameter)


def _has_view(tensor: Any) -> bool:
    return (
        _is_ordinary(tensor)
        and tensor.is_cpu
        and tensor.ndim <= MOST_AXES
        and tensor.dtype in VIEWED
        and not tensor.is_neg()
        and not torch_private.is_zero(tensor)
    )


def _are_on_gpu(tensors: list[Any]) -> bool:
    """On one that PyTorch compiles kernels for."""
    return all(
        _is_ordinary(tensor)
        and torch_private.takes_kernels(tensor.device)
        and tensor.device == tensors[0].device
        and tensor.dtype in VIEWED
        and not tensor.is_neg()
        and not torch_private.is_zero(tensor)
        for tensor in tensors
    )


def _is_in_a_row(tensor: Any, dtypes: Any = FLOATS) -> bool:
    """In memory, at an address of its own."""
    return (
        _is_ordinary(tensor)
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and tensor.is_contiguous()
        and tensor.dtype in dtypes
        and tensor.numel() > 0
        and tensor.data_ptr() > 0
        and not tensor.is_neg()
    )


def _are_numbers(first: Any, labels: Any, ignored: Any) -> bool:
    """Of classes, and none of them to be ignored."""
    classes = first.shape[-1]
    fit = labels.shape == first.shape[:-1] and classes <= MOST_NUMBERS
    fit = fit and labels.dtype in INTEGERS
    if not fit or ignored is None:
        return fit
    whole = type(ignored) is int and -LARGEST <= ignored <= LARGEST
    return whole and not bool((labels == ignored).any())


def _are_masses(first: Any, labels: Any, ignored: Any) -> bool:
    alike = labels.shape == first.shape and labels.dtype is first.dtype
    return alike and ignored is None


def _view(argument: Any) -> Any:
    """NumPy's of a tensor."""
    if argument is None or not isinstance(argument, torch.Tensor):
        return argument
    tensor = argument.detach() if argument.requires_grad else argument
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(BFLOAT16)
    return tensor.numpy()


def _tensor(result: Any) -> Any:
    """A tensor in the memory of a result of NumPy's."""
    array = np.asarray(result)
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _at_once(
    formula: Formula,
    quantity: str,
    first: Any,
    labels: Any,
    options: tuple[float | None, ...],
    reduction: str,
    n: int,
) -> Any:
    """Of tensors in a row; None of what is to be differentiated by its lines."""
    summed, results = reduction != "none", 1 if quantity == "value" else 2
    n = n if summed and reduction != "sum" else 1
    if torch.is_grad_enabled() and (first.requires_grad or labels.requires_grad):
        if results == 2 or not summed or (formula.per_row and labels.requires_grad):
            return None
        return _RuledAtOnce.apply(formula, n, options, first, labels)
    given = _given(formula, first, labels, options)
    kinds = _kinds(formula, quantity, results)
    scale = 1.0 / n if results == 2 else 1.0
    made = _flat(getattr(formula, quantity), given, kinds, summed, n, scale)
    return made[0] if results == 1 else tuple(made)


class Given(NamedTuple):
    """Tensors in a row, and numbers: as a formula takes them."""

    arguments: tuple[Any, ...]
    labels: Any
    classes: int  # of rows, or 0


def _given(formula: Formula, first: Any, labels: Any, options: Any) -> Given:
    if not formula.per_row:
        return Given((first, labels, *options), labels, 0)
    label = of_label(labels, labels.ndim < first.ndim)
    return Given((first, *label, *options), labels, first.shape[-1])


def _kinds(formula: Formula, quantity: str, results: int) -> tuple[bool, ...]:
    """Which results are one an element, the others one a row."""
    if not formula.per_row:
        return (True,) * results
    return are_per_class(formula, quantity, results)


def _flat(
    function: Any,
    given: Given,
    kinds: tuple[bool, ...],
    summed: bool,
    divisor: float = 1.0,
    scale: float = 1.0,
) -> list[Any]:
    """The results, the first summed and divided."""
    compiled: Any = NUMPY.compiled
    plan: Any = plan_of(function, given.arguments)
    first = given.arguments[0]
    made = [
        torch.empty_like(first) if per_element else _one_a_row(first, k > 0)
        for k, per_element in enumerate(kinds)
        if k or not summed
    ]
    if summed:
        total = _wide_empty((), first)
    addresses = [
        a.data_ptr() if isinstance(a, torch.Tensor) else a for a in given.arguments
    ]
    compiled.flat(
        plan, NUMBERS[first.dtype], first.numel(), plan.arguments(*addresses),
        tuple([a.data_ptr() for a in made]),
        total.data_ptr() if summed else None, divisor, scale, torch.get_num_threads(),
        torch_private.team(), NUMBERS[given.labels.dtype], given.classes,
    )  # fmt: skip
    return [total, *made] if summed else made


def _one_a_row(logits: Any, of_statistic: bool) -> Any:
    """Room for losses; or for a row's statistic, which has the class axis."""
    rows = logits.shape[:-1]
    return _wide_empty((*rows, 1), logits) if of_statistic else logits.new_empty(rows)


def _wide_empty(shape: tuple[int, ...], like: Any) -> Any:
    """Of float32 beside 16 bits; by NumPy, in half of the time of `torch.empty`."""
    wide = np.float64 if like.dtype is torch.float64 else np.float32
    return torch.from_numpy(np.empty(shape, wide))


class _Device:
    """A GPU, on its current stream."""

    def strides(self, array: Any) -> tuple[int, ...]:
        strides: tuple[int, ...] = array.stride()
        return strides

    def like(self, array: Any, dtype: Any) -> Any:
        return torch.empty_like(array, dtype=dtype, requires_grad=False)

    def room(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        return torch.empty(shape, dtype=dtype or torch.float64, device=like.device)

    def launch(
        self, name: str, text: str, blocks: int, arguments: list[Any], like: Any
    ) -> None:
        torch_private.launch(name, text, blocks, BLOCK, arguments, like.device)


DEVICE = _Device()


def _by_kernels(job: Job, upstream: Any = None) -> tuple[Any, ...]:
    """The outputs, times `upstream`, of which there is one a loss, or one of all."""
    if _has_view(job.arguments[0]):
        return _by_views(job if upstream is None else _times(job, upstream))
    # Not `no_grad`, whose end an interrupt may skip.
    job = job.with_traced(tuple(map(_detached, job.traced())))
    return device.evaluate(job, DEVICE, BACKEND, _detached(upstream))


def _detached(argument: Any) -> Any:
    return argument.detach() if isinstance(argument, torch.Tensor) else argument


def _times(job: Job, upstream: Any) -> Job:
    """Multiplied, as which views take a number or one of each loss."""
    if upstream.ndim == 0:
        (scale,) = job.scales
        return job._replace(scales=(upstream.item() * scale,))
    weighed = upstream if job.weights is None else upstream * job.weights
    return job._replace(weights=weighed)


def _by_views(job: Job) -> tuple[Any, ...]:
    """The outputs of tensors in memory; what is made for them is NumPy's memory."""
    arguments = tuple([_view(a) for a in job.arguments])
    dtypes = tuple([NUMPYS[d] for d in job.dtypes])
    if NUMPY.compiled is not None and arguments[0].ndim and arguments[0].size:
        # Written out: two `_replace` take as long as the checks of a small call.
        views = Job(
            job.formula, arguments, dtypes, job.quantity, _view(job.weights),
            _view(job.where), job.summed, job.axis, job.n, job.keepdims, job.scales,
        )  # fmt: skip
        made = NUMPY.compiled.evaluate(
            views, torch.get_num_threads(), torch_private.team()
        )
        if made is not None:
            return tuple([_tensor(a) for a in made])
    return _by_wide_views(job)


def _by_wide_views(job: Job) -> tuple[Any, ...]:
    """By NumPy's own operations, which are slow in 16 bits or do not know them."""
    wide = [np.float64 if d is torch.float64 else np.float32 for d in job.dtypes]
    traced = tuple([_view(_widened(a)) for a in job.traced()])
    views = job.with_traced(traced)._replace(dtypes=tuple(wide))
    made = [_tensor(a) for a in NUMPY.evaluate(views)]
    return tuple(
        [a if a.dtype is d else a.to(d) for a, d in zip(made, job.dtypes, strict=True)]
    )


def _widened(argument: Any) -> Any:
    narrow = isinstance(argument, torch.Tensor) and argument.dtype in NARROW
    return argument.detach().float() if narrow else argument


class _Faked(Function):
    """run(*flat) in a mode that its backward is in as well, made anew for it.

    Outside of it PyTorch's `where` has no backward for a FakeTensor.
    """

    @staticmethod
    def forward(ctx: Any, mode: Any, run: Callable[..., Any], *flat: Any) -> Any:
        ctx.mode, ctx.run, ctx.flat = mode, run, flat
        ctx.set_materialize_grads(False)  # which would be zeros of no mode
        with mode:
            return run(*flat)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[2:]
        with ctx.mode, torch.enable_grad():
            again = [
                a.detach().requires_grad_() if need else a
                for a, need in zip(ctx.flat, needed, strict=True)
            ]
            leaves = [a for a, need in zip(again, needed, strict=True) if need]
            made = ctx.run(*again)
            outputs = made if isinstance(made, tuple) else (made,)
            asked = [k for k, slope in enumerate(upstream) if slope is not None]
            slopes = iter(
                torch.autograd.grad(
                    [outputs[k] for k in asked], leaves, [upstream[k] for k in asked]
                )
            )
        return (None, None, *(next(slopes) if need else None for need in needed))


# ---- the rule ----------------------------------------------------------------------


def _is_differentiated(tensors: list[Any]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def _needs_gradient(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and argument.requires_grad


def _has_slopes(job: Job) -> bool:
    """Whether the formula has a derivative by all that one is asked for by."""
    if job.quantity != "value" or not job.formula.slopes:
        return False
    pairs = zip(job.formula.traced, job.arguments, strict=True)
    return all(
        name in job.formula.slopes
        for name, a in pairs
        if isinstance(a, torch.Tensor) and a.requires_grad
    )


def _is_run_plainly(tensors: list[Any]) -> bool:
    """Operation by operation, which nobody differentiates through, or looks at."""
    return (
        not _is_differentiated(tensors)
        and not _is_watched()
        and all(map(_is_ordinary, tensors))
    )


def _is_undifferentiated(tensors: list[Any]) -> bool:
    """Run plainly, or compiled without anybody who differentiates."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return _is_run_plainly(tensors)
    return not _is_differentiated(tensors) and not (
        torch_private.functorch_is_active() or torch_private.forward_mode_is_active()
    )


def _rule_applies(tensors: list[Any], of_rows: bool) -> bool:
    if torch_private.functorch_is_active() or torch_private.forward_mode_is_active():
        return False
    if torch.jit.is_tracing():  # which compares with a trace that keeps no rule
        return False
    if torch.compiler.is_compiling():
        # An exported program holds the forward alone, and is differentiated later.
        return not torch.compiler.is_exporting()
    # Of a DTensor's rows the derivative of their largest would be scattered, as large
    # as the logits.
    ruled = (_is_ordinary(t) or (of_rows and _is_dtensor(t)) for t in tensors)
    return _is_differentiated(tensors) and all(ruled)


class _Ruled(Function):
    """A formula of its arguments; with an `n`, the sum divided by that.

    Weighed and masked only where it is in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, formula: Formula, n: int | None, weights: Any, where: Any, *given: Any
    ) -> Any:
        every = (weights, where, *given)
        ctx.formula, ctx.n = formula, n
        ctx.numbers = [None if isinstance(a, torch.Tensor) else a for a in every]
        tensors = [a if isinstance(a, torch.Tensor) else None for a in every]
        by_logits = ctx.needs_input_grad[4]
        if n is not None or _has_kernels(_tensors(every)):
            dtype = computing_dtype(torch_namespace, given[0])
            job = Job(formula, given, (dtype,), "value", weights, where, n is not None)
            job = job._replace(n=n)
            if formula.value_and_statistic is not None and by_logits:
                job = job.with_statistic(dtype)
            value, *statistic = _by_kernels(job)
        elif formula.value_and_statistic is not None and by_logits:
            made = formula._replace(value=formula.value_and_statistic)
            value, *statistic = _value_of(made, given)
        else:
            value, statistic = _value_of(formula, given), []
        ctx.save_for_backward(*tensors, *statistic)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, ...]:
        saved, count = ctx.saved_tensors, len(ctx.numbers)
        pairs = zip(saved[:count], ctx.numbers, strict=True)
        weights, where, *given = [number if a is None else a for a, number in pairs]
        names = zip(ctx.formula.traced, ctx.needs_input_grad[4:], strict=True)
        kept = Kept(tuple(given), ctx.n or 1, weights, where, saved[count:])
        gradients = [
            _gradient(ctx.formula, name, kept, upstream) if needed else None
            for name, needed in names
        ]
        return (None, None, None, None, *gradients)


class Kept(NamedTuple):
    """What is kept for backward: arguments, what the sum was divided by, weights, mask,
    and of rows their statistic."""

    arguments: tuple[Any, ...]
    n: int
    weights: Any = None
    where: Any = None
    statistic: tuple[Any, ...] = ()


class _RuledAtOnce(Function):
    """The sum, divided by `n`, of two tensors in a row, with numbers as options."""

    @staticmethod
    def forward(
        ctx: Any, formula: Formula, n: int, options: Any, first: Any, labels: Any
    ) -> Any:
        ctx.formula, ctx.n, ctx.options = formula, n, options
        quantity, results = "value", 1
        if formula.value_and_statistic is not None:
            quantity, results = "value_and_statistic", 3
        given = _given(formula, first, labels, options)
        kinds = _kinds(formula, quantity, results)
        value, *statistic = _flat(getattr(formula, quantity), given, kinds, True, n)
        ctx.save_for_backward(first, labels, *statistic)
        ctx.kinds = [(a.shape, a.dtype) for a in (first, labels, *statistic)]
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        (first, labels, *statistic), formula, n = saved, ctx.formula, ctx.n
        given = _given(formula, first, labels, ctx.options)
        if (
            not ctx.needs_input_grad[4]
            and all(map(_lies_as_saved, saved, ctx.kinds))
            and not _is_differentiated_again(upstream)
        ):
            slope = formula.slopes[formula.traced[0]]
            if statistic:
                slope = formula.slope_by_statistic
                given = given._replace(arguments=(*given.arguments, *statistic))
            made = _flat(slope, given, (True,), False, 1.0, upstream.item() / n)
            return None, None, None, made[0], None
        formula, kept = _checked(formula, n, given, tuple(statistic))
        names = zip(formula.traced[:2], ctx.needs_input_grad[3:], strict=True)
        gradients = [
            _gradient(formula, name, kept, upstream) if needed else None
            for name, needed in names
        ]
        return (None, None, None, *gradients)


def _lies_as_saved(tensor: Any, kind: tuple[Any, Any]) -> bool:
    """What a hook unpacks, or `.data` was set to, may lie otherwise."""
    return (
        (tensor.shape, tensor.dtype) == kind
        and _is_ordinary(tensor)
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


def _checked(
    formula: Formula, n: int, given: Given, statistic: tuple[Any, ...]
) -> tuple[Formula, Kept]:
    """As of a call that was checked: all options, and rows along their axis."""
    first, *others = given.arguments
    absent = (None,) * (len(formula.traced) - len(given.arguments))
    if given.classes:
        formula = formula._replace(class_axis=first.ndim - 1)
        others = [
            a.unsqueeze(-1) if a is given.labels and a.ndim < first.ndim else a
            for a in others
        ]
    return formula, Kept((first, *others, *absent), n, statistic=statistic)


def _is_differentiated_again(upstream: Any) -> bool:
    return (
        torch.is_grad_enabled()
        or _is_watched()
        or not _is_ordinary(upstream)
        or torch_private.is_batched(upstream)
        or torch_private.is_zero(upstream)
    )


def _gradient(formula: Formula, name: str, kept: Kept, upstream: Any) -> Any:
    """upstream / n * slope, by views unless that is differentiated again; of rows by
    their statistic, where it was kept."""
    arguments, n, weights, where, statistic = kept
    by_logits = name == formula.traced[0]
    slope = Formula(
        formula.traced,
        formula.slopes[name],
        static=formula.static if by_logits else (),
        class_axis=formula.class_axis,
        per_class=True,
        per_row=(*formula.per_row, *STATISTIC),
    )
    once = not torch.is_grad_enabled() or torch.compiler.is_compiling()
    if once and by_logits and statistic:
        known: Any = formula.slope_by_statistic
        names = (*slope.traced, *STATISTIC)
        slope = slope._replace(value=known, traced=names)
        arguments = (*arguments, *statistic)
    job = Job(slope, arguments, (upstream.dtype,), "value", weights, where)
    tensors = [*_tensors(job.traced()), upstream]
    if not torch.is_grad_enabled() and _has_kernels(tensors):
        job = job._replace(scales=(1.0 / n,))
        if torch_private.is_batched(upstream):
            return upstream * _by_kernels(job)[0]
        if by_logits:  # of others it may have to be summed
            job = job._replace(dtypes=(arguments[0].dtype,))
        return _by_kernels(job, upstream)[0]
    if weights is None is where:
        first, labels, *options = arguments
        arguments = (first, BACKEND.as_array(first, labels), *options)
        plainly = formula.class_axis is None and n == 1
        if plainly and _is_run_plainly([*_tensors(arguments), upstream]):
            times = partial(torch_operations.times, of=slope.value)
            return _value_of(slope._replace(value=times), (*arguments, upstream))
        slopes = _value_of(slope, arguments)
    else:
        (slopes,) = BACKEND.per_element(job)
    return upstream * slopes if n == 1 else upstream / n * slopes


def _value_of(formula: Formula, arguments: tuple[Any, ...]) -> Any:
    """The value of a formula.

    A compiled step is not differentiated again, and sharing exp(-|x|) between value and
    slope there is a fifth of its time.
    """
    value: Any = formula.value
    if torch.compiler.is_compiling() or _is_run_plainly(_tensors(arguments)):
        value = undifferentiated(formula, value)
    return BACKEND.formula(value, arguments, formula.class_axis)
