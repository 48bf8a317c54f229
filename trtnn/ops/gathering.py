"""Elements picked from, and put into, places that other tensors name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arguments import count_windows, expect_ndim, normalize_dim, ntuple
from trtnn.ops.comparison import eq
from trtnn.ops.creation import numbers_below
from trtnn.ops.indexing import Indices, as_indices, take
from trtnn.ops.padding import pad
from trtnn.ops.promotion import cast, filler, index_dtype
from trtnn.ops.shaping import movedim, permute, reshape, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.symbolic import Length
from trtnn.tensor import Tensor


def _as_tensor(index: Any, input: Tensor) -> Tensor:
    index = as_indices(index)
    return index if isinstance(index, Tensor) else input.graph.constant(index, index_dtype(input.graph))


def _fit(tensor: Tensor, index: Tensor, axis: int | None, what: str) -> Tensor:
    """Return the part of ``tensor`` that indices of one shape reach: its lengths are theirs, but along ``axis``."""
    lengths = [n if i == axis else m for i, (n, m) in enumerate(zip(tensor.shape, index.shape, strict=False))]
    if tensor.ndim != index.ndim or any(n > m for n, m in zip(lengths, tensor.shape, strict=True)):
        raise ShapeError(
            f"{what} in {tensor.graph.where}: shapes {tensor.shape} and {index.shape} of the index do not fit"
        )
    return tensor[tuple(slice(n) for n in lengths)]


def gather(input: Tensor, dim: int, index: Any) -> Tensor:
    """result[i][j][k] = input[index[i][j][k]][j][k] for dimension 0, and so on, as ``torch.gather``.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
    """
    index, axis = _as_tensor(index, input), normalize_dim(dim, input.ndim)
    picked = _fit(input, index, axis, "gather")
    mode = input.graph.trt.GatherMode.ELEMENT
    return input.graph.emit("gather_v2", picked, index, mode, out_shape=index.shape, axis=axis)


def scatter(input: Tensor, dim: int, index: Any, src: Tensor | bool | int | float) -> Tensor:
    """A copy of ``input`` with result[index[i][j][k]][j][k] = src[i][j][k] for dimension 0, as ``torch.scatter``.

    Where two indices are the same, one of the two wins, as in torch: which is not told.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
        src: a tensor of ``input``'s type, at least as long as ``index``, or a number.
    """
    index, axis = _as_tensor(index, input), normalize_dim(dim, input.ndim)
    _fit(input, index, axis, "scatter")
    values = _fit(src, index, None, "scatter") if isinstance(src, Tensor) else None
    if values is None:
        values = expand(filler(src, input, "scatter"), index.shape)
    if values.dtype is not input.dtype:
        raise DTypeError(f"scatter of {values.dtype.name} into {input.dtype.name}", "they have one type, as in torch")
    mode = input.graph.trt.ScatterMode.ELEMENT
    return input.graph.emit("scatter", input, index, values, mode, out_shape=input.shape, axis=axis)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the index that each element names and 0 elsewhere, (..., num_classes), in the type of indices.

    Raises:
        UnsupportedError: no ``num_classes``; torch takes it from the largest element.
    """
    if num_classes < 1:
        raise UnsupportedError(
            "one_hot without num_classes", "the largest element is known only when the engine runs", "give num_classes"
        )
    index = as_indices(tensor)
    if not isinstance(index, Tensor):
        raise ArgumentError("one_hot takes a Tensor", "use NumPy for an array")
    return cast(eq(unsqueeze(index, -1), np.arange(num_classes)), index_dtype(tensor.graph))


def taps_of(places: Length, kernel: int, stride: int, dilation: int) -> Indices:
    """Return the index of each tap of a window at each place, (kernel, places)."""
    return numbers_below(places) * stride + dilation * np.arange(kernel)[:, None]


def _places(length: Length, kernel: int, dilation: int, padding: int, stride: int, what: str) -> Indices:
    """Return the index of each tap of a window at each place, (kernel, places), of a padded length."""
    places = count_windows(length, kernel, stride, 2 * padding, dilation)
    if places < 1:
        raise ShapeError(f"{what}: a window of {kernel} is larger than a length of {length}, padding {padding}")
    return taps_of(places, kernel, stride, dilation)


def unfold(
    input: Tensor,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Each window as a column, as ``torch.nn.functional.unfold``.

    Args:
        input: (batch, channels, height, width).

    Returns:
        (batch, channels · kernel height · kernel width, windows).
    """

    expect_ndim(input, (4,), "unfold", "(batch, channels, height, width)")
    given = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    sizes = {name: ntuple(value, 2, name) for name, value in given.items()}
    rows, columns = (
        _places(length, *(sizes[name][i] for name in given), "unfold") for i, length in enumerate(input.shape[2:])
    )
    top, left = sizes["padding"]
    padded = pad(input, (left, left, top, top))
    taps = take(take(padded, columns, 3), rows, 2)  # (batch, channels, kernel, rows, kernel, columns)
    taps = permute(taps, 0, 1, 2, 4, 3, 5)
    return reshape(taps, (*input.shape[:1], input.shape[1] * rows.shape[0] * columns.shape[0], -1))


def windows(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """``tensor.unfold``: every window of ``size`` along a dimension, at distances of ``step``, as a last dimension."""
    axis = normalize_dim(dimension, input.ndim)
    taps = _places(input.shape[axis], size, 1, 0, step, "unfold")
    return movedim(take(input, taps, axis), axis, -1)
