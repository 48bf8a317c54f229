"""Matrices turned around, and tensors summed back to the shape that they were expanded from."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import normalize_dim
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import reshape, transpose, unpacked
from trtnn.ops.tiling import flip
from trtnn.shapes.symbolic import Length, same


def fliplr(input: Tensor) -> Tensor:
    """Turn dimension 1 around: left to right.

    Raises:
        ShapeError: there are fewer than two dimensions.
    """
    if input.ndim < 2:
        raise ShapeError(f"fliplr in {input.graph.where} takes at least two dimensions, not {input.shape}")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Turn dimension 0 around: upside down.

    Raises:
        ShapeError: there is no dimension.
    """
    if not input.shape:
        raise ShapeError(f"flipud in {input.graph.where} takes at least one dimension")
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turn the plane of two dimensions by 90 degrees ``k`` times, from the first towards the second.

    Raises:
        ArgumentError: ``dims`` are not two different ones.
    """
    if input.ndim < 2 or len(dims) != 2:
        raise ArgumentError(f"rot90 turns two dimensions, not {tuple(dims)} of a tensor of shape {input.shape}")
    first, second = (normalize_dim(dim, input.ndim) for dim in dims)
    if first == second:
        raise ArgumentError(f"rot90 turns two different dimensions, not {tuple(dims)}")
    turns = k % 4
    if turns == 2:
        return flip(input, (first, second))
    if turns == 1:
        return transpose(flip(input, second), first, second)
    if turns == 0:
        return input.graph.deferred.snapshot("rot90", input)
    return flip(transpose(input, first, second), second)


def sum_to_size(input: Tensor, *size: Length | Sequence[Length]) -> Tensor:
    """Return the sum over the dimensions that expanding from ``size`` would have made.

    Raises:
        ShapeError: ``size`` does not expand to the shape of input.
    """
    wanted = unpacked(size)
    extra = input.ndim - len(wanted)
    lengths = (1,) * extra + tuple(wanted)
    if extra < 0 or not all(same(n, 1) or same(n, m) for n, m in zip(lengths, input.shape, strict=True)):
        raise ShapeError(f"sum_to_size of {input.shape} to {tuple(wanted)}, which does not expand to it")
    axes = [i for i, (n, m) in enumerate(zip(lengths, input.shape, strict=True)) if same(n, 1) and not same(m, 1)]
    axes = sorted({*axes, *range(extra)})
    return reshape(sum(input, axes, True) if axes or not wanted else input, wanted)
