"""Arithmetic of two numbers, element by element."""

from __future__ import annotations

import builtins
from collections.abc import Callable

from trtnn.dtypes import bfloat16, bool_, float16
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating, expect_number
from trtnn.ops._promotion import align, cast, expect_held, graph_of, promote, promoted_dtype, wide
from trtnn.ops.scores import waiting_scores
from trtnn.ops.unary import abs, floor, reciprocal, sign, sqrt
from trtnn.shapes.symbolic import Length, broadcast


def check_broadcast(*tensors: Tensor) -> tuple[Length, ...]:
    """Return the shape that tensors of equal rank broadcast to.

    Raises:
        ShapeError: they do not broadcast together.
    """
    shape = broadcast(*[tensor.shape for tensor in tensors])
    if shape is None:
        shapes = " and ".join(str(tensor.shape) for tensor in tensors)
        raise ShapeError(f"shapes {shapes} do not broadcast together in {tensors[0].graph.where}")
    return shape


def elementwise(kind: str, a: Tensor, b: Tensor) -> Tensor:
    """Add TensorRT's layer over two tensors of one type and rank, whose shapes broadcast together."""
    check_broadcast(a, b)
    return a.graph.emit("elementwise", a, b, getattr(a.graph.trt.ElementWiseOperation, kind))


# What arithmetic of two truths is, as in torch: TensorRT has none.
_OF_BOOLS = {"SUM": "OR", "PROD": "AND", "MAX": "OR", "MIN": "AND"}


def _arithmetic(kind: str, a: Operand, b: Operand) -> Tensor:
    a, b = align(a, b)
    if a.dtype is bool_:
        if kind not in _OF_BOOLS:
            expect_number(a, kind.lower())
        kind = _OF_BOOLS[kind]
    return elementwise(kind, a, b)


def _scaled(input: Operand, other: Operand, alpha: int | float) -> Operand:
    """Return alpha · other, the second of two operands.

    Raises:
        DTypeError: alpha is of a higher kind than what the two come to, or bool where they are numbers.
    """
    if type(alpha) is int and alpha == 1:
        return other
    graph = graph_of(input, other)
    dtype = promoted_dtype(input, other, graph=graph)
    of_bools = isinstance(alpha, bool) and dtype is not bool_
    if of_bools or (isinstance(alpha, float) and not dtype.is_floating_point):
        raise DTypeError(f"alpha={alpha} beside operands that come to {dtype.name}", "it is of their kind, as in torch")
    factor = bool(alpha) if dtype is bool_ else alpha
    if isinstance(other, (bool, int, float)):
        return other and factor if dtype is bool_ else other * factor
    (tensor,) = promote(other, graph=graph)
    return mul(cast(tensor, dtype), factor)


def add(input: Operand, other: Operand, *, alpha: int | float = 1) -> Tensor:
    """Return input + alpha · other, broadcast; of bools, whether either is true.

    Raises:
        DTypeError: alpha is a fraction beside integers, or a bool beside numbers, as in torch.
        ShapeError: the shapes do not broadcast together.
    """
    return _arithmetic("SUM", input, _scaled(input, other, alpha))


def _is_bool(value: Operand) -> bool:
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "name", None) == "bool"


def sub(input: Operand, other: Operand, *, alpha: int | float = 1) -> Tensor:
    """Return input - alpha · other, broadcast.

    Raises:
        DTypeError: either is bool, of which torch has no difference.
    """
    if _is_bool(input) or _is_bool(other):
        raise DTypeError("a difference with a bool", "cast it to a number, or write ~x for what is not true")
    return _arithmetic("SUB", input, _scaled(input, other, alpha))


def mul(input: Operand, other: Operand) -> Tensor:
    """Return input · other, broadcast; of bools, whether both are true.

    Raises:
        ShapeError: the shapes do not broadcast together.
    """
    for one, factor in ((input, other), (other, input)):
        if (scores := waiting_scores(one, factor, mul)) is not None:
            return scores
    return _arithmetic("PROD", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """Return input / other, broadcast; integers become the floating type that the network computes in.

    Raises:
        ShapeError: the shapes do not broadcast together.
    """
    scores = waiting_scores(input, 1 / other, mul) if type(other) in (int, float) and other else None
    return _arithmetic("DIV", *promote(input, other, floating=True)) if scores is None else scores


def trunc(input: Tensor) -> Tensor:
    """Round towards zero; integers stay as they are.

    Raises:
        DTypeError: the input is bool.
    """
    expect_number(input, "trunc")
    return mul(sign(input), floor(abs(input))) if input.dtype.is_floating_point else input


def maximum(input: Operand, other: Operand) -> Tensor:
    """Return the larger of two, broadcast; of bools, whether either is true."""
    return _arithmetic("MAX", input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """Return the smaller of two, broadcast; of bools, whether both are true."""
    return _arithmetic("MIN", input, other)


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Return min(max(input, min), max).

    Args:
        min, max: numbers, or Tensors that broadcast with the input; one of them may be None.

    Raises:
        ArgumentError: both are None.
    """
    if min is None and max is None:
        raise ArgumentError("clamp takes min, max or both")
    ends = [end for end in (min, max) if end is not None]
    dtype = promoted_dtype(input, *ends, graph=input.graph)  # not of one after the other: -1 is no byte
    for end in ends:
        expect_held(end, dtype, "clamp", input.graph)
    input = cast(input, dtype)
    raised = input if min is None else maximum(input, min)
    return raised if max is None else minimum(raised, max)


def square(input: Tensor) -> Tensor:
    """Return input · input; bools become whole numbers."""
    return pow(input, 2)


_FEW_PRODUCTS = 3  # which fp16 rounds by less than a thousandth in all


def _ones(like: Tensor) -> Tensor:
    """Return 1 in every place, also where the input is NaN, of which TensorRT 8.6 makes NaN to the power of 0.

    Every element equals itself or does not, so that one of the two is true.
    """
    graph, trt = like.graph, like.graph.trt
    same = graph.emit("elementwise", like, like, trt.ElementWiseOperation.EQUAL)
    other = graph.emit("unary", same, trt.UnaryOperation.NOT)
    return cast(graph.emit("elementwise", same, other, trt.ElementWiseOperation.OR), like.dtype)


def whole_power(base: Tensor, exponent: int, product: Callable[[Tensor, Tensor], Tensor] = mul) -> Tensor:
    """Return the product of ``exponent`` times ``base``, from 1 time on, by squares."""
    while exponent % 2 == 0:
        base, exponent = product(base, base), exponent // 2
    result = base
    while exponent := exponent // 2:
        base = product(base, base)
        if exponent % 2:
            result = product(result, base)
    return result


def pow(input: Operand, exponent: Operand) -> Tensor:
    """Return input to the power of exponent, broadcast.

    A whole number as exponent makes products: so it is right for negative input, and for integers. Those of more than
    three factors are carried in fp32; 1/2 makes a square root.

    Raises:
        DTypeError: an integer to the power of another tensor, or below 0.
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and float(exponent).is_integer():
        base = cast(input, promoted_dtype(input, exponent, graph=input.graph))
        if builtins.abs(exponent) > _FEW_PRODUCTS and base.dtype in (float16, bfloat16):
            return cast(pow(wide(base), exponent), base.dtype)
        if exponent > 0:
            return whole_power(base, int(exponent))
        if exponent == 0:
            return _ones(base)
        if exponent < 0 and base.dtype.is_floating_point:
            return reciprocal(whole_power(base, int(-exponent)))
    if isinstance(input, Tensor) and isinstance(exponent, float) and exponent in (0.5, -0.5):
        root = sqrt(input)
        return root if exponent > 0 else reciprocal(root)
    a, b = promote(input, exponent)
    expect_floating(a, "pow")
    return _arithmetic("POW", a, b)
