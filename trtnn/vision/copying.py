"""Copies of many arrays in one go.

NumPy gives up Python's lock for each array that it copies, and waits for it again behind each. Where a few threads copy
and others work, that takes longer than the copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.vision.opencv import opencv

_MOST_BYTES = (1 << 31) - 1  # that OpenCV counts


def copy_into(memory: np.ndarray, starts: Sequence[int], arrays: Sequence[np.ndarray]) -> None:
    """Copy the bytes of arrays to their places in memory; Python's lock is given up once for all that are contiguous.

    Args:
        memory: (n,) uint8, contiguous.
        starts: the byte that each begins at, in ascending order, none before another's end.
        arrays: as many, not empty, uint8, of any shapes and strides.

    Raises:
        ValueError: they have no place there.
        ImageError: OpenCV is missing.
    """
    done = first = starts[0]
    is_long = starts[-1] + arrays[-1].nbytes - first > _MOST_BYTES
    pieces: list[np.ndarray] = []  # all bytes from the first to where they are done
    for start, array in zip(starts, arrays, strict=True):
        if is_long or not array.flags.c_contiguous:
            np.copyto(memory[start : start + array.nbytes].reshape(array.shape), array)
            continue
        if start > done:
            pieces.append(memory[None, done:start])  # OpenCV leaves what lies in its place
        pieces.append(array.reshape(1, -1))
        done = start + array.nbytes
    target = memory[None, first:done]
    if pieces and opencv().hconcat(pieces, target) is not target:
        raise ValueError(f"{len(memory)} bytes of memory do not hold arrays at {list(starts)}")
