"""A folder of results: what a command wrote there is overwritten by the next, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from trtnn.errors import ArgumentError
from trtnn.files import atomic_write, check_writable, make_folder

MARKER = ".trtnn-detect"
_MOST_BYTES = 1 << 26
_MOST_SHOWN = 5


class ResultFolder:
    """A folder, and the digest of each file that was written there, which a hidden file in it remembers.

    Args:
        path: of the folder; it is made by the first file that is written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._marker = path, path / MARKER
        self._written = set(_read_marker(self._marker))

    def wrote(self, path: Path) -> bool:
        """Whether a file is as it was written here."""
        if path.is_symlink() or not path.is_file():
            return False
        name = self._name(path)
        if not any(name == other for other, _ in self._written):
            return False
        with open(path, "rb") as file:
            return (name, _digest(file.read())) in self._written

    def check(self, paths: Iterable[Path], force: bool = False) -> None:
        """Check that files can be written, and that those which are there were written by a command.

        Args:
            paths: of the files.
            force: whether others may be overwritten too.

        Raises:
            ArgumentError: they cannot, or were not.
        """
        paths = list(paths)
        make_folder(self.path)
        if os.path.lexists(self._marker) and (self._marker.is_symlink() or not self._marker.is_file()):
            raise ArgumentError(f"{self._marker} is no regular file", "delete it, or give another folder with --output")
        for path in paths:
            if path.parent.is_dir():
                check_writable(path)
        others = [] if force else [path for path in paths if os.path.lexists(path) and not self.wrote(path)]
        if others:
            names = ", ".join(map(str, others[:_MOST_SHOWN])) + (", ..." if len(others) > _MOST_SHOWN else "")
            files = "a file that it did not write" if len(others) == 1 else f"{len(others)} files that it did not write"
            raise ArgumentError(
                f"this would overwrite {files}: {names}", "give another folder with --output, or overwrite with --force"
            )

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the folder, whole or not at all."""
        make_folder(path.parent)
        entry = self._name(path), _digest(data)
        if entry not in self._written:  # first, so that no file is without its digest where this is cut off
            with open(self._marker, "a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(entry)}\n")  # a line that was cut off before stays alone
            self._written.add(entry)
        with atomic_write(path) as file:
            file.write(data)

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path)).as_posix()


def without_results(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return paths without those that a command wrote into their folder, or into one above it up to ``root``."""
    folders: dict[Path, ResultFolder | None] = {}
    kept = []
    for path in paths:
        places = [parent for parent in path.parents if parent == path.parent or parent.is_relative_to(root)]
        for place in places:
            if place not in folders:
                folders[place] = ResultFolder(place) if (place / MARKER).is_file() else None
        if not any(folder.wrote(path) for place in places if (folder := folders[place]) is not None):
            kept.append(path)
    return kept


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_marker(path: Path) -> Iterable[tuple[str, str]]:
    """Yield the name and the digest in each line; a line that was cut off is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            name, digest = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(name, str) and isinstance(digest, str):
            yield name, digest
