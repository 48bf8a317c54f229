"""The same elements in other places."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.modules.module import Module


class Identity(Module):
    """The input as it is; arguments are taken and mean nothing, as in torch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(Module):
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Cut one dimension into several.

    Args:
        dim: the dimension, an int.
        unflattened_size: the lengths that it is cut into, of which one may be -1.

    Raises:
        ArgumentError: the dimension is a name; dimensions have none here.
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        if isinstance(dim, str):
            raise ArgumentError(f"Unflatten takes a dimension's number, not the name {dim!r}")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return F.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(FunctionModule):
    """Channels to pixels: (..., C·r², H, W) to (..., C, H·r, W·r) (https://arxiv.org/abs/1609.05158).

    Args:
        upscale_factor: r.
    """

    function = staticmethod(F.pixel_shuffle)
    shown = "upscale_factor={upscale_factor}"


class PixelUnshuffle(FunctionModule):
    """Pixels to channels: (..., C, H·r, W·r) to (..., C·r², H, W).

    Args:
        downscale_factor: r.
    """

    function = staticmethod(F.pixel_unshuffle)
    shown = "downscale_factor={downscale_factor}"


class ChannelShuffle(FunctionModule):
    """Interleave groups of channels (https://arxiv.org/abs/1707.01083).

    Args:
        groups: how many; a divisor of the channels.
    """

    function = staticmethod(F.channel_shuffle)
    shown = "groups={groups}"


class Unfold(FunctionModule):
    """Each window as a column; see :func:`trtnn.functional.unfold`.

    Args:
        kernel_size: the window's sides, an int for both or one for each; so are dilation, padding and stride.
        dilation: the step within a window.
        padding: the zeros that are added at both ends of each side.
        stride: the step from window to window.
    """

    function = staticmethod(F.unfold)
    shown = "kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}"


class Fold(FunctionModule):
    """Columns back to windows, added up where they overlap; see :func:`trtnn.functional.fold`.

    Args:
        output_size: the height and width of the result, or one int for both.
        kernel_size: the window's sides, an int for both or one for each; so are dilation, padding and stride.
        dilation: the step within a window.
        padding: the zeros that are added at both ends of each side.
        stride: the step from window to window.
    """

    function = staticmethod(F.fold)
    shown = (
        "output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}"
    )
