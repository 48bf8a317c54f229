"""The error for a model name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

from trtnn.errors import ArgumentError, nearest

_MOST = 60  # names that are listed
_MOST_BEGINNING = 5  # those of a family's sizes


def unknown_name(name: str, names: Iterable[str]) -> ArgumentError:
    """Return an error that names the nearest known name, and all of them where they are not too many.

    Of a family's name, which lacks a size, those are named that begin with it.
    """
    names, wanted = list(names), str(name).lower()
    longer = [other for other in names if wanted and other.startswith(wanted) and other != wanted]
    begin = [f"begin with it: {', '.join(longer[:_MOST_BEGINNING])}"]
    near = begin if len(longer) > 1 and wanted not in names else nearest(wanted, names, cutoff=0.0)
    known = f"known: {', '.join(names)}" if len(names) <= _MOST else f"trtnn models lists all {len(names)}"
    return ArgumentError(f"no model is called {name!r}", *near, known)
