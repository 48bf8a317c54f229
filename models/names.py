"""The error for a model name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

from trtnn.errors import ArgumentError, nearest


def unknown_name(name: str, known: Iterable[str]) -> ArgumentError:
    """Return an error that names the nearest known name, and all of them."""
    known = list(known)
    near = nearest(str(name), known, cutoff=0.0)
    return ArgumentError(f"no model is called {name!r}", *near, f"known: {', '.join(known)}")
