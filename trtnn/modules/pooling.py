"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.ops._arguments import ntuple
from trtnn.shapes.symbolic import Length


class _Pool(FunctionModule):
    """A pooling whose stride is its window where none is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stride = self.kernel_size if self.stride is None else self.stride


class _MaxPool(_Pool):
    order = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}"


class _AvgPool(_Pool):
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}"


class _LPPool(FunctionModule):
    shown = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"


class _MaxUnpool(_Pool):
    """Shape: the maxima of a pooling with ``return_indices`` and where they were, to what the pooling was given.

    ``forward`` takes an ``output_size`` as well; see :func:`trtnn.functional.max_unpool2d`.
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
    shown = "output_size={output_size}"


class MaxPool1d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool1d`."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool2d`."""

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool3d`."""

    function = staticmethod(F.max_pool3d)


class MaxUnpool1d(_MaxUnpool):
    """What undoes a pooling; see :func:`trtnn.functional.max_unpool1d`."""

    sides = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """What undoes a pooling; see :func:`trtnn.functional.max_unpool2d`."""

    sides = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """What undoes a pooling; see :func:`trtnn.functional.max_unpool3d`."""

    sides = 3
    function = staticmethod(F.max_unpool3d)


class AvgPool1d(_AvgPool):
    """The mean of each window; see :func:`trtnn.functional.avg_pool1d`."""

    function = staticmethod(F.avg_pool1d)
    order = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kernel_size", "stride", "padding"):  # of this class alone torch shows tuples
            setattr(self, name, ntuple(getattr(self, name), 1, name))


class AvgPool2d(_AvgPool):
    """The mean of each window; see :func:`trtnn.functional.avg_pool2d`."""

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window; see :func:`trtnn.functional.avg_pool3d`."""

    function = staticmethod(F.avg_pool3d)


class LPPool1d(_LPPool):
    """The p-norm of each window; see :func:`trtnn.functional.lp_pool1d`."""

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """The p-norm of each window; see :func:`trtnn.functional.lp_pool2d`."""

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """The p-norm of each window; see :func:`trtnn.functional.lp_pool3d`."""

    function = staticmethod(F.lp_pool3d)


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of as many windows as asked; see :func:`trtnn.functional.adaptive_avg_pool1d`."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of as many windows as asked; see :func:`trtnn.functional.adaptive_avg_pool2d`."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    """The mean of as many windows as asked; see :func:`trtnn.functional.adaptive_avg_pool3d`."""

    function = staticmethod(F.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_AdaptivePool):
    """The maximum of as many windows as asked; see :func:`trtnn.functional.adaptive_max_pool1d`."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptivePool):
    """The maximum of as many windows as asked; see :func:`trtnn.functional.adaptive_max_pool2d`."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptivePool):
    """The maximum of as many windows as asked; see :func:`trtnn.functional.adaptive_max_pool3d`."""

    function = staticmethod(F.adaptive_max_pool3d)
