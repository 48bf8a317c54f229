"""What type operands come to, as in torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.dtypes import NARROW, DType, as_dtype, bfloat16, bool_, float16, float32, int32, int64, result_type
from trtnn.errors import ArgumentError, DTypeError, ShapeError, named
from trtnn.graph.graph import Graph, current_graph
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._sizes import number_tensor, shape_tensor
from trtnn.ops.shaping import reshape, with_ndim
from trtnn.parameter import Parameter
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Length, Size


def cast(input: Tensor, dtype: Any) -> Tensor:
    """Convert the elements to another type (``tensor.to(dtype)``)."""
    return input.graph.cast(input, as_dtype(dtype))


def index_dtype(graph: Graph) -> DType:
    """Return the type of indices, lengths and whole numbers: int64, or int32 where TensorRT has no int64 (8.6)."""
    return int64 if graph.backend.capabilities.int64 else int32


def default_dtype(value: bool | float | Length | SymFloat, graph: Graph) -> DType:
    """Return the type of a tensor made of a number: bool, that of indices, or what the network computes in."""
    if isinstance(value, bool):
        return bool_
    return index_dtype(graph) if isinstance(value, (int, Size)) else graph.compute_dtype


def expect_one_type(what: str, *tensors: Tensor) -> None:
    """Check that tensors are of one type, as torch asks of some operations.

    In a network of half precision floats of any width are of one type: an author computed with one, and what he asked
    to be fp32 stays so there.

    Raises:
        DTypeError: they are not.
    """
    types = [*dict.fromkeys(tensor.dtype for tensor in tensors)]
    in_half = tensors[0].graph.compute_dtype is not float32
    if len(types) > 1 and not (in_half and all(dtype.is_floating_point for dtype in types)):
        names = " and ".join(dtype.name for dtype in types)
        raise DTypeError(f"{what} of {names}", "they have one type, as in torch: .type_as(x) gives that of x")


def floating(input: Tensor) -> Tensor:
    """Return a floating tensor as it is, and another in the type that the network computes in."""
    return input if input.dtype.is_floating_point else cast(input, input.graph.compute_dtype)


def wide(input: Tensor) -> Tensor:
    """Return fp16 and bf16 as fp32, so that squares and sums of many do not overflow or stop growing, as torch does.

    Raises:
        DTypeError: it holds numbers that float16 does not, see :mod:`trtnn.graph.beyond_half`: what comes of them
            would be rounded to infinity.
    """
    if input.value.beyond is not None and input.value.beyond.refusal is not None:
        raise input.value.beyond.refusal
    return cast(input, float32) if input.dtype in (float16, bfloat16) else input


def _rank_and_dtype(value: Operand, graph: Graph) -> tuple[int, DType]:
    """Return an operand's rank in promotion, 0 for the highest, and the type that it brings.

    As in torch: tensors of dimensions, then those of none, then numbers. Floating arrays follow the precision of the
    tensors, as weights do.
    """
    if isinstance(value, Tensor):
        return (0 if value.shape else 1), value.dtype
    if isinstance(value, (bool, int, float, Size, SymFloat)):
        return 2, default_dtype(value, graph)
    held = value.data if isinstance(value, Parameter) else value
    if is_torch(held):
        held = array_of_torch(held)
    if held is None or held.dtype.kind == "f":
        return 2, graph.compute_dtype
    dtype = as_dtype(held.dtype)
    return (0 if held.shape else 1), index_dtype(graph) if dtype is int64 else dtype


def dtype_of(parameter: Parameter) -> DType:
    """Return the type that a parameter has as a Tensor while a network is traced; elsewhere that of its array."""
    graph = current_graph()
    if graph is not None:
        return promoted_dtype(parameter, graph=graph)
    return float32 if parameter.data is None else as_dtype(parameter.data.dtype)


def _category(dtype: DType) -> int:
    return 2 if dtype.is_floating_point else int(dtype is not bool_)


def promoted_dtype(*values: Operand, graph: Graph) -> DType:
    """Return the type that operands come to."""
    by_rank: list[list[DType]] = [[], [], []]
    for value in values:
        rank, dtype = _rank_and_dtype(value, graph)
        by_rank[rank].append(dtype)
    first, *others = (functools.reduce(result_type, dtypes) for dtypes in by_rank if dtypes)
    for dtype in others:
        if _category(dtype) > _category(first):
            first = dtype
    return first


def _of_one_type(values: Sequence[Operand]) -> list[Tensor]:
    """Return operands that are Tensors of one type as a list, and an empty one where they are not."""
    tensors: list[Tensor] = []
    for value in values:
        if not isinstance(value, Tensor) or (tensors and value.dtype is not tensors[0].dtype):
            return []
        tensors.append(value)
    return tensors


def graph_of(*values: Operand) -> Graph:
    """Return the graph of the Tensors among operands, or the one that is being traced where there is none.

    Raises:
        ArgumentError: there is none, and nothing is being traced.
    """
    for value in values:
        if isinstance(value, Tensor):
            return value.graph
    return here()


def here() -> Graph:
    """Return the graph that is being traced.

    Raises:
        ArgumentError: nothing is being traced.
    """
    graph = current_graph()
    if graph is None:
        raise ArgumentError("a trtnn Tensor was made outside a trace", "call it within forward, or use NumPy")
    return graph


def converted(value: Any, dtype: DType) -> np.ndarray:
    """Return numbers as torch makes them of another type: whole ones by truncation, truths where they are not 0."""
    array = np.asarray(value)
    if dtype is bool_:
        return array != 0
    if dtype in NARROW and array.dtype.kind in "iu":  # the lowest 8 bits, as torch takes them
        return array.astype(dtype.numpy)
    return array if dtype.is_floating_point or array.dtype.kind != "f" else np.trunc(array)


def neutral(dtype: DType, largest: bool) -> int | float:
    """Return what no element of a type lies below, which leaves the largest of several as it is; or above."""
    if dtype.is_floating_point:
        return -math.inf if largest else math.inf
    ends = np.iinfo(dtype.numpy)
    return int(ends.min if largest else ends.max)


def expect_held(value: Any, dtype: DType, what: str, graph: Graph) -> None:
    """Check that a type of 8 bits holds a whole number that is put into a tensor; -1 is a byte, as in torch.

    Raises:
        ArgumentError: it does not, and another number would stand for it.
    """
    if dtype in NARROW and isinstance(value, int):
        ends = np.iinfo(dtype.numpy)
        low, high = min(int(ends.min), -int(ends.max)), int(ends.max)
        if not low <= value <= high:
            raise ArgumentError(f"{what} in {graph.where} with {value}, which {dtype.name} does not hold")


def filler(value: Operand, like: Tensor, what: str, *, computes: bool = False) -> Tensor:
    """Return the one number that an operation puts into a tensor, in that tensor's type and of as many dimensions.

    Args:
        computes: whether the operation computes with it, so that no other may stand for it, see :meth:`Graph.filling`.

    Raises:
        ShapeError: it has dimensions.
    """
    if isinstance(value, (bool, int, float)):
        expect_held(value, like.dtype, what, like.graph)
        make = like.graph.constant if computes else like.graph.filling
        return make(converted(value, like.dtype), like.dtype, like.ndim)
    (number,) = promote(value, graph=like.graph)
    if number.shape:
        raise ShapeError(f"{what} in {like.graph.where} takes one number, not a tensor of shape {number.shape}")
    return with_ndim(cast(number, like.dtype), like.ndim)


def chosen(value: Operand, other: Operand, ndim: int, graph: Graph) -> Operand:
    """Return what an operation chooses elements from: as it is, but one number that float16 does not hold as a Tensor.

    Args:
        other: what else it chooses from, which tells the type.
        ndim: of the Tensor; see :meth:`Graph.filling`.
    """
    if isinstance(value, (Tensor, Parameter, Size, SymFloat)):
        return value
    number = (
        value if isinstance(value, (int, float)) else np.asarray(array_of_torch(value) if is_torch(value) else value)
    )
    if isinstance(number, np.ndarray):
        if number.size != 1 or number.dtype.kind not in "iuf":
            return value
        number = number.item()
    from trtnn.graph.beyond_half import is_beyond

    return graph.filling(number, promoted_dtype(value, other, graph=graph), ndim) if is_beyond(number) else value


def promote(*values: Operand, ndim: int = 0, floating: bool = False, graph: Graph | None = None) -> list[Tensor]:
    """Return operands as Tensors of one type, a floating one where asked, and at least ``ndim`` dimensions."""
    tensors = _of_one_type(values)
    if tensors and (tensors[0].dtype.is_floating_point or not floating):
        return [with_ndim(tensor, ndim) for tensor in tensors]
    graph = graph or graph_of(*values)
    kinds = (Tensor, Parameter, np.ndarray, np.generic, int, float, Size, SymFloat)
    for value in values:
        if not isinstance(value, kinds) and not is_torch(value):
            raise DTypeError(f"an operand is a trtnn Tensor, an array or a number, not a {named(value)}")
    plain: list[Operand] = [value.item() if isinstance(value, np.generic) else value for value in values]
    dtype = promoted_dtype(*plain, graph=graph)
    if floating and not dtype.is_floating_point:
        dtype = graph.compute_dtype
    return [_as_tensor(value, dtype, ndim, graph) for value in plain]


def _as_tensor(value: Operand, dtype: DType, ndim: int, graph: Graph) -> Tensor:
    if isinstance(value, Size):
        value = reshape(shape_tensor(graph, [value]), ())
    elif isinstance(value, SymFloat):
        value = reshape(number_tensor(graph, value), ())
    if isinstance(value, Tensor):
        return with_ndim(graph.cast(value, dtype), max(ndim, value.ndim))
    return graph.constant(converted(value, dtype) if type(value) is int else value, dtype, ndim)


def align(*values: Operand, floating: bool = False, graph: Graph | None = None) -> list[Tensor]:
    """Return operands as :func:`promote` does, all of as many dimensions as the one of most."""
    ndim = max([getattr(value, "ndim", 0) for value in values])
    return promote(*values, ndim=ndim, floating=floating, graph=graph)
