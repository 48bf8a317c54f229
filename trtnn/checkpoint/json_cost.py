"""What JSON takes in memory once it is read, told before it is: up to a hundred times its text."""

from __future__ import annotations

from pathlib import Path

from trtnn.errors import CheckpointError

_ALWAYS_ALLOWED_BYTES = 48_000_000
# What is taken to be the cost of what a text holds, in bytes by the character that it begins with.
_COSTS = {b"{": 250, b"[": 90, b'"': 32, b",": 40, b":": 60}


def check_json_cost(path: Path, text: bytes, file_bytes: int) -> None:
    """Check that JSON in a file would not fill the memory.

    Args:
        path: the file, for the message.
        text: the JSON.
        file_bytes: the size of the whole file.

    Raises:
        CheckpointError: it would take much more than the file has.
    """
    cost_bytes = 2 * len(text) + sum(text.count(character) * cost for character, cost in _COSTS.items())
    if cost_bytes > 2 * file_bytes + _ALWAYS_ALLOWED_BYTES:
        raise CheckpointError(f"{path} has JSON of {len(text):,} bytes that would take {cost_bytes:,} to read: refused")
