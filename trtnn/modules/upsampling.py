"""Resizing."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn import functional as F
from trtnn.modules.module import Module
from trtnn.tensor import Tensor


class Upsample(Module):
    """Resize the last two dimensions, as torch.nn.Upsample; see :func:`trtnn.functional.interpolate`.

    Shape: (batch, channels, height, width) to (batch, channels, H, W), H = floor(height · scale_factor).
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        if scale_factor is not None:
            both = isinstance(scale_factor, Sequence)
            scale_factor = tuple(map(float, scale_factor)) if both else float(scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"
