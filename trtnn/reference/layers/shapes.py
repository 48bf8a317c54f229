"""Layers that move elements and compute nothing."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.reference.layers.common import Function, by_member
from trtnn.reference.registry import layer


def _reflected(places: torch.Tensor, length: int) -> torch.Tensor:
    period = max(1, 2 * (length - 1))
    places = places % period
    return torch.where(places < length, places, period - places)


@layer("SLICE")
def slice_(layer: Any) -> Function:
    start, size, stride = tuple(layer.start), tuple(layer.shape), tuple(layer.stride)
    lengths = tuple(layer.get_input(0).shape)
    places = [torch.arange(n) * step + first for first, n, step in zip(start, size, stride, strict=True)]
    outside = [(at < 0) | (at >= length) for at, length in zip(places, lengths, strict=True)]
    inside = {
        "CLAMP": lambda at, length: at.clamp(0, length - 1),
        "WRAP": lambda at, length: at % length,
        "REFLECT": _reflected,
        "FILL": lambda at, length: at.clamp(0, length - 1),
        "STRICT_BOUNDS": lambda at, length: at,
    }
    find = by_member("slice mode", layer.mode, inside)
    fills = layer.mode.name == "FILL"
    if layer.mode.name == "STRICT_BOUNDS":
        if any(bool(places_out.any()) for places_out in outside):
            raise UnsupportedError(f"the slice {layer.name!r} leaves its input")
        if all(step > 0 for step in stride):
            parts = (
                slice(first, first + (n - 1) * step + 1, step)
                for first, n, step in zip(start, size, stride, strict=True)
            )
            index = tuple(parts)
            return lambda x: x[index]

    def compute(x: torch.Tensor) -> torch.Tensor:
        for axis, (at, length) in enumerate(zip(places, lengths, strict=True)):
            x = x.index_select(axis, find(at, length))
            if fills and bool(outside[axis].any()):
                shape = [-1 if i == axis else 1 for i in range(x.ndim)]
                x = x.masked_fill(outside[axis].reshape(shape), 0)
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

    shape = _shape_or_none(layer)
    first = order(layer.first_transpose, len(layer.get_input(0).shape))
    second = order(layer.second_transpose, len(layer.get_output(0).shape))

    def compute(x: torch.Tensor) -> torch.Tensor:
        x = x.permute(first)
        return (x if shape is None else x.reshape(shape)).permute(second)

    return compute


@layer("CONCATENATION")
def concatenation(layer: Any) -> Function:
    axis = layer.axis
    return lambda *xs: torch.cat(xs, axis)


@layer("GATHER")
def gather(layer: Any) -> Function:
    axis = layer.axis
    modes = {
        "DEFAULT": lambda x, index: x[(slice(None),) * axis + (index.long(),)],
        "ELEMENT": lambda x, index: x.gather(axis, index.long()),
    }
    return by_member("gathering", layer.mode, modes)


@layer("SCATTER")
def scatter(layer: Any) -> Function:
    axis = layer.axis
    modes = {"ELEMENT": lambda x, index, values: x.scatter(axis, index.long(), values)}
    return by_member("scattering", layer.mode, modes)
