"""Tensors made of numbers alone; and of lengths, which are known while a network is traced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import as_dtype
from trtnn.errors import ArgumentError, TrtnnError
from trtnn.graph import Graph, current_graph
from trtnn.ops.comparison import where
from trtnn.ops.promotion import default_dtype, promoted_dtype
from trtnn.ops.shaping import reshape, unpacked
from trtnn.ops.tiling import expand
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor


def _here() -> Graph:
    graph = current_graph()
    if graph is None:
        raise TrtnnError("a Tensor was made outside a trace", "make it within forward, or use NumPy")
    return graph


def _filled(graph: Graph, shape: Sequence[int], value: Any, dtype: Any) -> Tensor:
    kind = default_dtype(value, graph) if dtype is None else as_dtype(dtype)
    if any(length < 1 for length in shape):
        raise ArgumentError(f"a tensor of shape {tuple(shape)} holds nothing", "TensorRT has no empty tensors here")
    return expand(graph.constant(np.asarray(value, kind.numpy), kind), tuple(shape))


def _array(values: np.ndarray, example: int | float, dtype: Any) -> Tensor:
    graph = _here()
    return graph.constant(values, default_dtype(example, graph) if dtype is None else as_dtype(dtype))


def of_parameter(parameter: Parameter) -> Tensor:
    """Return what a parameter holds as a Tensor: floating in the type that the network computes in."""
    graph = _here()
    return graph.constant(parameter, promoted_dtype(parameter, graph=graph))


def tensor(data: Any, *, dtype: Any = None) -> Tensor:
    """Numbers, lists of them or an array; floating ones in the type that the network computes in."""
    graph, array = _here(), np.asarray(data)
    return graph.constant(array, promoted_dtype(array, graph=graph) if dtype is None else as_dtype(dtype))


def full(size: Sequence[int], fill_value: bool | int | float, *, dtype: Any = None) -> Tensor:
    """One number in every place; of its own kind where no ``dtype`` is given."""
    return _filled(_here(), size, fill_value, dtype)


def zeros(*size: int | Sequence[int], dtype: Any = None) -> Tensor:
    """0 in every place, floating where no ``dtype`` is given."""
    return _filled(_here(), unpacked(size), 0.0, dtype)


def ones(*size: int | Sequence[int], dtype: Any = None) -> Tensor:
    """1 in every place, floating where no ``dtype`` is given."""
    return _filled(_here(), unpacked(size), 1.0, dtype)


def full_like(input: Tensor, fill_value: bool | int | float, *, dtype: Any = None) -> Tensor:
    """One number in every place, in the shape and type of ``input``."""
    return _filled(input.graph, input.shape, fill_value, dtype or input.dtype)


def zeros_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """0 in every place, in the shape and type of ``input``."""
    return full_like(input, 0, dtype=dtype)


def ones_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """1 in every place, in the shape and type of ``input``."""
    return full_like(input, 1, dtype=dtype)


def new_full(input: Tensor, size: Sequence[int], fill_value: bool | int | float, *, dtype: Any = None) -> Tensor:
    """One number in every place, in the type of ``input``."""
    return _filled(input.graph, size, fill_value, dtype or input.dtype)


def new_zeros(input: Tensor, *size: int | Sequence[int], dtype: Any = None) -> Tensor:
    """0 in every place, in the type of ``input``."""
    return new_full(input, unpacked(size), 0, dtype=dtype)


def new_ones(input: Tensor, *size: int | Sequence[int], dtype: Any = None) -> Tensor:
    """1 in every place, in the type of ``input``."""
    return new_full(input, unpacked(size), 1, dtype=dtype)


def arange(start: int | float, end: int | float | None = None, step: int | float = 1, *, dtype: Any = None) -> Tensor:
    """start, start + step, ... up to before end; ``arange(end)`` begins at 0.

    Raises:
        ArgumentError: there is no number.
    """
    first, last = (0, start) if end is None else (start, end)
    count = math.ceil((last - first) / step) if step else 0
    if count < 1:
        raise ArgumentError(f"arange from {first} to {last} by {step} holds nothing")
    whole = all(isinstance(value, (int, np.integer)) for value in (first, last, step))
    return _array(first + step * np.arange(count), 0 if whole else 0.0, dtype)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Tensor:
    """``steps`` numbers from start to end, both included, at equal distances."""
    return _array(np.linspace(start, end, steps), 0.0, dtype)


def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Tensor:
    """1 on the diagonal and 0 elsewhere, (n, m)."""
    return _array(np.eye(n, m), 0.0, dtype)


def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """Expand vectors to grids: dimension i of each runs along vector i.

    Args:
        indexing: ``"ij"``, or ``"xy"``, which swaps the first two dimensions.
    """
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"indexing is 'ij' or 'xy', not {indexing!r}")
    vectors = unpacked(tensors)
    order = list(range(len(vectors)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    lengths = [vectors[i].numel() for i in order]
    return tuple(
        expand(reshape(vector, [-1 if at == i else 1 for at in order]), lengths) for i, vector in enumerate(vectors)
    )


def _triangle(input: Tensor, keep: np.ndarray) -> Tensor:
    return where(input.graph.constant(keep, as_dtype(bool)), input, zeros_like(input))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions' lower triangle, up to a diagonal; 0 above."""
    return _triangle(input, np.tri(*input.shape[-2:], diagonal, dtype=bool))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions' upper triangle, from a diagonal on; 0 below."""
    return _triangle(input, ~np.tri(*input.shape[-2:], diagonal - 1, dtype=bool))
