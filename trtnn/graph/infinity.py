"""Infinity and NaN as one number beside a Tensor, which TensorRT 8.6 does not keep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trtnn.dtypes import DType, float32
from trtnn.errors import UnsupportedError

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph
    from trtnn.graph.tensor import Tensor


def computed(number: float, dtype: DType, shape: tuple[int, ...], graph: Graph) -> Tensor:
    """Return infinity, -infinity or NaN as a Tensor of one element, which the engine computes.

    TensorRT 8.6 makes 1e38 of a constant of one element that is infinite, in a choice or a comparison: on an H200
    ``where(x > 0, inf, x)`` gave 1e38, and 2e38 was not finite. A sum with NaN gave infinity. So there infinity is
    1 / 0, and NaN 0 times that, of what is 0 whatever an input is.
    """
    key = f"the number {number}"  # no name of a dimension, which "inf" may be
    if key not in graph.lengths:
        graph.lengths[key] = _computed(number, graph)
    result = graph.cast(graph.lengths[key], dtype)
    return graph.emit("shuffle", result, out_shape=shape, reshape_dims=shape) if shape else result


def _computed(number: float, graph: Graph) -> Tensor:
    trt, first = graph.trt, graph.first_input
    if first is None:
        raise UnsupportedError(
            f"{number} in {graph.where}: {graph.backend} keeps no such constant",
            "it is computed of an input, and this network has none",
        )
    ndim = first.ndim
    one = graph.emit("slice", first, (0,) * ndim, (1,) * ndim, (1,) * ndim, out_shape=(1,) * ndim)
    number_of_input = graph.emit("shuffle", one, out_shape=(), reshape_dims=())
    number_of_input = graph.emit("cast", number_of_input, graph.backend.data_type(float32), traced_as=float32)
    same = graph.emit("elementwise", number_of_input, number_of_input, trt.ElementWiseOperation.EQUAL)
    other = graph.emit("unary", same, trt.UnaryOperation.NOT)
    neither = graph.emit("elementwise", same, other, trt.ElementWiseOperation.AND)
    zero = graph.emit("cast", neither, graph.backend.data_type(float32), traced_as=float32)
    infinity = graph.emit("unary", zero, trt.UnaryOperation.RECIP)
    if math.isnan(number):
        return graph.emit("elementwise", infinity, zero, trt.ElementWiseOperation.PROD)
    return infinity if number > 0 else graph.emit("unary", infinity, trt.UnaryOperation.NEG)
