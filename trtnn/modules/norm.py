"""Normalisation. No state dict carries ``eps``: give the one that the model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.modules.module import Module
from trtnn.ops._arguments import expect_ndim, expect_parts
from trtnn.ops.normalization import cross_map_lrn
from trtnn.parameter import Buffer, Parameter


class _Norm(Module):
    """What normalisations with stored statistics, or without, share: arguments, parameters and buffers."""

    ndims: tuple[int, ...]  # how many dimensions an input may have, a missing batch among them

    def _declare(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, bias: bool
    ) -> None:
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(num_features) if affine else None)
        self.register_parameter("bias", Parameter(num_features) if affine and bias else None)
        self.register_buffer("running_mean", Buffer(num_features) if track_running_stats else None)
        self.register_buffer("running_var", Buffer(num_features) if track_running_stats else None)

    def _expect_ndim(self, input: Tensor) -> None:
        if input.ndim not in self.ndims:
            counts = " or ".join(map(str, self.ndims))
            raise ShapeError(f"{type(self).__name__} takes {counts} dimensions, not the {input.ndim} of {input.shape}")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Norm):
    """Batch normalisation with its stored statistics, as in evaluation.

    y = (x - running_mean) / sqrt(running_var + eps) · weight + bias (https://arxiv.org/abs/1502.03167).

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: of training, where it has its effect; kept so that sources written for torch fit.
        affine: whether there are ``weight`` and ``bias``.
        track_running_stats: True; without stored statistics torch takes those of each batch.
        bias: whether there is a ``bias``.

    Raises:
        UnsupportedError: ``track_running_stats`` is False.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not track_running_stats:
            name = type(self).__name__
            raise UnsupportedError(f"{name} without stored statistics", "an engine's result depends on no batch")
        self._declare(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._expect_ndim(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class BatchNorm1d(_BatchNorm):
    __doc__ = f"(batch, num_features) or (batch, num_features, length). {_BatchNorm.__doc__}"
    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = f"(batch, num_features, height, width). {_BatchNorm.__doc__}"
    ndims = (4,)


class BatchNorm3d(_BatchNorm):
    __doc__ = f"(batch, num_features, depth, height, width). {_BatchNorm.__doc__}"
    ndims = (5,)


class SyncBatchNorm(_BatchNorm):
    __doc__ = f"(batch, num_features, ...); ``process_group`` is of training. {_BatchNorm.__doc__}"
    ndims = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)


class FrozenBatchNorm2d(Module):
    """(batch, num_features, height, width). BatchNorm2d that never learns, as torchvision.ops.FrozenBatchNorm2d.

    y = (x - running_mean) / sqrt(running_var + eps) · weight + bias; all four are buffers.

    Args:
        num_features: channels.
        eps: added to the variance.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, Buffer(num_features))

    def forward(self, input: Tensor) -> Tensor:
        expect_ndim(input, (4,), "FrozenBatchNorm2d", "(batch, channels, height, width)")
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


class _InstanceNorm(_Norm):
    """Normalisation of each channel of each sample (https://arxiv.org/abs/1607.08022).

    y = (x - mean) / sqrt(var + eps) · weight + bias, with the input's own statistics, or with the stored ones where
    ``track_running_stats``.

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: of training, where it has its effect.
        affine: whether there are ``weight`` and ``bias``.
        track_running_stats: whether there are stored statistics.
        bias: whether there is a ``bias``.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._declare(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._expect_ndim(input)
        batched = input if input.ndim == max(self.ndims) else F.unsqueeze(input, 0)
        if batched.shape[1] != self.num_features:
            raise ShapeError(f"{type(self).__name__} takes {self.num_features} channels, not an input of {input.shape}")
        statistics = self.running_mean, self.running_var
        own = not self.track_running_stats
        result = F.instance_norm(batched, *statistics, self.weight, self.bias, own, eps=self.eps)
        return F.reshape(result, input.shape)


class InstanceNorm1d(_InstanceNorm):
    __doc__ = f"(batch, num_features, length), or without a batch. {_InstanceNorm.__doc__}"
    ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = f"(batch, num_features, height, width), or without a batch. {_InstanceNorm.__doc__}"
    ndims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    __doc__ = f"(batch, num_features, depth, height, width), or without a batch. {_InstanceNorm.__doc__}"
    ndims = (4, 5)


class _LastDimensions(Module):
    """What LayerNorm and RMSNorm share: the lengths of the last dimensions, and parameters of them."""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None, elementwise_affine: bool) -> None:
        super().__init__()
        several = isinstance(normalized_shape, Sequence)
        self.normalized_shape = tuple(normalized_shape) if several else (normalized_shape,)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter(self.normalized_shape) if elementwise_affine else None)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LayerNorm(_LastDimensions):
    """Normalisation over the last dimensions, as torch.nn.LayerNorm (https://arxiv.org/abs/1607.06450).

    y = (x - mean) / sqrt(var + eps) · weight + bias.

    Args:
        normalized_shape: the lengths of the last dimensions, an int for one.
        eps: what is added to variances.
        elementwise_affine: whether there is a weight.
        bias: whether there is a bias beside the weight.

    Attributes:
        weight, bias: of the last dimensions' shape, or None.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine)
        self.eps: float = eps
        self.register_parameter("bias", Parameter(self.normalized_shape) if elementwise_affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_LastDimensions):
    """x / sqrt(mean of x² + eps) · weight over the last dimensions, as torch.nn.RMSNorm (https://arxiv.org/abs/1910.07467).

    Args:
        normalized_shape: the lengths of the last dimensions, an int for one.
        eps: what is added to means of squares; that of the type where None.
        elementwise_affine: whether there is a weight.

    Attributes:
        weight: of the last dimensions' shape, or None.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Normalisation over groups of channels, as torch.nn.GroupNorm (https://arxiv.org/abs/1803.08494).

    y = (x - mean) / sqrt(var + eps) · weight + bias, the statistics of each group.

    Args:
        num_groups: how many; a divisor of ``num_channels``.
        num_channels: of the input.
        eps: what is added to variances.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Attributes:
        weight, bias: (num_channels,), or None.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        expect_parts(num_groups, "num_groups")
        if num_channels % num_groups:
            raise ArgumentError(f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.register_parameter("weight", Parameter(num_channels) if affine else None)
        self.register_parameter("bias", Parameter(num_channels) if affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LocalResponseNorm(FunctionModule):
    """x / (k + alpha / size · sum of x² of neighbouring channels)^beta.

    Args:
        size: how many neighbouring channels.
        alpha, beta, k: as in the formula.
    """

    function = staticmethod(F.local_response_norm)
    shown = "{size}, alpha={alpha}, beta={beta}, k={k}"


class CrossMapLRN2d(FunctionModule):
    """x / (k + alpha / size · sum of x² of neighbouring channels)^beta, of (batch, channels, height, width).

    The sums are torch's, which differ from :class:`LocalResponseNorm`'s: channel 0 counts in those of all channels
    that its neighbours lie before, and an even size is one less.

    Args:
        size: how many neighbouring channels.
        alpha, beta, k: as in the formula.
    """

    function = staticmethod(cross_map_lrn)
    shown = "{size}, alpha={alpha}, beta={beta}, k={k}"
