"""Arrays of the host on their way to the GPU.

What lies in page-locked memory the GPU fetches by itself, and a few arrays the driver brings. Many are copied to
page-locked memory first, by several threads, since one alone, the driver's own way, is slower than the GPU fetches.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trtnn.engine.lane import Lane

_THREADS = 8  # the calling one among them
_MANY_BYTES = 1 << 23  # less is there before threads have begun
_PIECE_BYTES = 1 << 22  # of an array that several threads copy
_ALIGNMENT = 256  # of each array on the GPU
_GRAIN_BYTES = 1 << 22  # memory grows by as many


_Piece = tuple[np.ndarray, np.ndarray, int]  # its page-locked memory, itself, and its address on the GPU


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return those that copy, which all lanes share."""
    return ThreadPoolExecutor(max(1, min(_THREADS, (os.cpu_count() or 1) - 1)), "trtnn-upload")


class Staging:
    """Memory on the GPU for a batch's arrays, and on the host for those on their way there; both are kept and grow.

    Args:
        lane: whose memory and stream these are.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._address, self._size_bytes = 0, 0
        self._pinned = np.empty(0, np.uint8)

    def upload(self, arrays: Sequence[np.ndarray]) -> list[int]:
        """Begin to copy arrays to the GPU, where each is contiguous, and return their addresses there.

        Those in page-locked memory may still be read when this returns. The batch before has to be done.

        Args:
            arrays: of at least one dimension, of any strides.
        """
        places = list(itertools.accumulate((-(-a.nbytes // _ALIGNMENT) * _ALIGNMENT for a in arrays), initial=0))
        size_bytes = places.pop()
        base = self._room(size_bytes)
        addresses = [base + place for place in places]
        staged = []
        for array, address in zip(arrays, addresses, strict=True):
            is_contiguous = array.flags.c_contiguous
            if size_bytes >= _MANY_BYTES and not (is_contiguous and self._lane.is_pinned(array)):
                staged.append((array, address))
            else:
                self._lane.upload(address, array if is_contiguous else np.ascontiguousarray(array))
        if staged:
            self._stage(staged, base)
        return addresses

    def _stage(self, staged: Sequence[tuple[np.ndarray, int]], base: int) -> None:
        """Share arrays out among threads, each of which copies and sends its pieces one after the other."""
        pinned = self._pinned_room()
        pieces: list[_Piece] = []
        for array, address in staged:
            whole = np.ndarray(array.shape, array.dtype, pinned, address - base)
            rows = math.ceil(len(array) / max(1, round(array.nbytes / _PIECE_BYTES)))
            for row in range(0, len(array), rows):
                pieces.append((whole[row : row + rows], array[row : row + rows], address + row * whole.strides[0]))
        own, *others = [pieces[share::_THREADS] for share in range(min(_THREADS, len(pieces)))]
        under_way = [_threads().submit(self._send, share) for share in others]
        self._send(own)
        for share in under_way:
            share.result()

    def _send(self, pieces: Sequence[_Piece]) -> None:
        self._lane.enter()
        for target, source, address in pieces:
            np.copyto(target, source)
            self._lane.upload(address, target)

    def _room(self, size_bytes: int) -> int:
        """Return the address of memory for arrays."""
        if size_bytes > self._size_bytes:
            if self._address:
                self._lane.release(self._address)
            self._address, self._size_bytes = 0, 0
            grown = -(-size_bytes // _GRAIN_BYTES) * _GRAIN_BYTES
            self._address, self._size_bytes = self._lane.allocate(grown), grown
        return self._address

    def _pinned_room(self) -> np.ndarray:
        """Return as much memory of the host."""
        if self._pinned.nbytes < self._size_bytes:
            if self._pinned.nbytes:
                self._lane.release_pinned(self._pinned)
            self._pinned = np.empty(0, np.uint8)
            self._pinned = self._lane.pinned(self._size_bytes)
        return self._pinned
