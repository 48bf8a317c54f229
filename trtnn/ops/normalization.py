"""Normalisation."""

from __future__ import annotations

import numpy as np

from trtnn.ops.arguments import Array, expect_channels, expect_floating, expect_ndim, shape_of_weights
from trtnn.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation with fixed statistics, as ``torch.nn.functional.batch_norm`` in evaluation.

    y = (x - mean) / sqrt(var + eps) · weight + bias, folded in float64 into one scale and one shift a channel
    (https://arxiv.org/abs/1502.03167).

    Args:
        input: (batch, channels, ...), four or five dimensions.
        running_mean, running_var, weight, bias: (channels,).
    """
    expect_ndim(input, (4, 5), "batch_norm", "(batch, channels, height, width)")
    expect_floating(input, "batch_norm")
    expect_channels(input, shape_of_weights(running_mean, 1, "the mean of batch_norm")[0], "batch_norm")
    graph = input.graph
    mean, variance, gamma, beta = (
        None if value is None else graph.held(value) for value in (running_mean, running_var, weight, bias)
    )
    scale = 1.0 / np.sqrt(variance.astype(np.float64) + eps)
    if gamma is not None:
        scale = scale * gamma
    shift = -scale * mean.astype(np.float64)
    if beta is not None:
        shift = shift + beta
    return graph.emit(
        "scale_nd",
        input,
        graph.trt.ScaleMode.CHANNEL,
        graph.array(shift, input.dtype),
        graph.array(scale, input.dtype),
        None,  # power
        1,  # channel axis
    )
