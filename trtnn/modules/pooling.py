"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.ops._arguments import Sides, ntuple
from trtnn.shapes.symbolic import Length

_SIDES = {1: "length", 2: "height, width", 3: "depth, height, width"}


class _Pool(FunctionModule):
    """A function of windows; what a family of them says holds for as many ``sides`` as a class of it names."""

    sides: int

    def __init_subclass__(cls, sides: int = 0, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not sides:
            return
        cls.sides = sides
        first, _, rest = (cls.__doc__ or cls.__base__.__doc__ or "").partition("\n\n")  # none under -OO
        function = f":func:`trtnn.functional.{cls.function.__name__}`"
        shape = f"    Shape: (batch, channels, {_SIDES[sides]}), or without a batch; see {function}.\n"
        cls.__doc__ = f"{first}\n\n{shape}{rest}"


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

    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}"

    def __init__(
        self,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        dilation: Sides = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        stride = kernel_size if stride is None else stride
        super().__init__(kernel_size, stride, padding, dilation, return_indices, ceil_mode)


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

    def __init__(
        self,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        stride = kernel_size if stride is None else stride
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


class _LPPool(_Pool):
    """The p-norm of each window, (Σ xᵖ)^(1/p).

    Length of each side: floor((length - kernel_size) / stride) + 1, or the ceiling of that fraction with ``ceil_mode``.

    Args:
        norm_type: p; 1 gives sums.
        kernel_size: the window's sides, an int for all or one for each; so is stride.
        stride: the step from window to window; ``kernel_size`` where None.
        ceil_mode: whether a last window that is not whole counts.
    """

    shown = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"

    def __init__(
        self, norm_type: float, kernel_size: Sides, stride: Sides | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(norm_type, kernel_size, stride, ceil_mode)


class _MaxUnpool(_Pool):
    """The maxima of a pooling put back where they were, and zeros elsewhere.

    ``forward`` takes the maxima and the indices that MaxPool returns with ``return_indices``, and an ``output_size``
    where another length than (length - 1)·stride - 2·padding + kernel_size was pooled.

    Args:
        kernel_size: the pooling's window, an int for all sides or one for each; so are stride and padding.
        stride: the pooling's step; ``kernel_size`` where None.
        padding: what the pooling added at both ends of each side.
    """

    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}"

    def __init__(self, kernel_size: Sides, stride: Sides | None = None, padding: Sides = 0) -> None:
        stride = kernel_size if stride is None else stride
        sizes = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        super().__init__(**{name: ntuple(value, self.sides, name) for name, value in sizes.items()})

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[Length] | None = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AdaptiveAvgPool(_Pool):
    """The mean of each of as many windows as asked.

    Window i begins at floor(i · length / output_size) and ends at ceil((i + 1) · length / output_size).

    Args:
        output_size: the output's sides, an int for all or one for each; None keeps a side.
    """

    shown = "output_size={output_size}"

    def __init__(self, output_size: Length | Sequence[Length | None] | None) -> None:
        super().__init__(output_size)


class _AdaptiveMaxPool(_Pool):
    """The largest number of each of as many windows as asked.

    Window i begins at floor(i · length / output_size) and ends at ceil((i + 1) · length / output_size).

    Args:
        output_size: the output's sides, an int for all or one for each; None keeps a side.
        return_indices: whether ``forward`` returns where each lies in its flat channel as well.
    """

    shown = "output_size={output_size}"

    def __init__(self, output_size: Length | Sequence[Length | None] | None, return_indices: bool = False) -> None:
        super().__init__(output_size, return_indices)


class MaxPool1d(_MaxPool, sides=1):
    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool, sides=2):
    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool, sides=3):
    function = staticmethod(F.max_pool3d)


class MaxUnpool1d(_MaxUnpool, sides=1):
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool, sides=2):
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool, sides=3):
    function = staticmethod(F.max_unpool3d)


class AvgPool1d(_Pool, sides=1):
    __doc__ = _AvgPool.__doc__
    function, shown = staticmethod(F.avg_pool1d), _AvgPool.shown

    def __init__(
        self,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        stride = kernel_size if stride is None else stride
        sizes = {"kernel_size": kernel_size, "stride": stride, "padding": padding}  # of this class torch shows tuples
        tuples = [ntuple(value, 1, name) for name, value in sizes.items()]
        super().__init__(*tuples, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool, sides=2):
    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool, sides=3):
    function = staticmethod(F.avg_pool3d)


class LPPool1d(_LPPool, sides=1):
    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool, sides=2):
    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool, sides=3):
    function = staticmethod(F.lp_pool3d)


class AdaptiveAvgPool1d(_AdaptiveAvgPool, sides=1):
    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool, sides=2):
    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool, sides=3):
    function = staticmethod(F.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, sides=1):
    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool, sides=2):
    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool, sides=3):
    function = staticmethod(F.adaptive_max_pool3d)
