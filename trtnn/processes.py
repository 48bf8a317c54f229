"""Processes of trtnn's own: how one is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from signal import Signals

# Not -m, which would look for modules in the current folder first: what lies there may be anybody's.
_MAIN = """
import sys
sys.path[:] = sys.argv[1:]
import signal
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
from {module} import main
main(*{arguments})
"""


def command_of(module: str, *arguments: str | int, ignored: Sequence[Signals]) -> list[str]:
    """Return the command that runs the function ``main`` of a module, which imports from where this process does.

    Args:
        module: its name.
        *arguments: what ``main`` takes.
        ignored: signals that do not end it, since they come to the whole group and are meant for this process.

    Raises:
        OSError: there is no program for Python here.
    """
    if not sys.executable:
        raise OSError("there is no program for Python here")
    main = _MAIN.format(ignored=[*map(int, ignored)], module=module, arguments=arguments)
    return [sys.executable, "-c", main, *filter(_can_be_told, sys.path)]


def _can_be_told(place: object) -> bool:
    """Return whether a program can be told an entry of sys.path; of others nothing is imported."""
    try:
        return isinstance(place, str) and b"\0" not in os.fsencode(place)
    except UnicodeEncodeError:
        return False
