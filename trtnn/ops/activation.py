"""Activations."""

from __future__ import annotations

import math
from typing import Any

from trtnn.dtypes import DType, float32
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import (
    Array,
    expect_finite,
    expect_floating,
    expect_number,
    expect_probability,
    is_always,
    normalize_dim,
)
from trtnn.ops._inplace import if_asked
from trtnn.ops._promotion import cast, filler, floating, wide
from trtnn.ops.arithmetic import add, clamp, div, maximum, minimum, mul, sub
from trtnn.ops.comparison import gt, le, where
from trtnn.ops.joining import chunk
from trtnn.ops.reduction import amax, sum
from trtnn.ops.scores import scores_of_softmax
from trtnn.ops.shaping import reshape
from trtnn.ops.unary import abs, erf, exp, log, neg

# log((1 + s) / (1 - s)) / s as a polynomial of s² up to 1/9, fitted to 5e-9 and 8e-6, the constant first.
_LOG1P = (2.00000001, 0.666663216, 0.400245952, 0.279651578, 0.281577783)
_LOG1P_OF_HALF = (2.00001401, 0.664407231, 0.452720622)
_ALL_OF_SOFTPLUS = 18.0  # from here on log(1 + exp(x)) is x, in fp32


def _activation(input: Tensor, kind: str, **attributes: Any) -> Tensor:
    expect_floating(input, kind.lower())
    if not input.shape:  # TensorRT's activations take at least one dimension
        return reshape(_activation(reshape(input, (1,)), kind, **attributes), ())
    return input.graph.emit("activation", input, getattr(input.graph.trt.ActivationType, kind), **attributes)


@if_asked
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0); integers stay integers.

    Args:
        inplace: whether the input becomes the result, under every name that it has; so of all activations.
    """
    return _activation(input, "RELU") if input.dtype.is_floating_point else hardtanh(input, 0, math.inf)


@if_asked
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


@if_asked
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Return min(max(x, min_val), max_val); integers stay integers, and so do their bounds.

    Raises:
        ArgumentError: min_val is above max_val, or one is NaN.
    """
    if min_val > max_val:
        raise ArgumentError(f"hardtanh from {min_val} to {max_val}: the first is the larger")
    if math.isnan(min_val) or math.isnan(max_val):
        raise ArgumentError(f"hardtanh from {min_val} to {max_val}: a bound is a number")
    if not input.dtype.is_floating_point:
        expect_number(input, "hardtanh")
        low, high = (None if math.isinf(bound) else int(bound) for bound in (min_val, max_val))
        return clamp(input, low, high)
    return _activation(input, "CLIP", alpha=min_val, beta=max_val)


@if_asked
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return x where x ≥ 0, else negative_slope · x.

    Raises:
        ArgumentError: negative_slope is not finite.
    """
    expect_finite("leaky_relu", negative_slope=negative_slope)
    return _activation(input, "LEAKY_RELU", alpha=negative_slope)


@if_asked
def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Return x where x ≥ 0, else x · (lower + upper) / 2, as in evaluation.

    Raises:
        ArgumentError: lower is above upper, or one is not finite.
        UnsupportedError: ``training``, in which torch draws each slope at random.
    """
    if training:
        raise UnsupportedError(
            "rrelu with training=True",
            "its random slopes are for training: training=False, or training=self.training, which is False",
        )
    expect_finite("rrelu", lower=lower, upper=upper)
    if lower > upper:
        raise ArgumentError(f"rrelu from {lower} to {upper}: the first is the larger")
    return leaky_relu(input, (lower + upper) / 2)


def prelu(input: Tensor, weight: Array | Tensor) -> Tensor:
    """Return x where x ≥ 0, else weight · x (https://arxiv.org/abs/1502.01852).

    Args:
        input: (batch, channels, ...), or any shape beside one weight.
        weight: (1,), or (channels,) for dimension 1.

    Raises:
        ShapeError: another number of weights.
        DTypeError: the input holds no fractions.
    """
    expect_floating(input, "prelu")
    count = math.prod(weight.shape)
    if len(weight.shape) > 1 or count not in (1, input.shape[1] if input.ndim > 1 else 1):
        raise ShapeError(f"prelu in {input.graph.where}: {count} weights for an input of shape {input.shape}")
    shape = [count if i == 1 else 1 for i in range(input.ndim)]
    weight = weight if isinstance(weight, Tensor) else input.graph.held(weight)
    slopes = weight.reshape(shape)
    return add(maximum(input, 0), mul(minimum(input, 0), slopes))


@if_asked
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where x > 0, else alpha · (exp(x) - 1) (https://arxiv.org/abs/1511.07289).

    Raises:
        ArgumentError: alpha is not finite.
    """
    expect_finite("elu", alpha=alpha)
    return _activation(input, "ELU", alpha=alpha)


@if_asked
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where x > 0, else alpha · (exp(x / alpha) - 1) (https://arxiv.org/abs/1704.07483).

    Raises:
        ArgumentError: alpha is not above 0, or not finite.
    """
    expect_floating(input, "celu")
    expect_finite("celu", alpha=alpha)
    if alpha <= 0:
        raise ArgumentError(f"celu takes an alpha above 0, not {alpha}")
    return cast(mul(elu(div(wide(input), alpha)), alpha), input.dtype) if alpha != 1 else elu(input)


@if_asked
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return 1.0507 · x where x > 0, else 1.0507 · 1.6733 · (exp(x) - 1) (https://arxiv.org/abs/1706.02515)."""
    return _activation(input, "SELU", alpha=1.6732632423543772, beta=1.0507009873554805)


def sigmoid(input: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return _activation(floating(input), "SIGMOID")


def tanh(input: Tensor) -> Tensor:
    """Return the hyperbolic tangent."""
    return _activation(floating(input), "TANH")


@if_asked
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x · sigmoid(x) (https://arxiv.org/abs/1702.03118)."""
    expect_floating(input, "silu")
    return mul(sigmoid(input), input)


@if_asked
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x + 3, 0), 6) / 6."""
    return _activation(input, "HARD_SIGMOID", alpha=1 / 6, beta=0.5)


@if_asked
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x · min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""
    return mul(hardsigmoid(input), input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return x · Φ(x), Φ the normal distribution's (https://arxiv.org/abs/1606.08415); carried in fp32.

    Args:
        approximate: ``"none"``: Φ(x) = (1 + erf(x / √2)) / 2; ``"tanh"``: (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2.

    Raises:
        ArgumentError: another ``approximate``.
        DTypeError: the input holds no fractions.
    """
    expect_floating(input, "gelu")
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu is approximated by 'none' or 'tanh', not {approximate!r}")
    values = wide(input)  # in fp16 the sum, which comes near 0, would keep no digit below -3
    if input.graph.backend.capabilities.gelu:
        result = _activation(values, "GELU_ERF" if approximate == "none" else "GELU_TANH")
    elif approximate == "none":
        result = mul(mul(values, 0.5), add(erf(mul(values, math.sqrt(0.5))), 1))
    else:  # (1 + tanh(y)) / 2 is sigmoid(2 y)
        factor = math.sqrt(8 / math.pi)
        inner = mul(values, add(mul(mul(values, values), 0.044715 * factor), factor))
        result = mul(values, sigmoid(inner))
    return cast(result, input.dtype)


def _log1p_exp(values: Tensor, dtype: DType) -> Tensor:
    """Return log(1 + exp(-|x|)) of fp32 values, with all the digits that ``dtype``, the result's type, holds.

    With u = exp(-|x|) and s = u / (u + 2) it is log((1 + s) / (1 - s)), and s is at most 1/3.
    """
    u = exp(neg(abs(values)))
    s = div(u, add(u, 2))
    squared = mul(s, s)
    *rest, last = _LOG1P if dtype is float32 else _LOG1P_OF_HALF
    total = mul(squared, last)
    for coefficient in rest[:0:-1]:
        total = mul(add(total, coefficient), squared)
    return mul(add(total, rest[0]), s)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta · x)) / beta, and x where beta · x > threshold; carried in fp32."""
    expect_floating(input, "softplus")
    expect_finite("softplus", beta=beta)
    values = wide(input)
    scaled = values if is_always(beta, 1) else mul(values, beta)
    soft = add(maximum(scaled, 0), _log1p_exp(scaled, input.dtype))
    soft = soft if is_always(beta, 1) else div(soft, beta)
    if threshold < _ALL_OF_SOFTPLUS:
        soft = where(gt(scaled, threshold), values, soft)
    return cast(soft, input.dtype)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(x)), carried in fp32."""
    expect_floating(input, "logsigmoid")
    values = wide(input)
    return cast(sub(minimum(values, 0), _log1p_exp(values, input.dtype)), input.dtype)


@if_asked
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x · tanh(softplus(x)) (https://arxiv.org/abs/1908.08681), carried in fp32.

    With u = exp(x) it is x · u (u + 2) / (u (u + 2) + 2), which has neither a logarithm nor a difference.
    """
    expect_floating(input, "mish")
    values = wide(input)
    u = exp(minimum(values, _ALL_OF_SOFTPLUS))  # beyond which the fraction is 1
    product = mul(u, add(u, 2))
    return cast(mul(values, div(product, add(product, 2))), input.dtype)


def softsign(input: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    expect_number(input, "softsign")
    return _activation(floating(input), "SOFTSIGN")


def tanhshrink(input: Tensor) -> Tensor:
    """Return x - tanh(x), carried in fp32."""
    expect_number(input, "tanhshrink")
    input = floating(input)
    values = wide(input)
    return cast(sub(values, tanh(values)), input.dtype)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return 0 where |x| ≤ lambd, else x; NaN stays."""
    expect_floating(input, "hardshrink")
    return where(le(abs(input), lambd), 0.0, input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return x - lambd where x > lambd, x + lambd where x < -lambd, else 0.

    Raises:
        ArgumentError: lambd is below 0, or not finite.
    """
    expect_floating(input, "softshrink")
    expect_finite("softshrink", lambd=lambd)
    if lambd < 0:
        raise ArgumentError(f"softshrink takes a lambd from 0 on, not {lambd}")
    return sub(input, hardtanh(input, -lambd, lambd))


@if_asked
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return value where x ≤ threshold, else x; NaN stays."""
    expect_number(input, "threshold")
    return where(le(input, threshold), filler(value, input, "threshold"), input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half of ``dim`` times the sigmoid of the second half (https://arxiv.org/abs/1612.08083).

    Raises:
        ShapeError: the length is odd.
    """
    expect_floating(input, "glu")
    if input.shape[normalize_dim(dim, input.ndim)] % 2:
        raise ShapeError(f"glu in {input.graph.where} halves dimension {dim}, which is odd", f"received {input.shape}")
    first, second = chunk(input, 2, dim)
    return mul(first, sigmoid(second))


def _expect_dim(dim: int | None, input: Tensor, what: str) -> int:
    if dim is None:
        raise ArgumentError(
            f"{what} in {input.graph.where} takes a dim",
            f"torch's own choice, which it warns of, is {0 if input.ndim in (0, 1, 3) else 1} here",
        )
    return dim


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return exp(x) / sum of exp(x) along ``dim``.

    Args:
        dtype: the type that the input is cast to first.

    Raises:
        ArgumentError: no ``dim``; torch's choice in its place is deprecated.
        DTypeError: the input holds no fractions.
    """
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "softmax")
    axis = normalize_dim(_expect_dim(dim, input, "softmax"), max(1, input.ndim))
    if input.ndim < 2:  # TensorRT's softmax takes at least two dimensions
        return reshape(softmax(reshape(input, (1, -1)), 1), input.shape)
    return input.graph.emit("softmax", scores_of_softmax(input), axes=1 << axis)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return the :func:`softmax` of -x along ``dim``."""
    return softmax(neg(input), _expect_dim(dim, input, "softmin"), dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return log(softmax(x)), carried in fp32: y - log(sum of exp(y)) along ``dim``, y = x - max of x.

    The arguments and errors are those of :func:`softmax`.
    """
    dim = _expect_dim(dim, input, "log_softmax")
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "log_softmax")
    values = wide(input)
    below = sub(values, amax(values, dim, True))
    return cast(sub(below, log(sum(exp(below), dim, True))), input.dtype)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return the input as it is, as in evaluation: ``training=False``, or ``self.training`` of a module.

    Raises:
        UnsupportedError: ``training``, which is torch's default and draws at random what to drop.
    """
    refuse_dropout(p, training, "dropout")
    return input


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Return the input as it is, as in evaluation, which is torch's default of this function.

    Raises:
        UnsupportedError: ``training``.
    """
    refuse_dropout(p, training, "alpha_dropout")
    return input


def refuse_dropout(p: float, training: bool, what: str) -> None:
    """Raise where dropout is asked for, as an engine draws no random numbers, or is no probability."""
    expect_probability(p, what)
    if training and p:
        raise UnsupportedError(
            f"{what} with dropout {p} and training=True",
            "dropout is for training: training=False, or training=self.training, which is False",
        )
