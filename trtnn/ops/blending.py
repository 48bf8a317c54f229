"""Three operands in one: what lies between two, and products and quotients added."""

from __future__ import annotations

from trtnn.errors import DTypeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating, is_always
from trtnn.ops._promotion import align, cast, expect_one_type, wide
from trtnn.ops.arithmetic import add, div, mul, sub
from trtnn.ops.comparison import lt, where
from trtnn.ops.unary import abs


def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """Return input + weight · (end - input), broadcast, carried in fp32.

    From a weight of 1/2 on it is end - (1 - weight) · (end - input), so that both ends are met exactly.

    Raises:
        DTypeError: the tensors are of different types, or hold no fractions.
    """
    expect_one_type("lerp", *(value for value in (input, end, weight) if isinstance(value, Tensor)))
    expect_floating(input, "lerp")
    start, end, weight = map(wide, align(input, end, weight))
    way = sub(end, start)
    from_start = add(start, mul(weight, way))
    from_end = sub(end, mul(way, sub(1.0, weight)))
    return cast(where(lt(abs(weight), 0.5), from_start, from_end), input.dtype)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: int | float = 1) -> Tensor:
    """Return input + value · tensor1 · tensor2, broadcast, carried in fp32.

    Beside integers the whole part of ``value`` counts.
    """
    aligned = align(input, tensor1, tensor2)
    start, a, b = map(wide, aligned)
    factor = value if start.dtype.is_floating_point else int(value)
    product = mul(a, b)
    return cast(add(start, product if is_always(factor, 1) else mul(product, factor)), aligned[0].dtype)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: int | float = 1) -> Tensor:
    """Return input + value · tensor1 / tensor2, broadcast, carried in fp32.

    Raises:
        DTypeError: both of tensor1 and tensor2 hold whole numbers, of which torch has no quotient here.
    """
    if not (tensor1.dtype.is_floating_point or tensor2.dtype.is_floating_point):
        raise DTypeError(f"addcdiv of {tensor1.dtype.name} by {tensor2.dtype.name}", "cast them to a floating type")
    aligned = align(input, tensor1, tensor2)
    start, a, b = map(wide, aligned)
    return cast(add(start, div(a if is_always(value, 1) else mul(a, value), b)), aligned[0].dtype)
