"""Every operation, with torch's names, arguments, defaults and meanings.

Functions take :class:`trtnn.Tensor`, numbers and NumPy arrays, add layers to the graph that is being traced, and
return Tensors. Weights are :class:`trtnn.Parameter` or NumPy arrays; they take the element type of the Tensor that they
work on. Where TensorRT cannot do what torch does, a function raises :class:`trtnn.UnsupportedError`.

The formulas are those of torch.nn.functional (https://docs.pytorch.org/docs/stable/nn.functional.html), the layers
those of TensorRT's operator reference (https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import DType, as_dtype, bool_, int32, int64, result_type
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor

Array = Parameter | np.ndarray
Number = int | float
Operand = Tensor | Array | Number


# -- arguments --------------------------------------------------------------------------------------------------------


def pair(value: int | Sequence[int], what: str) -> tuple[int, int]:
    """Return ``value`` as (vertical, horizontal), a lone int for both.

    Raises:
        ArgumentError: it is neither an int nor two.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) for v in values):
        raise ArgumentError(f"{what} takes an int or two, not {value!r}")
    return int(values[0]), int(values[1])


def normalize_dim(dim: int, ndim: int) -> int:
    """Return a dimension counted from the front.

    Raises:
        ShapeError: there is no such dimension.
    """
    if not -ndim <= dim < ndim:
        raise ShapeError(f"dimension {dim} is out of range", f"the tensor has {ndim}: from {-ndim} to {ndim - 1}")
    return dim % ndim


def _expect_ndim(input: Tensor, allowed: Sequence[int], what: str, form: str) -> None:
    if input.ndim not in allowed:
        raise ShapeError(
            f"{what} in {input.graph.where} takes {form}", f"received {input.dtype.name}{list(input.shape)}"
        )


def _expect_channels(input: Tensor, channels: int, what: str) -> None:
    if input.shape[1] != channels:
        raise ShapeError(
            f"{what} in {input.graph.where} got the wrong number of channels",
            f"expected {channels}, as its weights have",
            f"received {input.shape[1]}, in an input of shape {input.shape}",
        )


def _expect_floating(input: Tensor, what: str) -> None:
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{what} in {input.graph.where} takes floating-point input, not {input.dtype.name}")


def _shape_of_weights(value: Any, ndim: int, what: str) -> tuple[int, ...]:
    if isinstance(value, Tensor):
        raise UnsupportedError(f"{what} given as a Tensor", "weights are Parameters or NumPy arrays")
    if len(value.shape) != ndim:
        raise ShapeError(f"{what} has {ndim} dimensions", f"received one of shape {tuple(value.shape)}")
    return tuple(value.shape)


def _optional(input: Tensor, value: Array | None) -> np.ndarray | None:
    return None if value is None else input.graph.array(value, input.dtype)


# -- convolution and linear -------------------------------------------------------------------------------------------


def conv2d(
    input: Tensor,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation, as ``torch.nn.functional.conv2d``.

    Args:
        input: (batch, in_channels, height, width).
        weight: (out_channels, in_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        padding: zeros on each side, or ``"valid"`` or ``"same"`` (stride 1 only; an odd zero goes to the end).

    Returns:
        (batch, out_channels, H, W), H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: input and weight do not fit together.
    """
    out_channels, in_channels, *kernel = _shape_of_weights(weight, 4, "the weight of conv2d")
    _expect_ndim(input, (4,), "conv2d", "(batch, channels, height, width)")
    _expect_floating(input, "conv2d")
    _expect_channels(input, in_channels * groups, "conv2d")
    if out_channels % groups:
        raise ShapeError(f"conv2d in {input.graph.where}: {out_channels} output channels in {groups} groups")
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if padding == "same":
        if stride != (1, 1):
            raise ArgumentError("padding='same' takes stride 1", f"received stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before, after = [t // 2 for t in total], [t - t // 2 for t in total]
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding, "padding")
    return input.graph.emit(
        "convolution_nd",
        input,
        out_channels,
        tuple(kernel),
        input.graph.array(weight, input.dtype),
        _optional(input, bias),
        stride_nd=stride,
        dilation_nd=dilation,
        pre_padding=tuple(before),
        post_padding=tuple(after),
        num_groups=groups,
    )


def conv_transpose2d(
    input: Tensor,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """2-D transposed convolution, as ``torch.nn.functional.conv_transpose2d``.

    Args:
        input: (batch, in_channels, height, width).
        weight: (in_channels, out_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        output_padding: extra length at the end of each side, smaller than stride or dilation.

    Returns:
        (batch, out_channels, H, W), H = (height - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Raises:
        UnsupportedError: stride and dilation both above 1.
    """
    in_channels, out_per_group, *_ = _shape_of_weights(weight, 4, "the weight of conv_transpose2d")
    _expect_ndim(input, (4,), "conv_transpose2d", "(batch, channels, height, width)")
    _expect_floating(input, "conv_transpose2d")
    _expect_channels(input, in_channels, "conv_transpose2d")
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    padding, output_padding = pair(padding, "padding"), pair(output_padding, "output_padding")
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ArgumentError(
            "output_padding must be smaller than stride or dilation",
            f"received output_padding {output_padding}, stride {stride}, dilation {dilation}",
        )
    if max(stride) > 1 and max(dilation) > 1:
        raise UnsupportedError(
            f"conv_transpose2d with stride {stride} and dilation {dilation}",
            "TensorRT takes one of them above 1, not both, not even on different sides",
            "write zeros between the taps of the kernel yourself and use dilation 1",
        )
    kernel = input.graph.array(weight, input.dtype)
    # TensorRT crops by padding and cannot pad at the end, so what output_padding exceeds padding by becomes zero taps.
    extra = [max(0, o - p) for o, p in zip(output_padding, padding, strict=True)]
    if any(extra):
        taps = [-(-e // d) for e, d in zip(extra, dilation, strict=True)]
        kernel = input.graph.array(np.pad(kernel, [(0, 0), (0, 0), (0, taps[0]), (0, taps[1])]), input.dtype)
        extra = [t * d for t, d in zip(taps, dilation, strict=True)]
    after = [p - o + e for p, o, e in zip(padding, output_padding, extra, strict=True)]
    return input.graph.emit(
        "deconvolution_nd",
        input,
        out_per_group * groups,
        kernel.shape[2:],
        kernel,
        _optional(input, bias),
        stride_nd=stride,
        dilation_nd=dilation,
        pre_padding=padding,
        post_padding=tuple(after),
        num_groups=groups,
    )


def linear(input: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
    """``input @ weight.T + bias``, as ``torch.nn.functional.linear``.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,).

    Returns:
        (..., out_features).
    """
    out_features, in_features = _shape_of_weights(weight, 2, "the weight of linear")
    _expect_floating(input, "linear")
    if not input.shape or input.shape[-1] != in_features:
        raise ShapeError(
            f"linear in {input.graph.where} got the wrong number of features",
            f"expected {in_features}, as its weights have",
            f"received an input of shape {input.shape}",
        )
    graph, trt = input.graph, input.graph.trt
    ndim = max(input.ndim, 2)
    product = graph.emit(
        "matrix_multiply",
        _with_ndim(input, ndim),
        trt.MatrixOperation.NONE,
        graph.constant(weight, input.dtype, ndim),
        trt.MatrixOperation.TRANSPOSE,
    )
    if bias is not None:
        product = add(product, graph.constant(bias, input.dtype, ndim))
    return product if input.ndim >= 2 else reshape(product, (out_features,))


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
    _expect_ndim(input, (4, 5), "batch_norm", "(batch, channels, height, width)")
    _expect_floating(input, "batch_norm")
    _expect_channels(input, _shape_of_weights(running_mean, 1, "the mean of batch_norm")[0], "batch_norm")
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


# -- activation -------------------------------------------------------------------------------------------------------


def _activation(input: Tensor, kind: str, **attributes: float) -> Tensor:
    _expect_floating(input, kind.lower())
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
    _expect_floating(input, "softmax")
    if input.ndim == 1:  # TensorRT's softmax takes at least two dimensions
        normalize_dim(dim, 1)
        return reshape(softmax(reshape(input, (1, -1)), 1), input.shape)
    return input.graph.emit("softmax", input, axes=1 << normalize_dim(dim, input.ndim))


# -- pooling and resizing ---------------------------------------------------------------------------------------------


def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window, as ``torch.nn.functional.max_pool2d``.

    Args:
        input: (batch, channels, height, width).
        stride: kernel_size where None.
        padding: at most half of kernel_size; padded places never win.

    Returns:
        (batch, channels, H, W), H = floor or ceil((height + 2·padding - kernel) / stride) + 1; with ``ceil_mode`` less
        a window that would start beyond the input and its left padding.

    Raises:
        UnsupportedError: dilation above 1.
    """
    _expect_ndim(input, (4,), "max_pool2d", "(batch, channels, height, width)")
    kernel, padding = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    stride = kernel if stride is None else pair(stride, "stride")
    if pair(dilation, "dilation") != (1, 1):
        raise UnsupportedError(f"max_pool2d with dilation {dilation}", "TensorRT's pooling has no dilation")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError("padding is at most half of kernel_size", f"received {padding} for {kernel}")
    after = []
    for length, k, s, p in zip(input.shape[2:], kernel, stride, padding, strict=True):
        steps = (length + 2 * p - k) / s
        windows = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (windows - 1) * s >= length + p:
            windows -= 1
        if windows < 1:
            raise ShapeError(
                f"max_pool2d in {input.graph.where}: the window {kernel} is larger than its input",
                f"received an input of shape {input.shape}, padding {padding}",
            )
        # As much padding at the end as the last window needs: then TensorRT, rounding down, counts the same.
        after.append(max(0, (windows - 1) * s + k - length - p))
    return input.graph.emit(
        "pooling_nd",
        input,
        input.graph.trt.PoolingType.MAX,
        kernel,
        stride_nd=stride,
        pre_padding=padding,
        post_padding=tuple(after),
    )


def _resize_scale(length: int, factor: float) -> float:
    """Return a float32 that gives floor(length · factor) in single and double precision, as torch counts in double.

    That is ``factor`` itself or a neighbour: in single precision 100 · 0.29 is 29, and 100 · 0.59 less than 59.
    """
    wanted = math.floor(length * factor)
    if wanted < 1:
        raise ShapeError(f"interpolate by {factor} leaves nothing of a length of {length}")
    scale = np.float32(factor)
    while True:
        found = {math.floor(np.float32(length) * scale), math.floor(length * float(scale))}
        if found == {wanted}:
            return float(scale)
        scale = np.nextafter(scale, np.float32(math.inf if min(found) < wanted else 0))


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Resize the last two dimensions, as ``torch.nn.functional.interpolate``.

    Args:
        input: (batch, channels, height, width).
        size: (H, W) of the output; give this or ``scale_factor``.
        scale_factor: H = floor(height · factor).
        mode: ``"nearest"``: source = floor(target / factor); ``"bilinear"``: source = (target + ½) / factor - ½, or
            with ``align_corners`` target · (height - 1) / (H - 1).

    Raises:
        UnsupportedError: another mode of torch's.
    """
    _expect_ndim(input, (4,), "interpolate", "(batch, channels, height, width)")
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate takes one of size and scale_factor")
    if mode not in ("nearest", "bilinear"):
        raise UnsupportedError(f"interpolate with mode {mode!r}", "known: 'nearest', 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ArgumentError("align_corners goes with mode='bilinear'")
    trt = input.graph.trt
    if mode == "nearest":
        how = {
            "resize_mode": trt.InterpolationMode.NEAREST,
            "coordinate_transformation": trt.ResizeCoordinateTransformation.ASYMMETRIC,
            "nearest_rounding": trt.ResizeRoundMode.FLOOR,
        }
    else:
        transformation = "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
        how = {
            "resize_mode": trt.InterpolationMode.LINEAR,
            "coordinate_transformation": getattr(trt.ResizeCoordinateTransformation, transformation),
        }
    if size is not None:
        how["shape"] = input.shape[:2] + pair(size, "size")
    else:
        factors = (scale_factor,) * 2 if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
        if len(factors) != 2:
            raise ArgumentError(f"scale_factor takes a number or two, not {scale_factor!r}")
        scales = [_resize_scale(n, float(f)) for n, f in zip(input.shape[2:], factors, strict=True)]
        how["scales"] = (1.0, 1.0, *scales)
    return input.graph.emit("resize", input, **how)


# -- shape ------------------------------------------------------------------------------------------------------------


def reshape(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one length may be -1, which takes what is left.

    Raises:
        ShapeError: the number of elements differs.
    """
    wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else tuple(shape)
    count = math.prod(input.shape)
    known = math.prod(length for length in wanted if length != -1)
    resolved = tuple(count // max(known, 1) if length == -1 else int(length) for length in wanted)
    if wanted.count(-1) > 1 or any(length < -1 for length in wanted) or math.prod(resolved) != count:
        raise ShapeError(f"cannot reshape {input.shape}, {count} elements, to {wanted} in {input.graph.where}")
    if resolved == input.shape:
        return input
    return input.graph.emit("shuffle", input, reshape_dims=resolved)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one."""
    if not input.shape:
        return reshape(input, (1,))
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if start > end:
        raise ArgumentError(f"flatten from dimension {start_dim} to {end_dim}: the first lies behind the second")
    return reshape(input, (*input.shape[:start], -1, *input.shape[end + 1 :]))


def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Reorder the dimensions: dimension i of the result is ``dims[i]`` of the input."""
    wanted = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], Sequence) else tuple(dims)
    order = tuple(normalize_dim(dim, input.ndim) for dim in wanted)
    if sorted(order) != list(range(input.ndim)):
        raise ShapeError(f"permute takes each of {input.ndim} dimensions once, not {wanted}")
    if order == tuple(range(input.ndim)):
        return input
    return input.graph.emit("shuffle", input, first_transpose=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions."""
    order = list(range(input.ndim))
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def cat(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Join tensors along ``dim``; their other lengths are equal.

    Raises:
        ShapeError: they do not fit together.
    """
    if not tensors:
        raise ArgumentError("cat takes at least one tensor")
    tensors = _promote(*tensors)
    first = tensors[0]
    axis = normalize_dim(dim, first.ndim)
    for tensor in tensors[1:]:
        others = [s[:axis] + s[axis + 1 :] for s in (first.shape, tensor.shape)]
        if tensor.ndim != first.ndim or others[0] != others[1]:
            raise ShapeError(
                f"cat in {first.graph.where}: shapes differ outside dimension {dim}",
                ", ".join(str(t.shape) for t in tensors),
            )
    if len(tensors) == 1:
        return first
    return first.graph.emit("concatenation", list(tensors), axis=axis)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into pieces of one size (the last may be smaller), or of the sizes given.

    Raises:
        ShapeError: the sizes do not add up to the length.
    """
    axis = normalize_dim(dim, tensor.ndim)
    length = tensor.shape[axis]
    if isinstance(split_size_or_sections, (int, np.integer)):
        if split_size_or_sections < 1:
            raise ArgumentError(f"split takes pieces of at least 1, not {split_size_or_sections}")
        size = split_size_or_sections
        sizes = [min(size, length - start) for start in range(0, length, size)]
    else:
        sizes = list(split_size_or_sections)
    if sum(sizes) != length:
        raise ShapeError(f"split sizes {sizes} add up to {sum(sizes)}, but dimension {dim} has {length}")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(narrow(tensor, axis, start, size))
        start += size
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into at most ``chunks`` pieces of ceil(length / chunks)."""
    if chunks < 1:
        raise ArgumentError(f"chunk takes at least 1 piece, not {chunks}")
    return split(input, -(-input.shape[normalize_dim(dim, input.ndim)] // chunks), dim)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return ``length`` elements along ``dim`` from ``start`` on; a negative start counts from the end.

    Raises:
        ShapeError: they do not all lie within the dimension, or there are none.
    """
    axis = normalize_dim(dim, input.ndim)
    whole = input.shape[axis]
    first = start + whole if start < 0 else start
    if not (first >= 0 and 1 <= length <= whole - first):
        raise ShapeError(
            f"{length} elements from {start} on do not lie within dimension {dim} in {input.graph.where}",
            f"the tensor's shape is {input.shape}",
        )
    return getitem(input, (slice(None),) * axis + (slice(first, first + length),))


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]`` with integers, slices of a positive step, Ellipsis and None.

    Raises:
        ShapeError: more indices than dimensions, an integer out of range, or nothing left.
        UnsupportedError: an index of another kind.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    if any(item is Ellipsis for item in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        if any(item is Ellipsis for item in items[at + 1 :]):
            raise ArgumentError("an index holds at most one Ellipsis")
        used = sum(item is not None for item in items) - 1
        items[at : at + 1] = [slice(None)] * (input.ndim - used)
    used = sum(item is not None for item in items)
    if used > input.ndim:
        raise ShapeError(f"{used} indices for a tensor of shape {input.shape} in {input.graph.where}")
    items += [slice(None)] * (input.ndim - used)

    start, size, stride, shape = [], [], [], []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        length = input.shape[len(start)]
        if isinstance(item, slice):
            if item.step is not None and item.step < 1:
                raise ArgumentError("a slice has a positive step, as in torch", f"received {item}")
            span = range(*item.indices(length))
            if not span:
                raise ShapeError(f"the slice {item} leaves nothing of a dimension of {length}")
            shape.append(len(span))
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            span = range(int(item) % length, int(item) % length + 1)
        else:
            raise UnsupportedError(
                f"an index of type {type(item).__name__}", "known: integers, slices, Ellipsis and None"
            )
        start.append(span.start)
        size.append(len(span))
        stride.append(span.step)
    if tuple(size) != input.shape:
        input = input.graph.emit("slice", input, tuple(start), tuple(size), tuple(stride))
    return reshape(input, tuple(shape))


# -- arithmetic -------------------------------------------------------------------------------------------------------


def cast(input: Tensor, dtype: Any) -> Tensor:
    """Convert the elements to another type (``tensor.to(dtype)``)."""
    return input.graph.cast(input, as_dtype(dtype))


def _with_ndim(input: Tensor, ndim: int) -> Tensor:
    return reshape(input, (1,) * (ndim - input.ndim) + input.shape)


def _operand_dtype(value: Operand, tensor: Tensor) -> DType:
    """The type that an operand brings into promotion: a number none of its own but its kind, as in torch."""
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return tensor.dtype if tensor.dtype is not bool_ else int64
    # Floating arrays follow the tensor's precision, as weights do; beside integers it is the network's.
    if isinstance(value, (float, Parameter)) or value.dtype.kind == "f":
        return tensor.dtype if tensor.dtype.is_floating_point else tensor.graph.compute_dtype
    return as_dtype(value.dtype)


def _promote(*values: Operand, ndim: int = 0, floating: bool = False) -> list[Tensor]:
    """Return operands as Tensors of one type, a floating one where asked, and at least ``ndim`` dimensions."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        raise ArgumentError("at least one operand must be a Tensor", "compute with NumPy what holds no Tensor")
    known = (Tensor, Parameter, np.ndarray, np.generic, int, float)
    for value in values:
        if not isinstance(value, known):
            raise DTypeError(f"an operand is a Tensor, a NumPy array or a number, not {type(value).__name__}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    dtype = tensors[0].dtype
    for value in plain:
        dtype = result_type(dtype, _operand_dtype(value, tensors[0]))
    graph = tensors[0].graph
    if floating and not dtype.is_floating_point:
        dtype = graph.compute_dtype
    return [
        _with_ndim(graph.cast(v, dtype), max(ndim, v.ndim)) if isinstance(v, Tensor) else graph.constant(v, dtype, ndim)
        for v in plain
    ]


def _elementwise(kind: str, a: Operand, b: Operand) -> Tensor:
    a, b = _promote(a, b, ndim=max(getattr(operand, "ndim", 0) for operand in (a, b)))
    if any(x != y and 1 not in (x, y) for x, y in zip(a.shape, b.shape, strict=True)):
        raise ShapeError(f"shapes {a.shape} and {b.shape} do not broadcast together in {a.graph.where}")
    return a.graph.emit("elementwise", a, b, getattr(a.graph.trt.ElementWiseOperation, kind))


def add(input: Operand, other: Operand) -> Tensor:
    """input + other, broadcast."""
    return _elementwise("SUM", input, other)


def sub(input: Operand, other: Operand) -> Tensor:
    """input - other, broadcast."""
    return _elementwise("SUB", input, other)


def mul(input: Operand, other: Operand) -> Tensor:
    """input · other, broadcast."""
    return _elementwise("PROD", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """input / other, broadcast; integers become the floating type that the network computes in."""
    return _elementwise("DIV", *_promote(input, other, floating=True))


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent, broadcast; a square is one product, and so right for negative input as well."""
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and exponent == 2:
        return mul(input, input)
    a, b = _promote(input, exponent)
    _expect_floating(a, "pow")
    return _elementwise("POW", a, b)


def neg(input: Tensor) -> Tensor:
    """-input."""
    if input.dtype is bool_:
        raise DTypeError("negation of a bool tensor", "torch refuses it as well")
    return input.graph.emit("unary", input, input.graph.trt.UnaryOperation.NEG)


def exp(input: Tensor) -> Tensor:
    """e to the power of input."""
    _expect_floating(input, "exp")
    return input.graph.emit("unary", input, input.graph.trt.UnaryOperation.EXP)


# -- Tensor's operators and methods -----------------------------------------------------------------------------------


def _refuse_comparison(input: Tensor, other: Any) -> None:
    raise UnsupportedError("comparison with a Tensor", "its numbers are known only when the engine runs")


def _refuse_assignment(input: Tensor, index: Any, value: Any) -> None:
    raise UnsupportedError("assignment into a Tensor", "a network has no memory to write to; build the result with cat")


_METHODS = {
    **{
        name: globals()[name]
        for name in (
            "add", "cast", "chunk", "div", "exp", "flatten", "mul", "narrow", "neg", "permute", "pow", "relu",
            "reshape", "sigmoid", "softmax", "split", "sub", "transpose",
        )
    },
    "view": reshape,
    "to": cast,
    "float": lambda input: cast(input, "float32"),
    "half": lambda input: cast(input, "float16"),
    "int": lambda input: cast(input, int32),
    "long": lambda input: cast(input, int64),
    "contiguous": lambda input: input,
    "__getitem__": getitem,
    "__setitem__": _refuse_assignment,
    "__neg__": neg,
    **{f"__{name}__": _refuse_comparison for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}  # fmt: skip

for _symbol, _function in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("pow", pow)):
    _METHODS[f"__{_symbol}__"] = _function
    _METHODS[f"__r{_symbol}__"] = lambda input, other, _function=_function: _function(other, input)

for _name, _function in _METHODS.items():
    setattr(Tensor, _name, _function)
