"""What several threads read ahead of who takes it, in order, in bounded memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from trtnn.threads import Here

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

MOST_READERS = 16  # threads; more wait for each other
MOST_BYTES = 1 << 28  # of what was read and is not taken, beside as many as are always read ahead
_TRIM, _MAP = (-1, 1 << 30), (-3, 1 << 25)  # M_TRIM_THRESHOLD, and M_MMAP_THRESHOLD, which may be no higher

Item = TypeVar("Item")
Made = TypeVar("Made")


def reading_threads(count: int) -> ThreadPoolExecutor:
    """Return so many threads that read images, in a process that keeps what it frees for the next ones."""
    from concurrent.futures import ThreadPoolExecutor

    keep_freed_memory()
    return ThreadPoolExecutor(count, "trtnn-read")


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep memory that is freed, unless the environment says how much.

    Else it gives most of several images back to the system at once, whose pages are mapped and cleared anew for the
    next ones: by one process's threads one after another. Other C libraries are left as they are.
    """
    told = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if not told and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        with contextlib.suppress(AttributeError, OSError, TypeError):  # there is none; TypeError is Windows
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(*_MAP)
            mallopt(*_TRIM)


class ReadAhead(Generic[Item, Made]):
    """What threads make of items, taken in the items' order.

    So many are always begun ahead of what is taken. Where one takes long, such as a large image among small ones, the
    other threads begin up to four times as many meanwhile, as long as what is done has no more than
    :data:`MOST_BYTES` in all. So no more is there than that and what is always begun.

    Args:
        pool: the threads; several may share it.
        threads: how many.
        always: how many are begun in any case; at least as many as there are threads.
        items: any number; a thread takes one at a time.
        make: called in a thread with an item; what it raises is raised where the item is taken.
        nbytes: of what was made.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        threads: int,
        always: int,
        items: Iterable[Item],
        make: Callable[[Item], Made],
        nbytes: Callable[[Made], int],
    ) -> None:
        self._here, self._pool, self._make, self._nbytes = Here(), pool, make, nbytes
        self._threads, self._always, self._most = threads, always, 4 * always
        self._rest = iter(items)
        self._begun: deque[tuple[Item, Future[Made]]] = deque()
        self._under_way = self._bytes = 0
        self.is_all_begun = False
        self._lock = threading.RLock()  # the garbage collector may close it in a thread that holds it
        self._begin()

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._begun)

    def take(self) -> tuple[Item, Future[Made]]:
        """Return the next item and, once it is done, what was made of it.

        Raises:
            TrtnnError: this process was forked of the one that has the threads.
        """
        self._here.check("this reading ahead")
        with self._lock:
            item, future = self._begun.popleft()
            self._begin()
        if future.exception() is None:
            with self._lock:
                self._bytes -= self._nbytes(future.result())
        return item, future

    def close(self) -> None:
        """Begin no more, and none of those that wait."""
        if not self._here:
            return
        with self._lock:
            self.is_all_begun = True
            while self._begun:
                self._begun.popleft()[1].cancel()

    def _begin(self) -> None:
        with self._lock:
            while not self.is_all_begun and self._has_room():
                for item in self._rest:
                    self._under_way += 1
                    self._begun.append((item, self._pool.submit(self._work, item)))
                    break
                else:
                    self.is_all_begun = True

    def _has_room(self) -> bool:
        count = len(self._begun)
        is_small = self._under_way < self._always and self._bytes < MOST_BYTES
        return count < self._always or (count < self._most and is_small)

    def _work(self, item: Item) -> Made:
        nbytes = 0
        try:
            made = self._make(item)
            nbytes = self._nbytes(made)
            return made
        finally:
            with self._lock:
                self._under_way -= 1
                self._bytes += nbytes
                if self._under_way < self._threads:  # who takes waits for one that takes long
                    self._begin()
