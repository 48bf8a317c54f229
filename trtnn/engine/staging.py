"""Arrays of the host on their way to the GPU.

What lies in page-locked memory the GPU fetches by itself. All else is copied to such memory first, by several threads,
since one alone, the driver's own way, is slower than the GPU fetches.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trtnn.engine.lane import Lane

_THREADS = int(os.environ.get("TRTNN_STAGE_THREADS", "8"))
_SMALL_BYTES = 1 << 18  # less is left to the driver
_PIECE_BYTES = int(os.environ.get("TRTNN_STAGE_PIECE", str(1 << 19)))  # at least so many are worth a thread
_ALIGNMENT = 256  # of each array on the GPU
_GRAIN_BYTES = 1 << 22  # memory grows by as many


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
        sizes = [-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays]
        base = self._room(sum(sizes))
        addresses = [base + sum(sizes[:index]) for index in range(len(sizes))]
        staged: list[tuple[np.ndarray, int]] = []
        for array, address in zip(arrays, addresses, strict=True):
            if array.flags.c_contiguous and (array.nbytes < _SMALL_BYTES or self._lane.is_pinned(array)):
                self._lane.upload(address, array)
            elif _THREADS == 0:
                self._lane.upload(address, np.ascontiguousarray(array))
            else:
                staged.append((array, address))
        if staged:
            self._stage(staged, base)
        return addresses

    def _stage(self, staged: Sequence[tuple[np.ndarray, int]], base: int) -> None:
        lane, pinned = self._lane, self._pinned_room()
        least = max(_PIECE_BYTES, sum(array.nbytes for array, _ in staged) // (2 * _THREADS))
        pieces: list[tuple[np.ndarray, np.ndarray, int]] = []
        for array, address in staged:
            whole = np.ndarray(array.shape, array.dtype, pinned, address - base)
            rows = math.ceil(len(array) / max(1, round(array.nbytes / least)))
            for row in range(0, len(array), rows):
                target = whole[row : row + rows]
                pieces.append((target, array[row : row + rows], address + row * whole.strides[0]))
        own, *others = pieces
        copies: list[Future[None]] = [_threads().submit(np.copyto, target, source) for target, source, _ in others]
        np.copyto(own[0], own[1])
        lane.upload(own[2], own[0])
        for copy, (target, _, address) in zip(copies, others, strict=True):
            copy.result()
            lane.upload(address, target)

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
