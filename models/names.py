"""The error for a model name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from trtnn.errors import ArgumentError


def unknown_name(name: str, known: Iterable[str]) -> ArgumentError:
    """Return an error that names the nearest known name, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
    return ArgumentError(f"no model is called {name!r}", f"nearest: {near[0]}", f"known: {', '.join(known)}")
