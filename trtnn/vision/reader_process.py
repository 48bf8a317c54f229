"""What runs in a process that reads files of images, see :mod:`trtnn.vision.readers`, and what it says to its parent.

An image goes there in shared memory that has no name: a memfd, whose descriptor is sent once. So nothing of it is left
however either process ends, and a container's small /dev/shm does not matter.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import json
import math
import mmap
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.errors import ImageError
from trtnn.vision.ahead import keep_freed_memory
from trtnn.vision.images import check_data, decode_image, most_bytes, read_bytes
from trtnn.vision.opencv import opencv

MOST_FILES = 8  # of one message
GROUP_BYTES = 1 << 24  # of the images of one message, which take some 15 ms to decode
READY = b"!"
NONE = 255  # in the place of the file that is being read
_GRAIN_BYTES = 1 << 20  # of a slot's memory; what no image has touched takes none
_FREE_BYTES = 1 << 26  # of slots that nobody needs and that are kept
_HEAD = struct.Struct("<I")  # of a message: how many bytes follow
_PART_BYTES = 1 << 16  # of a packet
_FAILED = ctypes.c_void_p(-1).value


class Shared:
    """Memory that two processes see, as long as this is there.

    Python's mmap would keep a descriptor open for each: 1,000 images that are kept are as many as a process may have.

    Args:
        descriptor: of the memory; it may be closed afterwards.
        size: in bytes.

    Raises:
        OSError: the system has no room for it.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        mapped, self._unmap = _memory_calls()
        address = mapped(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
        if address == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.address, self.size = address, size
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._unmap(self.address, self.size)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return its first bytes as an array, uint8."""
        return np.asarray(self)[: math.prod(shape)].reshape(shape)


@functools.cache
def _memory_calls() -> tuple[Any, Any]:
    library = ctypes.CDLL(None, use_errno=True)
    mapped, unmap = library.mmap, library.munmap
    mapped.restype = ctypes.c_void_p
    mapped.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return mapped, unmap


def connected() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection of packets, so that two messages never come as one."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, message: Any, descriptors: Sequence[int] = ()) -> None:
    """Send what JSON holds, and descriptors of files beside it."""
    data = json.dumps(message).encode()
    data = memoryview(_HEAD.pack(len(data)) + data)
    socket.send_fds(connection, [data[:_PART_BYTES]], descriptors)
    for first in range(_PART_BYTES, len(data), _PART_BYTES):
        connection.send(data[first : first + _PART_BYTES])


def receive(connection: socket.socket) -> tuple[Any, list[int]]:
    """Return what :func:`send` sent; a thread waits once for Python's lock, if it is short.

    Raises:
        EOFError, ConnectionResetError: the other process has ended.
    """
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    data, descriptors, _, _ = socket.recv_fds(connection, _PART_BYTES, MOST_FILES, flags)
    try:
        while len(data) < _HEAD.size or len(data) < _HEAD.size + _HEAD.unpack_from(data)[0]:
            part = connection.recv(_PART_BYTES)
            if not part:
                raise EOFError
            data += part
        return json.loads(data[_HEAD.size :]), descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def read_each(paths: Iterable[str], max_pixels: int) -> Iterator[np.ndarray | ImageError | None]:
    """Yield the image of each file, or what is wrong with it; None for one that has to be read alone.

    That is one with which the images had more than :data:`GROUP_BYTES`, and one at which anything else goes wrong.
    """
    nbytes = 0
    for path in paths:
        try:
            data = read_bytes(Path(path), most_bytes(max_pixels))
            height, width = check_data(data, path, max_pixels)
            if nbytes and nbytes + 3 * height * width > GROUP_BYTES:
                yield None
                continue
            image = decode_image(data, path, max_pixels)
        except ImageError as error:
            yield error.with_traceback(None)
        except Exception:
            yield None
        else:
            nbytes += image.nbytes
            yield image
            del image


class Slots:
    """The memory of images that the other process has, or had."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lent: dict[int, Shared] = {}
        self._free: dict[int, Shared] = {}
        self.made: list[tuple[int, int, int]] = []  # (number, size, descriptor) of those that are to be told of
        self.dropped: list[int] = []

    def put(self, image: np.ndarray) -> int:
        """Copy an image into the smallest slot that is large enough, or into a new one, and return its number."""
        fits = [(slot.size, number) for number, slot in self._free.items() if slot.size >= image.nbytes]
        number = min(fits)[1] if fits else self._make(image.nbytes)
        slot = self._lent[number] = self._free.pop(number)
        np.copyto(slot.array(image.shape), image)
        return number

    def _make(self, nbytes: int) -> int:
        size = -(-nbytes // _GRAIN_BYTES) * _GRAIN_BYTES
        number, descriptor = next(self._numbers), os.memfd_create("trtnn-image")
        try:
            os.ftruncate(descriptor, size)
            self._free[number] = Shared(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        self.made.append((number, size, descriptor))
        return number

    def take_back(self, freed: Sequence[int], gone: Sequence[int]) -> None:
        """Use slots again, but for some; of those that are free no more than :data:`_FREE_BYTES` are kept."""
        for number in gone:
            del self._lent[number]
        self._free.update((number, self._lent.pop(number)) for number in freed)
        by_size = sorted((slot.size, number) for number, slot in self._free.items())
        most = sum(size for size, _ in by_size)
        while most > _FREE_BYTES:
            size, number = by_size.pop()
            most -= size
            del self._free[number]
            self.dropped.append(number)


def serve(connection: socket.socket, current: np.ndarray) -> None:
    """Read group after group of files, until the other process is gone.

    Args:
        connection: to the other process.
        current: one byte, where it sees which file of a group is being read.
    """
    slots = Slots()
    connection.sendall(READY)
    while True:
        (paths, max_pixels, folder, freed, gone), _ = receive(connection)
        slots.take_back(freed, gone)
        send(connection, *_answer(paths, max_pixels, folder, slots, current))
        for _, _, descriptor in slots.made:
            os.close(descriptor)
        slots.made, slots.dropped = [], []


def _answer(
    paths: Sequence[str], max_pixels: int, folder: str | None, slots: Slots, current: np.ndarray
) -> tuple[Any, list[int]]:
    """Return the message that answers for a group of files, and the descriptors beside it."""

    def noted() -> Iterator[str]:
        for index, path in enumerate(paths):
            current[0] = index
            yield path

    try:
        if folder is not None:  # where the other process is now, which may have changed
            os.chdir(folder)
        answers = [_told(slots, read) for read in read_each(noted(), max_pixels)]
    except OSError:
        answers = [None for _ in paths]
    current[0] = NONE
    made = [(number, size) for number, size, _ in slots.made]
    return (answers, made, slots.dropped), [descriptor for _, _, descriptor in slots.made]


def _told(slots: Slots, read: np.ndarray | ImageError | None) -> Sequence[Any] | None:
    """Return what tells of an image, ``(number, height, width)``, of an error, its words, or of neither."""
    if isinstance(read, ImageError):
        return (read.summary, *read.details)
    if read is None:
        return None
    try:
        return (slots.put(read), *read.shape[:2])
    except (OSError, MemoryError):  # no room; the other process may have some
        return None


def main(connection: int, current: int) -> None:
    """Serve the process that has the other end of a socket."""
    keep_freed_memory()
    with contextlib.suppress(ImageError):  # each file's error says so
        opencv().setNumThreads(1)
    file = Shared(current, mmap.PAGESIZE)
    os.close(current)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(socket.socket(fileno=connection), file.array((1,)))
