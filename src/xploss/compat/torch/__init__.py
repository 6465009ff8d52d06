"""PyTorch's and torchvision's losses by their own names, on any array.

The signatures are of PyTorch 2.13 (`torch.nn.functional`, `torch.nn`) and torchvision
0.29 (`torchvision.ops`).  Against theirs, labels of any dtype work, `weight` and
`pos_weight` are differentiable, results have the input's dtype, and what is reduced
from 16 bits stays float32.  Under `torch.autocast` 16-bit tensors give float32
throughout, as theirs do.

PyTorch itself is not loaded here; its modules load it when they are asked for.
"""

from typing import TYPE_CHECKING, Any

from ._categorical import cross_entropy, nll_loss
from ._functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    sigmoid_focal_loss,
)

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "NLLLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "nll_loss",
    "sigmoid_focal_loss",
]


def __dir__() -> list[str]:
    return __all__


MODULES = ("BCEWithLogitsLoss", "CrossEntropyLoss", "NLLLoss")

if TYPE_CHECKING:  # to which a module with `__getattr__` has every name
    from ._module import BCEWithLogitsLoss as BCEWithLogitsLoss
    from ._module import CrossEntropyLoss as CrossEntropyLoss
    from ._module import NLLLoss as NLLLoss
else:

    def __getattr__(name: str) -> Any:
        """PyTorch is loaded for its modules alone."""
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from . import _module
        except ModuleNotFoundError as error:
            raise ImportError(
                f"`{name}` is a torch.nn.Module and needs PyTorch: pip install torch"
            ) from error
        return getattr(_module, name)
