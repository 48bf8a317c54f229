"""``index_put(..., accumulate=True)`` of dimensions behind the first: what it adds up by operations that a network has.

ATen's ``col2im``, which is ``fold``, is decomposed so, into indices of the rows and columns that windows have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def added_by_indices(
    x: torch.Tensor,
    indices: Sequence[torch.Tensor | None],
    values: torch.Tensor,
    run: Callable[..., Any],
    is_known: Callable[[torch.Tensor], bool],
) -> torch.Tensor | None:
    """Return what ``x.index_put(indices, values, accumulate=True)`` is where whole dimensions stand before the indices.

    Args:
        x: the tensor.
        indices: of each dimension, None for those that are whole.
        values: what is added.
        run: calls a function with arguments, and notes it.
        is_known: whether a tensor holds the same numbers in each call, whatever weights are loaded.

    Returns:
        None where it is no such call.
    """
    whole = next((i for i, index in enumerate(indices) if index is not None), 0)
    places = [index for index in indices[whole:] if index is not None]
    if not whole or len(places) != len(indices) - whole or any(index.dtype is torch.bool for index in places):
        return None
    with torch._C.DisableTorchFunction():
        lengths = torch.broadcast_shapes(*(index.shape for index in places))
    rest = x.shape[whole + len(places) :]
    if values.shape != (*x.shape[:whole], *lengths, *rest):
        return None
    if len(places) == 2 and not rest and whole == 2 and all(map(is_known, (x, *places))) and not bool(x.any()):
        windows = [_windows(*pair) for pair in zip(places, (4, 2), x.shape[2:], strict=True)]
        if None not in windows:
            return _folded(values, x.shape[2:], windows, run)
    count = len(lengths)
    first = (*range(whole, whole + count), *range(whole), *range(whole + count, values.ndim))
    behind = (*range(whole, whole + len(places)), *range(whole), *range(whole + len(places), x.ndim))
    moved = run(torch.Tensor.permute, (x, *behind))
    total = run(torch.index_put, (moved, tuple(places), run(torch.Tensor.permute, (values, *first)), True))
    return run(torch.Tensor.permute, (total, *(behind.index(axis) for axis in range(x.ndim))))


def _windows(index: torch.Tensor, ndim: int, length: int) -> tuple[int, int, int] | None:
    """Return a window's size, dilation and stride along a dimension where these are the places of all windows.

    Args:
        index: (size, windows), with so many dimensions of 1 behind that there are ``ndim``.
        length: that of the dimension.
    """
    if index.ndim != ndim or index.shape[2:].numel() != 1:
        return None
    with torch._C.DisableTorchFunction():
        rows = index.reshape(index.shape[:2]).tolist()
    size, count = len(rows), len(rows[0])
    dilation = rows[1][0] - rows[0][0] if size > 1 else 1
    stride = rows[0][1] - rows[0][0] if count > 1 else length
    if dilation < 1 or stride < 1 or (length - dilation * (size - 1) - 1) // stride + 1 != count:
        return None
    expected = [[i * dilation + j * stride for j in range(count)] for i in range(size)]
    return (size, dilation, stride) if rows == expected else None


def _folded(
    values: torch.Tensor, sides: Sequence[int], windows: Sequence[Any], run: Callable[..., Any]
) -> torch.Tensor:
    """Return what windows hold, (batch, channels, rows, windows, columns, windows), added up as an image."""
    kernel, dilation, stride = (tuple(window[i] for window in windows) for i in range(3))
    columns = run(torch.Tensor.permute, (values, 0, 1, 2, 4, 3, 5))
    columns = run(torch.Tensor.flatten, (columns, 4, 5))
    columns = run(torch.Tensor.flatten, (columns, 1, 3))
    with torch._C.DisableTorchFunction():
        sides = tuple(int(side) for side in sides)
    return run(torch.nn.functional.fold, (columns, sides, kernel, dilation, (0, 0), stride))
