"""Activations."""

from __future__ import annotations

import math
from typing import Any

from trtnn.errors import ArgumentError, ShapeError
from trtnn.ops.arguments import Array, expect_floating, expect_number, normalize_dim
from trtnn.ops.arithmetic import add, clamp, div, maximum, minimum, mul, sub
from trtnn.ops.comparison import gt, logical_or, lt, where
from trtnn.ops.inplace import if_asked
from trtnn.ops.joining import chunk
from trtnn.ops.promotion import cast, filler, floating, wide
from trtnn.ops.reduction import logsumexp
from trtnn.ops.shaping import reshape
from trtnn.ops.unary import abs, erf, exp, log, neg
from trtnn.tensor import Tensor


def _activation(input: Tensor, kind: str, **attributes: float) -> Tensor:
    expect_floating(input, kind.lower())
    if not input.shape:  # TensorRT's activations take at least one dimension
        return reshape(_activation(reshape(input, (1,)), kind, **attributes), ())
    return input.graph.emit("activation", input, getattr(input.graph.trt.ActivationType, kind), **attributes)


@if_asked
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); integers stay integers."""
    return _activation(input, "RELU") if input.dtype.is_floating_point else hardtanh(input, 0, math.inf)


@if_asked
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


@if_asked
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val); integers stay integers, and so do their bounds."""
    if min_val > max_val:
        raise ArgumentError(f"hardtanh from {min_val} to {max_val}: the first is the larger")
    if not input.dtype.is_floating_point:
        expect_number(input, "hardtanh")
        low, high = (None if math.isinf(bound) else int(bound) for bound in (min_val, max_val))
        return clamp(input, low, high)
    return _activation(input, "CLIP", alpha=min_val, beta=max_val)


@if_asked
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x ≥ 0, else negative_slope · x."""
    return _activation(input, "LEAKY_RELU", alpha=negative_slope)


@if_asked
def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x where x ≥ 0, else x · (lower + upper) / 2, as in evaluation."""
    return leaky_relu(input, (lower + upper) / 2)


def prelu(input: Tensor, weight: Array | Tensor) -> Tensor:
    """x where x ≥ 0, else weight · x; the weight is one number, or one for each channel (dimension 1)."""
    expect_floating(input, "prelu")
    count = math.prod(weight.shape)
    if count not in (1, input.shape[1] if input.ndim > 1 else 1):
        raise ShapeError(f"prelu in {input.graph.where}: {count} weights for an input of shape {input.shape}")
    shape = [count if i == 1 else 1 for i in range(input.ndim)]
    if isinstance(weight, Tensor):
        slopes = reshape(weight, shape)
    else:
        slopes = input.graph.held(weight).reshape(shape)
    return add(maximum(input, 0), mul(minimum(input, 0), slopes))


@if_asked
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha · (exp(x) - 1) (https://arxiv.org/abs/1511.07289)."""
    return _activation(input, "ELU", alpha=alpha)


@if_asked
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha · (exp(x / alpha) - 1), alpha above 0 (https://arxiv.org/abs/1704.07483)."""
    expect_floating(input, "celu")
    if alpha <= 0:
        raise ArgumentError(f"celu takes an alpha above 0, not {alpha}")
    return mul(elu(div(input, alpha)), alpha) if alpha != 1 else elu(input)


@if_asked
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """1.0507 · x where x > 0, else 1.0507 · 1.6733 · (exp(x) - 1) (https://arxiv.org/abs/1706.02515)."""
    return _activation(input, "SELU", alpha=1.6732632423543772, beta=1.0507009873554805)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _activation(floating(input), "SIGMOID")


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _activation(floating(input), "TANH")


@if_asked
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x · sigmoid(x) (https://arxiv.org/abs/1702.03118)."""
    expect_floating(input, "silu")
    return mul(sigmoid(input), input)


@if_asked
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6."""
    return _activation(input, "HARD_SIGMOID", alpha=1 / 6, beta=0.5)


@if_asked
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""
    return mul(hardsigmoid(input), input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x · Φ(x), Φ the normal distribution's (https://arxiv.org/abs/1606.08415).

    Args:
        approximate: ``"none"``: Φ(x) = (1 + erf(x / √2)) / 2; ``"tanh"``: (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2.
    """
    expect_floating(input, "gelu")
    if approximate == "none":
        return mul(mul(input, 0.5), add(erf(mul(input, math.sqrt(0.5))), 1))
    if approximate != "tanh":
        raise ArgumentError(f"gelu is approximated by 'none' or 'tanh', not {approximate!r}")
    inner = mul(input, add(mul(mul(input, input), 0.044715), 1))
    return mul(mul(input, 0.5), add(tanh(mul(inner, math.sqrt(2 / math.pi))), 1))


def _log1p_exp(input: Tensor) -> Tensor:
    """log(1 + exp(-|x|)), which does not overflow."""
    return log(add(exp(neg(abs(input))), 1))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta · x)) / beta, and x where beta · x > threshold."""
    expect_floating(input, "softplus")
    scaled = input if beta == 1 else mul(input, beta)
    soft = add(maximum(scaled, 0), _log1p_exp(scaled))
    return where(gt(scaled, threshold), input, soft if beta == 1 else div(soft, beta))


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    expect_floating(input, "logsigmoid")
    return sub(minimum(input, 0), _log1p_exp(input))


@if_asked
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · tanh(softplus(x)) (https://arxiv.org/abs/1908.08681)."""
    return mul(input, tanh(softplus(input)))


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    expect_number(input, "softsign")
    return _activation(floating(input), "SOFTSIGN")


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return sub(input, tanh(input))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    expect_floating(input, "hardshrink")
    return where(logical_or(gt(input, lambd), lt(input, -lambd)), input, 0.0)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""
    expect_floating(input, "softshrink")
    if lambd < 0:
        raise ArgumentError(f"softshrink takes a lambd from 0 on, not {lambd}")
    return sub(input, hardtanh(input, -lambd, lambd))


@if_asked
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    expect_number(input, "threshold")
    return where(gt(input, threshold), input, filler(value, input, "threshold"))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of a dimension times the sigmoid of the second (https://arxiv.org/abs/1612.08083)."""
    expect_floating(input, "glu")
    if input.shape[normalize_dim(dim, input.ndim)] % 2:
        raise ShapeError(f"glu in {input.graph.where} halves dimension {dim}, which is odd", f"received {input.shape}")
    first, second = chunk(input, 2, dim)
    return mul(first, sigmoid(second))


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x) / sum of exp(x) along ``dim``."""
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "softmax")
    axis = normalize_dim(dim, max(1, input.ndim))
    if input.ndim < 2:  # TensorRT's softmax takes at least two dimensions
        return reshape(softmax(reshape(input, (1, -1)), 1), input.shape)
    return input.graph.emit("softmax", input, axes=1 << axis)


def softmin(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The softmax of -x."""
    return softmax(neg(input), dim, dtype)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """log(softmax(x)), carried in fp32: x - log(sum of exp(x)) along ``dim``."""
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "log_softmax")
    values = wide(input)
    return cast(sub(values, logsumexp(values, dim, True)), input.dtype)


def dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """The input as it is, as in evaluation."""
    return input
