"""Threads that read files of images, each with a process that does it for them.

Threads of one process wait for Python's lock at each call to the system, 9 to 15 times a file, and beside the threads
that detect for half a millisecond a file: 16 of them read 1,845 files a second where decoding takes as long as for
7,000. A process has a lock of its own, and for a group of files the thread waits twice.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from trtnn.errors import ImageError
from trtnn.processes import command_of
from trtnn.threads import is_own
from trtnn.vision.ahead import reading_threads
from trtnn.vision.images import most_bytes
from trtnn.vision.reader_process import GROUP_BYTES, MOST_FILES, NONE, READY, Shared, read_each, receive, send

MOST_PROCESSES = 64  # whoever takes images in one process is no faster
_START_S = 120.0  # to import and say so
_END_S = 5.0  # for the system, once it has hung up
_FORGETS = 0.98  # how much of the size of the largest image so far counts an image later
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else ()  # Windows has no readers
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Item = TypeVar("Item")
Read = np.ndarray | ImageError | None
_forks = [0]  # how often this process was forked, and began to be
_all: weakref.WeakSet[Readers] = weakref.WeakSet()


class Groups(Generic[Item]):
    """Consecutive items in groups: as many files of images as one message should have, and anything else alone.

    Files are alone until it is known how large images are. Then as many are together as have :data:`GROUP_BYTES`, if
    each is as large as the largest of late, up to :data:`MOST_FILES`; and towards the end fewer, so that all read.
    Where there are no processes all is alone.

    Args:
        items: all of them.
        path: of an item that is a file of an image, None of any other.
        readers: who read the groups.
    """

    def __init__(self, items: Sequence[Item], path: Callable[[Item], str | None], readers: Readers) -> None:
        self._items, self._path, self._readers = items, path, readers
        self._largest = 0.0

    def __iter__(self) -> Iterator[list[Item]]:
        first = 0
        while first < len(self._items):
            end = first + 1
            if self._largest and self._is_file(self._items[first]):
                left = len(self._items) - first
                most = min(int(GROUP_BYTES // self._largest), MOST_FILES, left // (2 * self._readers.count))
                while end < first + most and self._is_file(self._items[end]):
                    end += 1
            yield list(self._items[first:end])
            first = end

    def read(self, group: Sequence[Item], max_pixels: int) -> list[Read] | None:
        """Return what :meth:`Readers.read` gives of a group; None of an item that is no file for a process.

        How large the images are is noted for the groups behind; one that was not read has no room in a group.
        """
        if not self._is_file(group[0]):
            return None
        read = self._readers.read([str(self._path(item)) for item in group], max_pixels)
        for one in read:
            if not isinstance(one, ImageError):
                nbytes = GROUP_BYTES if one is None else one.nbytes
                self._largest = max(self._largest * _FORGETS, nbytes, 1)
        return read

    def _is_file(self, item: Item) -> bool:
        return self._readers.has_processes and self._path(item) is not None


class Readers:
    """Threads that read files of images, and processes that do it for them.

    Until a process has begun, its thread reads. One that ends takes with it the file that it had, and a new one takes
    its place. Where none can be started, threads read, with one warning.

    Args:
        count: how many there are, of threads and of processes.
        processes: whether there are processes.
    """

    def __init__(self, count: int, processes: bool) -> None:
        self.count, self.has_processes = count, processes and can_share()
        self.threads = reading_threads(count)
        self._lock = threading.RLock()  # the garbage collector may close it in a thread that holds it
        self._children: list[_Child] = []
        self._idle: deque[_Child] = deque()
        self._starting: deque[_Child] = deque()
        self._is_closed = self._has_warned = False
        self._end = weakref.finalize(self, _end, self._children)
        _all.add(self)
        if self.has_processes:
            for _ in range(count):
                child = self._start()
                if child is None:
                    break
                self._starting.append(child)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Wait until each process has begun, so that no thread reads."""
        while self._starting:
            self._add(self._starting.popleft())

    def process_ids(self) -> list[int]:
        """Return the system's numbers of the processes."""
        return [child.process_id for child in self._children]

    def close(self) -> None:
        """End the processes, and the threads; images that they gave stay."""
        with self._lock:
            self._is_closed = True
            for child in self._children:
                child.kill()  # whose thread goes on, then
        self.threads.shutdown(wait=not is_own("read"), cancel_futures=True)
        self._end()
        self._idle.clear()  # and with them the memory that no image is in
        self._starting.clear()

    def read(self, paths: Sequence[str], max_pixels: int) -> list[Read]:
        """Return the image of each file, uint8 (height, width, 3) RGB, or what is wrong with it, in one of the threads.

        None stands for one that is to be read alone, by who takes it.

        Raises:
            ArgumentError: ``max_pixels`` is no positive number.
        """
        most_bytes(max_pixels)
        try:
            folder = None if all(map(os.path.isabs, paths)) else os.getcwd()
        except OSError:  # it is there no more
            return [*read_each(paths, max_pixels)]
        child = self._ready_child()
        if child is None:
            return [None for _ in paths] if self._is_closed else [*read_each(paths, max_pixels)]
        try:
            read = child.read(paths, folder, max_pixels)
        except _EndedError as ended:
            return self._again(child, ended, paths, max_pixels)
        self._idle.append(child)
        return read

    def _again(self, child: _Child, ended: _EndedError, paths: Sequence[str], max_pixels: int) -> list[Read]:
        """Read what a process that has ended did not, by another in its place, but for the file that it had."""
        with self._lock:
            if self._is_closed:
                return [None for _ in paths]
            self._children.remove(child)
        child.end(_END_S)
        other = self._start()
        if other is not None:
            self._add(other)
        if ended.index is None:
            return [*read_each(paths, max_pixels)]
        before, path, behind = paths[: ended.index], paths[ended.index], paths[ended.index + 1 :]
        error = ImageError(f"cannot read the picture {path}: the process that read it has ended", child.why())
        rest = [self.read(part, max_pixels) if part else [] for part in (before, behind)]
        return [*rest[0], error, *rest[1]]

    def _ready_child(self) -> _Child | None:
        """Return a process that waits, if one does."""
        for waiting in (self._idle, self._starting):
            try:
                child = waiting.pop()
            except IndexError:
                continue
            if waiting is self._idle:
                return child
            if child.is_ready():
                return child
            self._add_late(child)
        return None

    def _start(self) -> _Child | None:
        with self._lock:
            if self._is_closed:
                return None
            try:
                child = _Child()
            except OSError as error:
                self._warn(str(error))
                return None
            self._children.append(child)
            return child

    def _add(self, child: _Child) -> None:
        if child.is_ready(wait=True):
            self._idle.append(child)
        else:
            self._drop(child)

    def _add_late(self, child: _Child) -> None:
        if child.has_ended:
            self._drop(child)
        else:
            self._starting.appendleft(child)

    def _drop(self, child: _Child) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._children.remove(child)
        child.end(_END_S)
        self._warn(child.why())

    def _warn(self, why: str) -> None:
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            warnings.warn(f"a process that reads pictures cannot be started, so that threads read: {why}", stacklevel=2)

    def _forget(self) -> None:
        """Leave the processes to the one that was forked, whose threads are not here either: new ones read."""
        self.has_processes, self._lock = False, threading.RLock()
        if not self._is_closed:
            self.threads = reading_threads(self.count)
        self._idle.clear()
        self._starting.clear()
        while self._children:
            self._children.pop().forget()


class _EndedError(Exception):
    """A process has ended; ``index`` is the file of the group that it had, None for none."""

    def __init__(self, index: int | None) -> None:
        super().__init__(index)
        self.index = index


class _Lent:
    """What an image in a slot is an array of; with the last view of it the slot is free.

    Where this process was forked meanwhile, the other one may see it still, so that the slot is not used again.
    """

    def __init__(self, slot: Shared, number: int, shape: tuple[int, ...], child: _Child) -> None:
        self.__array_interface__ = {"data": (slot.address, False), "shape": shape, "typestr": "|u1", "version": 3}
        self._slot, self._number = slot, number
        self._freed, self._gone, self._forks = child.freed, child.gone, _forks[0]

    def __del__(self, forks: list[int] = _forks) -> None:  # in any thread, and when modules are gone
        (self._freed if self._forks == forks[0] else self._gone).append(self._number)


class _Child:
    """A process, as the thread sees it that has it."""

    def __init__(self) -> None:
        self.freed: deque[int] = deque()  # numbers of slots
        self.gone: deque[int] = deque()
        self.has_ended = self._is_killed = False
        self._slots: dict[int, Shared] = {}
        with contextlib.ExitStack() as passed, contextlib.ExitStack() as failed:
            descriptor = _above_standard(os.memfd_create("trtnn-reader"))
            passed.callback(os.close, descriptor)
            self._connection, its = _connected()
            passed.callback(its.close)
            failed.callback(self._connection.close)
            os.ftruncate(descriptor, mmap.PAGESIZE)
            self._page = Shared(descriptor, mmap.PAGESIZE)
            self._page.array((1,))[0] = NONE
            self._process = subprocess.Popen(
                command_of("trtnn.vision.reader_process", its.fileno(), descriptor, ignored=_ENDS),
                pass_fds=(its.fileno(), descriptor),
                env={**os.environ, **_ONE_THREAD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if _is_open(2) else subprocess.DEVNULL,
            )
            failed.pop_all()
        self.process_id = self._process.pid

    def is_ready(self, wait: bool = False) -> bool:
        """Return whether it has begun."""
        try:
            self._connection.settimeout(_START_S if wait else 0)
            said = self._connection.recv(len(READY))
            self._connection.settimeout(None)
        except BlockingIOError:
            return False
        except OSError:
            said = b""
        self.has_ended = said != READY
        return not self.has_ended

    def read(self, paths: Sequence[str], folder: str | None, max_pixels: int) -> list[Read]:
        """Have it read files, in a folder where their paths say none.

        Raises:
            _EndedError: it has ended.
        """
        freed, gone = _taken(self.freed), _taken(self.gone)
        for number in gone:
            self._slots.pop(number, None)
        try:
            send(self._connection, (paths, max_pixels, folder, freed, gone))
            (answers, made, dropped), descriptors = receive(self._connection)
        except (OSError, EOFError):
            index = int(self._page.array((1,))[0])
            raise _EndedError(None if index == NONE else index) from None
        for number in dropped:
            del self._slots[number]
        self._map(made, descriptors)
        return [self._read(answer) for answer in answers]

    def _map(self, made: Sequence[tuple[int, int]], descriptors: Sequence[int]) -> None:
        for (number, size), descriptor in zip(made, descriptors, strict=False):  # no more files may be open
            try:
                self._slots[number] = Shared(descriptor, size)
            except OSError:
                pass
            finally:
                os.close(descriptor)

    def _read(self, answer: Sequence[Any] | None) -> Read:
        if answer is None:
            return None
        if isinstance(answer[0], str):
            return ImageError(*answer)
        number, height, width = answer
        slot = self._slots.get(number)
        if slot is None:
            self.gone.append(number)
            return None
        return np.asarray(_Lent(slot, number, (height, width, 3), self))

    def why(self) -> str:
        """Return how it has ended."""
        code = self._process.returncode
        if self._is_killed:
            return "it did not answer"
        if code == -signal.SIGKILL:
            return "it was killed, as the system does where there is no memory left"
        if code < 0:
            return f"it ended by {signal.strsignal(-code) or 'a signal'}, signal {-code}"
        return f"it ended with the code {code}; what it said stands above, on standard error"

    def kill(self) -> None:
        """End it at once, and do not wait for that."""
        self._is_killed = True
        self._process.kill()
        with contextlib.suppress(OSError):  # the other end is gone
            self._connection.shutdown(socket.SHUT_RDWR)

    def end(self, patience_s: float = 0.0) -> None:
        """End it, at once or where it does not end by itself; it has nothing that would be left behind."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._connection.close()

    def forget(self) -> None:
        """Leave it to the process that this one was forked of."""
        self._connection.close()
        self._process.returncode = 0


def _taken(numbers: deque[int]) -> list[int]:
    """Take all numbers; others are appended meanwhile."""
    return [numbers.popleft() for _ in range(len(numbers))]


def most_readers(processors: int) -> int:
    """Return how many processes read where there are so many processors: an eighth is left to who takes images."""
    return max(1, min(MOST_PROCESSES, processors - processors // 8))


def can_share() -> bool:
    """Return whether this system has what processes share images by: Linux."""
    return hasattr(os, "memfd_create") and hasattr(socket, "recv_fds")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _connected() -> list[socket.socket]:
    """Return the two ends of a connection."""
    return [socket.socket(fileno=_above_standard(end.detach())) for end in socket.socketpair()]


def _above_standard(descriptor: int) -> int:
    """Return a descriptor in place of one of standard input, output or errors, and any other as it is.

    Where this process has none of these, whatever it opens next has their numbers, and would be written to as such.
    """
    if descriptor > 2:
        return descriptor
    import fcntl  # which Windows has not

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def _end(children: list[_Child]) -> None:
    for child in children:
        child.kill()
    while children:
        children.pop().end()


def _forking() -> None:
    _forks[0] += 1


def _forked() -> None:
    for readers in list(_all):
        readers._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking, after_in_parent=_forking, after_in_child=_forked)
