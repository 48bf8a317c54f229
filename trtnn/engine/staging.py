"""Arrays of the host on their way to the GPU.

What lies in page-locked memory the GPU fetches by itself, and a few arrays the driver brings. Many are copied to
page-locked memory first, by several threads, since one alone, the driver's own way, is slower than the GPU fetches.
Each thread has two pieces of it by turns, so that it fills one while the GPU fetches the other.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

import numpy as np

from trtnn.engine.lane import Lane
from trtnn.errors import EngineError

_THREADS = 6  # the calling one among them; more wait for each other
_MANY_BYTES = 1 << 23  # less is there before threads have begun
_CHUNK_BYTES = 1 << 22  # of page-locked memory; what Python does goes by the piece, so a picture had better be one
_ALIGNMENT = 256  # of each array on the GPU
_GRAIN_BYTES = 1 << 22  # memory grows by as many

_Piece = tuple[np.ndarray, int]  # some rows of an array, and their address on the GPU


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return those that copy, which all lanes share."""
    return ThreadPoolExecutor(max(1, min(_THREADS, (os.cpu_count() or 1) - 1)), "trtnn-upload")


class _Chunk:
    """A piece of page-locked memory with a stream of its own, on which nothing but what lies there goes to the GPU."""

    def __init__(self) -> None:
        self.lane = Lane()
        self._memory = self.lane.pinned(_CHUNK_BYTES)

    def send(self, array: np.ndarray, address: int) -> None:
        """Begin to copy an array of any strides to the GPU; it is done with when this returns."""
        self.lane.synchronize()  # what was sent before
        lies = np.ndarray(array.shape, array.dtype, self._memory)
        np.copyto(lies, array)
        self.lane.upload(address, lies)


_idle: list[tuple[_Chunk, _Chunk]] = []  # threads take from it and bring back


def _take() -> tuple[_Chunk, _Chunk]:
    try:
        return _idle.pop()
    except IndexError:
        return _Chunk(), _Chunk()


def _send(pieces: Sequence[_Piece], chunks: Sequence[_Chunk]) -> None:
    """Send pieces one after the other, by chunks in turn."""
    chunks[0].lane.enter()
    for (rows, address), chunk in zip(pieces, itertools.cycle(chunks)):
        chunk.send(rows, address)


class Staging:
    """Memory on the GPU for a batch's arrays, which is kept and grows.

    Args:
        lane: whose memory and stream these are.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._address, self._size_bytes = 0, 0

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
        pieces: list[_Piece] = []
        for array, address in zip(arrays, addresses, strict=True):
            if size_bytes >= _MANY_BYTES and (parts := self._pieces(array, address)):
                pieces += parts
            else:
                self._lane.upload(address, array if array.flags.c_contiguous else np.ascontiguousarray(array))
        if pieces:
            self._share(pieces)
        return addresses

    def _pieces(self, array: np.ndarray, address: int) -> list[_Piece]:
        """Return an array in pieces of equal length that a chunk holds; nothing where it goes without one."""
        row_bytes = array.nbytes // max(1, len(array))
        if row_bytes > _CHUNK_BYTES or (array.flags.c_contiguous and self._lane.is_pinned(array)):
            return []
        count = -(-len(array) // (_CHUNK_BYTES // max(1, row_bytes)))
        rows = -(-len(array) // max(1, count)) or 1
        return [(array[row : row + rows], address + row * row_bytes) for row in range(0, len(array), rows)]

    def _share(self, pieces: Sequence[_Piece]) -> None:
        """Share pieces out among threads; what comes next on the lane waits for them."""
        own, *others = [pieces[share::_THREADS] for share in range(min(_THREADS, len(pieces)))]
        own_chunks, *their_chunks = taken = [_take() for _ in (own, *others)]
        under_way: list[Future[None]] = []
        try:
            for share, chunks in zip(others, their_chunks, strict=True):
                under_way.append(_threads().submit(_send, share, chunks))
            _send(own, own_chunks)
            for sent in under_way:
                sent.result()
        except BaseException:  # when it is raised nothing reads the arrays or writes the GPU's memory any more
            wait(under_way)
            for chunk in itertools.chain(*taken):
                with suppress(EngineError):  # the first tells
                    chunk.lane.synchronize()
            raise
        for chunk in itertools.chain(*taken):
            self._lane.wait_for(chunk.lane.handle)
        _idle.extend(taken)

    def _room(self, size_bytes: int) -> int:
        """Return the address of memory for arrays."""
        if size_bytes > self._size_bytes:
            if self._address:
                self._lane.release(self._address)
            self._address, self._size_bytes = 0, 0
            grown = -(-size_bytes // _GRAIN_BYTES) * _GRAIN_BYTES
            self._address, self._size_bytes = self._lane.allocate(grown), grown
        return self._address
