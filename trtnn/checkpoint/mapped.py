"""Arrays that are views of a file: nothing is read until it is touched."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.errors import CheckpointError
from trtnn.files import MappedFile

# Types that NumPy lacks: a record of its own stands for each here, and array_at makes float32 of it, which holds the
# same numbers. bfloat16 is the upper half of a float32.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
_ALWAYS_ALLOWED_BYTES = 2**26


class _Float8(NamedTuple):
    """A type of 8 bits: how many are its exponent's and its fraction's, and how it differs from IEEE's others."""

    exponent: int
    fraction: int
    bias: int
    infinite: bool = False  # whether the largest exponent is that of infinity and NaN
    negative_zero: bool = True  # or that pattern is the only NaN


_FLOAT8 = {
    "float8_e4m3fn": _Float8(4, 3, 7),
    "float8_e5m2": _Float8(5, 2, 15, infinite=True),
    "float8_e4m3fnuz": _Float8(4, 3, 8, negative_zero=False),
    "float8_e5m2fnuz": _Float8(5, 2, 16, negative_zero=False),
    "float8_e8m0fnu": _Float8(8, 0, 127),
}
FLOAT8 = {name: np.dtype([(name, "u1")]) for name in _FLOAT8}


def _numbers(kind: _Float8) -> np.ndarray:
    """Return the float32 of each of a type's 256 patterns."""
    code = np.arange(256)
    if not kind.fraction:  # powers of two, with neither sign nor zero
        return np.where(code == 255, np.nan, 2.0 ** (code - kind.bias)).astype(np.float32)
    fraction, exponent = code % (1 << kind.fraction), code >> kind.fraction & ((1 << kind.exponent) - 1)
    scale = 2.0 ** (np.maximum(exponent, 1) - kind.bias)
    size = (fraction / (1 << kind.fraction) + (exponent > 0)) * scale
    last = exponent == (1 << kind.exponent) - 1
    if kind.infinite:
        size = np.where(last, np.where(fraction == 0, np.inf, np.nan), size)
    elif kind.negative_zero:
        size = np.where(last & (fraction == (1 << kind.fraction) - 1), np.nan, size)
    signed = np.where(code < 128, size, -size)
    return (signed if kind.negative_zero else np.where(code == 128, np.nan, signed)).astype(np.float32)


def map_file(path: Path) -> MappedFile:
    """Map a file into memory, copy on write: the arrays are writable, the file never changes.

    An array made from the map keeps it alive. Who copies or writes such arrays asks :func:`check_files`.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise damaged(path, "is empty")
        return MappedFile(file, mmap.ACCESS_COPY)


def file_of(array: Any) -> MappedFile | None:
    """Return the file that an array is a view of, None of memory of its own."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, MappedFile) else None


def check_files(files: Iterable[MappedFile | None]) -> None:
    """Check that nobody has written to files since they were loaded, which their arrays would show.

    Raises:
        CheckpointError: somebody has.
    """
    for file in {id(file): file for file in files}.values():
        if file is not None and not file.is_as_it_was():
            raise CheckpointError(
                f"{file.path} was written to after it was loaded, and its arrays are views of it",
                "load it again; who writes it anew in place, as torch.save does, changes what was loaded before",
                "of a file that others write, keep copies: copy.deepcopy(trtnn.load(path))",
            )


def is_shape(sizes: Sequence[Any]) -> bool:
    """Whether NumPy can make an array of this shape: integers, not negative, not too many, not too large."""
    return len(sizes) <= 32 and all(map(is_size, sizes)) and math.prod(size for size in sizes if size) < 2**60


def is_size(value: object) -> bool:
    """Whether ``value`` can be a size, an offset or a stride: an integer, not negative, of 63 bits at most."""
    return type(value) is int and 0 <= value < 2**63


def check_inflation(
    path: Path,
    file_bytes: int,
    claimed_bytes: int,
    most_times: int,
    advice: str,
    allowed_bytes: int = _ALWAYS_ALLOWED_BYTES,
) -> None:
    """Refuse a small file that would fill the memory.

    Args:
        path: the file, for the message.
        file_bytes: its size.
        claimed_bytes: what its arrays would take.
        most_times: how many times its size they may take.
        advice: what to do if the file is sound.
        allowed_bytes: what they may take beyond that.

    Raises:
        CheckpointError: they would take more.
    """
    if claimed_bytes > most_times * file_bytes + allowed_bytes:
        raise CheckpointError(
            f"{path} has {file_bytes:,} bytes but claims tensors of {claimed_bytes:,}: refused",
            f"if you trust it, {advice}",
        )


def array_at(
    data: mmap.mmap, dtype: np.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return the array that lies at ``offset`` in ``data``; the caller has checked the bounds.

    It is a view of the file where it can be. It is copied where ``strides`` (in elements) or the alignment would
    otherwise be odd, so that every array is C-contiguous and aligned. :data:`BFLOAT16` and :data:`FLOAT8` become
    float32.
    """
    if strides is not None:
        strides = tuple(stride * dtype.itemsize for stride in strides)
    is_empty = math.prod(shape) == 0  # and may lie at the very end of the file, where NumPy takes no view
    array = np.empty(shape, dtype) if is_empty else np.ndarray(shape, dtype, data, offset, strides)
    if dtype == BFLOAT16:
        words = array["bfloat16"].astype(np.uint32, order="C")
        np.left_shift(words, np.uint32(16), out=words)
        return words.view(np.float32)
    if dtype.names and dtype.names[0] in _FLOAT8:
        return np.ascontiguousarray(_numbers(_FLOAT8[dtype.names[0]])[array[dtype.names[0]]]).reshape(shape)
    if array.flags.c_contiguous and array.flags.aligned:  # as nearly always; np.require takes as long as all the rest
        return array
    return np.require(array, requirements=("C", "A"))
