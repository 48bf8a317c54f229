"""The names of classes as a file holds them: by index, which may be counted otherwise, or leave some out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtnn.errors import harmless_text, listed

_MOST_CLASSES = 10_000


def read_class_names(path: Path, names: Mapping[Any, Any], classes: int | None) -> list[str] | None:
    """Return the names of classes by index; a warning tells what is odd about them, and what is made of it.

    Args:
        path: the file, for the warning.
        names: by index, as a number or a text; or indices by name, all of 0, 1, 2, ... What is no text or number is
            no name; numbers alone are names where they are as many as there are classes, counted from 0. Names that
            are counted from 1, one for each class, are taken in their order, and a class without a name is numbered.
        classes: how many there are, where that is known.

    Returns:
        The names, or None where there are none, or they cannot be told.
    """
    try:
        taken, odd = _by_index(names, classes)
    except ValueError as error:
        taken, odd = None, f"they are left out, since {error}; give them by names=[...], or --names"
    if odd:
        warnings.warn(f"{path}, names of classes: {harmless_text(odd)}", stacklevel=2)
    return taken


def _by_index(names: Mapping[Any, Any], classes: int | None) -> tuple[list[str] | None, str]:
    """Return names by index, or None where there are none; and what is odd about them in words.

    Raises:
        ValueError: they cannot be told; with the reason.
    """
    if len(names) > _MOST_CLASSES:
        raise ValueError(f"they are more than {_MOST_CLASSES:,}")
    are_indices = all(type(index) is int for index in names.values())
    if are_indices and not any(map(_is_number, names)) and {*names.values()} == {*range(len(names))}:
        names = {index: name for name, index in names.items()}
    texts = {key: str(name) for key, name in names.items() if type(name) in (str, int)}
    if not any(isinstance(name, str) for name in names.values()) and not (
        are_indices and len(names) == classes and {*map(_index, names)} == {*range(len(names))}
    ):
        return None, ""
    by_index: dict[int, str | None] = {}
    for key in names:
        index = _index(key)
        if index is None:
            raise ValueError(
                f"{key!r:.60} is no number of a class" if type(key) in (str, int) else "a key is no number"
            )
        if index in by_index:
            raise ValueError(f"there are two of class {index}")
        by_index[index] = texts.get(key)
    numbers, count, odd = sorted(by_index), len(by_index), ""
    if numbers == list(range(1, count + 1)) and classes == count:
        odd = f"they are counted from 1, and taken in their order: {by_index[1]!r:.60} is class 0"
        by_index = {index - 1: name for index, name in by_index.items()}
    elif numbers != list(range(count)):
        their = f"their numbers are {listed(list(map(str, numbers)), 5)}"
        if classes is None:
            raise ValueError(f"{their}, and nothing tells how many classes there are")
        if not numbers[-1] < classes <= _MOST_CLASSES:
            raise ValueError(f"{their}, and those of the {classes:,} classes 0 to {classes - 1}")
        count = classes
    unnamed = [str(index) for index in range(count) if by_index.get(index) is None]
    if unnamed:
        odd = "; ".join(filter(None, [odd, f"there is none for class {listed(unnamed, 5)}"]))
    return [name if (name := by_index.get(index)) is not None else f"class{index}" for index in range(count)], odd


def _is_number(key: object) -> bool:
    return _index(key) is not None


def _index(key: object) -> int | None:
    """Return the number of a class, None where a key is none."""
    if isinstance(key, str):
        return int(key) if re.fullmatch(r"[0-9]{1,9}", key) else None
    return key if type(key) is int and key >= 0 else None
