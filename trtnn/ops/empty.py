"""Tensors whose content nobody asked for: zeros, since a network has no memory that was not written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.graph.tensor import Tensor
from trtnn.ops.creation import new_zeros, tensor, zeros, zeros_like
from trtnn.shapes.symbolic import Length


def empty(*size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of any numbers, which here are zeros; floating where there is no ``dtype``."""
    return zeros(*size, dtype=dtype)


def empty_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor of any numbers, which here are zeros, in the shape and type of ``input``."""
    return zeros_like(input, dtype=dtype)


def new_empty(input: Tensor, *size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of any numbers, which here are zeros, in the type of ``input``."""
    return new_zeros(input, *size, dtype=dtype)


def scalar_tensor(s: bool | int | float, *, dtype: Any = None) -> Tensor:
    """Return a number as a Tensor without dimensions; floating where there is no ``dtype``."""
    return tensor(s if dtype is not None else float(s), dtype=dtype)
