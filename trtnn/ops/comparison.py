"""Comparison and logic: what gives bool tensors, and what chooses by them."""

from __future__ import annotations

from trtnn.dtypes import bool_, int32
from trtnn.errors import DTypeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import align, cast, chosen, expect_held, filler, graph_of, promote, promoted_dtype
from trtnn.ops.arithmetic import check_broadcast, elementwise
from trtnn.ops.shaping import with_ndim


def _compare(kind: str, a: Operand, b: Operand) -> Tensor:
    a, b = align(a, b)
    if a.dtype is bool_:  # TensorRT orders no bools
        a, b = cast(a, int32), cast(b, int32)
    return elementwise(kind, a, b)


def eq(input: Operand, other: Operand) -> Tensor:
    """Return whether input = other, broadcast."""
    return _compare("EQUAL", input, other)


def ne(input: Operand, other: Operand) -> Tensor:
    """Return whether input ≠ other, broadcast."""
    return logical_not(eq(input, other))


def gt(input: Operand, other: Operand) -> Tensor:
    """Return whether input > other, broadcast."""
    return _compare("GREATER", input, other)


def lt(input: Operand, other: Operand) -> Tensor:
    """Return whether input < other, broadcast."""
    return _compare("LESS", input, other)


def ge(input: Operand, other: Operand) -> Tensor:
    """Return whether input ≥ other, broadcast; False where either is NaN, which not(input < other) would not be."""
    return logical_or(gt(input, other), eq(input, other))


def le(input: Operand, other: Operand) -> Tensor:
    """Return whether input ≤ other, broadcast; False where either is NaN."""
    return logical_or(lt(input, other), eq(input, other))


def _truth(input: Operand, like: Operand) -> Tensor:
    (tensor,) = promote(input, graph=graph_of(input, like))
    return tensor if tensor.dtype is bool_ else cast(tensor, bool_)


def _logic(kind: str, a: Operand, b: Operand) -> Tensor:
    return elementwise(kind, *align(_truth(a, b), _truth(b, a)))


def logical_and(input: Operand, other: Operand) -> Tensor:
    """Return whether both are true, broadcast; a number is true where it is not 0."""
    return _logic("AND", input, other)


def logical_or(input: Operand, other: Operand) -> Tensor:
    """Return whether either is true, broadcast; a number is true where it is not 0."""
    return _logic("OR", input, other)


def logical_xor(input: Operand, other: Operand) -> Tensor:
    """Return whether one is true and the other is not, broadcast; a number is true where it is not 0."""
    return _logic("XOR", input, other)


def logical_not(input: Tensor) -> Tensor:
    """Return whether each element is not true; a number is true where it is not 0."""
    return input.graph.emit("unary", _truth(input, input), input.graph.trt.UnaryOperation.NOT)


def _expect_bools(symbol: str, *values: Operand) -> None:
    dtype = promoted_dtype(*values, graph=graph_of(*values))
    if dtype is not bool_:
        raise DTypeError(f"{symbol} takes bool tensors, not {dtype.name}", "TensorRT has no bitwise arithmetic")


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """Return ``&`` of bool tensors, broadcast.

    Raises:
        DTypeError: they are not bool: TensorRT has no bitwise arithmetic.
    """
    _expect_bools("&", input, other)
    return logical_and(input, other)


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """Return ``|`` of bool tensors, broadcast.

    Raises:
        DTypeError: they are not bool: TensorRT has no bitwise arithmetic.
    """
    _expect_bools("|", input, other)
    return logical_or(input, other)


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """Return ``^`` of bool tensors, broadcast.

    Raises:
        DTypeError: they are not bool: TensorRT has no bitwise arithmetic.
    """
    _expect_bools("^", input, other)
    return logical_xor(input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """Return ``~`` of a bool tensor.

    Raises:
        DTypeError: it is not bool: TensorRT has no bitwise arithmetic.
    """
    _expect_bools("~", input)
    return logical_not(input)


def isnan(input: Tensor) -> Tensor:
    """Return whether each element is NaN."""
    graph = input.graph
    if input.dtype.is_floating_point and graph.backend.capabilities.isnan:
        return graph.emit("unary", input, graph.trt.UnaryOperation.ISNAN)
    return ne(input, input)


def isinf(input: Tensor) -> Tensor:
    """Return whether each element is infinite."""
    if not input.dtype.is_floating_point:
        return ne(input, input)
    return input.graph.emit("unary", input, input.graph.trt.UnaryOperation.ISINF)


def isfinite(input: Tensor) -> Tensor:
    """Return whether each element is neither infinite nor NaN."""
    return logical_not(logical_or(isinf(input), isnan(input))) if input.dtype.is_floating_point else eq(input, input)


def where(condition: Operand, input: Operand, other: Operand) -> Tensor:
    """Return input where the condition is true, else other; broadcast.

    Raises:
        DTypeError: the condition is not bool.
        ShapeError: the shapes do not broadcast together.
    """
    if not isinstance(condition, Tensor):
        (condition,) = promote(condition, graph=graph_of(input, other))
    if condition.dtype is not bool_:
        raise DTypeError(f"where in {condition.graph.where} takes a bool condition, not {condition.dtype.name}")
    graph, ndim = condition.graph, max(getattr(value, "ndim", 0) for value in (condition, input, other))
    for number, beside in ((input, other), (other, input)):
        if isinstance(number, int):
            expect_held(number, promoted_dtype(number, beside, graph=graph), "where", graph)
    input = chosen(input, other, ndim, graph)
    a, b = align(input, chosen(other, input, ndim, graph), graph=graph)
    ndim = max(ndim, a.ndim)
    condition, a, b = (with_ndim(tensor, ndim) for tensor in (condition, a, b))
    check_broadcast(condition, a, b)
    return condition.graph.emit("select", condition, a, b)


def masked_fill(input: Tensor, mask: Operand, value: Operand) -> Tensor:
    """Return ``value``, one number, where the mask is true, else input, in the type of input."""
    return where(mask, filler(value, input, "masked_fill"), input)
