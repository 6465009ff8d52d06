"""PyTorch: the derivative rule of the loss, and tensors in memory as NumPy's arrays.

The rule saves nothing but its inputs.  It has no `jvp`: with one, full-graph
compilation refuses it and `jacfwd` of `jacfwd` is silently wrong.  Forward mode and
functorch therefore take the plain formula, as do tensor subclasses.

Operation by operation PyTorch takes five to eight times as long as its own loss.  In
eager mode, tensors on the CPU are therefore evaluated through views of their memory,
by `_host.py`, on the calling thread.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from array_api_compat import torch as torch_namespace
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import _arrays, _formula, _host, _torch_private
from ._plain import Evaluation, plain, plainly, quietly

MOST_AXES = 64  # of NumPy's arrays
NARROW = {torch.float16, torch.bfloat16}
VIEWED = {
    *NARROW, torch.float32, torch.float64, torch.bool,
    torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


# ---- tensors in memory -------------------------------------------------------------


def _tensors(arguments: tuple[Any, ...]) -> list[Any]:
    return [a for a in arguments if isinstance(a, torch.Tensor)]


def _in_memory(tensors: list[Any]) -> bool:
    """Whether NumPy can be shown them, and nobody has to be shown what is done."""
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or _torch_private.functorch_is_active()
        or _torch_private.forward_mode_is_active()
        or _torch_private.mode_is_active()
    ) and all(map(_has_view, tensors))


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
        and not _torch_private.is_zero(tensor)
    )


def _view(argument: Any) -> Any:
    """NumPy's of a tensor; widened from 16 bits, which NumPy does slowly or not."""
    if not isinstance(argument, torch.Tensor):
        return argument
    tensor = argument.detach()
    return (tensor.float() if tensor.dtype in NARROW else tensor).numpy()


def _by_views(e: Evaluation) -> tuple[Any, ...]:
    """The outputs of tensors in memory; what is made for them is NumPy's memory."""
    wide = [np.float64 if d is torch.float64 else np.float32 for d in e.dtypes]
    arguments = tuple([_view(a) for a in e.arguments])
    views = e._replace(arguments=arguments, dtypes=tuple(wide))
    results = quietly(np, _host.evaluate, np, views)
    made = [torch.from_numpy(np.asarray(r)) for r in results]
    return tuple(
        [a if a.dtype is d else a.to(d) for a, d in zip(made, e.dtypes, strict=True)]
    )


def evaluate(xp: Any, e: Evaluation) -> tuple[Any, ...]:
    """The outputs, by views where nothing is differentiated."""
    tensors = _tensors(e.arguments)
    if not _in_memory(tensors):
        return plainly(xp, e)
    if not _is_differentiated(tensors):
        return _by_views(e)
    logits, labels, weights, where, *parameters = e.arguments
    if e.formula is _formula.value and e.summed and weights is where is e.axis is None:
        n = 1 if e.n is None else e.n
        return (_Loss.apply(logits, labels, *parameters, n),)
    return plainly(xp, e)


def within_mode(tensor: Any, function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), in the mode of a tensor that has one."""
    mode = _torch_private.fake_mode(tensor)
    if mode is None:
        return function(*args)
    flat, together = _torch_private.flattened(args)

    def run(*flat: Any) -> Any:
        return function(*together(flat))

    if _is_differentiated(_tensors(tuple(flat))):
        return _Faked.apply(mode, run, *flat)
    with mode:
        return function(*args)


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


# ---- tensors on several devices ------------------------------------------------------


def added_up(tensor: Any) -> Any:
    """A DTensor's partial sums as their sum, which each use would ask for anew."""
    if _arrays.kind(tensor) != "torch.distributed.tensor.DTensor":
        return tensor
    from torch.distributed.tensor import Replicate

    placements = [Replicate() if p.is_partial() else p for p in tensor.placements]
    return tensor.redistribute(placements=placements)


# ---- the rule ----------------------------------------------------------------------


def _is_differentiated(tensors: list[Any]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


class _Loss(Function):
    """L of logits, labels, pos_weight, smoothing; its sum divided by an `n`."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Any,
        labels: Any,
        pos_weight: Any,
        smoothing: Any,
        n: int | None,
    ) -> Any:
        ctx.n = n
        primals = (logits, labels, pos_weight, smoothing)
        ctx.numbers = [None if isinstance(a, torch.Tensor) else a for a in primals]
        ctx.save_for_backward(
            *[a if isinstance(a, torch.Tensor) else None for a in primals]
        )
        arguments = (logits, labels, None, None, pos_weight, smoothing)
        dtype = _arrays.computing_dtype(torch_namespace, logits)
        summed = n is not None  # which only what is in memory has
        if summed or _in_memory(_tensors(arguments)):
            e = Evaluation(_formula.value, arguments, (dtype,), summed, n=n)
            return _by_views(e)[0]
        value = partial(_formula.value, differentiable=_differentiable())
        return plain(value, torch_namespace, logits, labels, pos_weight, smoothing)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, ...]:
        pairs = zip(ctx.saved_tensors, ctx.numbers, strict=True)
        primals = tuple([number if a is None else a for a, number in pairs])
        gradients: list[Any] = [None] * 5
        for k, slope in enumerate(_SLOPES):
            if ctx.needs_input_grad[k]:
                gradients[k] = _gradient(slope, primals, ctx.n or 1, upstream)
        return tuple(gradients)


_SLOPES: tuple[Callable[..., Any], ...] = (
    _formula.slope,
    _formula.label_slope,
    _formula.pos_weight_slope,
    _formula.smoothing_slope,
)


def _gradient(
    slope: Callable[..., Any],
    primals: tuple[Any, ...],
    n: int,
    upstream: Any,
) -> Any:
    """upstream / n * slope, by views unless that is differentiated again."""
    logits, labels, pos_weight, smoothing = primals
    arguments = (logits, labels, None, None, pos_weight, smoothing)
    if not torch.is_grad_enabled() and _in_memory([*_tensors(arguments), upstream]):
        number = upstream.ndim == 0 and not _torch_private.is_batched(upstream)
        scale = upstream.item() / n if number else 1.0 / n
        e = Evaluation(slope, arguments, (upstream.dtype,), scales=(scale,))
        (slopes,) = _by_views(e)
        return slopes if number else upstream * slopes
    if slope is _formula.slope:
        slope = partial(slope, differentiable=_differentiable())
    labels = _arrays.beside(torch_namespace, logits, labels)
    slopes = plain(slope, torch_namespace, logits, labels, pos_weight, smoothing)
    return upstream * slopes if n == 1 else upstream / n * slopes


def _differentiable() -> bool:
    """Whether what runs may be differentiated again, or traced and differentiated.

    A compiled step is not, and sharing exp(-|x|) between value and slope there is a
    fifth of its time.
    """
    return not torch.compiler.is_compiling()


def _rule_applies(tensors: list[Any]) -> bool:
    if _torch_private.functorch_is_active() or _torch_private.forward_mode_is_active():
        return False
    if torch.jit.is_tracing():  # which compares with a trace that keeps no rule
        return False
    if torch.compiler.is_compiling():
        # An exported program holds the forward alone, and is differentiated later.
        return not torch.compiler.is_exporting()
    return _is_differentiated(tensors) and all(map(_is_ordinary, tensors))


def with_rule(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The loss of logits under its rule where that applies, else plainly."""
    tensors = _tensors((logits, *others))
    if formula is _formula.value and _rule_applies(tensors):
        return _Loss.apply(logits, *others, None)
    return plain(formula, xp, logits, *others)
