"""Protocol buffers' text format, as far as ``config.pbtxt`` needs it.

https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]  # fields by name: messages, sequences of what is repeated, Words, text, numbers and bools
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Word(str):
    """The name of an enumeration's value, which stands without quotes."""


def to_text(message: Message) -> str:
    """Return a message as text, a field a line."""
    return "\n".join(_lines(message, "")) + "\n"


def _lines(message: Message, indent: str) -> Iterator[str]:
    for name, value in message.items():
        repeated = isinstance(value, Sequence) and not isinstance(value, str)
        if repeated and not any(isinstance(item, Mapping) for item in value):
            yield f"{indent}{name}: [{', '.join(map(_scalar, value))}]"
            continue
        for item in value if repeated else [value]:
            if isinstance(item, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    return repr(value)


def _escaped(character: str) -> str:
    """Return a character as it stands within quotes: what a reader of lines might stumble over as octal bytes."""
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
