"""Names: which strings are names in Python, and what to call a thing whose name is taken."""

from __future__ import annotations

import keyword
from collections.abc import Callable


def is_name(text: str) -> bool:
    """Whether a string may be the name of an attribute or a variable."""
    return text.isidentifier() and not keyword.iskeyword(text)


def free_name(wanted: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name, with the first number from 2 behind it that makes it a free one where it is taken."""
    name, number = wanted, 2
    while is_taken(name):
        name, number = f"{wanted}{number}", number + 1
    return name
