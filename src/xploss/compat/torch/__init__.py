"""PyTorch's and torchvision's binary losses by their own names, on any array.

The signatures are of PyTorch 2.13 (`torch.nn.functional`, `torch.nn`) and torchvision
0.29 (`torchvision.ops`).  Against theirs, labels of any dtype work, `weight` and
`pos_weight` are differentiable, results have the input's dtype, and what is reduced
from 16 bits stays float32.  Under `torch.autocast` 16-bit tensors give float32
throughout, as theirs do.

PyTorch itself is not loaded here; `BCEWithLogitsLoss` loads it when asked for.
"""

from typing import TYPE_CHECKING, Any

from ._functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    sigmoid_focal_loss,
)

__all__ = [
    "BCEWithLogitsLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "sigmoid_focal_loss",
]


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:  # to which a module with `__getattr__` has every name
    from ._module import BCEWithLogitsLoss as BCEWithLogitsLoss
else:

    def __getattr__(name: str) -> Any:
        """PyTorch is loaded for its module alone, `BCEWithLogitsLoss`."""
        if name != "BCEWithLogitsLoss":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from ._module import BCEWithLogitsLoss
        except ModuleNotFoundError as error:
            raise ImportError(
                "`BCEWithLogitsLoss` is a torch.nn.Module and needs PyTorch: "
                "pip install 'xploss[torch]'"
            ) from error
        return BCEWithLogitsLoss
