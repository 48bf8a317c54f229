"""What each layer type of TensorRT does, said in torch: one small function each.

The definitions are those of TensorRT's operator reference
(https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from trtnn.errors import UnsupportedError
from trtnn.reading import flat_array, present_inputs
from trtnn.reference.registry import layer

Function = Callable[..., torch.Tensor]


def _weights(array: np.ndarray | None, shape: tuple[int, ...] = (-1,)) -> torch.Tensor | None:
    """Return a layer's weights as float32, sharing memory where they are that already."""
    if array is None or array.size == 0:
        return None
    return torch.from_numpy(flat_array(array)).reshape(shape).float()


def _in_float32(function: Function) -> Function:
    """Let ``function`` compute in float32 and round its result to the type of its first input."""

    @functools.wraps(function)
    def compute(*inputs: torch.Tensor) -> torch.Tensor:
        if inputs[0].dtype == torch.float32:
            return function(*inputs)
        return function(*(x.float() for x in inputs)).to(inputs[0].dtype)

    return compute


def _choose(what: str, member: Any, table: dict[str, Any]) -> Any:
    if member.name not in table:
        raise UnsupportedError(f"the reference does not know the {what} {member.name}", f"it knows {', '.join(table)}")
    return table[member.name]


@layer("CONVOLUTION")
def convolution(layer: Any) -> Function:
    kernel = _weights(layer.kernel, (layer.num_output_maps, -1, *layer.kernel_size_nd))
    bias = _weights(layer.bias)
    before, after = tuple(layer.pre_padding), tuple(layer.post_padding)
    options = {"stride": tuple(layer.stride_nd), "dilation": tuple(layer.dilation_nd), "groups": layer.num_groups}
    if before == after:
        return _in_float32(lambda x: F.conv2d(x, kernel, bias, padding=before, **options))
    sides = (before[1], after[1], before[0], after[0])
    return _in_float32(lambda x: F.conv2d(F.pad(x, sides), kernel, bias, **options))


@layer("DECONVOLUTION")
def deconvolution(layer: Any) -> Function:
    groups = layer.num_groups
    kernel = _weights(layer.kernel, (-1, layer.num_output_maps // groups, *layer.kernel_size_nd))
    bias = _weights(layer.bias)
    (top, left), (bottom, right) = tuple(layer.pre_padding), tuple(layer.post_padding)
    options = {"stride": tuple(layer.stride_nd), "dilation": tuple(layer.dilation_nd), "groups": groups}

    def compute(x: torch.Tensor) -> torch.Tensor:
        whole = F.conv_transpose2d(x, kernel, bias, **options)  # padding crops
        return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]

    return _in_float32(compute)


@layer("SCALE")
def scale(layer: Any) -> Function:
    if layer.mode.name != "CHANNEL" or layer.channel_axis != 1:
        raise UnsupportedError(f"the reference knows scales by channel, not {layer.mode.name}")
    factor, shift = _weights(layer.scale), _weights(layer.shift)
    zero, one = torch.zeros_like(factor), torch.ones_like(factor)
    # An eps that float32 loses beside 1: some versions of torch refuse 0.
    return _in_float32(lambda x: F.batch_norm(x, zero, one, factor, shift, eps=1e-30))


@layer("ACTIVATION")
def activation(layer: Any) -> Function:
    alpha, beta = layer.alpha, layer.beta
    return _choose(
        "activation",
        layer.type,
        {
            "RELU": torch.relu,
            "SIGMOID": torch.sigmoid,
            "LEAKY_RELU": lambda x: F.leaky_relu(x, alpha),
            "HARD_SIGMOID": _in_float32(lambda x: (alpha * x + beta).clamp(0, 1)),
        },
    )


@layer("ELEMENTWISE")
def elementwise(layer: Any) -> Function:
    return _choose(
        "operation",
        layer.op,
        {
            "SUM": torch.add,
            "SUB": torch.sub,
            "PROD": torch.mul,
            "DIV": torch.div,
            "FLOOR_DIV": functools.partial(torch.div, rounding_mode="floor"),
            "POW": _in_float32(torch.pow),
        },
    )


@layer("UNARY")
def unary(layer: Any) -> Function:
    return _choose("operation", layer.op, {"NEG": torch.neg, "EXP": _in_float32(torch.exp)})


@layer("POOLING")
def pooling(layer: Any) -> Function:
    _choose("pooling", layer.type, {"MAX": None})
    window, stride = tuple(layer.window_size_nd), tuple(layer.stride_nd)
    before, after = tuple(layer.pre_padding), tuple(layer.post_padding)
    if before == after:
        return lambda x: F.max_pool2d(x, window, stride, before)
    sides = (before[1], after[1], before[0], after[0])
    return lambda x: F.max_pool2d(F.pad(x, sides, value=-torch.inf), window, stride)


@layer("RESIZE")
def resize(layer: Any) -> Function:
    by_input = len(present_inputs(layer)) > 1
    scales = () if by_input else tuple(layer.scales)[2:]

    def target(*shapes: torch.Tensor) -> dict[str, Any]:
        """How far to resize: by the shape that comes as an input, or as the layer itself says."""
        if by_input:
            return {"size": tuple(shapes[0].tolist())[2:]}
        return {"scale_factor": scales} if scales else {"size": static}

    static = () if by_input or scales else tuple(layer.shape)[2:]
    mode = layer.resize_mode.name
    transformation = layer.coordinate_transformation.name
    rounding = layer.nearest_rounding.name
    if (mode, transformation, rounding) == ("NEAREST", "ASYMMETRIC", "FLOOR"):
        return lambda x, *shapes: F.interpolate(x, mode="nearest", **target(*shapes))
    if mode == "LINEAR" and transformation in ("HALF_PIXEL", "ALIGN_CORNERS"):
        aligned = transformation == "ALIGN_CORNERS"
        linear = functools.partial(F.interpolate, mode="bilinear", align_corners=aligned)
        return lambda x, *shapes: _in_float32(lambda x: linear(x, **target(*shapes)))(x)
    raise UnsupportedError(f"the reference does not know resizing by {mode}, {transformation}, {rounding}")


@layer("SLICE")
def slice_(layer: Any) -> Function:
    _, *given = present_inputs(layer)
    if 3 in given:
        raise UnsupportedError("the reference knows slices with a stride of their own, not with one as an input")
    # None where it comes as an input: the layer's own stands for nothing then.
    own_start = None if 1 in given else tuple(layer.start)
    own_size = None if 2 in given else tuple(layer.shape)
    strides = tuple(layer.stride)

    def compute(x: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        lengths = iter(value.tolist() for value in inputs)
        starts = own_start or next(lengths)
        sizes = own_size or next(lengths)
        for axis, (start, size, stride) in enumerate(zip(starts, sizes, strides, strict=True)):
            if stride == 0:
                x = x.narrow(axis, start, 1).expand(*x.shape[:axis], size, *x.shape[axis + 1 :])
            else:
                x = x[(slice(None),) * axis + (slice(start, start + (size - 1) * stride + 1, stride),)]
        return x

    return compute


def _shape_or_none(layer: Any) -> tuple[int, ...] | None:
    """A shuffle's reshape, or None where it has none, which TensorRT 8 shows as dimensions of a negative number."""
    try:
        return None if layer.reshape_dims is None else tuple(layer.reshape_dims)
    except ValueError:
        return None


@layer("SHUFFLE")
def shuffle(layer: Any) -> Function:
    def order(permutation: Any, ndim: int) -> tuple[int, ...]:
        return tuple(permutation)[:ndim]

    own = None if len(present_inputs(layer)) > 1 else _shape_or_none(layer)
    copies = layer.zero_is_placeholder
    first = order(layer.first_transpose, len(layer.get_input(0).shape))
    second = order(layer.second_transpose, len(layer.get_output(0).shape))

    def compute(x: torch.Tensor, *shapes: torch.Tensor) -> torch.Tensor:
        x = x.permute(first)
        shape = shapes[0].tolist() if shapes else own
        if shape is not None:
            x = x.reshape([x.shape[i] if n == 0 and copies else n for i, n in enumerate(shape)])
        return x.permute(second)

    return compute


@layer("CONCATENATION")
def concatenation(layer: Any) -> Function:
    axis = layer.axis
    return lambda *xs: torch.cat(xs, axis)


@layer("SOFTMAX")
def softmax(layer: Any) -> Function:
    axis = int(layer.axes).bit_length() - 1
    return _in_float32(lambda x: torch.softmax(x, axis))


@layer("MATRIX_MULTIPLY")
def matrix_multiply(layer: Any) -> Function:
    choices = {"NONE": lambda x: x, "TRANSPOSE": operator.attrgetter("mT")}
    first, second = (_choose("operation", op, choices) for op in (layer.op0, layer.op1))
    return _in_float32(lambda a, b: first(a) @ second(b))


@layer("CONSTANT")
def constant(layer: Any) -> Function:
    value = torch.from_numpy(flat_array(layer.weights)).reshape(tuple(layer.shape))
    return lambda: value


@layer("CAST")
def cast(layer: Any) -> Function:
    dtype = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool}.get(
        layer.to_type.name
    ) or getattr(torch, layer.to_type.name.lower())
    return lambda x: x.to(dtype)


@layer("IDENTITY")
def identity(layer: Any) -> Function:
    return lambda x: x


@layer("SHAPE")
def shape(layer: Any) -> Function:
    dtype = torch.int32 if layer.get_output(0).dtype.name == "INT32" else torch.int64
    return lambda x: torch.tensor(x.shape, dtype=dtype)


@layer("FILL")
def fill(layer: Any) -> Function:
    _choose("filling", layer.operation, {"LINSPACE": None})
    if present_inputs(layer) != [0] or layer.get_output(0).dtype.name != "FLOAT":
        raise UnsupportedError("the reference knows filling with float32 numbers that the layer holds itself")
    start, step = float(layer.alpha), float(layer.beta)
    return lambda shape: start + step * torch.arange(int(shape), dtype=torch.float32)
