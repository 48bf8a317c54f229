"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn import functional as F
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.modules.module import Module
from trtnn.ops.arguments import pair
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor


class _Conv2d(Module):
    """What a convolution and its transpose share: arguments, checks and parameters."""

    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{type(self).__name__}: channels must be divisible by groups",
                f"received in_channels {in_channels}, out_channels {out_channels}, groups {groups}",
            )
        if padding_mode != "zeros":
            raise UnsupportedError(
                f"{type(self).__name__} with padding_mode={padding_mode!r}", "TensorRT's convolutions pad with zeros"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = pair(stride, "stride")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding")
        self.dilation = pair(dilation, "dilation")
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(first, second // groups, *self.kernel_size)
        self.register_parameter("bias", Parameter(out_channels) if bias else None)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        shown = {"padding": (0, 0), "dilation": (1, 1), "output_padding": (0, 0), "groups": 1}
        for name, default in shown.items():
            value = getattr(self, name, default)
            if value != default:
                text += f", {name}={value}"
        return text + (", bias=False" if self.bias is None else "")


class Conv2d(_Conv2d):
    """2-D convolution, as torch.nn.Conv2d; see :func:`trtnn.functional.conv2d`.

    Shape: (batch, in_channels, height, width) to (batch, out_channels, H, W),
    H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Attributes:
        weight: (out_channels, in_channels / groups, kernel height, kernel width).
        bias: (out_channels,), or None.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv2d):
    """2-D transposed convolution, as torch.nn.ConvTranspose2d; see :func:`trtnn.functional.conv_transpose2d`.

    Shape: (batch, in_channels, height, width) to (batch, out_channels, H, W),
    H = (height - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Attributes:
        weight: (in_channels, out_channels / groups, kernel height, kernel width).
        bias: (out_channels,), or None.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self.output_padding = pair(output_padding, "output_padding")

    def forward(self, input: Tensor) -> Tensor:
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
