"""Infinity as one number beside a Tensor, which TensorRT 8.6 does not keep."""

from __future__ import annotations

import math
from typing import Any

from trtnn.dtypes import float32
from trtnn.graph import Graph
from trtnn.tensor import Tensor


def kept(value: Any, graph: Graph) -> Any:
    """Return an operand as it is; infinity, where TensorRT would change it, as a Tensor.

    TensorRT 8.6 makes 1e38 of a constant of one element that is infinite, in a choice or a comparison: on an H200
    ``where(x > 0, inf, x)`` gave 1e38, and 2e38 was not finite. So there the engine computes the number, 1 / 0, of what
    is 0 whatever an input is.
    """
    if not isinstance(value, float) or not math.isinf(value) or graph.backend.capabilities.strongly_typed:
        return value
    key = f"the number {value}"  # no name of a dimension, which "inf" may be
    if key not in graph.lengths:
        graph.lengths[key] = graph.cast(_computed(value, graph), graph.compute_dtype)
    return graph.cast(graph.lengths[key], graph.compute_dtype)


def _computed(value: float, graph: Graph) -> Tensor:
    trt = graph.trt
    ndim = graph.first_input.ndim
    one = graph.emit("slice", graph.first_input, (0,) * ndim, (1,) * ndim, (1,) * ndim, out_shape=(1,) * ndim)
    number = graph.emit("shuffle", one, out_shape=(), reshape_dims=())
    number = graph.emit("cast", number, graph.backend.data_type(float32), traced_as=float32)
    same = graph.emit("elementwise", number, number, trt.ElementWiseOperation.EQUAL)
    other = graph.emit("unary", same, trt.UnaryOperation.NOT)
    neither = graph.emit("elementwise", same, other, trt.ElementWiseOperation.AND)
    zero = graph.emit("cast", neither, graph.backend.data_type(float32), traced_as=float32)
    infinity = graph.emit("unary", zero, trt.UnaryOperation.RECIP)
    return infinity if value > 0 else graph.emit("unary", infinity, trt.UnaryOperation.NEG)
