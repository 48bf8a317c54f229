"""Layers that move elements and compute nothing."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.definition import present_inputs
from trtnn.reference.layers.common import Function, by_member
from trtnn.reference.registry import layer


def _reflected(places: torch.Tensor, length: int) -> torch.Tensor:
    period = max(1, 2 * (length - 1))
    places = places % period
    return torch.where(places < length, places, period - places)


@layer("SLICE")
def slice_(layer: Any) -> Function:
    _, *others = present_inputs(layer)
    if max(others, default=0) > 2:
        raise UnsupportedError("the reference knows slices with a stride of their own, and zeros to fill with")
    # None where it comes as an input: the layer's own stands for nothing then.
    own_start = None if 1 in others else tuple(layer.start)
    own_size = None if 2 in others else tuple(layer.shape)
    strides, mode = tuple(layer.stride), layer.mode.name
    beyond = {
        "CLAMP": lambda at, length: at.clamp(0, length - 1),
        "WRAP": lambda at, length: at % length,
        "REFLECT": _reflected,
        "FILL": lambda at, length: at.clamp(0, length - 1),
        "STRICT_BOUNDS": lambda at, length: at,
    }
    find = by_member("slice mode", layer.mode, beyond)

    def along(x: torch.Tensor, axis: int, start: int, size: int, stride: int) -> torch.Tensor:
        length, last = x.shape[axis], start + (size - 1) * stride
        within = min(start, last) >= 0 and max(start, last) < length
        if within and stride > 0:
            return x[(slice(None),) * axis + (slice(start, last + 1, stride),)]
        if within and stride == 0:
            return x.narrow(axis, start, 1).expand(*x.shape[:axis], size, *x.shape[axis + 1 :])
        if mode == "STRICT_BOUNDS" and not within:
            raise UnsupportedError(f"a slice leaves its input of shape {tuple(x.shape)} along dimension {axis}")
        at = torch.arange(size) * stride + start
        x = x.index_select(axis, find(at, length))
        if mode == "FILL":
            outside = ((at < 0) | (at >= length)).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            x = x.masked_fill(outside, 0)
        return x

    def compute(x: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        lengths = iter([value.tolist() for value in inputs])
        starts = next(lengths) if own_start is None else own_start
        sizes = next(lengths) if own_size is None else own_size
        for axis, (start, size, stride) in enumerate(zip(starts, sizes, strides, strict=True)):
            x = along(x, axis, start, size, stride)
        return x

    return compute


def _shape_or_none(layer: Any) -> tuple[int, ...] | None:
    """Return a shuffle's reshape, or None where it has none, which TensorRT 8 shows as a negative count."""
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


def _within(index: torch.Tensor, length: int) -> torch.Tensor:
    """Return indices as torch takes them.

    Raises:
        ShapeError: one is out of range, which an engine would not tell.
    """
    outside = (index < 0) | (index >= length)
    if outside.any():
        raise ShapeError(f"index {int(index[outside][0])} is out of range for a dimension of {length}")
    return index.long()


@layer("GATHER")
def gather(layer: Any) -> Function:
    axis = layer.axis
    modes = {
        "DEFAULT": lambda x, index: x[(slice(None),) * axis + (_within(index, x.shape[axis]),)],
        "ELEMENT": lambda x, index: x.gather(axis, _within(index, x.shape[axis])),
    }
    return by_member("gathering", layer.mode, modes)


@layer("SCATTER")
def scatter(layer: Any) -> Function:
    axis = layer.axis
    modes = {"ELEMENT": lambda x, index, values: x.scatter(axis, _within(index, x.shape[axis]), values)}
    return by_member("scattering", layer.mode, modes)
