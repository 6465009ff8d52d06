"""PyTorch's loss modules; the only spelling that needs the library it is spelt after.

Each is PyTorch's own with another `forward`: the same arguments, buffers and
`state_dict`.
"""

from typing import Any

import torch

from ._categorical import cross_entropy, nll_loss
from ._functions import binary_cross_entropy_with_logits


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):  # type: ignore[misc]
    """`torch.nn.BCEWithLogitsLoss`, exact in both tails.

    PyTorch's own module with another `forward`: the same arguments, buffers `weight`
    and `pos_weight`, and `state_dict`.  Shapes, dtypes and errors are those of
    `xploss.compat.torch.binary_cross_entropy_with_logits`.  Called as
    ``loss(input, target)``: a tensor.

    Parameters
    ----------
    weight, pos_weight : torch.Tensor, optional
    size_average, reduce : bool, optional
        The old spelling of `reduction`; with PyTorch's warning.
    reduction : {"mean", "sum", "none"}

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


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):  # type: ignore[misc]
    """`torch.nn.CrossEntropyLoss`, exact however sure the answer is.

    Shapes, dtypes and errors are those of `xploss.compat.torch.cross_entropy`.
    Called as ``loss(input, target)``: a tensor.

    Parameters
    ----------
    weight : torch.Tensor (C,), optional
    ignore_index : int
    reduction : {"mean", "sum", "none"}
    label_smoothing : number from 0 to 1
    size_average, reduce : bool, optional
        The old spelling of `reduction`; with PyTorch's warning.

    Examples
    --------
    >>> import torch
    >>> loss = CrossEntropyLoss(label_smoothing=0.1)
    >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    def forward(self, input: Any, target: Any) -> Any:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(torch.nn.NLLLoss):  # type: ignore[misc]
    """`torch.nn.NLLLoss`: of logarithms of probabilities.

    Shapes, dtypes and errors are those of `xploss.compat.torch.nll_loss`.
    Called as ``loss(input, target)``: a tensor.

    Parameters
    ----------
    weight : torch.Tensor (C,), optional
    ignore_index : int
    reduction : {"mean", "sum", "none"}
    size_average, reduce : bool, optional
        The old spelling of `reduction`; with PyTorch's warning.

    Examples
    --------
    >>> import torch
    >>> from xploss import log_softmax
    >>> NLLLoss()(log_softmax(torch.zeros(2, 4)), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    def forward(self, input: Any, target: Any) -> Any:
        return nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )
