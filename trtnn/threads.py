"""Threads of trtnn's own, which are told by their names, and how many of them work at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

PREFIX = "trtnn-"


def is_own(kind: str = "") -> bool:
    """Return whether this thread is one of trtnn's own.

    The garbage collector may end something in any thread. In one of these it must not wait for another that may wait
    for this one.

    Args:
        kind: what their name begins with, of all.
    """
    return threading.current_thread().name.startswith(PREFIX + kind)


def processors() -> int:
    """Return how many processors this process may use, as it was told, and its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(count, max(1, round(int(time) / int(period))))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return count
