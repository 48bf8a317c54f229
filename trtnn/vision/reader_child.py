"""A process that reads files of images, as the threads see it that have it; its own part is `reader_process.py`."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ImageError
from trtnn.processes import command_of
from trtnn.vision.reader_process import NONE, READY, Shared, connected, receive, send

_START_S = 120.0  # to import and say so
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else ()  # Windows has no readers
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Read = np.ndarray | ImageError | None
_forks = [0]  # how often this process was forked, and began to be


class EndedError(Exception):
    """A process has ended, or is not to be used any more.

    Args:
        had_begun: whether it may have begun the group, as the first of those that have no answer.
        index: of the group's file that it had, None for none.
    """

    def __init__(self, had_begun: bool, index: int | None = None) -> None:
        super().__init__(had_begun, index)
        self.had_begun, self.index = had_begun, index


class _Lent:
    """What an image in a slot is an array of; with the last view of it the slot is free.

    Where this process was forked meanwhile, the other one may see it still, so that the slot is not used again.
    """

    def __init__(self, slot: Shared, number: int, shape: tuple[int, ...], child: Child) -> None:
        self.__array_interface__ = {"data": (slot.address, False), "shape": shape, "typestr": "|u1", "version": 3}
        self._slot, self._number = slot, number
        self._freed, self._gone, self._forks = child.freed, child.gone, _forks[0]

    def __del__(self, forks: list[int] = _forks) -> None:  # in any thread, and when modules are gone
        (self._freed if self._forks == forks[0] else self._gone).append(self._number)


class Child:
    """A process, as the threads see it that have it.

    Each sends its group at once and takes its answer in its turn. The first one under way always takes what comes, in
    a thread that waits for no other, so that the process gets rid of its answer, and then reads the request that a
    thread may be sending: they never wait for each other, however long the messages are.
    """

    def __init__(self) -> None:
        self.freed: deque[int] = deque()  # numbers of slots
        self.gone: deque[int] = deque()
        self.has_ended = self._is_killed = False
        self.replacing = threading.Lock()
        self._sending, self._last = threading.Lock(), threading.Lock()  # held until the last request has its answer
        self._sent = self._answered = 0
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
            EndedError: it has ended.
        """
        with contextlib.ExitStack() as answered:
            with self._sending:
                number, before, mine = self._sent, self._last, threading.Lock()
                answered.enter_context(mine)
                self._sent, self._last = number + 1, mine
                self._send((paths, max_pixels, folder))
            with before:
                if number != self._answered:  # one before it has none
                    raise EndedError(False)
                return self._take()

    def _send(self, request: Sequence[Any]) -> None:
        freed, gone = _taken(self.freed), _taken(self.gone)
        for number in gone:
            self._slots.pop(number, None)
        try:
            send(self._connection, (*request, freed, gone))
        except (OSError, MemoryError):  # it has ended, or does so once it has answered what is before
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    def _take(self) -> list[Read]:
        try:
            (answers, made, dropped), descriptors = receive(self._connection)
            for number in dropped:
                del self._slots[number]
            self._map(made, descriptors)
            read = [self._read(answer) for answer in answers]
        except (EOFError, ConnectionResetError):
            index = int(self._page.array((1,))[0])
            raise EndedError(True, None if index == NONE else index) from None
        except (OSError, MemoryError):  # here, so that no file is to blame; it may wait for its answer to be taken
            self.kill()
            raise EndedError(True) from None
        self._answered += 1
        return read

    def _map(self, made: Sequence[tuple[int, int]], descriptors: Sequence[int]) -> None:
        for (number, size), descriptor in zip(made, descriptors, strict=False):  # no more files may be open
            with contextlib.suppress(OSError, MemoryError):
                self._slots[number] = Shared(descriptor, size)
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

    def __del__(self) -> None:
        """Close the connection: sooner a thread might have its descriptor, whose number may be another file's then."""
        if hasattr(self, "_connection"):
            self._connection.close()

    def forget(self) -> None:
        """Leave it to the process that this one was forked of."""
        self._connection.close()
        self._process.returncode = 0


def _taken(numbers: deque[int]) -> list[int]:
    """Take all numbers; others are appended meanwhile."""
    return [numbers.popleft() for _ in range(len(numbers))]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _connected() -> list[socket.socket]:
    """Return the two ends of a connection."""
    return [socket.socket(fileno=_above_standard(end.detach())) for end in connected()]


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


def _forking() -> None:
    _forks[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking, after_in_parent=_forking)
