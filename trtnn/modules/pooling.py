"""Pooling."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import UnsupportedError
from trtnn.modules.function import FunctionModule
from trtnn.ops.arguments import ntuple


def _refuse_indices(pool: FunctionModule) -> None:
    if getattr(pool, "return_indices", False):
        raise UnsupportedError(f"{type(pool).__name__} with return_indices", "TensorRT's pooling gives no indices")


class _Pool(FunctionModule):
    """A pooling whose stride is its window where none is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stride = self.kernel_size if self.stride is None else self.stride


class _MaxPool(_Pool):
    order = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _refuse_indices(self)


class _AvgPool(_Pool):
    shown = "kernel_size={kernel_size}, stride={stride}, padding={padding}"


class _LPPool(FunctionModule):
    shown = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"


class _AdaptivePool(FunctionModule):
    shown = "output_size={output_size}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _refuse_indices(self)


class MaxPool1d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool1d`."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool2d`."""

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The maximum of each window; see :func:`trtnn.functional.max_pool3d`."""

    function = staticmethod(F.max_pool3d)


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
