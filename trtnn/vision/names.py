"""The names of classes out of a file: YOLO's data.yaml, JSON, or text with one a line."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trtnn.errors import ArgumentError, BackendError

_MOST_BYTES = 1 << 20  # the names of 20,000 classes, and what is read within seconds
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """Read the names of classes, by index.

    Args:
        path: of a ``.yaml`` or ``.yml`` file, such as the data.yaml that YOLO is trained with, or a ``.json`` file:
            their ``names``, or all of them, are a list, or a dict by index; what else there is does not count. Any
            other file holds one name a line, or one line of names with commas between. In UTF-8, or UTF-16 with its
            mark.

    Raises:
        ArgumentError: there is no such file, it cannot be read as one of these, or a name is missing.
        BackendError: it is YAML, and PyYAML is missing.
    """
    path = Path(path)
    text, suffix = _read_text(path), path.suffix.lower()
    try:
        if suffix in (".yaml", ".yml"):
            return _by_index(_names_of(_parse_yaml(text)))
        if suffix == ".json":
            return _by_index(_names_of(json.loads(text, object_pairs_hook=_Pairs)))
        lines = re.split("\r\n|\r|\n", text)
        return split_names(text) if len(_filled(lines)) == 1 and "," in text else _checked(lines)
    except (ValueError, RecursionError) as error:
        summary = f"{path} gives no names of classes: {next(iter(str(error).splitlines()), 'it is too deep')}"
        raise ArgumentError(summary, "names are a list, or a dict by index, in YAML or JSON; or one a line") from None


def split_names(text: str) -> list[str]:
    """Return the names in a text that has commas between them.

    Raises:
        ValueError: one of them is missing.
    """
    return _checked(text.split(","))


def _filled(names: Iterable[str]) -> list[str]:
    """Return names without the space around them, and without empty ones at the end."""
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    return names


def _checked(names: Iterable[str]) -> list[str]:
    names = _filled(names)
    if not names:
        raise ValueError("there are none")
    if "" in names:
        raise ValueError(f"number {names.index('')} is empty, and those behind it would have wrong numbers")
    return names


def _read_text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ArgumentError(f"{path} gives no names of classes: it is no regular file")
        if status.st_size > _MOST_BYTES:
            raise ArgumentError(f"{path} gives no names of classes: it has more than {_MOST_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ArgumentError(f"{path} gives no names of classes: {error.strerror}") from error
    encoding = next((encoding for mark, encoding in _BOMS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ArgumentError(f"{path} is not a text file", "names of classes are in UTF-8")
    return text


class _Pairs(list):
    """A dict's keys and values in order, of which one may be there twice."""


def _names_of(value: Any) -> Any:
    """Return what a file has under ``names``, or all of it where it is a list, or a dict of numbers."""
    if isinstance(value, _Pairs):
        named = [inner for key, inner in value if key == "names"]
        if len(named) > 1:
            raise ValueError("it has names twice")
        return named[0] if named else value
    return value


def _by_index(value: Any) -> list[str]:
    if isinstance(value, _Pairs):
        keys = [str(key) for key, _ in value]
        if not any(key.isdecimal() for key in keys):
            raise ValueError("it has no names")
        wanted = [str(index) for index in range(len(keys))]
        if sorted(keys) != sorted(wanted):
            odd = next((key for key in keys if key not in wanted or keys.count(key) > 1), None)
            raise ValueError(f"it has {len(keys)} names, and {odd!r} is not one number of 0 to {len(keys) - 1}")
        by_key = dict(zip(keys, (inner for _, inner in value), strict=True))
        value = [by_key[key] for key in wanted]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError("it has no list of names, and no dict of them by index")
    if any(isinstance(name, list | dict | type(None)) for name in value):
        raise ValueError("a name is a list, a dict, or nothing")
    return _checked(map(str, value))


def _parse_yaml(text: str) -> Any:
    """Return YAML as lists, pairs and texts: a class called ``no`` or ``1.0`` is no boolean, and no number."""
    try:
        import yaml
    except ImportError:
        raise BackendError("names in YAML are read by PyYAML, which is missing", "pip install pyyaml") from None

    def plain(node: Any, level: int = 0) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == "tag:yaml.org,2002:null" and node.style is None else node.value
        if level > 1:  # names are not so deep; an alias can stand for any number of items
            return []
        if isinstance(node, yaml.SequenceNode):
            return [plain(item, level + 1) for item in node.value]
        named = [pair for pair in node.value if pair[0].value == "names"] if level == 0 else []
        return _Pairs((str(key.value), plain(value, level + 1)) for key, value in named[:2] or node.value)

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{problem}{'' if mark is None else f', in line {mark.line + 1}'}") from None
    if node is None:
        raise ValueError("it is empty")
    return plain(node)
