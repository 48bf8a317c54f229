"""Torch's further spellings of operations, where they take other arguments than the operation that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.graph.tensor import Tensor
from trtnn.ops import inverses, linalg
from trtnn.ops._arguments import Operand, expect_number
from trtnn.ops.arithmetic import clamp, div, sub
from trtnn.ops.joining import split
from trtnn.ops.matrix import dot
from trtnn.ops.shaping import flatten, transpose
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length


def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Return max(input, min), broadcast."""
    return clamp(input, min)


def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Return min(input, max), broadcast."""
    return clamp(input, None, max)


def true_divide(input: Operand, other: Operand) -> Tensor:
    """Divide input by other, broadcast; integers become the floating type that the network computes in."""
    return div(input, other)


def vdot(input: Operand, other: Operand) -> Tensor:
    """Return the product of two vectors; see :func:`dot`."""
    return dot(input, other)


def det(input: Tensor) -> Tensor:
    """Return the determinant of square matrices of up to 4 by 4; see :func:`trtnn.functional.linalg.det`."""
    return inverses.det(input)


def inverse(input: Tensor) -> Tensor:
    """Return the inverse of square matrices of up to 4 by 4; see :func:`trtnn.functional.linalg.inv`."""
    return inverses.inv(input)


def matrix_power(input: Tensor, n: int) -> Tensor:
    """Return the product of ``n`` times a square matrix; see :func:`trtnn.functional.linalg.matrix_power`."""
    return linalg.matrix_power(input, n)


def rsub(input: Tensor, other: Operand, *, alpha: int | float = 1) -> Tensor:
    """Return other - alpha · input, broadcast."""
    return sub(other, input, alpha=alpha)


def positive(input: Tensor) -> Tensor:
    """Return the input itself.

    Raises:
        DTypeError: it is bool.
    """
    expect_number(input, "positive")
    return input


def itself(input: Tensor) -> Tensor:
    """Return the input: the conjugate of real numbers, and what torch detaches, are the same numbers."""
    return input


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Swap two dimensions."""
    return transpose(input, axis0, axis1)


def adjoint(input: Tensor) -> Tensor:
    """Swap the last two dimensions, which for real numbers is the adjoint of a matrix."""
    return transpose(input, -2, -1)


def ravel(input: Tensor) -> Tensor:
    """Flatten the input to one dimension."""
    return flatten(input)


def broadcast_to(input: Tensor, *size: Length | Sequence[Length]) -> Tensor:
    """Repeat dimensions of length 1 to ``size``; -1 keeps a length, and further dimensions come in front."""
    return expand(input, *size)


def split_with_sizes(input: Tensor, split_sizes: Sequence[Length], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into pieces of the sizes given."""
    return split(input, list(split_sizes), dim)


def unsafe_split(input: Tensor, split_size: Length, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into pieces of one size; the last may be smaller."""
    return split(input, split_size, dim)
