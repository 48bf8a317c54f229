"""Nested tuples, lists and dicts of values: taken apart into a flat list, and put together again.

The description of a structure is plain JSON, so that an engine file can hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from trtnn.errors import ArgumentError

CONSTANTS = (type(None), bool, int, float, str)


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
        ArgumentError: a key of a dict is not a string.
    """
    leaves: dict[str, Any] = {}
    return leaves, _take_apart(value, name, "", leaves, taken, CONSTANTS if constants else ())


def _take_apart(  # no closure: one that calls itself is a circle, which keeps the leaves until the collector comes
    value: Any, name: str, prefix: str, leaves: dict[str, Any], taken: Collection[str], kept: tuple[type, ...]
) -> Any:
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        items = [_take_apart(item, f"{name}_{i}", f"{name}_{i}_", leaves, taken, kept) for i, item in enumerate(value)]
        return {kind: items}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ArgumentError(f"the keys of a returned dict are strings, not {list(value)}")
        items = {
            key: _take_apart(item, f"{prefix}{key}", f"{prefix}{key}_", leaves, taken, kept)
            for key, item in value.items()
        }
        return {"dict": items}
    if isinstance(value, kept):
        return {"value": value}
    unique, n = name, 2
    while unique in leaves or unique in taken:
        unique, n = f"{name}_{n}", n + 1
    leaves[unique] = value
    return unique


def unflatten(structure: Any, leaves: dict[str, Any]) -> Any:
    """Put leaves back into the structure that :func:`flatten` described."""
    if isinstance(structure, str):
        return leaves[structure]
    if "value" in structure:
        return structure["value"]
    if "dict" in structure:
        return {key: unflatten(item, leaves) for key, item in structure["dict"].items()}
    kind = tuple if "tuple" in structure else list
    return kind(unflatten(item, leaves) for item in structure["tuple" if kind is tuple else "list"])


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


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Return ``value`` with ``function`` applied to each leaf."""
    if isinstance(value, (tuple, list)):
        items = [map_leaves(function, item) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)  # a namedtuple stays one
    if isinstance(value, dict):
        return {key: map_leaves(function, item) for key, item in value.items()}
    return function(value)
