"""Threads of trtnn's own, which are told by their names."""

from __future__ import annotations

import threading

PREFIX = "trtnn-"


def is_own(kind: str = "") -> bool:
    """Return whether this thread is one of trtnn's own.

    The garbage collector may end something in any thread. In one of these it must not wait for another that may wait
    for this one.

    Args:
        kind: what their name begins with, of all.
    """
    return threading.current_thread().name.startswith(PREFIX + kind)
