"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.ops._arguments import ntuple
from trtnn.shapes.symbolic import Length

_SIDES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def _shaped(base: type, sides: int, function: str, what: str = "") -> str:
    """Return the docstring of a base for as many sides, with its shape and the function that it is."""
    first, _, rest = (base.__doc__ or "").partition("\n\n")  # none under -OO
    shape = (
        f"    Shape: (batch, channels, {_SIDES[sides]}), or without a batch; see :func:`trtnn.functional.{function}`.\n"
    )
    return f"{first.format(what)}\n\n{shape}{rest}"


class _Pool(FunctionModule):
    """A pooling whose stride is its window where none is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stride = self.kernel_size if self.stride is None else self.stride


class _MaxPool(_Pool):
    """The largest number of each window, -infinity being what padding adds.

    Length of each side: floor((length + 2·padding - dilation·(kernel_size - 1) - 1) / stride) + 1, or the ceiling of
    that fraction with ``ceil_mode``, but no window begins in the padding behind the end.

    Args:
        kernel_size: the window's sides, an int for all or one for each; so are stride, padding and dilation.
        stride: the step from window to window; ``kernel_size`` where None.
        padding: what is added at both ends of each side, at most half of the window.
        dilation: the step within a window.
        return_indices: whether ``forward`` returns a pair: the maxima, and where each lies in its flat channel.
        ceil_mode: whether a last window that is not whole counts.
    """

    order = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}"


class _AvgPool(_Pool):
    """The mean of each window.

    Length of each side: floor((length + 2·padding - kernel_size) / stride) + 1, or the ceiling of that fraction with
    ``ceil_mode``, but no window begins in the padding behind the end.

    Args:
        kernel_size: the window's sides, an int for all or one for each; so are stride and padding.
        stride: the step from window to window; ``kernel_size`` where None.
        padding: the zeros that are added at both ends of each side, at most half of the window.
        ceil_mode: whether a last window that is not whole counts.
        count_include_pad: whether the zeros of ``padding`` count in the mean.
        divisor_override: what sums are divided by, in place of how many numbers they are of (not in one dimension).
    """

    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}"


class _LPPool(FunctionModule):
    """The p-norm of each window, (Σ xᵖ)^(1/p).

    Length of each side: floor((length - kernel_size) / stride) + 1, or the ceiling of that fraction with ``ceil_mode``.

    Args:
        norm_type: p; 1 gives sums.
        kernel_size: the window's sides, an int for all or one for each; so is stride.
        stride: the step from window to window; ``kernel_size`` where None.
        ceil_mode: whether a last window that is not whole counts.
    """

    shown = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"


class _MaxUnpool(_Pool):
    """The maxima of a pooling put back where they were, and zeros elsewhere.

    ``forward`` takes the maxima and the indices that MaxPool returns with ``return_indices``, and an ``output_size``
    where another length than (length - 1)·stride - 2·padding + kernel_size was pooled.

    Args:
        kernel_size: the pooling's window, an int for all sides or one for each; so are stride and padding.
        stride: the pooling's step; ``kernel_size`` where None.
        padding: what the pooling added at both ends of each side.
    """

    sides = 0
    order = ("kernel_size", "stride", "padding")
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kernel_size", "stride", "padding"):
            setattr(self, name, ntuple(getattr(self, name), self.sides, name))

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[Length] | None = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AdaptivePool(FunctionModule):
    """The {} of each of as many windows as asked.

    Window i begins at floor(i · length / output_size) and ends at ceil((i + 1) · length / output_size).

    Args:
        output_size: the output's sides, an int for all or one for each; None keeps a side.
        return_indices: of the maxima alone: whether ``forward`` returns where each lies in its flat channel as well.
    """

    shown = "output_size={output_size}"


class MaxPool1d(_MaxPool):
    __doc__ = _shaped(_MaxPool, 1, "max_pool1d")

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    __doc__ = _shaped(_MaxPool, 2, "max_pool2d")

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    __doc__ = _shaped(_MaxPool, 3, "max_pool3d")

    function = staticmethod(F.max_pool3d)


class MaxUnpool1d(_MaxUnpool):
    __doc__ = _shaped(_MaxUnpool, 1, "max_unpool1d")

    sides = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    __doc__ = _shaped(_MaxUnpool, 2, "max_unpool2d")

    sides = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    __doc__ = _shaped(_MaxUnpool, 3, "max_unpool3d")

    sides = 3
    function = staticmethod(F.max_unpool3d)


class AvgPool1d(_AvgPool):
    __doc__ = _shaped(_AvgPool, 1, "avg_pool1d")

    function = staticmethod(F.avg_pool1d)
    order = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kernel_size", "stride", "padding"):  # of this class alone torch shows tuples
            setattr(self, name, ntuple(getattr(self, name), 1, name))


class AvgPool2d(_AvgPool):
    __doc__ = _shaped(_AvgPool, 2, "avg_pool2d")

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    __doc__ = _shaped(_AvgPool, 3, "avg_pool3d")

    function = staticmethod(F.avg_pool3d)


class LPPool1d(_LPPool):
    __doc__ = _shaped(_LPPool, 1, "lp_pool1d")

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    __doc__ = _shaped(_LPPool, 2, "lp_pool2d")

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    __doc__ = _shaped(_LPPool, 3, "lp_pool3d")

    function = staticmethod(F.lp_pool3d)


class AdaptiveAvgPool1d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 1, "adaptive_avg_pool1d", "mean")

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 2, "adaptive_avg_pool2d", "mean")

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 3, "adaptive_avg_pool3d", "mean")

    function = staticmethod(F.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 1, "adaptive_max_pool1d", "largest number")

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 2, "adaptive_max_pool2d", "largest number")

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptivePool):
    __doc__ = _shaped(_AdaptivePool, 3, "adaptive_max_pool3d", "largest number")

    function = staticmethod(F.adaptive_max_pool3d)
