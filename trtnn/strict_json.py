"""JSON of a file that may be hostile: UTF-8, one object, no key twice, which readers would take differently.

Neither NaN nor infinity nor half a character is JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that ``data`` is.

    Raises:
        ValueError: it is no such object; with the reason.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if _SURROGATE.search(text):
            _check_characters(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}, not an object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}, which is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits[:40])


def _check_characters(value: Any) -> None:
    """Raise a ValueError where a text, or a key, has half of a pair of surrogates."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ValueError("it has half a character") from None
        elif isinstance(item, dict):
            pending += [*item, *item.values()]
        elif isinstance(item, list):
            pending += item


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"it has {name!r} twice")
        result[name] = value
    return result
