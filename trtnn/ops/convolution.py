"""Convolution and its transpose, into which a BatchNorm behind them is folded."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtnn.dtypes import bfloat16, float32, int8
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import (
    Array,
    count_windows,
    each_of,
    expect_channels,
    expect_floating,
    expect_parts,
    ntuple,
    shape_of_weights,
)
from trtnn.ops._promotion import cast
from trtnn.ops._spatial import as_images, as_sides
from trtnn.ops.arithmetic import add
from trtnn.ops.constants import constant_array
from trtnn.ops.creation import of_array
from trtnn.ops.gathering import taps_of
from trtnn.ops.indexing import take
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.shaping import permute, reshape, squeeze, transpose, unsqueeze
from trtnn.ops.tiling import flip
from trtnn.shapes.symbolic import Length, Size, is_static, same

_APART: contextvars.ContextVar[bool] = contextvars.ContextVar("trtnn_apart", default=False)


@contextmanager
def kept_apart() -> Iterator[None]:
    """Keep TensorRT from making one layer of the 1×1 convolutions within the block and others of the same input.

    It joins those that agree in all but their kernels; so these get a dilation, which to one tap means nothing.
    """
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


def expect_padding(padding: int | Sequence[int] | str) -> None:
    """Check the word that stands for a padding, where one does.

    Raises:
        ArgumentError: it is none of torch's.
    """
    if isinstance(padding, str) and padding not in ("valid", "same"):
        raise ArgumentError(f"padding is 'valid', 'same' or a number for each side, not {padding!r}")


def _conv(
    n: int,
    what: str,
    input: Tensor,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over one, two or three sides, as ``torch.nn.functional.conv1d``, ``conv2d`` and ``conv3d``.

    As in torch it is a cross-correlation: for two sides, with zeros outside the input,
    out[o, y, x] = bias[o] + Σ weight[o, c, i, j] · input[c, y·stride + i·dilation - padding, x·stride + ...].
    The sides are the lengths L, (H, W) or (D, H, W) behind the channels. An argument for them is an int for all, or one
    for each.

    Args:
        input: (batch, in_channels, *sides), floating; the batch may be missing.
        weight: (out_channels, in_channels / groups, *kernel). A Tensor that is known only when the engine runs makes of
            the convolution a product with the windows written out, which takes as many times the input's memory.
        bias: (out_channels,).
        stride: elements from one window to the next.
        padding: zeros at both ends of each side; ``"valid"`` for none; or ``"same"`` for as many as keep the lengths,
            with stride 1 alone, an odd one at the end.
        dilation: the distance of a window's elements.
        groups: how many parts the channels are in; each part of the output is made of one part of the input.

    Returns:
        (batch, out_channels, *sides), each side
        floor((length + 2 · padding - dilation · (kernel - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: input and weight do not fit together, or groups do not divide the channels.
        DTypeError: the input holds no fractions.
        ArgumentError: an argument is not an int for each side, or is too small; padding is another word, or ``"same"``
            beside a stride.
        UnsupportedError: weight is known only when the engine runs, and so are lengths of it but the first.
    """
    if isinstance(bias, Tensor):
        result = _conv(n, what, input, weight, None, stride, padding, dilation, groups)
        return add(result, reshape(bias, (-1, *(1,) * n)))
    if isinstance(weight, Tensor) and (numbers := constant_array(weight)) is not None:
        weight = numbers
    out_channels, in_channels, *kernel = shape_of_weights(weight, n + 2, f"the weight of {what}")
    images = as_images(input, n, what)
    expect_floating(input, what)
    expect_parts(groups, "groups")
    expect_channels(input, in_channels * groups, what, -n - 1)
    if out_channels % groups:
        raise ShapeError(f"{what} in {input.graph.where}: {out_channels} output channels in {groups} groups")
    stride, dilation = ntuple(stride, n, "stride"), ntuple(dilation, n, "dilation")
    if padding == "same":
        if max(stride) > 1:
            raise ArgumentError("padding='same' takes stride 1", f"received stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before, after = [t // 2 for t in total], [t - t // 2 for t in total]
    elif isinstance(padding, str):
        expect_padding(padding)
        before = after = (0,) * n
    else:
        before = after = ntuple(padding, n, "padding")
    if isinstance(weight, Tensor):
        result = _product(n, what, input, weight, stride, before, after, dilation, groups)
        return result if bias is None else add(result, reshape(of_array(bias, result.dtype), (-1, *(1,) * n)))
    taps, lengths = input.graph.held(weight), input.shape[-n:]
    if _is_slow_stem(taps, groups, stride, dilation, _in_int8(input.graph)) and all(
        same((length + begin + end) % 2, 0) for length, begin, end in zip(lengths, before, after, strict=True)
    ):
        taps = np.pad(taps, [(0, 0), (0, 0), *[(1, 0)] * n])
        kernel, before, after = taps.shape[2:], [p + 1 for p in before], [p + 1 for p in after]
    if _APART.get() and math.prod(kernel) == 1:
        dilation = tuple(2 * d for d in dilation)
    sides = zip(lengths, kernel, stride, before, after, dilation, strict=True)
    lengths = [count_windows(length, k, s, begin + end, d) for length, k, s, begin, end, d in sides]
    how = {"stride": stride, "dilation": dilation, "before": before, "after": after, "groups": groups}
    return _layer("convolution_nd", input, images, taps, bias, (out_channels, 1, 1), lengths, **how)


def _product(
    n: int,
    what: str,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolve with a kernel that the network computes, which TensorRT's layer does not take: a product for each group.

    Of one group it is weight (out_channels, in_channels · taps) times windows (batch, in_channels · taps, places).

    Args:
        before, after: the padding at the two ends of each side.

    Raises:
        UnsupportedError: a length of the kernel is known only when the network runs, but for the number of outputs.
    """
    if not is_static(weight.shape[1:]):
        raise UnsupportedError(
            f"{what} in {input.graph.where} with a kernel whose lengths are known only when the network runs",
            f"it has shape {weight.shape}, in {groups} groups",
        )
    out_channels, in_channels, *kernel = weight.shape
    batched = input if input.ndim == n + 2 else unsqueeze(input, 0)
    windows = pad(batched, [end for ends in zip(before[::-1], after[::-1], strict=True) for end in ends])
    lengths = []
    sides = zip(windows.shape[2:], kernel, stride, dilation, strict=True)
    for axis, (length, k, s, d) in reversed(list(enumerate(sides, 2))):
        places = count_windows(length, k, s, 0, d)
        if isinstance(places, int) and places < 1:
            raise ShapeError(
                f"{what} in {input.graph.where}: the kernel {kernel} is larger than its input {input.shape}"
            )
        lengths.insert(0, places)
        windows = take(windows, taps_of(places, k, s, d), axis)  # (..., k, places, ...)
    windows = permute(windows, (0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2)))
    batch = batched.shape[0]
    columns = reshape(windows, (batch, groups, in_channels * math.prod(kernel), -1))
    result = matmul(reshape(weight, (groups, out_channels // groups, -1)), columns)
    return reshape(result, (*([batch] if batched is input else []), out_channels, *lengths))


def _layer(
    kind: str,
    input: Tensor,
    images: tuple[Tensor, Callable[[Tensor], Tensor]],
    taps: np.ndarray,
    bias: Array | None,
    blocks: tuple[int, int, int],
    lengths: Sequence[Length],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    groups: int,
) -> Tensor:
    """Return the output of a convolution or its transpose, whose layer waits to see whether a BatchNorm comes next.

    With that folded in, W' = W · scale for each output channel, and b' = b · scale + shift.

    Args:
        kind: TensorRT's name of the layer.
        images: the input as the layer takes it, and what undoes that to its output, as :func:`as_images` gives them.
        taps: the kernel.
        blocks: the first axes of the kernel as (blocks, others, outputs): blocks · outputs are the output channels.
        lengths: of the output's sides.
        before, after: the padding at the two ends of each side.
    """
    graph, n, out_channels = input.graph, len(lengths), blocks[0] * blocks[2]
    source, undo = images
    source = graph.deferred.snapshot(kind, source)
    taps = taps if n > 1 else taps[..., None]
    out_shape = (source.shape[0], out_channels, *as_sides(lengths, 1))

    def make(scale: np.ndarray | None = None, shift: np.ndarray | None = None) -> Tensor:
        offset, factors = None if bias is None else graph.held(bias), None
        if scale is not None:
            offset = shift if offset is None else offset * scale + shift
            factors = np.float32(scale).reshape(blocks[0], 1, blocks[2])
            if blocks[1] > 1:
                factors = np.broadcast_to(factors, blocks)
            factors = factors.reshape(blocks[0] * blocks[1], blocks[2], *(1,) * (taps.ndim - 2))
        weights, offset, as_inputs = _weights_of_layer(input, taps, offset, factors)
        result = graph.emit(
            kind,
            source,
            out_channels,
            taps.shape[2:],
            weights,
            offset,
            out_shape=out_shape,
            set_inputs=as_inputs,
            stride_nd=as_sides(stride, 1),
            dilation_nd=as_sides(dilation, 1),
            pre_padding=as_sides(before, 0),
            post_padding=as_sides(after, 0),
            num_groups=groups,
        )
        return undo(result)

    if input.ndim < n + 2:  # no batch, so what a BatchNorm takes for channels are others
        return make()
    return graph.deferred.postpone(make, out_shape[: n + 2], input.dtype)


def _weights_of_layer(
    input: Tensor, kernel: np.ndarray, bias: np.ndarray | None, factors: np.ndarray | None
) -> tuple[Any, Any, dict[int, Tensor]]:
    """Return the kernel and the bias that a layer over ``input`` takes as arrays, and those that it takes as inputs.

    They are inputs in a type that NumPy has not.

    Args:
        factors: what the kernel is multiplied by, if anything; of a shape that broadcasts.
    """
    graph, dtype = input.graph, input.dtype
    if dtype.numpy is not None:
        weights = graph.array(kernel, dtype, True) if factors is None else graph.scaled(kernel, factors, dtype)
        return weights, None if bias is None else graph.array(bias, dtype, True), {}
    kernel = kernel if factors is None else kernel * factors
    tensors = {1: kernel} if bias is None else {1: kernel, 2: bias}
    none = graph.trt.Weights()
    return none, none, {index: graph.constant(value, dtype) for index, value in tensors.items()}


def _is_slow_stem(taps: np.ndarray, groups: int, stride: Sequence[int], dilation: Sequence[int], in_int8: bool) -> bool:
    """Return whether this first convolution, over a few channels, is faster with a row and a column of zeros.

    TensorRT has kernels of their own for 7×7 windows over three channels, as ResNet begins, and none for 6×6, as YOLOv5
    does: 15 us against 34 at 640×640 (TensorRT 8.6, H100); with more than 64 outputs it is the other way round, but in
    int8, where 80 take 87 us against 500 for 8 images (H200). Blocks of 2×2 pixels as channels, which make it 3×3, are
    slower than either: to make them takes longer than is won.
    """
    out_channels, in_channels, *kernel = taps.shape
    how = kernel == [6, 6] and tuple(stride) == (2, 2) and tuple(dilation) == (1, 1)
    return how and groups == 1 and in_channels <= 4 and (out_channels <= 64 or in_int8)


def _in_int8(graph: Graph) -> bool:
    """Return whether the module that is running declares its weights quantised to int8."""
    declared = graph.declared.get(graph.scopes[-1].path)
    return declared is not None and bool(declared.input) and declared.dtype is int8


def _conv_transpose(
    n: int,
    what: str,
    input: Tensor,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Convolve transposed, as torch's ``conv_transpose1d``, ``conv_transpose2d`` and ``conv_transpose3d``.

    Every element adds the kernel, times itself, to the output at its place times the stride
    (https://arxiv.org/abs/1603.07285, chapter 4). The sides are those of :func:`conv2d`.

    Args:
        input: (batch, in_channels, *sides), floating; the batch may be missing.
        weight: (in_channels, out_channels / groups, *kernel). A Tensor that is known only when the engine runs makes of
            it a convolution, :func:`conv2d`, of the input with zeros between its elements.
        bias: (out_channels,).
        stride: elements of the output from one kernel to the next.
        padding: how many elements are cut off at both ends of each side.
        output_padding: how many elements are added at the end of each side, fewer than stride or dilation.
        groups: how many parts the channels are in; each part of the output is made of one part of the input.
        dilation: the distance of a kernel's elements.

    Returns:
        (batch, out_channels, *sides), each side
        (length - 1) · stride - 2 · padding + dilation · (kernel - 1) + output_padding + 1.

    Raises:
        ShapeError: input and weight do not fit together, or nothing is left.
        DTypeError: the input holds no fractions.
        ArgumentError: an argument is not an int for each side, or is too small; output_padding is too large.
        UnsupportedError: weight is known only when the engine runs, and so are lengths of it but the first.
    """
    if isinstance(weight, Tensor) and (numbers := constant_array(weight)) is not None:
        weight = numbers
    if input.dtype is bfloat16:  # TensorRT-RTX builds none of it; the sums are carried in fp32 in any case
        fp32 = cast(input, float32)
        result = _conv_transpose(n, what, fp32, weight, bias, stride, padding, output_padding, groups, dilation)
        return cast(result, bfloat16)
    if isinstance(bias, Tensor):
        result = _conv_transpose(n, what, input, weight, None, stride, padding, output_padding, groups, dilation)
        return add(result, reshape(bias, (-1, *(1,) * n)))
    expect_parts(groups, "groups")
    in_channels, out_per_group, *_ = shape_of_weights(weight, n + 2, f"the weight of {what}")
    images = as_images(input, n, what)
    expect_floating(input, what)
    expect_channels(input, in_channels, what, -n - 1)
    stride, dilation = ntuple(stride, n, "stride"), ntuple(dilation, n, "dilation")
    padding, output_padding = ntuple(padding, n, "padding"), ntuple(output_padding, n, "output_padding")
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ArgumentError(
            "output_padding must be smaller than stride or dilation",
            f"received output_padding {output_padding}, stride {stride}, dilation {dilation}",
        )
    kernel = weight.shape[2:]
    sides = zip(input.shape[-n:], stride, padding, output_padding, dilation, kernel, strict=True)
    lengths = [(length - 1) * s - 2 * p + d * (k - 1) + o + 1 for length, s, p, o, d, k in sides]
    if any(isinstance(length, int) and length < 1 for length in lengths):
        raise ShapeError(f"{what} in {input.graph.where} leaves nothing of an input of shape {input.shape}")
    if isinstance(weight, Tensor):
        ends = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
        more = [end + o for end, o in zip(ends, output_padding, strict=True)]
        batched = input if input.ndim == n + 2 else unsqueeze(input, 0)
        spread = _spread(batched, stride, ends, more)
        result = _conv(n, what, spread, _turned(weight, groups), bias, dilation=dilation, groups=groups)
        return result if batched is input else squeeze(result, 0)
    taps = input.graph.held(weight)
    if max(stride) > 1 and max(dilation) > 1:  # TensorRT takes one of them: write the zeros between the taps out
        taps, dilation = _dilated(taps, dilation), (1,) * n
    # TensorRT crops by padding and cannot pad at the end, so what output_padding exceeds padding by becomes zero taps.
    extra = [-(-max(0, o - p) // d) for o, p, d in zip(output_padding, padding, dilation, strict=True)]
    if any(extra):
        taps = np.pad(taps, [(0, 0), (0, 0), *((0, count) for count in extra)])
    after = [p - o + count * d for p, o, count, d in zip(padding, output_padding, extra, dilation, strict=True)]
    blocks = groups, in_channels // groups, out_per_group
    how = {"stride": stride, "dilation": dilation, "before": padding, "after": after, "groups": groups}
    return _layer("deconvolution_nd", input, images, taps, bias, blocks, lengths, **how)


def _spread(input: Tensor, stride: Sequence[int], before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Return (batch, channels, *sides) with zeros between its elements, and at the ends as many as are said.

    Args:
        stride: elements of the output from one of the input to the next, for each side.
        before, after: zeros at the two ends; where negative, how many elements are cut off.
    """
    if max(stride) > 1:
        batch, channels, *sides = input.shape
        apart = reshape(input, (batch, channels, *(length for side in sides for length in (side, 1))))
        apart = pad(apart, [end for s in reversed(stride) for end in (0, s - 1, 0, 0)])
        input = reshape(apart, (batch, channels, *(side * s for side, s in zip(sides, stride, strict=True))))
    ends = zip(before[::-1], after[::-1], stride[::-1], strict=True)
    return pad(input, [length for begin, end, s in ends for length in (begin, end - (s - 1))])


def _turned(weight: Tensor, groups: int) -> Tensor:
    """Return the kernel of the convolution that a transposed one is: mirrored, and channels for outputs."""
    in_channels, out_per_group, *kernel = weight.shape
    parts = transpose(reshape(weight, (groups, in_channels // groups, out_per_group, *kernel)), 1, 2)
    taps = reshape(parts, (groups * out_per_group, in_channels // groups, *kernel))
    return flip(taps, tuple(range(2, taps.ndim)))


def _dilated(taps: np.ndarray, dilation: Sequence[int]) -> np.ndarray:
    """Return a kernel with zeros between its taps."""
    lengths = [d * (k - 1) + 1 for d, k in zip(dilation, taps.shape[2:], strict=True)]
    spread = np.zeros((*taps.shape[:2], *lengths), taps.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = taps
    return spread


conv1d, conv2d, conv3d = each_of((1, 2, 3), _conv, "conv{}d")
conv_transpose1d, conv_transpose2d, conv_transpose3d = each_of((1, 2, 3), _conv_transpose, "conv_transpose{}d")


def fold(
    input: Tensor,
    output_size: Length | Sequence[Length],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Add columns up as windows of an image, as ``torch.nn.functional.fold``.

    Where windows overlap, their elements are added. The arguments for the sides are those of :func:`unfold`.

    Args:
        input: (batch, channels · kernel height · kernel width, windows); the batch may be missing.
        output_size: (H, W).

    Returns:
        (batch, channels, *output_size), without the batch where input has none.

    Raises:
        ShapeError: the input has another number of rows or of windows, or a dynamic length leaves open whether windows
            end where it does.
    """
    if input.ndim == 2:
        return squeeze(fold(unsqueeze(input, 0), output_size, kernel_size, dilation, padding, stride), 0)
    size: tuple[Length, ...] = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * 2
    if len(size) == 2 and not is_static(size):
        size = tuple(side if isinstance(side, Size) else ntuple(side, 1, "output_size")[0] for side in size)
    else:
        size = ntuple(size, 2, "output_size")  # type: ignore[arg-type]
    sizes = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    kernel, dilation, padding, stride = (ntuple(value, 2, name, of_one=False) for name, value in sizes.items())
    places, rest = [], []
    for length, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True):
        count, left = divmod(length + 2 * p - d * (k - 1) - 1, s)
        places.append(count + 1)
        rest.append(left)
    if not is_static(rest):
        raise ShapeError(
            f"fold to {size} in {input.graph.where}: how far from the end of a length the last window ends is known "
            "only when the network runs",
            f"declare lengths that are multiples of the stride, {stride}",
        )
    taps = kernel[0] * kernel[1]
    if input.ndim != 3 or input.shape[1] % taps or not same(input.shape[2], places[0] * places[1]):
        raise ShapeError(
            f"fold to {size} in {input.graph.where} takes (batch, channels · {taps}, {places[0] * places[1]})",
            f"received an input of shape {input.shape}",
        )
    channels = input.shape[1] // taps
    # A transposed convolution whose weights send each row of a column to its own place in the window.
    weight = np.tile(np.eye(taps, dtype=np.float32).reshape(taps, 1, *kernel), (channels, 1, 1, 1))
    images = input.reshape(input.shape[0], input.shape[1], *places)
    return conv_transpose2d(images, weight, None, stride, padding, rest, channels, dilation)
