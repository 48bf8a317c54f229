"""The error for a file whose content is not what its name promises, with a guess at how it came to be so."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trtnn.errors import CheckpointError


class Kind(NamedTuple):
    """A format of checkpoints that its first bytes tell.

    Attributes:
        words: what it is called.
        suffixes: of the names of such files, the usual one first.
    """

    words: str
    suffixes: tuple[str, ...]


_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar")
_ZIP = Kind("a zip file, as torch writes", (*_TORCH, ".npz"))
_OLD = Kind("an old one of torch", _TORCH)
_SAFETENSORS = Kind("safetensors", (".safetensors",))


def kind_of(start: bytes) -> Kind | None:
    """Return the format of a checkpoint by its first 16 bytes; None where they tell none."""
    if start.startswith(b"PK\x03\x04"):
        return _ZIP
    if start.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9"):
        return _OLD
    return _SAFETENSORS if start[4:10] == b'\0\0\0\0{"' else None


def damaged(path: Path, problem: str, *details: str) -> CheckpointError:
    """Return the error "PATH PROBLEM" with the details and, last, what to do about the file."""
    return CheckpointError(f"{path} {problem}", *details, _advice(path))


def _advice(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    if start.lstrip().startswith(b"<"):
        return "it begins like a web page: download the file itself, not the page about it"
    if start.lstrip().startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file it points to: run git lfs pull"
    kind = kind_of(start)
    if kind is not None and path.suffix.lower() not in kind.suffixes:
        return f"by its first bytes it is of another format ({kind.words}): call it {path.stem}{kind.suffixes[0]}"
    return "the download or copy may be incomplete: download it again"
