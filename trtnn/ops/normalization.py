"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.edges import to_compute
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import (
    Array,
    Operand,
    expect_channels,
    expect_floating,
    expect_ndim,
    expect_parts,
    normalize_dim,
    shape_of_weights,
)
from trtnn.ops._promotion import align, cast, wide
from trtnn.ops.arithmetic import add, check_broadcast, div, maximum, mul, pow, square, sub
from trtnn.ops.comparison import where
from trtnn.ops.norms import norm
from trtnn.ops.padding import pad
from trtnn.ops.reduction import mean, sum
from trtnn.ops.shaping import reshape
from trtnn.ops.tiling import expand
from trtnn.ops.unary import rsqrt
from trtnn.shapes.symbolic import same_shape


def batch_norm(
    input: Tensor,
    running_mean: Array | Tensor | None,
    running_var: Array | Tensor | None,
    weight: Array | Tensor | None = None,
    bias: Array | Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize by stored statistics, as ``torch.nn.functional.batch_norm`` in evaluation.

    y = (x - mean) / sqrt(var + eps) · weight + bias, folded in float64 into one scale and one shift a channel
    (https://arxiv.org/abs/1502.03167). Where the input is what a convolution has just returned, in the same precision
    and used by nothing yet, they are folded into its weights, and no layer is added.

    Args:
        input: (batch, channels, ...), two to five dimensions.
        running_mean, running_var, weight, bias: (channels,).
        training: False; or True of weights, of what depends on constants alone, which has statistics of its own.
        momentum: of training, where it has its effect.

    Raises:
        UnsupportedError: ``training`` of what depends on the network's inputs, or no statistics.
        ArgumentError: ``eps`` is below 0.
    """
    expect_ndim(input, (2, 3, 4, 5), "batch_norm", "(batch, channels, ...)")
    expect_floating(input, "batch_norm")
    if eps < 0:
        raise ArgumentError(f"batch_norm takes an eps that is not negative, not {eps}")
    if training and input.value.constant:
        return _by_own_statistics(input, weight, bias, eps)
    if training or running_mean is None or running_var is None:
        raise UnsupportedError("batch_norm without stored statistics", "an engine's result depends on no batch")
    if Tensor in (type(running_mean), type(running_var), type(weight), type(bias)):
        expect_channels(input, shape_of_weights(running_mean, 1, "the mean of batch_norm")[0], "batch_norm")
        factor = rsqrt(add(_by_channel(running_var, input), eps))
        return _scaled_by_channel(mul(sub(input, _by_channel(running_mean, input)), factor), weight, bias)
    expect_channels(input, shape_of_weights(running_mean, 1, "the mean of batch_norm")[0], "batch_norm")
    graph = input.graph
    gamma, beta = 1.0 if weight is None else graph.held(weight), 0.0 if bias is None else graph.held(bias)
    scale = gamma / np.sqrt(np.add(graph.held(running_var), eps, dtype=np.float64))
    shift = beta - graph.held(running_mean) * scale
    if input.dtype.numpy is None:  # the layer takes arrays
        scale, shift = (value.reshape(-1, *(1,) * (input.ndim - 2)) for value in (scale, shift))
        return add(mul(input, graph.constant(scale, input.dtype)), graph.constant(shift, input.dtype))
    folded = graph.deferred.fold(input, scale, shift)
    if folded is not None:
        return to_compute(folded, input.dtype, graph)
    fits = input.ndim > 3  # what TensorRT's layer takes
    images = input if fits else reshape(input, (*input.shape, *(1,) * (4 - input.ndim)))
    result = graph.emit(
        "scale_nd",
        images,
        graph.trt.ScaleMode.CHANNEL,
        graph.array(shift, input.dtype),
        graph.array(scale, input.dtype),
        None,  # power
        1,  # channel axis
    )
    return result if fits else reshape(result, input.shape)


def _by_own_statistics(input: Tensor, weight: Any, bias: Any, eps: float) -> Tensor:
    values, axes = wide(input), (0, *range(2, input.ndim))
    centred = sub(values, mean(values, axes, True))
    scaled = mul(centred, rsqrt(add(mean(square(centred), axes, True), eps)))
    return _scaled_by_channel(cast(scaled, input.dtype), weight, bias)


def _by_channel(value: Any, input: Tensor) -> Tensor:
    """Return a weight for each channel so that it broadcasts with an input, in its type."""
    shape = (1, -1, *(1,) * (input.ndim - 2))
    if isinstance(value, Tensor):
        return reshape(cast(value, input.dtype), shape)
    return input.graph.constant(input.graph.held(value).reshape(shape), input.dtype)


def _scaled_by_channel(input: Tensor, weight: Any, bias: Any) -> Tensor:
    result = input if weight is None else mul(input, _by_channel(weight, input))
    return result if bias is None else add(result, _by_channel(bias, input))


def _standardized(
    input: Tensor, axes: Sequence[int], weight: Any, bias: Any, shape: Sequence[int], eps: float
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) · weight + bias over axes, by TensorRT's layer.

    The layer takes constants alone as weight and bias; Tensors are applied behind it.

    Args:
        shape: of weight and bias, so that they broadcast.
    """
    graph = input.graph
    if isinstance(weight, Tensor) or isinstance(bias, Tensor):
        result = _standardized(input, axes, None, None, shape, eps)
        for value, apply in ((weight, mul), (bias, add)):
            if value is not None:
                tensor = value if isinstance(value, Tensor) else graph.constant(value, input.dtype)
                result = apply(result, cast(reshape(tensor, shape), input.dtype))
        return result
    if weight is None and bias is None:
        shape = (1,) * input.ndim
    scale, shift = (  # of one shape: TensorRT wants that
        graph.constant(np.full(shape, default) if value is None else graph.held(value).reshape(shape), input.dtype)
        for value, default in ((weight, 1.0), (bias, 0.0))
    )
    mask = 0
    for axis in axes:
        mask |= 1 << axis
    return graph.emit("normalization", input, scale, shift, mask, epsilon=eps)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Array | Tensor | None = None,
    bias: Array | Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last dimensions, as ``torch.nn.functional.layer_norm``.

    y = (x - mean) / sqrt(var + eps) · weight + bias (https://arxiv.org/abs/1607.06450).

    Args:
        normalized_shape: the lengths of the last dimensions, as ``weight`` and ``bias`` have them.
    """
    wanted = tuple(normalized_shape)
    _expect_last(input, wanted, "layer_norm")
    if input.ndim == len(wanted):
        return reshape(layer_norm(reshape(input, (1, *input.shape)), wanted, weight, bias, eps), input.shape)
    axes = range(input.ndim - len(wanted), input.ndim)
    return _standardized(input, axes, weight, bias, (1,) * (input.ndim - len(wanted)) + wanted, eps)


def _expect_last(input: Tensor, wanted: tuple[int, ...], what: str) -> None:
    expect_floating(input, what)
    if not wanted or not same_shape(input.shape[-len(wanted) :], wanted):
        raise ShapeError(f"{what} in {input.graph.where} takes (..., {', '.join(map(str, wanted))}), not {input.shape}")


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Array | Tensor | None = None,
    bias: Array | Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over groups of channels, as ``torch.nn.functional.group_norm``.

    y = (x - mean) / sqrt(var + eps) · weight + bias, the statistics of each group (https://arxiv.org/abs/1803.08494).

    Args:
        input: (batch, channels, ...).
        weight, bias: (channels,).

    Raises:
        ShapeError: the groups do not divide the channels.
        DTypeError: the input holds no fractions.
    """
    expect_floating(input, "group_norm")
    expect_parts(num_groups, "num_groups")
    if input.ndim < 2 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm of {num_groups} groups in {input.graph.where} got an input of shape {input.shape}"
        )
    groups = reshape(input, (input.shape[0], num_groups, -1))
    result = reshape(_standardized(groups, (2,), None, None, (1, 1, 1), eps), input.shape)
    return _scaled_by_channel(result, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Array | Tensor | None = None,
    running_var: Array | Tensor | None = None,
    weight: Array | Tensor | None = None,
    bias: Array | Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample, as ``torch.nn.functional.instance_norm``.

    y = (x - mean) / sqrt(var + eps) · weight + bias (https://arxiv.org/abs/1607.08022).

    Args:
        input: (batch, channels, ...).
        running_mean, running_var: statistics in place of the input's own, where ``use_input_stats`` is False.

    Raises:
        ShapeError: the input has fewer than three dimensions, or the weights another number of channels.
        DTypeError: the input holds no fractions.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    expect_floating(input, "instance_norm")
    if input.ndim < 3:
        raise ShapeError(f"instance_norm in {input.graph.where} takes (batch, channels, ...), not {input.shape}")
    for value in (weight, bias):
        if value is not None:
            expect_channels(input, shape_of_weights(value, 1, "a weight of instance_norm")[0], "instance_norm")
    shape = (1, input.shape[1], *(1,) * (input.ndim - 2))
    return _standardized(input, range(2, input.ndim), weight, bias, shape, eps)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Tensor:
    """Return x / sqrt(mean of x² + eps) · weight over the last dimensions, as ``torch.nn.functional.rms_norm``.

    The mean is carried in fp32 (https://arxiv.org/abs/1910.07467).

    Args:
        eps: float32's epsilon where None.
    """
    wanted = tuple(normalized_shape)
    _expect_last(input, wanted, "rms_norm")
    values = wide(input)
    eps = float(np.finfo(np.float32).eps) if eps is None else eps
    scale = rsqrt(add(mean(square(values), range(-len(wanted), 0), True), eps))
    result = cast(mul(values, scale), input.dtype)
    return result if weight is None else mul(result, weight)


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """Return x / max(norm of x along dim, eps), as ``torch.nn.functional.normalize``, carried in fp32.

    Args:
        p: of the norm, as of :func:`norm`.

    Raises:
        DTypeError: the input holds no fractions.
    """
    values = wide(input)
    return cast(div(values, maximum(norm(values, p, dim, True), eps)), input.dtype)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Return x / (k + alpha / size · sum of x² of ``size`` neighbouring channels)^beta, carried in fp32.

    Args:
        input: (batch, channels, ...), three dimensions or more.

    Raises:
        ShapeError: there are fewer.
    """
    expect_floating(input, "local_response_norm")
    if input.ndim < 3:
        raise ShapeError(f"local_response_norm in {input.graph.where} takes (batch, channels, ...), not {input.shape}")
    expect_parts(size, "size")
    values = wide(input)
    total = _neighbours(square(values), size // 2, (size - 1) // 2)
    return cast(div(values, pow(add(mul(total, alpha / size), k), beta)), input.dtype)


def cross_map_lrn(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Return x / (k + alpha / size · sum of x² of neighbouring channels)^beta, carried in fp32.

    The sum is torch's: of as many channels before each as behind it, (size - 1) // 2, and of channel 0 in all behind
    these, where torch moves its window on without it.

    Args:
        input: (batch, channels, height, width).

    Raises:
        ShapeError: it has other dimensions.
    """
    expect_ndim(input, (4,), "CrossMapLRN2d", "(batch, channels, height, width)")
    expect_floating(input, "CrossMapLRN2d")
    expect_parts(size, "size")
    values, reach = wide(input), (size - 1) // 2
    squares = square(values)
    total, channels = _neighbours(squares, reach, reach), input.shape[1]
    if channels > reach + 1:
        stays = np.arange(channels).reshape(1, -1, 1, 1) > reach
        total = add(total, where(input.graph.constant(stays, bool_), squares[:, :1], 0.0))
    return cast(div(values, pow(add(mul(total, alpha / size), k), beta)), input.dtype)


def _neighbours(values: Tensor, before: int, behind: int) -> Tensor:
    """Return the sum of each channel and of so many before and behind it."""
    channels = values.shape[1]
    padded = pad(values, [*(0, 0) * (values.ndim - 2), before, behind])
    total = padded[:, :channels]
    for shift in range(1, before + behind + 1):
        total = add(total, padded[:, shift : shift + channels])
    return total


def cosine_similarity(x1: Operand, x2: Operand, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return x1 · x2 / (max(|x1|, eps) · max(|x2|, eps)) along a dimension, broadcast, carried in fp32.

    Raises:
        ArgumentError: ``eps`` is below 0, or NaN.
    """
    a, b = align(x1, x2)
    expect_floating(a, "cosine_similarity")
    if not eps >= 0:
        raise ArgumentError(f"cosine_similarity takes an eps from 0 on, not {eps}")
    if not a.shape:
        return reshape(cosine_similarity(reshape(a, (1,)), reshape(b, (1,)), dim, eps), ())
    dtype, axis = a.dtype, normalize_dim(dim, a.ndim)
    length = check_broadcast(a, b)[axis]  # of the vectors, which one of the two may have to be expanded to
    a, b = (expand(wide(x), (*x.shape[:axis], length, *x.shape[axis + 1 :])) for x in (a, b))
    lengths = [maximum(norm(value, 2, axis, True), eps) for value in (a, b)]
    return cast(sum(mul(div(a, lengths[0]), div(b, lengths[1])), axis), dtype)


def pairwise_distance(x1: Operand, x2: Operand, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """Return the p-norm of x1 - x2 + eps along the last dimension, broadcast, carried in fp32."""
    return norm(add(sub(x1, x2), eps), p, -1, keepdim)
