"""Operands of functions that torch carries in fp32 where they come in fp16 or bf16."""

from __future__ import annotations

from trtnn.dtypes import DType
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._promotion import align, floating, promote, wide


def carried(*operands: Operand) -> tuple[list[Tensor], DType]:
    """Return operands as floating Tensors of as many dimensions, half ones as fp32, and the type of the result.

    Integers and bools become the floating type that the network computes in.
    """
    if len(operands) == 1 and isinstance(operands[0], Tensor):
        tensors = [floating(operands[0])]
    else:
        tensors = align(*operands, floating=True)
    return [wide(tensor) for tensor in tensors], tensors[0].dtype


def carried_floats(what: str, *operands: Operand) -> tuple[list[Tensor], DType]:
    """Return operands as :func:`carried`, for functions that torch has of floating numbers alone.

    Raises:
        DTypeError: the operands come to integers or bools.
    """
    first, *_ = promote(*operands)
    expect_floating(first, what)
    return carried(*operands)
