"""What a model, an engine file or another tool says of a network: names of classes, and whatever a user adds."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from trtnn.engine.file import MAX_DESCRIPTION_BYTES, MAX_VALUES, WRITTEN
from trtnn.errors import ArgumentError
from trtnn.strict_json import check_value, parse_object

#: The summary of errors of a network whose metadata cannot be of its outputs.
CONTRADICTION = "what this network says of itself and its outputs contradict each other"
_MOST_CLASSES = 1 << 16
_MOST_LITERAL = 1 << 17  # characters
# What metadata may not hold, since a description says it itself.
RESERVED = WRITTEN | {
    *("gpu", "precision", "fp32_modules", "fp16_attention", "tf32", "inner_outputs", "plugins", "quantized"),
    *("profiles", "engine_cache", "build", "hardware_compatible", "refittable", "lock"),
}


def numbered(classes: int) -> list[str]:
    """Return the names of classes that nobody named, as Ultralytics calls them."""
    return [f"class{index}" for index in range(classes)]


def told(description: Mapping[str, Any], key: str) -> Any:
    """Return what a description says under a key, None where it says nothing.

    ONNX keeps metadata as text, in Python's notation; who makes an engine of it may leave it so: ``"{0: 'cat'}"``.
    """
    value = description.get(key)
    if not isinstance(value, str) or len(value) > _MOST_LITERAL:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def class_names(description: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the classes of an engine or a network by its metadata, None where nobody named them."""
    names = _all_names(description)
    return None if names is None or names == numbered(len(names)) else names


def class_count(description: Mapping[str, Any]) -> int | None:
    """Return how many classes an engine or a network has by its metadata, None where they do not tell."""
    names, classes = _all_names(description), told(description, "classes")
    if names is not None:
        return len(names)
    return classes if isinstance(classes, int) and not isinstance(classes, bool) else None


def _all_names(description: Mapping[str, Any]) -> list[str] | None:
    """Return ``names`` by index: Ultralytics' files hold a dict, in any order; what it leaves out is numbered."""
    names = told(description, "names")
    if isinstance(names, Mapping):
        try:
            by_index = {int(index): str(name) for index, name in names.items()}
        except (TypeError, ValueError):
            return None
        if not by_index or min(by_index) < 0 or max(by_index) >= _MOST_CLASSES:
            return None
        return [by_index.get(index, f"class{index}") for index in range(max(by_index) + 1)]
    return [*map(str, names)] if isinstance(names, (list, tuple)) else None


def check_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as an engine file gives them back: lists for tuples, and text for keys.

    Raises:
        ArgumentError: they hold what is no JSON, what the file says itself, or more than is read again.
    """
    try:
        check_value(metadata, "metadata")
        text = json.dumps(metadata)
        if len(text) > MAX_DESCRIPTION_BYTES // 2:
            raise ValueError(f"metadata are {len(text):,} bytes of JSON, and {MAX_DESCRIPTION_BYTES // 2:,} may be")
        parsed = parse_object(text.encode(), MAX_VALUES // 2)
    except ValueError as error:
        raise ArgumentError(
            str(error),
            "metadata go into the engine file as JSON: None, bools, finite numbers, text, and lists and dicts of these",
            "convert the value: int(x), str(path), x.tolist()",
        ) from error
    taken = sorted(RESERVED & parsed.keys())
    if taken:
        raise ArgumentError(
            f"metadata hold {', '.join(map(repr, taken))}, which an engine file says itself", "give it another name"
        )
    return parsed
