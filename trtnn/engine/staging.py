"""Arrays of the host on their way to the GPU.

What lies in page-locked memory the GPU fetches by itself, and a few arrays the driver brings. Many are copied to
page-locked memory first, by several threads, since one alone, the driver's own way, is slower than the GPU fetches.
Each thread has two pieces of it by turns, so that it fills one while the GPU fetches the other. Pieces are few and
alike: at each the threads wait for Python's interpreter lock and for the driver's, which takes longer than what they
do there.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from trtnn.engine.lane import Lane
from trtnn.errors import EngineError
from trtnn.threads import is_own, processors

_THREADS = 6  # for a batch, the one that waits for it among them
_MANY_BYTES = 1 << 23  # less is there before threads have begun
_CHUNK_BYTES = 1 << 23  # of page-locked memory
_ALIGNMENT = 256  # of each array on the GPU
_GRAIN_BYTES = 1 << 22  # memory grows by as many


class _Piece(NamedTuple):
    """Rows of arrays that lie behind each other on the GPU.

    Attributes:
        address: of the first there.
        parts: some rows of an array each, and how many bytes behind that address they begin.
    """

    address: int
    parts: list[tuple[int, np.ndarray]]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return those that copy, which all lanes share."""
    return ThreadPoolExecutor(max(1, min(_THREADS, processors() - 1)), "trtnn-upload")


class _Chunk:
    """Page-locked memory for a piece."""

    def __init__(self) -> None:
        self._own = Lane()
        self._memory = self._own.pinned(_CHUNK_BYTES)

    def send(self, piece: _Piece, lane: Lane) -> None:
        """Begin to copy a piece to the GPU along a lane; its arrays are done with when this returns."""
        self.wait()
        end = 0
        for start, rows in piece.parts:
            np.copyto(np.ndarray(rows.shape, rows.dtype, self._memory, start), rows)
            end = start + rows.nbytes
        lane.upload(piece.address, self._memory[:end])
        self._own.mark(lane.handle)

    def wait(self) -> None:
        """Wait until the GPU has what was sent last."""
        self._own.wait_marked()


_idle: list[tuple[_Chunk, _Chunk]] = []  # threads take from it and bring back


def _take() -> tuple[_Chunk, _Chunk]:
    try:
        return _idle.pop()
    except IndexError:
        return _Chunk(), _Chunk()


def _send(pieces: deque[_Piece], lane: Lane) -> None:
    """Send the pieces that no other thread takes, by two chunks in turn."""
    lane.enter()
    chunks = _take()
    try:
        for chunk in itertools.cycle(chunks):
            try:
                piece = pieces.popleft()
            except IndexError:  # none is left
                break
            chunk.send(piece, lane)
    except BaseException:
        for chunk in chunks:  # they go
            with suppress(EngineError):
                chunk.wait()
        raise
    _idle.append(chunks)


def _stop(pieces: deque[_Piece], under_way: list[Future[None]]) -> None:
    """Let nobody begin a piece, and wait for who has."""
    pieces.clear()
    begun = [sent for sent in under_way if not sent.cancel()]
    if not is_own("upload"):
        wait(begun)
    under_way.clear()


class Staging:
    """Memory on the GPU for a batch's arrays, which is kept and grows.

    Args:
        lane: whose memory and stream these are.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._address, self._size_bytes = 0, 0
        self._pieces: deque[_Piece] = deque()  # threads take from it
        self._under_way: list[Future[None]] = []
        # Who drops this has the arrays for himself again.
        weakref.finalize(self, _stop, self._pieces, self._under_way).atexit = False

    def upload(self, arrays: Sequence[np.ndarray]) -> list[int]:
        """Begin to copy arrays to the GPU, where each is contiguous, and return their addresses there.

        They are on their way after :meth:`wait`, and those in page-locked memory may still be read then. The batch
        before has to be done.

        Args:
            arrays: of at least one dimension, of any strides.
        """
        places: list[int] = []
        size_bytes = 0
        for array in arrays:
            places.append(size_bytes)
            size_bytes += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        base = self._room(size_bytes)
        addresses = [base + place for place in places]
        if size_bytes < _MANY_BYTES:
            for place, array in enumerate(arrays):
                self._upload(addresses[place], array)
            return addresses
        alone = self._go_alone(arrays)
        for array, address, is_alone in zip(arrays, addresses, alone, strict=True):
            if is_alone:
                self._upload(address, array)
        self._pieces += _pieces(arrays, addresses, alone)
        for _ in range(min(_THREADS, len(self._pieces)) - 1):
            self._under_way.append(_threads().submit(_send, self._pieces, self._lane))
        return addresses

    def _upload(self, address: int, array: np.ndarray) -> None:
        self._lane.upload(address, array if array.flags.c_contiguous else np.ascontiguousarray(array))

    def _go_alone(self, arrays: Sequence[np.ndarray]) -> list[bool]:
        """Return for each array whether it goes without a chunk: it is page-locked, or a row is longer than one.

        The driver is asked of the others only where the first is page-locked: they mostly come from one source, and
        the wrong way takes longer, but as well arrives.
        """
        are_pinned = self._lane.is_pinned(arrays[0])
        return [
            _row_bytes(array) > _CHUNK_BYTES
            or (are_pinned and array.flags.c_contiguous and self._lane.is_pinned(array))
            for array in arrays
        ]

    def wait(self) -> None:
        """Help until all arrays are on their way, so that what comes next on the lane finds them there.

        Raises:
            EngineError: one could not be sent; nothing reads the arrays or writes the GPU's memory any more.
        """
        try:
            if self._pieces:
                _send(self._pieces, self._lane)
            for sent in self._under_way:
                if not sent.cancel():  # who has not begun finds nothing left
                    sent.result()
        except BaseException:
            self.stop()
            raise
        self._under_way.clear()

    def stop(self) -> None:
        """Leave what is not on its way; nothing reads the arrays or writes the GPU's memory when this returns."""
        _stop(self._pieces, self._under_way)
        with suppress(EngineError):  # of errors the first tells
            self._lane.synchronize()

    def _room(self, size_bytes: int) -> int:
        """Return the address of memory for arrays."""
        if size_bytes > self._size_bytes:
            if self._address:
                self._lane.release(self._address)
            self._address, self._size_bytes = 0, 0
            grown = -(-size_bytes // _GRAIN_BYTES) * _GRAIN_BYTES
            self._address, self._size_bytes = self._lane.allocate(grown), grown
        return self._address


def _row_bytes(array: np.ndarray) -> int:
    return array.nbytes // max(1, len(array))


def _pieces(arrays: Sequence[np.ndarray], addresses: Sequence[int], alone: Sequence[bool]) -> list[_Piece]:
    """Return the arrays that go by chunks in pieces that are as long as each other, as many for each thread."""
    staged = [array for array, is_alone in zip(arrays, alone, strict=True) if not is_alone]
    size_bytes = sum(-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in staged)
    rounds = -(-size_bytes // (_CHUNK_BYTES * _THREADS))
    longest = max(map(_row_bytes, staged), default=0)  # what a piece may fall short of its length by
    length = min(_CHUNK_BYTES, -(-size_bytes // max(1, rounds * _THREADS)) + longest)
    pieces: list[_Piece] = []
    end = 0  # of what the last piece may hold
    for array, address, is_alone in zip(arrays, addresses, alone, strict=True):
        row_bytes, row = _row_bytes(array), 0
        if is_alone:
            end = 0
        while not is_alone and row < len(array) and row_bytes:
            place = address + row * row_bytes
            count = (end - place) // row_bytes
            if count < 1:
                pieces.append(_Piece(place, []))
                end = place + length
                count = length // row_bytes
            pieces[-1].parts.append((place - pieces[-1].address, array[row : row + count]))
            row += count
    return pieces
