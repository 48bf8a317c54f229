"""Lengths that are known only when the network runs, as Tensors of integers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import float32
from trtnn.graph.graph import Graph
from trtnn.graph.tensor import Tensor
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Length, Part, Piece, Size, pieces


def shape_tensor(graph: Graph, lengths: Sequence[Length]) -> Tensor:
    """Return lengths as a vector, of the integer type that TensorRT's shapes have.

    Each is computed once, from the shapes of the network's inputs; what else needs it reads the same Tensor.
    """
    key = str(list(lengths))
    if key not in graph.lengths:
        parts: list[Tensor] = []
        for is_size, group in itertools.groupby(lengths, lambda length: isinstance(length, Size)):
            run: list[Any] = list(group)
            parts += [_size(graph, length) for length in run] if is_size else [_constant(graph, *run)]
        joined = graph.emit("concatenation", parts, out_shape=(len(lengths),), axis=0) if len(parts) > 1 else parts[0]
        graph.lengths[key] = joined
    return graph.lengths[key]


def _size(graph: Graph, length: Size) -> Tensor:
    key = str(length)
    if key not in graph.lengths:
        total, *rest = (_piece(graph, piece) for piece in pieces(length))
        for value in rest:
            total = _combined("SUM", total, value)
        graph.lengths[key] = total
    return graph.lengths[key]


def _piece(graph: Graph, piece: Piece) -> Tensor:
    values = [_factor(graph, factor) for factor in piece.factors]
    if piece.multiplier != 1 or not values:
        values.append(_constant(graph, piece.multiplier))
    product, *rest = values
    for value in rest:
        product = _combined("PROD", product, value)
    return product if piece.divisor == 1 else _combined("FLOOR_DIV", product, _constant(graph, piece.divisor))


# Of each kind of part, the name of TensorRT's operation.
_PARTS = {"//": "FLOOR_DIV", "min": "MIN", "max": "MAX"}
_OPERATIONS = {"+": "SUM", "-": "SUB", "*": "PROD", "/": "DIV", "**": "POW"}


def _factor(graph: Graph, factor: str | Part) -> Tensor:
    if isinstance(factor, str):
        return _dimension(graph, factor)
    kind, *lengths = factor
    return _combined(_PARTS[kind], *(shape_tensor(graph, [length]) for length in lengths))


def number_tensor(graph: Graph, number: SymFloat | Length | float) -> Tensor:
    """Return a number that is computed of lengths as a vector of one, in float32."""
    key = f"float of {number}"
    if key not in graph.lengths:
        graph.lengths[key] = _number(graph, number)
    return graph.lengths[key]


def _number(graph: Graph, number: SymFloat | Length | float) -> Tensor:
    if isinstance(number, Size):
        return graph.cast(shape_tensor(graph, [number]), float32)
    if not isinstance(number, SymFloat):
        return graph.constant(np.array([number], np.float32), float32)
    if number.sign == "/" and isinstance(number.second, int) and number.second == 1:
        return number_tensor(graph, number.first)
    first = number_tensor(graph, number.first)
    kind, exponent = graph.trt.UnaryOperation, number.second if isinstance(number.second, float) else None
    if number.sign == "floor":
        return graph.emit("unary", first, kind.FLOOR)
    if number.sign == "**" and exponent in (0.5, -0.5):
        root = graph.emit("unary", first, kind.SQRT)
        return root if exponent > 0 else graph.emit("unary", root, kind.RECIP)
    return _combined(_OPERATIONS[number.sign], first, number_tensor(graph, number.second))


def _dimension(graph: Graph, name: str) -> Tensor:
    if name not in graph.lengths:
        tensor, axis = graph.dimensions[name]
        graph.lengths[name] = graph.emit("slice", _shape_of_input(graph, tensor), (axis,), (1,), (1,))
    return graph.lengths[name]


def _shape_of_input(graph: Graph, tensor: Tensor) -> Tensor:
    key = f"shape of {tensor.name}"
    if key not in graph.lengths:
        graph.lengths[key] = graph.emit("shape", tensor)
    return graph.lengths[key]


def _constant(graph: Graph, *values: int) -> Tensor:
    key = str(values)
    if key not in graph.lengths:
        first, _ = next(iter(graph.dimensions.values()))
        graph.lengths[key] = graph.constant(np.array(values), _shape_of_input(graph, first).dtype)
    return graph.lengths[key]


def _combined(kind: str, a: Tensor, b: Tensor) -> Tensor:
    return a.graph.emit("elementwise", a, b, getattr(a.graph.trt.ElementWiseOperation, kind))
