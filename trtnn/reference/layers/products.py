"""Products of matrices, and the constants in them."""

from __future__ import annotations

import operator
from typing import Any

from trtnn.reference.layers.common import Function, by_member, in_float32, tensor_of
from trtnn.reference.registry import layer


@layer("MATRIX_MULTIPLY")
def matrix_multiply(layer: Any) -> Function:
    choices = {"NONE": lambda x: x, "TRANSPOSE": operator.attrgetter("mT")}
    first, second = (by_member("operation", op, choices) for op in (layer.op0, layer.op1))
    return in_float32(lambda a, b: first(a) @ second(b))


@layer("CONSTANT")
def constant(layer: Any) -> Function:
    value = tensor_of(layer.weights).reshape(tuple(layer.shape))
    return lambda: value
