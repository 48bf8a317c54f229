"""Elements picked from, and put into, places that other tensors name.

An index that is out of range is an error where it is in an array, which is known while tracing, and where a network
runs on the CPU reference. An engine cannot raise one: what it picks or overwrites there is not defined, and sums leave
it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices, count_windows, expect_ndim, expect_parts, normalize_dim, ntuple
from trtnn.ops._promotion import cast, expect_one_type, filler, index_dtype
from trtnn.ops.arithmetic import add
from trtnn.ops.comparison import eq, where
from trtnn.ops.creation import numbers_below
from trtnn.ops.indexing import as_indices, checked_indices, take
from trtnn.ops.padding import lengthened, pad
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import along, movedim, permute, reshape, squeeze, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, same, same_shape


def _vector(value: Any) -> Any:
    """Return a Tensor or an index that may have no dimension as a vector; a number as it is."""
    if isinstance(value, (bool, int, float)):
        return value
    return reshape(value, (-1,)) if isinstance(value, Tensor) else as_indices(value).reshape(-1)


def reached(tensor: Tensor, index: Tensor, axis: int | None, what: str) -> Tensor:
    """Return the part of ``tensor`` that indices of one shape reach: its lengths are theirs, but along ``axis``."""
    lengths = [n if i == axis else m for i, (n, m) in enumerate(zip(tensor.shape, index.shape, strict=False))]
    if tensor.ndim != index.ndim or any(n > m for n, m in zip(lengths, tensor.shape, strict=True)):
        raise ShapeError(
            f"{what} in {tensor.graph.where}: shapes {tensor.shape} and {index.shape} of the index do not fit"
        )
    return tensor[tuple(slice(n) for n in lengths)]


def gather(input: Tensor, dim: int, index: Any) -> Tensor:
    """Return what lies at indices along ``dim``, each in its own row, as ``torch.gather``.

    For dimension 0 of three, result[i][j][k] = input[index[i][j][k]][j][k].

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
    """
    if not input.shape:
        return reshape(gather(_vector(input), dim, _vector(index)), as_indices(index).shape)
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    picked = reached(input, index, axis, "gather")
    mode = input.graph.trt.GatherMode.ELEMENT
    return input.graph.emit("gather_v2", picked, index, mode, out_shape=index.shape, axis=axis)


def scatter(input: Tensor, dim: int, index: Any, src: Tensor | bool | int | float) -> Tensor:
    """Return a copy of ``input`` with src at indices along ``dim``, as ``torch.scatter``.

    For dimension 0 of three, result[index[i][j][k]][j][k] = src[i][j][k].

    Where two indices are the same, one of the two elements wins; as in torch it is open which.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
        src: a tensor of ``input``'s type, at least as long as ``index``, or a number.
    """
    if not input.shape:
        return reshape(scatter(_vector(input), dim, _vector(index), _vector(src)), ())
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    reached(input, index, axis, "scatter")
    values = reached(src, index, None, "scatter") if isinstance(src, Tensor) else None
    if values is None:
        values = expand(filler(src, input, "scatter"), index.shape)
    values = of_its_type(values, input, "scatter")
    mode = input.graph.trt.ScatterMode.ELEMENT
    return input.graph.emit("scatter", input, index, values, mode, out_shape=input.shape, axis=axis)


def of_its_type(values: Tensor, input: Tensor, what: str) -> Tensor:
    """Return what is put into a tensor in that tensor's type.

    Raises:
        DTypeError: it is of another, see :func:`~trtnn.ops._promotion.expect_one_type`.
    """
    expect_one_type(what, values, input)
    return cast(values, input.dtype)


def _sums(input: Tensor, axis: int, index: Tensor, values: Tensor) -> Tensor:
    """Return, for each place of ``input`` along an axis, the sum of the values whose index is that place.

    TensorRT's scatter overwrites and adds nothing up, so each place is compared with every index: of n places and k
    values this computes n · k numbers for each one of the other dimensions. No value meets another place's, not even by
    a factor of 0, which would make NaN of infinity.

    Args:
        index: of as many dimensions as ``values``, with whose shape its own broadcasts.
    """
    places = numbers_below(input.shape[axis]).reshape(-1, *(1,) * (input.ndim - axis))
    chosen = where(eq(unsqueeze(index, axis), places), unsqueeze(values, axis), 0)
    return cast(sum(chosen, axis + 1), input.dtype)


def scatter_add(input: Tensor, dim: int, index: Any, src: Tensor) -> Tensor:
    """Return a copy of ``input`` with src added at indices along ``dim``, as ``torch.scatter_add``.

    For dimension 0 of three, result[index[i][j][k]][j][k] += src[i][j][k].

    It takes len(input) · len(index) steps along the dimension, and as much memory where TensorRT does not fuse them; of
    truths the sum is whether any is.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``; what names no
            place, for which torch raises an error, adds nothing where it is a Tensor.
        src: of ``input``'s type, and at least as long as ``index``.
    """
    _expect_tensor(src, "scatter_add")
    if not input.shape:
        return reshape(scatter_add(_vector(input), dim, _vector(index), _vector(src)), ())
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    src = of_its_type(src, input, "scatter_add")
    there = reached(input, index, axis, "scatter_add")
    total = _sums(input, axis, index, reached(src, index, None, "scatter_add"))
    return add(input, total if same_shape(there.shape, input.shape) else lengthened(total, input.shape))


def index_add(input: Tensor, dim: int, index: Any, source: Tensor, *, alpha: int | float = 1) -> Tensor:
    """Return a copy of ``input`` with slices of source added at indices along ``dim``, as ``torch.index_add``.

    For dimension 0, result[index[i]] += alpha · source[i].

    It costs as much as :func:`scatter_add`.

    Args:
        index: from 0 on, a vector; what names no place, for which torch raises an error, adds nothing where it is a
            Tensor.
        source: of ``input``'s type and shape, but as long as ``index`` along ``dim``.
    """
    _expect_tensor(source, "index_add")
    if not input.shape:
        return reshape(index_add(_vector(input), dim, _vector(index), _vector(source), alpha=alpha), ())
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    source = of_its_type(source, input, "index_add")
    expect_slices(input, axis, index, source, "index_add")
    return add(input, _sums(input, axis, along(index, axis, input.ndim), source), alpha=alpha)


def expect_slices(input: Tensor, axis: int, index: Tensor, source: Tensor, what: str) -> None:
    """Check that indices are a vector, and a source has a slice of the input's shape for each.

    Raises:
        ShapeError: they are not, or it has not.
    """
    expected = (*input.shape[:axis], *index.shape, *input.shape[axis + 1 :])
    if index.ndim != 1 or not same_shape(source.shape, expected):
        raise ShapeError(
            f"{what} along dimension {axis} in {input.graph.where} takes a vector of indices, and a source as long",
            f"received an input of shape {input.shape}, an index of {index.shape} and a source of {source.shape}",
        )


def _expect_tensor(value: Any, what: str) -> None:
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{what} adds up the elements of a Tensor, not of a {type(value).__name__}")


def one_hot(input: Tensor, num_classes: Length = -1) -> Tensor:
    """Return 1 at the index that each element names and 0 elsewhere, (..., num_classes), in the type of indices.

    Raises:
        UnsupportedError: no ``num_classes``; torch takes it from the largest element.
    """
    if num_classes < 1:
        raise UnsupportedError(
            "one_hot without num_classes", "the largest element is known only when the engine runs", "give num_classes"
        )
    index = as_indices(input)
    if not isinstance(index, Tensor):
        raise ArgumentError("one_hot takes a Tensor", "use NumPy for an array")
    return cast(eq(unsqueeze(index, -1), numbers_below(num_classes)), index_dtype(input.graph))


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
    """Return each window as a column, as ``torch.nn.functional.unfold``; what is out of the input is 0.

    Args:
        input: (batch, channels, height, width); the batch may be missing.
        kernel_size, dilation, padding, stride: an int for both sides, or one for each, as of :func:`conv2d`.

    Returns:
        (batch, channels · kernel height · kernel width, windows), the windows row by row, without the batch where
        input has none.

    Raises:
        ShapeError: the input has another number of dimensions, or no window fits.
        ArgumentError: an argument is not an int for each side, or is too small.
    """
    if input.ndim == 3:
        return squeeze(unfold(unsqueeze(input, 0), kernel_size, dilation, padding, stride), 0)
    expect_ndim(input, (4,), "unfold", "(batch, channels, height, width)")
    sizes = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    kernel, dilation, padding, stride = (ntuple(value, 2, name, of_one=False) for name, value in sizes.items())
    rows, columns = (
        _places(length, k, d, p, s, "unfold")
        for length, k, d, p, s in zip(input.shape[2:], kernel, dilation, padding, stride, strict=True)
    )
    top, left = padding
    padded = pad(input, (left, left, top, top))
    taps = take(take(padded, columns, 3), rows, 2)  # (batch, channels, kernel, rows, kernel, columns)
    taps = permute(taps, 0, 1, 2, 4, 3, 5)
    return reshape(taps, (*input.shape[:1], input.shape[1] * rows.shape[0] * columns.shape[0], -1))


def windows(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Return every window of ``size`` along a dimension, ``step`` apart, as a new last dimension (``tensor.unfold``).

    Raises:
        ShapeError: no window fits.
    """
    if not input.shape:
        return reshape(windows(reshape(input, (1,)), dimension, size, step), (1,))
    axis = normalize_dim(dimension, input.ndim)
    expect_parts(size, "the size of a window")
    expect_parts(step, "the step between windows")
    taps = _places(input.shape[axis], size, 1, 0, step, "unfold")
    result = movedim(take(input, taps, axis), axis, -1)
    result.repeats = step < size and not same(result.shape[axis], 1)
    return result
