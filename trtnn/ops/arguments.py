"""The checks of arguments that operations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.parameter import Parameter
from trtnn.symbolic import Length, Size, same
from trtnn.tensor import Tensor

Array = Parameter | np.ndarray
Number = int | float
Operand = Tensor | Array | Number | Size


def pair(value: int | Sequence[int], what: str) -> tuple[int, int]:
    """Return ``value`` as (vertical, horizontal), a lone int for both.

    Raises:
        ArgumentError: it is neither an int nor two.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) for v in values):
        raise ArgumentError(f"{what} takes an int or two, not {value!r}")
    return int(values[0]), int(values[1])


def windows(length: Length, kernel: int, stride: int, padding: int, dilation: int = 1) -> Length:
    """Return how many windows fit a length: floor((length + padding - dilation·(kernel - 1) - 1) / stride) + 1."""
    return (length + padding - dilation * (kernel - 1) - 1) // stride + 1


def normalize_dim(dim: int, ndim: int) -> int:
    """Return a dimension counted from the front.

    Raises:
        ShapeError: there is no such dimension.
    """
    if not -ndim <= dim < ndim:
        raise ShapeError(f"dimension {dim} is out of range", f"the tensor has {ndim}: from {-ndim} to {ndim - 1}")
    return dim % ndim


def expect_ndim(input: Tensor, allowed: Sequence[int], what: str, form: str) -> None:
    if input.ndim not in allowed:
        raise ShapeError(
            f"{what} in {input.graph.where} takes {form}", f"received {input.dtype.name}{list(input.shape)}"
        )


def expect_channels(input: Tensor, channels: int, what: str) -> None:
    if not same(input.shape[1], channels):
        raise ShapeError(
            f"{what} in {input.graph.where} got the wrong number of channels",
            f"expected {channels}, as its weights have",
            f"received {input.shape[1]}, in an input of shape {input.shape}",
        )


def expect_floating(input: Tensor, what: str) -> None:
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{what} in {input.graph.where} takes floating-point input, not {input.dtype.name}")


def shape_of_weights(value: Any, ndim: int, what: str) -> tuple[int, ...]:
    if isinstance(value, Tensor):
        raise UnsupportedError(f"{what} given as a Tensor", "weights are Parameters or NumPy arrays")
    if len(value.shape) != ndim:
        raise ShapeError(f"{what} has {ndim} dimensions", f"received one of shape {tuple(value.shape)}")
    return tuple(value.shape)


def optional_weights(input: Tensor, value: Array | None) -> np.ndarray | None:
    return None if value is None else input.graph.array(value, input.dtype)
