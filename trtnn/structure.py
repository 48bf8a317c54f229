"""Nested tuples, lists and dicts of values: taken apart into a flat list, and put together again.

The description of a structure is plain JSON, so that an engine file can hold it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

from trtnn.errors import ArgumentError

CONSTANTS = (type(None), bool, int, float, str)
_MOST_LEVELS = 100  # Python's recursion ends soon behind, and JSON's


def _level_below(level: int) -> int:
    """Return the level of what a tuple, list or dict of a level holds.

    Raises:
        ArgumentError: it is too deep.
    """
    if level >= _MOST_LEVELS:
        raise ArgumentError(
            f"tuples, lists and dicts may be nested in {_MOST_LEVELS} levels, and these are in more",
            "one that holds itself has no end",
        )
    return level + 1


def flatten(
    value: Any, name: str = "output", taken: Collection[str] = (), constants: bool = False
) -> tuple[dict[str, Any], Any]:
    """Take ``value`` apart.

    Args:
        value: the whole.
        name: of a lone leaf, and the beginning of the others' names.
        taken: names that no leaf may have.
        constants: whether None, bools, numbers and strings stay in the structure, as ``{"value": ...}``, and are no
            leaves.

    Returns:
        The leaves by name, and the structure: a leaf's name, or ``{"tuple": [...]}``, ``{"list": [...]}``,
        ``{"dict": {...}}`` of structures. A lone leaf is called ``name``, an item of a tuple or list ``name_0``,
        ``name_1``, ..., a value of a dict by its key, deeper ones by both joined with ``_``. Names in ``taken``, and
        those that come up twice, get ``_2``, ``_3``, ... behind them.

    Raises:
        ArgumentError: a key of a dict is not a string, or the structure is too deep, as one is that holds itself.
    """
    leaves: dict[str, Any] = {}
    return leaves, _take_apart(value, name, "", leaves, taken, CONSTANTS if constants else ())


def _take_apart(  # no closure: one that calls itself is a circle, which keeps the leaves until the collector comes
    value: Any,
    name: str,
    prefix: str,
    leaves: dict[str, Any],
    taken: Collection[str],
    kept: tuple[type, ...],
    level: int = 0,
) -> Any:
    if isinstance(value, (tuple, list)):
        kind, how = "tuple" if isinstance(value, tuple) else "list", (leaves, taken, kept, _level_below(level))
        return {kind: [_take_apart(item, f"{name}_{i}", f"{name}_{i}_", *how) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ArgumentError(f"the keys of a returned dict are strings, not {list(value)}")
        how = leaves, taken, kept, _level_below(level)
        return {
            "dict": {key: _take_apart(item, f"{prefix}{key}", f"{prefix}{key}_", *how) for key, item in value.items()}
        }
    if isinstance(value, kept):
        return {"value": value}
    unique, n = name, 2
    while unique in leaves or unique in taken:
        unique, n = f"{name}_{n}", n + 1
    leaves[unique] = value
    return unique


def unflatten(structure: Any, leaves: dict[str, Any], level: int = 0) -> Any:
    """Put leaves back into the structure that :func:`flatten` described.

    Raises:
        ArgumentError: it is deeper than any of :func:`flatten`.
    """
    if isinstance(structure, str):
        return leaves[structure]
    if "value" in structure:
        return structure["value"]
    below = _level_below(level)
    if "dict" in structure:
        return {key: unflatten(item, leaves, below) for key, item in structure["dict"].items()}
    kind = tuple if "tuple" in structure else list
    return kind(unflatten(item, leaves, below) for item in structure["tuple" if kind is tuple else "list"])


def leaves_of(structure: Any, value: Any) -> dict[str, Any]:
    """Return the leaves of a value by the names that a structure gives them: the inverse of :func:`unflatten`.

    Raises:
        ArgumentError: the value has another structure.
    """
    if isinstance(structure, str):
        return {structure: value}
    if "value" in structure:
        return {}
    kind, inner = next(iter(structure.items()))
    if isinstance(value, {"tuple": tuple, "list": list, "dict": dict}[kind]) and len(value) == len(inner):
        keys = inner if kind == "dict" else range(len(inner))
        if kind != "dict" or value.keys() == inner.keys():
            parts = (leaves_of(inner[key], value[key]) for key in keys)
            return {name: leaf for part in parts for name, leaf in part.items()}
    held = ", ".join(inner) if kind == "dict" else len(inner)
    raise ArgumentError(f"expected a {kind} of {held}, received a {type(value).__name__}")


def map_leaves(function: Callable[[Any], Any], value: Any, level: int = 0) -> Any:
    """Return ``value`` with ``function`` applied to each leaf; namedtuples and dicts of other classes stay such.

    Raises:
        ArgumentError: it is too deep, as one is that holds itself.
    """
    if isinstance(value, (tuple, list)):
        below = _level_below(level)
        items = [map_leaves(function, item, below) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, dict):
        below = _level_below(level)
        items = {key: map_leaves(function, item, below) for key, item in value.items()}
        if type(value) is dict:
            return items
        same_class = copy.copy(value)
        for key, item in items.items():
            same_class[key] = item
        return same_class
    return function(value)
