"""The edges between fp32 and the type that a network computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trtnn.dtypes import DType, float16, float32
from trtnn.graph.tensor import Tensor

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph


def enter_float32(value: Any, graph: Graph) -> Any:
    """Return what a module that computes in fp32 is given: fp16 Tensors as fp32."""
    if not isinstance(value, Tensor) or value.dtype is not float16:
        return value
    cast = graph.cast(value, float32)
    cast.share_memory_of(value)  # what the module changes in place is not what it was outside
    return cast


def leave_float32(value: Any, outer: DType, graph: Graph) -> Any:
    """Return what a module that computes in fp32 gives to one that computes in ``outer``."""
    if not isinstance(value, Tensor) or value.dtype is not float32:
        return value
    return to_compute(value, outer, graph)


def to_compute(value: Tensor, dtype: DType, graph: Graph) -> Tensor:
    """Cast an fp32 tensor for who reads it so, and remember it: who needs fp32 again takes it as it was."""
    if value.dtype is dtype:
        return value
    value = graph.deferred.snapshot("cast", value)
    cast = graph.deferred.later(lambda: graph.cast(value, dtype), value.shape, dtype, value.value.known)
    cast.value.unrounded = value
    return cast
