"""Arrays that are views of a file: nothing is read until it is touched."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.errors import CheckpointError

# bfloat16 is the upper half of a float32. NumPy has no such type, so a record of its own stands for it here and
# array_at widens it.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
_ALWAYS_ALLOWED_BYTES = 2**26


def map_file(path: Path) -> mmap.mmap:
    """Map a file into memory, copy on write: the arrays are writable, the file never changes.

    An array made from the map keeps it alive. The file may be replaced or deleted meanwhile, but not cut short.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise damaged(path, "is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def is_shape(sizes: Sequence[object]) -> bool:
    """Whether NumPy can make an array of this shape: integers, not negative, not too many, not too large."""
    return len(sizes) <= 32 and all(map(is_size, sizes)) and math.prod(size for size in sizes if size) < 2**60


def is_size(value: object) -> bool:
    """Whether ``value`` can be a size, an offset or a stride: an integer, not negative, of 63 bits at most."""
    return type(value) is int and 0 <= value < 2**63


def check_inflation(path: Path, file_bytes: int, claimed_bytes: int, most_times: int, advice: str) -> None:
    """Refuse a small file that would fill the memory.

    Args:
        path: the file, for the message.
        file_bytes: its size.
        claimed_bytes: what its arrays would take.
        most_times: how many times its size they may take, beyond 64 MiB.
        advice: what to do if the file is sound.

    Raises:
        CheckpointError: they would take more.
    """
    if claimed_bytes > most_times * file_bytes + _ALWAYS_ALLOWED_BYTES:
        raise CheckpointError(
            f"{path} has {file_bytes:,} bytes but claims tensors of {claimed_bytes:,}: refused",
            f"if you trust it, {advice}",
        )


def array_at(
    data: mmap.mmap, dtype: np.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return the array that lies at ``offset`` in ``data``; the caller has checked the bounds.

    It is a view of the file where it can be. It is copied where ``strides`` (in elements) or the alignment would
    otherwise be odd, so that every array is C-contiguous and aligned, and :data:`BFLOAT16` is widened to float32.
    """
    if strides is not None:
        strides = tuple(stride * dtype.itemsize for stride in strides)
    is_empty = math.prod(shape) == 0  # and may lie at the very end of the file, where NumPy takes no view
    array = np.empty(shape, dtype) if is_empty else np.ndarray(shape, dtype, data, offset, strides)
    if dtype == BFLOAT16:
        words = array["bfloat16"].astype(np.uint32, order="C")
        np.left_shift(words, np.uint32(16), out=words)
        return words.view(np.float32)
    return np.require(array, requirements="CA")
