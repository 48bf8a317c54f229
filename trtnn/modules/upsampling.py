"""Resizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError, is_number
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Size


class Upsample(Module):
    """Resize what lies behind batch and channels, as torch.nn.Upsample; see :func:`trtnn.functional.interpolate`.

    Shape: (batch, channels, ..., height, width) to (batch, channels, ..., H, W), H = floor(height · scale_factor).

    Args:
        size: the output's sides, an int for all or one for each.
        scale_factor: how many times as long each side becomes, in place of ``size``.
        mode: how it is read between the places of the input, as of :func:`trtnn.functional.interpolate`.
        align_corners: whether the middles of the outermost elements stay where they are; not for ``"nearest"``.
        recompute_scale_factor: whether positions are told by the lengths and not by ``scale_factor``.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        if scale_factor is not None:
            factors = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,)
            if not all(is_number(factor) or isinstance(factor, (Size, SymFloat)) for factor in factors):
                raise ArgumentError(f"{type(self).__name__} takes numbers as scale_factor, not {scale_factor!r}")
            several = isinstance(scale_factor, Sequence)
            scale_factor = tuple(map(float, scale_factor)) if several else float(scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        how = self.mode, self.align_corners, self.recompute_scale_factor
        return F.interpolate(input, self.size, self.scale_factor, *how)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class _Upsampling2d(Upsample):
    """:class:`Upsample` in mode {}.

    Args:
        size: the output's sides, an int for all or one for each.
        scale_factor: how many times as long each side becomes, in place of ``size``.
    """

    fixed: Mapping[str, Any]

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, **self.fixed)


class UpsamplingNearest2d(_Upsampling2d):
    __doc__ = (_Upsampling2d.__doc__ or "").format('``"nearest"``')
    fixed = {"mode": "nearest"}


class UpsamplingBilinear2d(_Upsampling2d):
    __doc__ = (_Upsampling2d.__doc__ or "").format('``"bilinear"`` with aligned corners')
    fixed = {"mode": "bilinear", "align_corners": True}
