"""Where in the user's own code a call comes from, for messages."""

from __future__ import annotations

import functools
import os
import sys

import trtnn.errors

_PACKAGE = os.path.dirname(os.path.abspath(trtnn.errors.__file__))


@functools.cache
def _is_ours(file: str) -> bool:
    return os.path.abspath(file).startswith(_PACKAGE + os.sep)


def user_line() -> str | None:
    """Return ``file:line`` of the innermost caller outside trtnn's own code, or None."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not _is_ours(file):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None
