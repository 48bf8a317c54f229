"""Linear layers."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.parameter import Parameter


class Linear(Module):
    """``input @ weight.T + bias``, as torch.nn.Linear.

    Shape: (..., in_features) to (..., out_features).

    Attributes:
        weight: (out_features, in_features).
        bias: (out_features,), or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(out_features, in_features)
        self.register_parameter("bias", Parameter(out_features) if bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``input1 @ weight[k] @ input2 + bias``, as torch.nn.Bilinear.

    Shape: (..., in1_features) and (..., in2_features) to (..., out_features).

    Attributes:
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,), or None.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(out_features, in1_features, in2_features)
        self.register_parameter("bias", Parameter(out_features) if bias else None)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
