"""What type operands come to, as in torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtnn.dtypes import DType, as_dtype, bool_, int64, result_type
from trtnn.errors import ArgumentError, DTypeError
from trtnn.ops.arguments import Operand
from trtnn.ops.shaping import reshape, with_ndim
from trtnn.ops.sizes import shape_tensor
from trtnn.parameter import Parameter
from trtnn.symbolic import Size
from trtnn.tensor import Tensor


def cast(input: Tensor, dtype: Any) -> Tensor:
    """Convert the elements to another type (``tensor.to(dtype)``)."""
    return input.graph.cast(input, as_dtype(dtype))


def _operand_dtype(value: Operand, tensor: Tensor) -> DType:
    """The type that an operand brings into promotion: a number none of its own but its kind, as in torch."""
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, bool):
        return bool_
    if isinstance(value, (int, Size)):
        return tensor.dtype if tensor.dtype is not bool_ else int64
    # Floating arrays follow the tensor's precision, as weights do; beside integers it is the network's.
    if isinstance(value, (float, Parameter)) or value.dtype.kind == "f":
        return tensor.dtype if tensor.dtype.is_floating_point else tensor.graph.compute_dtype
    return as_dtype(value.dtype)


def promote(*values: Operand, ndim: int = 0, floating: bool = False) -> list[Tensor]:
    """Return operands as Tensors of one type, a floating one where asked, and at least ``ndim`` dimensions."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        raise ArgumentError("at least one operand must be a Tensor", "compute with NumPy what holds no Tensor")
    known = (Tensor, Parameter, np.ndarray, np.generic, int, float, Size)
    for value in values:
        if not isinstance(value, known):
            raise DTypeError(f"an operand is a Tensor, a NumPy array or a number, not {type(value).__name__}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    dtype = tensors[0].dtype
    for value in plain:
        dtype = result_type(dtype, _operand_dtype(value, tensors[0]))
    graph = tensors[0].graph
    if floating and not dtype.is_floating_point:
        dtype = graph.compute_dtype
    plain = [reshape(shape_tensor(graph, [value]), ()) if isinstance(value, Size) else value for value in plain]
    return [
        with_ndim(graph.cast(v, dtype), max(ndim, v.ndim)) if isinstance(v, Tensor) else graph.constant(v, dtype, ndim)
        for v in plain
    ]
