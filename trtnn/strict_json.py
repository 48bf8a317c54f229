"""JSON of a file that may be hostile: UTF-8, one object, and no key twice, which readers would take differently."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that ``data`` is.

    Raises:
        ValueError: it is no such object; with the reason.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}, not an object")
    return value


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"it has {name!r} twice")
        result[name] = value
    return result
