"""Activations."""

from __future__ import annotations

from trtnn.ops.arguments import expect_floating, normalize_dim
from trtnn.ops.arithmetic import mul
from trtnn.ops.shaping import reshape
from trtnn.tensor import Tensor


def _activation(input: Tensor, kind: str, **attributes: float) -> Tensor:
    expect_floating(input, kind.lower())
    if not input.shape:  # TensorRT's activations take at least one dimension
        return reshape(_activation(reshape(input, (1,)), kind, **attributes), ())
    return input.graph.emit("activation", input, getattr(input.graph.trt.ActivationType, kind), **attributes)


def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    return _activation(input, "RELU")


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x ≥ 0, else negative_slope · x."""
    return _activation(input, "LEAKY_RELU", alpha=negative_slope)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _activation(input, "SIGMOID")


def silu(input: Tensor) -> Tensor:
    """x · sigmoid(x) (https://arxiv.org/abs/1702.03118)."""
    return mul(sigmoid(input), input)


def hardswish(input: Tensor) -> Tensor:
    """x · min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""
    return mul(_activation(input, "HARD_SIGMOID", alpha=1 / 6, beta=0.5), input)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum of exp(x) along ``dim``."""
    expect_floating(input, "softmax")
    if input.ndim == 1:  # TensorRT's softmax takes at least two dimensions
        normalize_dim(dim, 1)
        return reshape(softmax(reshape(input, (1, -1)), 1), input.shape)
    return input.graph.emit("softmax", input, axes=1 << normalize_dim(dim, input.ndim))
