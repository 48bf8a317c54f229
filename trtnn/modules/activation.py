"""Activations.

``inplace`` is taken, so that sources written for torch fit, and changes nothing: a network has no memory to save by it.
"""

from __future__ import annotations

from collections.abc import Callable

from trtnn import functional as F
from trtnn.modules.module import Module
from trtnn.tensor import Tensor


class _Activation(Module):
    """A function of one Tensor."""

    function: Callable[[Tensor], Tensor]

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Activation):
    """max(x, 0)."""

    function = staticmethod(F.relu)


class SiLU(_Activation):
    """x · sigmoid(x) (https://arxiv.org/abs/1702.03118)."""

    function = staticmethod(F.silu)


class Hardswish(_Activation):
    """x · min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""

    function = staticmethod(F.hardswish)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class LeakyReLU(Module):
    """x where x ≥ 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Softmax(Module):
    """exp(x) / sum of exp(x) along ``dim``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
