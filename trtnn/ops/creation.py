"""Tensors made of numbers alone, and of lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtnn.dtypes import as_dtype, float32, int64
from trtnn.errors import ArgumentError
from trtnn.graph import Graph, current_graph
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.promotion import cast
from trtnn.ops.sizes import shape_tensor
from trtnn.symbolic import Length, Size, bounds, ceil_divide, is_static
from trtnn.tensor import Tensor

_EXACT = 1 << 24  # the whole numbers up to here are float32's as well


def arange(
    start: float | Length, end: float | Length | None = None, step: float | Length = 1, *, dtype: Any = None
) -> Tensor:
    """start, start + step, ... up to before end, as ``torch.arange``; ``arange(end)`` begins at 0.

    Args:
        start, end, step: numbers, or ints and Sizes such as ``x.shape[2]``; step is above 0 where one is a Size.
        dtype: int64 where all are whole, else the floating type that the network computes in.

    Raises:
        ArgumentError: it is called outside a trace, or there is no number between start and end.
    """
    graph = current_graph()
    if graph is None:
        raise ArgumentError("arange makes a Tensor of the network that is being traced", "call it within forward")
    first, last = (0, start) if end is None else (start, end)
    whole = all(isinstance(value, (int, np.integer, Size)) for value in (first, last, step))
    kind = as_dtype(dtype) if dtype is not None else int64 if whole else graph.compute_dtype
    if is_static((first, last, step)):
        numbers = np.arange(first, last, step)
        if not numbers.size:
            raise ArgumentError(f"arange from {first} to {last} by {step} holds nothing")
        return graph.constant(numbers, kind)
    if not whole or not step >= 1:
        raise ArgumentError(f"arange from {first} to {last} by {step}", "beside a Size all are whole, and step above 0")
    count = ceil_divide(last - first, step)
    if not count >= 1:
        raise ArgumentError(f"arange from {first} to {last} by {step} holds nothing")
    if bounds(count)[1] > _EXACT:
        raise ArgumentError(f"arange counts up to {_EXACT}, and {count} goes up to {bounds(count)[1]}")
    line = cast(_first_numbers(graph, count), kind)
    if not (isinstance(step, int) and step == 1):
        line = mul(line, step)
    return line if isinstance(first, int) and first == 0 else add(line, first)


def _first_numbers(graph: Graph, count: Length) -> Tensor:
    """Return 0, 1, ... up to before ``count``, in float32, which every version of TensorRT fills with."""
    if not isinstance(count, Size):
        return graph.constant(np.arange(count), float32)
    return graph.emit(
        "fill",
        (1,),
        graph.trt.FillOperation.LINSPACE,
        out_shape=(count,),
        set_inputs={0: shape_tensor(graph, [count])},
        alpha=0.0,
        beta=1.0,
    )
