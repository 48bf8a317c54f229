"""Normalisation."""

from __future__ import annotations

from trtnn import functional as F
from trtnn.errors import UnsupportedError
from trtnn.modules.module import Module
from trtnn.parameter import Buffer, Parameter
from trtnn.tensor import Tensor


class BatchNorm2d(Module):
    """Batch normalisation with its stored statistics, as torch.nn.BatchNorm2d in evaluation.

    y = (x - running_mean) / sqrt(running_var + eps) · weight + bias (https://arxiv.org/abs/1502.03167). No state dict
    carries ``eps``: give the one that the model was trained with.

    Shape: (batch, num_features, height, width), in and out.

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: of training, where it has its effect; kept so that sources written for torch fit.
        affine: whether there are ``weight`` and ``bias``.
        track_running_stats: True; without stored statistics torch takes those of each batch.

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
    ) -> None:
        super().__init__()
        if not track_running_stats:
            raise UnsupportedError("BatchNorm2d without stored statistics", "an engine's result depends on no batch")
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.register_parameter("weight", Parameter(num_features) if affine else None)
        self.register_parameter("bias", Parameter(num_features) if affine else None)
        self.running_mean = Buffer(num_features)
        self.running_var = Buffer(num_features)

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            "track_running_stats=True"
        )
