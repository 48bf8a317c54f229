"""The element types of a layer: the floating one that it computes in, and whole numbers of 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.dtypes import NARROW, DType, bool_, float32, int8, int32, uint8
from trtnn.graph.tensor import Tensor

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph


def layer_dtype(kind: str, tensors: Sequence[Tensor], traced_as: DType | None) -> DType | None:
    """Return the floating type that a layer computes in, or None where it holds integers alone."""
    if kind == "shape":  # what a tensor's shape is does not depend on the type of its numbers
        return None
    narrow = traced_as is uint8 or traced_as is int8
    return floating_dtype(tensors) or (float32 if narrow else None)


def floating_dtype(tensors: Sequence[Tensor]) -> DType | None:
    """Return the floating type among tensors, the narrower where a cast has two, or None where there is none."""
    narrowest = None
    for tensor in tensors:
        dtype = tensor.dtype
        if dtype.is_floating_point and (narrowest is None or dtype.itemsize < narrowest.itemsize):
            narrowest = dtype
    return narrowest


def narrow_dtype(tensors: Sequence[Tensor]) -> DType | None:
    """Return the type of whole numbers of 8 bits among tensors, which is float32 in the definition, or None."""
    return next((tensor.dtype for tensor in tensors if tensor.dtype in NARROW), None)


def may_leave_8_bits(kind: str, args: Sequence[Any], outputs: Sequence[Tensor], graph: Graph) -> bool:
    """Return whether whole numbers of 8 bits may come to larger ones in a layer."""
    operation = graph.trt.ElementWiseOperation
    if outputs[0].dtype not in NARROW:
        return False
    if kind == "elementwise":
        return args[2] not in (operation.MAX, operation.MIN)
    return kind in ("cumulative", "reduce", "unary")


def narrowed(tensor: Tensor, dtype: DType, graph: Graph) -> Tensor:
    """Cast to whole numbers of 8 bits, of which the lowest 8 stay, as in torch; fractions are cut off before."""
    if tensor.dtype is not bool_:
        tensor = graph.cast(tensor, int32)
        least = np.iinfo(dtype.numpy).min
        operation, steps = graph.trt.ElementWiseOperation, graph.constant(256, int32, tensor.ndim)
        from_least = graph.emit("elementwise", tensor, graph.constant(least, int32, tensor.ndim), operation.SUB)
        periods = graph.emit("elementwise", from_least, steps, operation.FLOOR_DIV)
        beyond = graph.emit("elementwise", periods, steps, operation.PROD)
        tensor = graph.emit("elementwise", tensor, beyond, operation.SUB)
    return graph.emit("cast", tensor, graph.backend.data_type(float32), traced_as=dtype)
