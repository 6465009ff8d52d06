"""PyTorch's loss module; the only spelling that needs the library it is spelt after."""

from typing import Any

import torch

from ._functions import binary_cross_entropy_with_logits


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):  # type: ignore[misc]
    """`torch.nn.BCEWithLogitsLoss`, exact in both tails.

    PyTorch's own module with another `forward`: the same arguments, buffers `weight`
    and `pos_weight`, and `state_dict`.  Shapes, dtypes and errors are those of
    `xploss.compat.torch.binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight, pos_weight : torch.Tensor, optional
    size_average, reduce : bool, optional
        The old spelling of `reduction`; with PyTorch's warning.
    reduction : {"mean", "sum", "none"}

    Called as ``loss(input, target)``: a tensor.

    Examples
    --------
    >>> import torch
    >>> loss = BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))
    >>> loss(torch.zeros(4, 1), torch.ones(4, 1))
    tensor(2.0794)
    >>> list(loss.state_dict())
    ['pos_weight']
    """

    def forward(self, input: Any, target: Any) -> Any:
        return binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            pos_weight=self.pos_weight,
            reduction=self.reduction,
        )
