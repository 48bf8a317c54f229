"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn import functional as F
from trtnn.errors import UnsupportedError
from trtnn.modules.module import Module
from trtnn.tensor import Tensor


class MaxPool2d(Module):
    """The maximum of each window, as torch.nn.MaxPool2d; see :func:`trtnn.functional.max_pool2d`.

    Shape: (batch, channels, height, width) to (batch, channels, H, W),
    H = floor or ceil((height + 2·padding - kernel_size) / stride) + 1.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise UnsupportedError("MaxPool2d with return_indices", "TensorRT's pooling gives no indices")
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )
