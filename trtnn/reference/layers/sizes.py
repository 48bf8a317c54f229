"""Layers that tell lengths, and that make elements from them."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.definition import present_inputs
from trtnn.reference.layers.common import Function, by_member
from trtnn.reference.registry import layer


@layer("SHAPE")
def shape(layer: Any) -> Function:
    dtype = torch.int32 if layer.get_output(0).dtype.name == "INT32" else torch.int64
    return lambda x: torch.tensor(x.shape, dtype=dtype)


@layer("FILL")
def fill(layer: Any) -> Function:
    by_member("filling", layer.operation, {"LINSPACE": None})
    if present_inputs(layer) != [0] or layer.get_output(0).dtype.name != "FLOAT":
        raise UnsupportedError("the reference knows filling with float32 numbers that the layer holds itself")
    start, step = float(layer.alpha), float(layer.beta)
    return lambda shape: start + step * torch.arange(int(shape), dtype=torch.float32)
