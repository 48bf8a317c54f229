"""JSON that is read strictly, as of a file that may be hostile, and values that may be written so."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from trtnn.errors import named

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MOST_LEVELS = 256  # of lists and objects in each other: more would end Python's recursion wherever they go


def parse_object(data: bytes, most_values: int | None = None) -> dict[str, Any]:
    """Return the JSON object that ``data`` is: UTF-8, no key twice, which readers would take differently, and no NaN.

    Args:
        data: the text.
        most_values: about how many values it may hold; a few bytes of text become a hundred of memory.

    Raises:
        ValueError: it is no such object; with the reason.
    """
    if most_values is not None:
        values = sum(map(data.count, (b",", b"[", b"{")))
        if values > most_values:
            raise ValueError(f"it has about {values:,} values, and {most_values:,} are read")
    try:
        hooks = {"object_pairs_hook": _unique, "parse_constant": _refuse, "parse_float": _finite}
        value = json.loads(data.decode("utf-8"), **hooks)
        if not isinstance(value, dict):
            raise ValueError(f"it is a {type(value).__name__}, not an object")
        _check_levels(value)
        if _SURROGATE.search(data) and _is_halved(json.dumps(value, ensure_ascii=False)):
            raise ValueError("it has half a character (a lone surrogate)")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number that float64 has; of whole ones JSON has larger."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _check_levels(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = [item for holder in level for item in (holder.values() if type(holder) is dict else holder)]
        level = [item for item in inner if type(item) is dict or type(item) is list]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def check_value(value: Any, where: str = "it") -> None:
    """Check that ``value`` is what JSON has: None, a truth, a finite number, text, or lists and dicts of these by text.

    Tuples count as lists, and whole numbers as keys become text.

    Args:
        value: any.
        where: what it is called in the error.

    Raises:
        ValueError: it is not; with the place of what JSON has not, such as ``names[2]``.
    """
    keys: list[Any] = [where]  # that lead to the item at hand
    holders: list[Iterator[tuple[Any, Any]]] = [iter([(where, value)])]
    while holders:
        keys[-1], item = next(holders[-1], (None, _END))
        if item is _END:
            holders.pop()
            keys.pop()
            continue
        why = _why_not(item)
        if why is not None:
            place = where + "".join(f"[{key!r:.100}]" for key in keys[1:])
            raise ValueError(f"{place} {why}")
        if isinstance(item, (dict, list, tuple)):
            if len(holders) > MOST_LEVELS:
                raise ValueError(f"{where} is nested too deeply")
            holders.append(iter(item.items()) if isinstance(item, dict) else enumerate(item))
            keys.append(None)


_END = object()


def _why_not(item: Any) -> str | None:
    """Return in words why JSON has no such value, whatever is in it, or None."""
    if isinstance(item, str):
        return f"has half a character (a lone surrogate): {item!r:.100}" if _is_halved(item) else None
    if isinstance(item, dict):
        for key in item:
            if not isinstance(key, str) and type(key) is not int:
                return f"has the key {key!r:.100}, a {named(key)}: keys are text"
            if isinstance(key, str) and _is_halved(key):
                return f"has a key with half a character (a lone surrogate): {key!r:.100}"
        if any(type(key) is int and str(key) in item for key in item):
            return f"has one key as a number and as text: {list(item)!r:.100}"
        return None
    if isinstance(item, float) and not math.isfinite(item):
        return f"is {item}, which JSON has not"
    return None if item is None or isinstance(item, (int, float, list, tuple)) else f"is a {named(item)}, no JSON value"


def _is_halved(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it has {constant}, which JSON has not")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"it has {name!r} twice")
        result[name] = value
    return result
