"""Padding.

``padding`` counts elements before and after the last side, then the one before it, ...; or one number for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.ops._arguments import expect_ndim, ints


class _Pad(Module):
    """Elements put around the last ``sides`` dimensions."""

    sides: int
    mode = "constant"
    arguments = (
        "        padding: how many elements before and after the last side, then the one before it, ...; one for all.\n"
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "sides") and cls.__doc__:  # none under -OO
            cls.__doc__ += f"\n\n    Args:\n{cls.arguments}    "

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = ints(padding, 2 * self.sides, "padding", of_one=False)

    def forward(self, input: Tensor) -> Tensor:
        if self.mode != "constant":  # as in torch
            counts = self.sides + 1, self.sides + 2
            expect_ndim(input, counts, type(self).__name__, f"{counts[0]} or {counts[1]} dimensions")
        return F.pad(input, self.padding, self.mode, getattr(self, "value", None))

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    arguments = f"{_Pad.arguments}        value: what they hold.\n"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class _CircularPad(_Pad):
    mode = "circular"


class ZeroPad1d(_Pad):
    """Zeros around the last dimension, as torch.nn.ZeroPad1d."""

    sides = 1


class ZeroPad2d(_Pad):
    """Zeros around the last two dimensions, as torch.nn.ZeroPad2d."""

    sides = 2


class ZeroPad3d(_Pad):
    """Zeros around the last three dimensions, as torch.nn.ZeroPad3d."""

    sides = 3


class ConstantPad1d(_ConstantPad):
    """One number around the last dimension, as torch.nn.ConstantPad1d."""

    sides = 1


class ConstantPad2d(_ConstantPad):
    """One number around the last two dimensions, as torch.nn.ConstantPad2d."""

    sides = 2


class ConstantPad3d(_ConstantPad):
    """One number around the last three dimensions, as torch.nn.ConstantPad3d."""

    sides = 3


class ReflectionPad1d(_ReflectionPad):
    """What lies inside, mirrored at the edge around the last dimension, as torch.nn.ReflectionPad1d."""

    sides = 1


class ReflectionPad2d(_ReflectionPad):
    """What lies inside, mirrored at the edge around the last two dimensions, as torch.nn.ReflectionPad2d."""

    sides = 2


class ReflectionPad3d(_ReflectionPad):
    """What lies inside, mirrored at the edge around the last three dimensions, as torch.nn.ReflectionPad3d."""

    sides = 3


class ReplicationPad1d(_ReplicationPad):
    """The edge around the last dimension, as torch.nn.ReplicationPad1d."""

    sides = 1


class ReplicationPad2d(_ReplicationPad):
    """The edge around the last two dimensions, as torch.nn.ReplicationPad2d."""

    sides = 2


class ReplicationPad3d(_ReplicationPad):
    """The edge around the last three dimensions, as torch.nn.ReplicationPad3d."""

    sides = 3


class CircularPad1d(_CircularPad):
    """What lies at the other end around the last dimension, as torch.nn.CircularPad1d."""

    sides = 1


class CircularPad2d(_CircularPad):
    """What lies at the other end around the last two dimensions, as torch.nn.CircularPad2d."""

    sides = 2


class CircularPad3d(_CircularPad):
    """What lies at the other end around the last three dimensions, as torch.nn.CircularPad3d."""

    sides = 3
