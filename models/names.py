"""The error for a model name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

from trtnn.errors import ArgumentError, nearest

_MOST = 60  # names that are listed


def unknown_name(name: str, names: Iterable[str]) -> ArgumentError:
    """Return an error that names the nearest known name, and all of them where they are not too many."""
    names = list(names)
    near = nearest(str(name).lower(), names, cutoff=0.0)
    known = f"known: {', '.join(names)}" if len(names) <= _MOST else f"trtnn models lists all {len(names)}"
    return ArgumentError(f"no model is called {name!r}", *near, known)
