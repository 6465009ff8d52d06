"""PyTorch: the derivative rule of the loss, which saves nothing but its inputs.

It has no `jvp`: with one, full-graph compilation refuses it and `jacfwd` of `jacfwd`
is silently wrong.  Forward mode and functorch therefore take the plain formula, as do
tensor subclasses.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from array_api_compat import torch as xp
from torch.autograd import Function

from . import _formula, _torch_private
from ._plain import plain


class _Value(Function):
    """L(logits, labels, pos_weight), its slopes by the same formula."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Any, labels: Any, pos_weight: Any, smoothing: float) -> Any:
        formula = partial(_formula.value, smooth=_smooth())
        return plain(formula, xp, logits, labels, pos_weight, smoothing)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, labels, pos_weight, ctx.smoothing = inputs
        ctx.number = pos_weight if isinstance(pos_weight, float) else None
        saved = None if isinstance(pos_weight, float) else pos_weight
        ctx.save_for_backward(logits, labels, saved)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, ...]:
        logits, labels, pos_weight = ctx.saved_tensors
        primals = (logits, labels, ctx.number if pos_weight is None else pos_weight)
        slopes: tuple[Callable[..., Any], ...] = (
            partial(_formula.slope, smooth=_smooth()),
            _formula.label_slope,
            _formula.pos_weight_slope,
        )
        gradients: list[Any] = [None] * 4
        for k, formula in enumerate(slopes):
            if ctx.needs_input_grad[k]:
                slope = plain(formula, xp, *primals, ctx.smoothing)
                gradients[k] = upstream * slope
        return tuple(gradients)


def _smooth() -> bool:
    """Whether what runs may be differentiated again, or traced and differentiated.

    A compiled step is not, and sharing exp(-|x|) between value and slope there is a
    fifth of its time.
    """
    return not torch.compiler.is_compiling()


def _rule_applies(tensors: list[Any]) -> bool:
    if _torch_private.functorch_is_active() or _torch_private.forward_mode_is_active():
        return False
    if torch.compiler.is_compiling():
        # An exported program holds the forward alone, and is differentiated later.
        return not torch.compiler.is_exporting()
    return (
        torch.is_grad_enabled()
        and any(t.requires_grad for t in tensors)
        and all(type(t) in (torch.Tensor, torch.nn.Parameter) for t in tensors)
    )


def with_rule(formula: Callable[..., Any], xp: Any, logits: Any, *others: Any) -> Any:
    """The loss of logits under its rule where that applies, else plainly."""
    tensors = [t for t in (logits, *others) if isinstance(t, torch.Tensor)]
    if formula is _formula.value and _rule_applies(tensors):
        return _Value.apply(logits, *others)
    return plain(formula, xp, logits, *others)
