"""Deformable convolution."""

from __future__ import annotations

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules.conv import Conv2d, Sides
from trtnn.ops.deformable import expect_lowering


class DeformConv2d(Conv2d):
    """Deformable convolution, as torchvision.ops.DeformConv2d; see :func:`trtnn.functional.deform_conv2d`.

    Shape: input (batch, in_channels, height, width), offset (batch, offset_groups · taps · 2, H, W) and, for the second
    version, mask (batch, offset_groups · taps, H, W) to (batch, out_channels, H, W).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as of
            :class:`trtnn.modules.Conv2d`; the padding is of numbers.
        lowering: ``"plugin"``, ``"native"``, or ``"auto"``, which takes the plugin where it can.
    """

    padding: tuple[int, ...]  # of numbers alone, as torchvision's

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: Sides = 0,
        dilation: Sides = 1,
        groups: int = 1,
        bias: bool = True,
        lowering: str = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        expect_lowering(lowering, type(self).__name__)
        self.lowering = lowering

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        geometry = self.stride, self.padding, self.dilation
        return F.deform_conv2d(input, offset, self.weight, self.bias, *geometry, mask, self.lowering)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.lowering == "auto" else f", lowering={self.lowering!r}")


class DCN(DeformConv2d):
    """Deformable convolution of the second version that finds offsets and masks by a convolution of its own.

    That convolution's output is three equal parts o1, o2 and m: offset = cat(o1, o2), mask = sigmoid(m)
    (https://arxiv.org/abs/1811.11168).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as of
            :class:`trtnn.modules.Conv2d`; the padding is of numbers.
        offset_groups: how many parts of the channels have offsets of their own.
        lowering: as of :class:`DeformConv2d`.

    Attributes:
        conv_offset_mask: the convolution, to 3 · offset_groups · taps channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: Sides = 0,
        dilation: Sides = 1,
        groups: int = 1,
        offset_groups: int = 1,
        bias: bool = True,
        lowering: str = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, lowering)
        if offset_groups < 1 or in_channels % offset_groups:
            raise ArgumentError(
                f"{type(self).__name__}: in_channels must be divisible by offset_groups",
                f"received in_channels {in_channels}, offset_groups {offset_groups}",
            )
        taps = self.kernel_size[0] * self.kernel_size[1]
        channels = 3 * offset_groups * taps
        self.conv_offset_mask = Conv2d(in_channels, channels, kernel_size, stride, padding, dilation)

    def forward(self, input: Tensor) -> Tensor:
        geometry = self.stride, self.padding, self.dilation
        maps = self.conv_offset_mask(input)
        return F.modulated_deform_conv2d(input, maps, self.weight, self.bias, *geometry, self.lowering)
