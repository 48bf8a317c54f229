"""Products of matrices, and the constants in them."""

from __future__ import annotations

import operator
from typing import Any

import torch

from trtnn.graph.definition import flat_array
from trtnn.reference.layers.common import Function, by_member, in_float32
from trtnn.reference.registry import layer


@layer("MATRIX_MULTIPLY")
def matrix_multiply(layer: Any) -> Function:
    choices = {"NONE": lambda x: x, "TRANSPOSE": operator.attrgetter("mT")}
    first, second = (by_member("operation", op, choices) for op in (layer.op0, layer.op1))
    return in_float32(lambda a, b: first(a) @ second(b))


@layer("CONSTANT")
def constant(layer: Any) -> Function:
    value = torch.from_numpy(flat_array(layer.weights)).reshape(tuple(layer.shape))
    return lambda: value
