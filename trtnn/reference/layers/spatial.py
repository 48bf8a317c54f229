"""Layers over height, width and depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from trtnn.errors import UnsupportedError
from trtnn.graph.definition import present_inputs
from trtnn.reference.layers.common import Function, by_member, in_float32, weights_of
from trtnn.reference.registry import layer

_BY_SIDES = {
    "convolution": {2: F.conv2d, 3: F.conv3d},
    "deconvolution": {2: F.conv_transpose2d, 3: F.conv_transpose3d},
    "maximum": {2: F.max_pool2d, 3: F.max_pool3d},
    "average": {2: F.avg_pool2d, 3: F.avg_pool3d},
}


def _padding(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """Return a layer's padding as ``torch.nn.functional.pad`` takes it."""
    return [end for pair in zip(before[::-1], after[::-1], strict=True) for end in pair]


@layer("CONVOLUTION")
def convolution(layer: Any) -> Function:
    size = tuple(layer.kernel_size_nd)
    kernel, bias = weights_of(layer.kernel, (layer.num_output_maps, -1, *size)), weights_of(layer.bias)
    before, after = tuple(layer.pre_padding), tuple(layer.post_padding)
    options = {"stride": tuple(layer.stride_nd), "dilation": tuple(layer.dilation_nd), "groups": layer.num_groups}
    convolve = _BY_SIDES["convolution"][len(size)]
    sides = _padding(before, after)

    def compute(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        own = (*weights, *(kernel, bias)[len(weights) :])  # those that come as inputs stand in for the layer's own
        if before == after:
            return convolve(x, *own, padding=before, **options)
        return convolve(F.pad(x, sides), *own, **options)

    return in_float32(compute)


@layer("DECONVOLUTION")
def deconvolution(layer: Any) -> Function:
    groups, size = layer.num_groups, tuple(layer.kernel_size_nd)
    kernel = weights_of(layer.kernel, (-1, layer.num_output_maps // groups, *size))
    bias = weights_of(layer.bias)
    sides = list(zip(layer.pre_padding, layer.post_padding, strict=True))
    options = {"stride": tuple(layer.stride_nd), "dilation": tuple(layer.dilation_nd), "groups": groups}
    convolve = _BY_SIDES["deconvolution"][len(size)]

    def compute(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        whole = convolve(x, *weights, *(kernel, bias)[len(weights) :], **options)  # padding crops
        ends = zip(sides, whole.shape[2:], strict=True)
        return whole[(..., *(slice(before, length - after) for (before, after), length in ends))]

    return in_float32(compute)


@layer("SCALE")
def scale(layer: Any) -> Function:
    if layer.mode.name != "CHANNEL" or layer.channel_axis != 1:
        raise UnsupportedError(f"the reference knows scales by channel, not {layer.mode.name}")
    if weights_of(layer.power) is not None:
        raise UnsupportedError("the reference knows scales without a power", "there is one in this layer")
    factor, shift = weights_of(layer.scale), weights_of(layer.shift)

    def compute(x: torch.Tensor) -> torch.Tensor:
        zero, one = torch.zeros(x.shape[1]), torch.ones(x.shape[1])
        # An eps that float32 loses beside 1: some versions of torch refuse 0.
        return F.batch_norm(x, zero, one, factor, shift, eps=1e-30)

    return in_float32(compute)


@layer("POOLING")
def pooling(layer: Any) -> Function:
    window, stride = tuple(layer.window_size_nd), tuple(layer.stride_nd)
    before, after = tuple(layer.pre_padding), tuple(layer.post_padding)
    sides, inclusive = _padding(before, after), not layer.average_count_excludes_padding
    maximum, average = _BY_SIDES["maximum"][len(window)], _BY_SIDES["average"][len(window)]

    def largest(x: torch.Tensor) -> torch.Tensor:
        return maximum(F.pad(x, sides, value=-torch.inf), window, stride)

    def mean(x: torch.Tensor) -> torch.Tensor:
        total = average(F.pad(x, sides), window, stride)
        if inclusive or not any(sides):
            return total
        return total / average(F.pad(torch.ones_like(x), sides), window, stride)

    return by_member("pooling", layer.type, {"MAX": largest, "AVERAGE": in_float32(mean)})


@layer("RESIZE")
def resize(layer: Any) -> Function:
    by_input = len(present_inputs(layer)) > 1
    scales = () if by_input else tuple(layer.scales)[2:]
    lengths = () if by_input or scales else tuple(layer.shape)[2:]

    def by(**options: Any) -> Callable[..., torch.Tensor]:
        """Resize by the shape that comes as an input, or as the layer itself says."""

        def compute(x: torch.Tensor, *shapes: torch.Tensor) -> torch.Tensor:
            if scales:
                return F.interpolate(x, scale_factor=scales, **options)
            return F.interpolate(x, size=tuple(shapes[0].tolist())[2:] if shapes else lengths, **options)

        return compute

    mode = layer.resize_mode.name
    transformation = layer.coordinate_transformation.name
    rounding = layer.nearest_rounding.name
    if (mode, transformation, rounding) == ("NEAREST", "ASYMMETRIC", "FLOOR"):
        return by(mode="nearest")
    if (mode, transformation, rounding) == ("NEAREST", "HALF_PIXEL", "HALF_UP"):
        return by(mode="nearest-exact")
    smooth = {"LINEAR": {1: "linear", 2: "bilinear", 3: "trilinear"}, "CUBIC": {2: "bicubic"}}
    name = by_member("resizing", layer.resize_mode, smooth).get(len(layer.get_input(0).shape) - 2)
    if name and transformation in ("HALF_PIXEL", "ALIGN_CORNERS"):
        aligned = transformation == "ALIGN_CORNERS"
        smoothly = by(mode=name, align_corners=aligned)
        return lambda x, *shapes: in_float32(lambda x: smoothly(x, *shapes))(x)
    raise UnsupportedError(f"the reference does not know resizing by {mode}, {transformation}, {rounding}")


@layer("GRID_SAMPLE")
def grid_sample(layer: Any) -> Function:
    modes = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}
    padding = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
    mode = by_member("sampling", layer.interpolation_mode, modes)
    outside = by_member("padding", layer.sample_mode, padding)
    aligned = layer.align_corners
    return in_float32(lambda x, grid: F.grid_sample(x, grid, mode, outside, aligned))
