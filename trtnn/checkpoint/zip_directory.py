"""The directory of a zip file, which Python's zipfile reads whole before anything can be asked of it."""

from __future__ import annotations

from pathlib import Path

from trtnn.errors import CheckpointError

_END = b"PK\x05\x06"
_END64 = b"PK\x06\x06"
_END_SEARCH_BYTES = 22 + 65535  # where the end record may be: a comment may follow it
_LEAST_ENTRY_BYTES = 46
_ENTRY_COST_BYTES = 1000  # what zipfile keeps of an entry
_ALWAYS_ALLOWED_BYTES = 40_000_000


def check_directory(path: Path) -> None:
    """Check that a zip file's directory is not so long that reading it would fill the memory.

    Raises:
        CheckpointError: it is.
    """
    with open(path, "rb") as file:
        size_bytes = file.seek(0, 2)
        file.seek(max(0, size_bytes - _END_SEARCH_BYTES - 76))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        return  # zipfile says what is wrong with it
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if (at64 := tail.rfind(_END64, 0, at)) >= 0:
        directory_bytes = int.from_bytes(tail[at64 + 40 : at64 + 48], "little")
    entries = min(directory_bytes, size_bytes) // _LEAST_ENTRY_BYTES
    if entries * _ENTRY_COST_BYTES > size_bytes + _ALWAYS_ALLOWED_BYTES:
        raise CheckpointError(f"{path} has {size_bytes:,} bytes but a directory of up to {entries:,} files: refused")
