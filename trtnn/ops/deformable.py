"""Deformable convolution: as trtnn's plugin, or in the layers that every TensorRT has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn.dtypes import float16, float32
from trtnn.errors import ArgumentError, BackendError, DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, count_windows, expect_floating, expect_ndim, ntuple, shape_of_weights
from trtnn.ops._promotion import cast, promote
from trtnn.ops.activation import sigmoid
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.convolution import conv2d
from trtnn.ops.creation import numbers_below
from trtnn.ops.joining import stack
from trtnn.ops.sampling import grid_sample
from trtnn.ops.shaping import reshape
from trtnn.plugins import dcnv2
from trtnn.shapes.symbolic import Length, same_shape


def deform_conv2d(
    input: Tensor,
    offset: Tensor | Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    mask: Tensor | Array | None = None,
    lowering: str = "auto",
) -> Tensor:
    """Convolve at places that are moved by an offset, as ``torchvision.ops.deform_conv2d``.

    With a mask it is the second version.

    Tap k of the output's place p reads the input, by bilinear interpolation with zeros outside, at
    p · stride - padding + k · dilation + offset, and weighs it by the mask (https://arxiv.org/abs/1703.06211,
    https://arxiv.org/abs/1811.11168). Places and samples are computed in fp32: those of fp16 beyond 256 are a quarter
    of a pixel apart.

    Args:
        input: (batch, in_channels, height, width).
        offset: (batch, offset_groups · taps · 2, H, W), y and x of each tap.
        weight: (out_channels, in_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        mask: (batch, offset_groups · taps, H, W).
        lowering: ``"plugin"`` is one layer of :mod:`trtnn.plugins.dcnv2`, ``"native"`` grid samples and a convolution;
            ``"auto"`` is the plugin where TensorRT has plugins and its library was built, and the network's summary
            says what it took.

    Returns:
        (batch, out_channels, H, W), H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: the weight, the offset or the mask does not fit.
        DTypeError: one of them is not floating, or the plugin does not take its type.
        ArgumentError: the lowering is unknown.
        BackendError, EngineError: the plugin was asked for, and TensorRT has none, or its library is missing.
    """
    offsets, *masks = (promote(value, graph=input.graph)[0] for value in (offset, mask) if value is not None)
    convolution = _Convolution.of(input, weight, stride, padding, dilation, offsets, 2)
    convolution.expect_map(offsets, "offset", 2)
    for tensor in masks:
        convolution.expect_map(tensor, "mask", 1)
    if _takes_plugin(input, lowering):
        return convolution.as_plugin([offsets, *masks], bias, mask="given" if masks else "none")
    return convolution.in_native_layers(offsets, masks[0] if masks else None, bias)


def modulated_deform_conv2d(
    input: Tensor,
    offset_mask: Tensor | Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    lowering: str = "auto",
) -> Tensor:
    """Convolve as :func:`deform_conv2d`, with offset and mask in one map, the mask before its sigmoid.

    The plugin takes that map as it is.

    Args:
        offset_mask: (batch, offset_groups · taps · 3, H, W): the offset, then the mask.
    """
    (maps,) = promote(offset_mask, graph=input.graph)
    convolution = _Convolution.of(input, weight, stride, padding, dilation, maps, 3)
    convolution.expect_map(maps, "offset_mask", 3)
    if _takes_plugin(input, lowering):
        return convolution.as_plugin([maps], bias, mask="logits", combined=True)
    offsets = 2 * convolution.offset_groups * convolution.taps
    return convolution.in_native_layers(maps[:, :offsets], sigmoid(maps[:, offsets:]), bias)


def expect_lowering(lowering: str, what: str) -> None:
    lowerings = ("auto", "plugin", "native")
    if lowering not in lowerings:
        raise ArgumentError(f"{what} with lowering={lowering!r}", f"known: {', '.join(lowerings)}")


def _takes_plugin(input: Tensor, lowering: str) -> bool:
    """Return whether a lowering means the plugin here; the network's summary says what ``"auto"`` chose."""
    graph, what = input.graph, "deform_conv2d"
    expect_lowering(lowering, f"{what} in {graph.where}")
    against = None if input.dtype in (float32, float16) else f"the plugin takes no {input.dtype.name}"
    if lowering == "plugin":
        if against:
            raise DTypeError(f"{what} in {graph.where}: {against}", "it takes float32 and float16")
        if not graph.backend.capabilities.plugins:
            raise BackendError(
                f"{what} in {graph.where} asks for the plugin, and {graph.backend} has no plugins",
                'lowering="native" needs none, and "auto" takes it here',
            )
        return True
    if lowering == "auto":
        against = against or dcnv2.why_not()
        graph.chose(f"{what} in native layers, since {against}" if against else f"{what} as the plugin dcnv2")
        return against is None
    return False


class _Convolution(NamedTuple):
    """A deformable convolution of one input, its arguments checked."""

    input: Tensor
    weight: Array
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    offset_groups: int
    size: tuple[Length, ...]

    @classmethod
    def of(
        cls,
        input: Tensor,
        weight: Array,
        stride: int | Sequence[int],
        padding: int | Sequence[int],
        dilation: int | Sequence[int],
        first_map: Tensor,
        maps_per_tap: int,
    ) -> _Convolution:
        """Check what does not depend on the maps but for the number of offset groups, which the first one tells."""
        out_channels, per_group, *kernel = shape_of_weights(weight, 4, "the weight of deform_conv2d")
        for value in (input, first_map):
            expect_ndim(value, (4,), "deform_conv2d", "(batch, channels, height, width)")
        expect_floating(input, "deform_conv2d")
        stride, padding, dilation = (
            ntuple(value, 2, name) for value, name in ((stride, "stride"), (padding, "padding"), (dilation, "dilation"))
        )
        channels = input.shape[1]
        sides = zip(input.shape[2:], kernel, stride, (2 * p for p in padding), dilation, strict=True)
        offset_groups = max(first_map.shape[1] // (maps_per_tap * math.prod(kernel)), 1)
        if not per_group or channels % per_group or out_channels % (channels // per_group) or channels % offset_groups:
            raise ShapeError(
                f"deform_conv2d in {input.graph.where}: the channels do not divide into groups",
                f"received {channels} channels, a weight of {tuple(weight.shape)} and {offset_groups} offset groups",
            )
        size = tuple(count_windows(*side) for side in sides)
        groups = channels // per_group
        return cls(input, weight, tuple(kernel), stride, padding, dilation, groups, offset_groups, size)

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    def expect_map(self, value: Tensor, name: str, per_tap: int) -> None:
        """Check an offset or a mask.

        Raises:
            DTypeError: it is not floating.
            ShapeError: its shape is not what the input and the kernel ask for.
        """
        where = f"deform_conv2d in {self.input.graph.where}"
        expected = (self.input.shape[0], self.offset_groups * self.taps * per_tap, *self.size)
        if not value.dtype.is_floating_point:
            raise DTypeError(f"{where} got {name} as {value.dtype.name}", "expected floating numbers: cast it")
        if value.ndim != 4 or not same_shape(value.shape, expected):
            raise ShapeError(
                f"{where} got {name} of the wrong shape", f"expected {expected}", f"received {value.shape}"
            )

    def as_plugin(self, maps: list[Tensor], bias: Array | None, **options: Any) -> Tensor:
        """Emit one layer; maps in fp16 beside an input in fp32, or of two types, are cast to fp32."""
        graph, dtype = self.input.graph, self.input.dtype
        weight = graph.array(self.weight, dtype)
        plugin = dcnv2.create(
            graph.where,
            weight,
            None if bias is None else graph.array(bias, dtype),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.offset_groups,
            **options,
        )
        if {value.dtype for value in (self.input, *maps)} != {float16}:
            maps = [cast(value, float32) for value in maps]
        tensors = [self.input, *maps]
        out_shape = (self.input.shape[0], weight.shape[0], *self.size)
        if graph.backend.capabilities.plugin_v3:
            return graph.emit("plugin_v3", tensors, [], plugin, out_shape=out_shape)
        return graph.emit("plugin_v2", tensors, plugin, out_shape=out_shape)

    def in_native_layers(self, offset: Tensor, mask: Tensor | None, bias: Array | None) -> Tensor:
        """Emit a grid sample of every tap's places, and a convolution of 1×1."""
        batch, channels, height, width = self.input.shape
        parts, taps, (rows, columns) = self.offset_groups, self.taps, self.size
        moved = reshape(cast(offset, float32), (batch * parts, taps, 2, rows, columns))
        tap = np.stack(np.meshgrid(*map(np.arange, self.kernel), indexing="ij")).reshape(2, taps, 1, 1)
        starts = [np.float32(tap[i] * self.dilation[i] - self.padding[i]) for i in (0, 1)]
        y = add(moved[:, :, 0], numbers_below(rows, "float32")[:, None] * self.stride[0] + starts[0])
        x = add(moved[:, :, 1], numbers_below(columns, "float32") * self.stride[1] + starts[1])
        grid = stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
        image = reshape(cast(self.input, float32), (batch * parts, channels // parts, height, width))
        grid = reshape(grid, (batch * parts, taps * rows, columns, 2))
        sampled = grid_sample(image, grid, align_corners=False)
        if mask is not None:
            sampled = reshape(sampled, (batch * parts, channels // parts, taps, rows, columns))
            sampled = mul(sampled, reshape(cast(mask, float32), (batch * parts, 1, taps, rows, columns)))
        gathered = cast(reshape(sampled, (batch, channels * taps, rows, columns)), self.input.dtype)
        weight = self.input.graph.held(self.weight)
        flat = weight.reshape(weight.shape[0], weight.shape[1] * taps, 1, 1)
        return conv2d(gathered, flat, bias, groups=self.groups)
