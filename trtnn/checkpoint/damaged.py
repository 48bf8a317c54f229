"""The error for a file whose content is not what its name promises, with a guess at how it came to be so."""

from __future__ import annotations

from pathlib import Path

from trtnn.errors import CheckpointError


def damaged(path: Path, problem: str, *details: str) -> CheckpointError:
    """Return the error "PATH PROBLEM" with the details and, last, what to do about the file."""
    return CheckpointError(f"{path} {problem}", *details, _advice(path))


def _advice(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"<"):
        return "it begins like a web page: download the file itself, not the page about it"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file it points to: run git lfs pull"
    return "the download or copy may be incomplete: download it again"
