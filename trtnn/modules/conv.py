"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.ops._arguments import ntuple
from trtnn.ops.convolution import expect_padding
from trtnn.parameter import Parameter

Sides = int | Sequence[int]
_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _ConvNd(Module):
    """What convolutions and their transposes of any number of sides share: arguments, checks and parameters."""

    sides: int
    function: Callable[..., Tensor]
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: str | Sides = 0,
        dilation: Sides = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: channels must be divisible by groups",
                f"received in_channels {in_channels}, out_channels {out_channels}, groups {groups}",
            )
        modes = ("zeros",) if self.transposed else tuple(_PADDING_MODES)
        if padding_mode not in modes:
            raise ArgumentError(f"{name} with padding_mode={padding_mode!r}", f"known: {', '.join(modes)}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = ntuple(kernel_size, self.sides, "kernel_size", of_one=False)
        self.stride = ntuple(stride, self.sides, "stride")
        expect_padding(padding)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, self.sides, "padding")
        self.dilation = ntuple(dilation, self.sides, "dilation")
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(first, second // groups, *self.kernel_size)
        self.register_parameter("bias", Parameter(out_channels) if bias else None)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zeros, ones = (0,) * self.sides, (1,) * self.sides
        shown = {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1}
        for name, default in shown.items():
            value = getattr(self, name, default)
            if value != default:
                text += f", {name}={value}"
        text += ", bias=False" if self.bias is None else ""
        return text + ("" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}")


class _Conv(_ConvNd):
    """Convolution, as torch.nn's; see :func:`trtnn.functional.conv2d`.

    Shape: (batch, in_channels, ..., height, width) to (batch, out_channels, ..., H, W), the batch may be missing,
    H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Args:
        in_channels, out_channels: how many; multiples of ``groups``.
        kernel_size: the window's sides, an int for all or one for each; so are stride, padding and dilation.
        stride: the step from window to window.
        padding: what is added at both ends of each side, or ``"valid"`` for nothing, or ``"same"``,
            with a stride of 1, for as much as keeps the lengths.
        dilation: the step within a window.
        groups: how many parts the channels are in, each of which is computed of its own part of the input.
        bias: whether a number is added to each output channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``: what is added.
        device, dtype: of torch's, without effect: parameters hold what a state dict brings.

    Attributes:
        weight: (out_channels, in_channels / groups, ..., kernel height, kernel width).
        bias: (out_channels,), or None.
    """

    def forward(self, input: Tensor) -> Tensor:
        padding: str | Sides = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._ends(), _PADDING_MODES[self.padding_mode]), 0
        return type(self).function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _ends(self) -> list[int]:
        """Return the padding as ``functional.pad`` takes it."""
        if self.padding == "valid":
            return [0] * (2 * self.sides)
        if not isinstance(self.padding, str):
            return [end for side in self.padding[::-1] for end in (side, side)]
        totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return [end for total in totals[::-1] for end in (total // 2, total - total // 2)]


class _ConvTranspose(_ConvNd):
    """Transposed convolution, as torch.nn's; see :func:`trtnn.functional.conv_transpose2d`.

    Shape: (batch, in_channels, ..., height, width) to (batch, out_channels, ..., H, W), the batch may be missing,
    H = (height - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Args:
        in_channels, out_channels: how many; multiples of ``groups``.
        kernel_size: the window's sides, an int for all or one for each; so are stride, padding and dilation.
        stride: the step from window to window.
        padding: what is added at both ends of each side of the output, and cut off there.
        dilation: the step within a window.
        output_padding: by how much the output is longer behind its end, less than the stride or the dilation.
        groups: how many parts the channels are in, each of which is computed of its own part of the input.
        bias: whether a number is added to each output channel.
        padding_mode: ``"zeros"`` alone.
        device, dtype: of torch's, without effect: parameters hold what a state dict brings.

    Attributes:
        weight: (in_channels, out_channels / groups, ..., kernel height, kernel width).
        bias: (out_channels,), or None.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: Sides = 0,
        output_padding: Sides = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sides = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self.output_padding = ntuple(output_padding, self.sides, "output_padding")

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``output_size`` names the output's last lengths in place of ``output_padding``."""
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        how = self.stride, self.padding, extra, self.groups, self.dilation
        return type(self).function(input, self.weight, self.bias, *how)

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> list[int]:
        sides = zip(
            output_size[-self.sides :],
            input.shape[-self.sides :],
            self.stride,
            self.padding,
            self.dilation,
            self.kernel_size,
            strict=True,
        )
        extra = [size - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for size, n, s, p, d, k in sides]
        if any(e < 0 for e in extra):
            raise ArgumentError(f"{type(self).__name__}: output_size {tuple(output_size)} is too small", f"by {extra}")
        return extra


class Conv1d(_Conv):
    __doc__ = _Conv.__doc__
    sides, function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    __doc__ = _Conv.__doc__
    sides, function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    __doc__ = _Conv.__doc__
    sides, function = 3, staticmethod(F.conv3d)


class ConvTranspose1d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    sides, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    sides, function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    sides, function = 3, staticmethod(F.conv_transpose3d)
