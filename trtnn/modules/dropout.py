"""Dropout, which in evaluation is the identity."""

from __future__ import annotations

from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.ops._arguments import expect_probability


class Dropout(Module):
    """The input as it is, as torch.nn.Dropout in evaluation; ``p`` is of training."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        expect_probability(p, type(self).__name__)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return input

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """The input as it is; ``p`` is of training."""


class Dropout2d(Dropout):
    """The input as it is; ``p`` is of training."""


class Dropout3d(Dropout):
    """The input as it is; ``p`` is of training."""


class AlphaDropout(Dropout):
    """The input as it is; ``p`` is of training."""


class FeatureAlphaDropout(Dropout):
    """The input as it is; ``p`` is of training."""
