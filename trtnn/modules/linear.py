"""Linear layers."""

from __future__ import annotations

from trtnn import functional as F
from trtnn.modules.module import Module
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor


class Linear(Module):
    """``input @ weight.T + bias``, as torch.nn.Linear.

    Shape: (..., in_features) to (..., out_features).

    Attributes:
        weight: (out_features, in_features).
        bias: (out_features,), or None.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(out_features, in_features)
        self.register_parameter("bias", Parameter(out_features) if bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
