"""A folder of results: what a command wrote there is overwritten by the next, and nothing else is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from trtnn.errors import ArgumentError
from trtnn.files import atomic_write, check_writable, make_folder

MARKER = ".trtnn-detect"
_MOST_BYTES = 1 << 26
_MOST_SHOWN = 5
_GROWING = "growing"  # in place of a digest


class ResultFolder:
    """A folder, and the digest of each file that was written there, which a hidden file in it remembers.

    Args:
        path: of the folder; it is made by the first file that is written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._marker = path, path / MARKER
        self._written: defaultdict[str, set[str]] = defaultdict(set)  # digests by name
        self._growing: set[str] = set()  # what a command was still writing when it was ended
        for entry in _read_marker(self._marker):
            self._take(*entry)

    @classmethod
    def at(cls, output: str) -> ResultFolder:
        """Return the folder of an option ``--output``.

        Raises:
            ArgumentError: it is an address, such as ``s3://bucket/found``.
        """
        if "://" in output:
            raise ArgumentError(f"--output {output} is no folder of this machine", "--ray ADDRESS writes to addresses")
        return cls(Path(output))

    def wrote(self, path: Path) -> bool:
        """Whether a file is as it was written here."""
        if path.is_symlink() or not path.is_file():
            return False
        name = self._name(path)
        if name in self._growing:
            return True
        if name not in self._written:
            return False
        with open(path, "rb") as file:
            return _digest(file.read()) in self._written[name]

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
                try:
                    check_writable(path)
                except ArgumentError as error:
                    raise ArgumentError(error.summary, "give another folder with --output") from None
        others = [] if force else [path for path in paths if os.path.lexists(path) and not self.wrote(path)]
        if others:
            files = "a file that it did not write" if len(others) == 1 else f"{len(others)} files that it did not write"
            raise ArgumentError(
                f"this would overwrite {files}: {some_of(others)}",
                "give another folder with --output, or overwrite with --force",
            )

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the folder, whole or not at all."""
        make_folder(path.parent)
        self._note(path, _digest(data))  # first, so that no file is without its digest where this is cut off
        with atomic_write(path) as file:
            file.write(data)

    def clear(self, inner: Path) -> tuple[list[Path], list[Path]]:
        """Remove what is in a folder within this one, and below it, as it was written here.

        Returns:
            The paths of what is removed, and of all other files there: those that others wrote, or changed.
        """
        removed, kept = [], []
        for parent, _, names in os.walk(inner):
            for path in sorted(Path(parent, name) for name in names):
                (removed if self.wrote(path) else kept).append(path)
        for path in removed:
            path.unlink()
        return removed, kept

    def begin(self, path: Path) -> None:
        """Note that a file of the folder is about to be written bit by bit: whatever is there until :meth:`end`."""
        make_folder(path.parent)
        self._note(path, _GROWING)

    def end(self, path: Path) -> None:
        """Note what a file became."""
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
        self._note(path, digest.hexdigest())

    def _note(self, path: Path, digest: str) -> None:
        name = self._name(path)
        if digest in self._written.get(name, ()) and name not in self._growing:
            return
        with open(self._marker, "a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps((name, digest))}\n")  # a line that was cut off before stays alone
        self._take(name, digest)

    def _take(self, name: str, digest: str) -> None:
        if digest == _GROWING:
            self._growing.add(name)
        else:
            self._growing.discard(name)
            self._written[name].add(digest)

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path)).as_posix()


class GrowingFile:
    """A file of a folder that is whole after each addition: what stands behind the entries is written with each.

    Args:
        folder: where it is noted.
        path: of the file, which is begun anew.
        head, tail: what stands before and behind the entries.
        between: what stands between two of them.
    """

    def __init__(self, folder: ResultFolder, path: Path, head: str, tail: str, between: str) -> None:
        self._folder, self._path, self._tail, self._between = folder, path, tail.encode(), between.encode()
        folder.begin(path)
        with atomic_write(path) as file:
            file.write(head.encode() + self._tail)
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115  it is closed by close()
        self._end, self._is_empty = len(head.encode()), True

    def add(self, entry: str) -> None:
        """Write an entry, and the tail behind it, by one call of the system.

        Of a file's name that is not UTF-8 the other bytes are written as JSON writes them: ``\\udcff``.
        """
        data = (b"" if self._is_empty else self._between) + entry.encode(errors="backslashreplace")
        self._file.seek(self._end)
        try:
            written = self._file.write(data + self._tail)
            if written != len(data) + len(self._tail):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            self._file.seek(self._end)
            self._file.write(self._tail)
            self._file.truncate()
            raise
        self._end, self._is_empty = self._end + len(data), False

    def close(self) -> None:
        """Close it, and note what it became."""
        self._file.close()
        self._folder.end(self._path)


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


def some_of(things: Sequence[object]) -> str:
    """Return the first of some things in words, for a message."""
    return ", ".join(map(str, things[:_MOST_SHOWN])) + (", ..." if len(things) > _MOST_SHOWN else "")


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
