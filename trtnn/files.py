"""Writing files so that an interrupted write leaves the old file whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trtnn.errors import ArgumentError


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` as a Path when a file can be written there; the folder must exist and take new files.

    Call it before long work whose result goes to ``path``.

    Raises:
        ArgumentError: the path is a folder, or its folder is missing or closed to us.
    """
    path = Path(path)
    if path.is_dir():
        raise ArgumentError(f"cannot write {path}: it is a folder", "give the path of a file")
    if not path.parent.is_dir():
        raise ArgumentError(f"cannot write {path}: the folder {path.parent} does not exist", f"mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"cannot write {path}: no permission to write in {path.parent}")
    return path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` only once it is complete and on disk.

    The bytes go to a temporary file in the same folder, which is renamed at the end; on an error it is removed and
    ``path`` stays as it was.

    Raises:
        ArgumentError: as :func:`check_writable`.
    """
    path = check_writable(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's own 0600 would hide the file from others
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
