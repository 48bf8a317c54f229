"""The error for a model name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

from trtnn.errors import ArgumentError, nearest


def unknown_name(name: str, names: Iterable[str]) -> ArgumentError:
    """Return an error that names the nearest known name, and all of them."""
    names = list(names)
    near = nearest(str(name), names, cutoff=0.0)
    return ArgumentError(f"no model is called {name!r}", *near, f"known: {', '.join(names)}")
