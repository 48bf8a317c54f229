"""Threads that read files of images, and processes that do it for them.

Threads of one process wait for Python's lock at each call to the system, 9 to 15 times a file, and beside the threads
that detect for half a millisecond a file: 16 of them read 1,845 files a second where decoding takes as long as for
7,000. A process has a lock of its own, and for a group of files a thread waits twice. Two threads have each process:
while one waits for the lock with what it read, it reads for the other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from trtnn.errors import ImageError
from trtnn.threads import is_own
from trtnn.vision.ahead import ReadAhead, reading_threads
from trtnn.vision.images import most_bytes
from trtnn.vision.reader_child import Child, EndedError, Read
from trtnn.vision.reader_process import GROUP_BYTES, MOST_FILES, read_each

MOST_PROCESSES = 64  # whoever takes images in one process is no faster
_UNDER_WAY = 2  # groups of a process: one that it reads, and the next one
_END_S = 5.0  # for the system, once it has hung up
_FORGETS = 0.98  # how much of the size of the largest image so far counts an image later

Item = TypeVar("Item")
Made = TypeVar("Made")
_all: weakref.WeakSet[Readers] = weakref.WeakSet()
_beginning = threading.RLock()  # no fork meanwhile: it would keep both ends of a connection, and the Popen waiting


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

    Until processes have begun, as many threads read. One that ends takes with it the file that it had, and a new one
    takes its place. Where none can be started, threads read, with one warning.

    Args:
        count: how many there are, of processes or else of threads.
        processes: whether there are processes, each with two threads.
    """

    def __init__(self, count: int, processes: bool) -> None:
        self.count, self.has_processes = count, processes and can_share()
        self._lock = threading.RLock()  # the garbage collector may close it in a thread that holds it
        self._begin_threads()
        self._children: list[Child] = []
        self._free: deque[Child] = deque()  # for each group that it may have beside its others; first those of none
        self._starting: deque[Child] = deque()
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

    def _begin_threads(self) -> None:
        self._at_once = self.count * (_UNDER_WAY if self.has_processes else 1)
        self.threads = reading_threads(self._at_once)
        self._reading = threading.Semaphore(self.count)  # threads themselves

    def ahead(
        self, items: Iterable[Item], make: Callable[[Item], Made], nbytes: Callable[[Made], int]
    ) -> ReadAhead[Item, Made]:
        """Return what the threads make of items, read ahead: always two for each process, or else for each thread.

        So two groups of each process are under way, and no more than ever are there in all: as many as these, and
        :data:`trtnn.vision.ahead.MOST_BYTES`.
        """
        return ReadAhead(self.threads, self._at_once, 2 * self.count, items, make, nbytes)

    def wait_until_ready(self) -> None:
        """Wait until each process has begun, so that no thread reads."""
        while self._starting:
            self._add(self._starting.popleft(), wait=True)

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
        self._free.clear()  # and with them the memory that no image is in
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
            return self._read_here(paths, max_pixels)
        while (child := self._ready_child()) is not None:
            try:
                read = child.read(paths, folder, max_pixels)
            except EndedError as ended:
                self._replace(child)
                if ended.had_begun:
                    return self._again(child, ended.index, paths, max_pixels)
            else:
                with self._lock:  # what it gives back last is taken first
                    (self._free.appendleft if child in self._free else self._free.append)(child)
                return read
        return self._read_here(paths, max_pixels)

    def _read_here(self, paths: Sequence[str], max_pixels: int) -> list[Read]:
        """Read files in this thread, beside as many others as there are processors for."""
        with self._reading:
            return [None for _ in paths] if self._is_closed else [*read_each(paths, max_pixels)]

    def _replace(self, child: Child) -> None:
        """Have another process in the place of one that has ended; all whom it read for wait until it has begun."""
        with child.replacing:
            if self._remove(child):
                with contextlib.suppress(ValueError):
                    while True:
                        self._free.remove(child)
                other = self._start()
                if other is not None:
                    self._add(other, wait=True)

    def _again(self, child: Child, index: int | None, paths: Sequence[str], max_pixels: int) -> list[Read]:
        """Read what a process that has ended did not, by others, but for the file that it had."""
        if self._is_closed:
            return [None for _ in paths]
        if index is None:
            return self._read_here(paths, max_pixels)
        before, path, behind = paths[:index], paths[index], paths[index + 1 :]
        error = ImageError(f"cannot read the picture {path}: the process that read it has ended", child.why())
        rest = [self.read(part, max_pixels) if part else [] for part in (before, behind)]
        return [*rest[0], error, *rest[1]]

    def _ready_child(self) -> Child | None:
        """Return a process that may have a group more, if there is one: one that has none sooner than one that has."""
        with contextlib.suppress(IndexError):
            self._add(self._starting.pop())
        with contextlib.suppress(IndexError):
            return self._free.popleft()
        return None

    def _start(self) -> Child | None:
        with self._lock, _beginning:
            if self._is_closed:
                return None
            try:
                child = Child()
            except OSError as error:
                self._warn(str(error))
                return None
            self._children.append(child)
            return child

    def _add(self, child: Child, wait: bool = False) -> None:
        """Have a process read, if it has begun."""
        if child.is_ready(wait):
            self._free.appendleft(child)
            self._free.extend([child] * (_UNDER_WAY - 1))
        elif not child.has_ended:
            self._starting.appendleft(child)
        elif self._remove(child):
            self._warn(child.why())

    def _remove(self, child: Child) -> bool:
        """End a process that is of no use any more, unless that is done; returns whether it was to be done."""
        with self._lock:
            if self._is_closed or child not in self._children:
                return False
            self._children.remove(child)
        child.end(_END_S)
        return True

    def _warn(self, why: str) -> None:
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            warnings.warn(f"a process that reads pictures cannot be started, so that threads read: {why}", stacklevel=2)

    def _forget(self) -> None:
        """Leave the processes to the one that was forked, whose threads are not here either: new ones read."""
        self.has_processes, self._lock = False, threading.RLock()
        if not self._is_closed:
            self._begin_threads()
        self._free.clear()
        self._starting.clear()
        while self._children:
            self._children.pop().forget()


def most_readers(processors: int) -> int:
    """Return how many processes read where there are so many processors: an eighth is left to who takes images."""
    return max(1, min(MOST_PROCESSES, processors - processors // 8))


def can_share() -> bool:
    """Return whether this system has what processes share images by: Linux."""
    return hasattr(os, "memfd_create") and hasattr(socket, "recv_fds")


def _end(children: list[Child]) -> None:
    for child in children:
        child.kill()
    while children:
        children.pop().end()


def _forked() -> None:
    _beginning.release()
    for readers in list(_all):
        readers._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_beginning.acquire, after_in_parent=_beginning.release, after_in_child=_forked)
