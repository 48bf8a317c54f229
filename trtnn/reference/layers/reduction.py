"""Layers over whole dimensions."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.reference.layers.common import Function, axes_of, by_member, in_float32
from trtnn.reference.registry import layer


def _product(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keep)
    return x


@layer("REDUCE")
def reduce(layer: Any) -> Function:
    axes, keep = axes_of(layer.axes), layer.keep_dims
    table = {
        "SUM": lambda x: x.sum(axes, keep, dtype=x.dtype),
        "PROD": lambda x: _product(x, axes, keep).to(x.dtype),
        "AVG": in_float32(lambda x: x.mean(axes, keep)),
        "MAX": lambda x: x.amax(axes, keep),
        "MIN": lambda x: x.amin(axes, keep),
    }
    return by_member("reduction", layer.op, table)


@layer("SOFTMAX")
def softmax(layer: Any) -> Function:
    (axis,) = axes_of(layer.axes)
    return in_float32(lambda x: torch.softmax(x, axis))


@layer("TOPK")
def topk(layer: Any) -> Function:
    (axis,), count = axes_of(layer.axes), layer.k
    largest = by_member("order", layer.op, {"MAX": True, "MIN": False})

    def compute(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = x.sort(dim=axis, descending=largest, stable=True)  # of equal ones the first comes first
        return values.narrow(axis, 0, count), indices.narrow(axis, 0, count).int()

    return compute


@layer("CUMULATIVE")
def cumulative(layer: Any) -> Function:
    by_member("running operation", layer.op, {"SUM": None})
    return lambda x, axis: x.cumsum(int(axis), dtype=x.dtype)


@layer("NORMALIZATION")
def normalization(layer: Any) -> Function:
    axes, epsilon = axes_of(layer.axes), layer.epsilon

    def compute(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt() * scale + bias

    return in_float32(compute)
