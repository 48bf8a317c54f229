"""Threads of trtnn's own, which are told by their names, how many of them work at once, and what they take turns at."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trtnn.errors import TrtnnError

PREFIX = "trtnn-"
_quiet = threading.RLock()


@contextmanager
def without_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of a kind, in one thread after another.

    What is ignored is the whole process's, and two threads that end it in another order than they began would leave it
    so.
    """
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def is_own(kind: str = "") -> bool:
    """Return whether this thread is one of trtnn's own.

    The garbage collector may end something in any thread. In one of these it must not wait for another that may wait
    for this one.

    Args:
        kind: what their name begins with, of all.
    """
    return threading.current_thread().name.startswith(PREFIX + kind)


class Here:
    """The process that something with threads began in.

    One that is forked of it has none of the threads, and the locks as they were, for good: to wait there for either
    never ends.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __bool__(self) -> bool:
        """Whether this is the process."""
        return os.getpid() == self._process

    def check(self, what: str) -> None:
        """Check that this is the process.

        Args:
            what: has begun there, for the message.

        Raises:
            TrtnnError: it is not.
        """
        if not self:
            raise TrtnnError(
                f"{what} began in process {self._process}, of which this one, {os.getpid()}, was forked",
                "the threads that do it are there alone; begin anew in this process",
            )


def processors() -> int:
    """Return how many processors this process may use, as it was told, and its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return min(count, max(1, round(int(time) / int(period))))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return count
