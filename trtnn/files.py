"""Writing files: an interrupted write leaves the old file whole, and a lock keeps processes apart."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from trtnn.errors import ArgumentError

CACHE_ENVIRONMENT = "TRTNN_CACHE_DIR"


def default_cache_dir() -> Path:
    """Return the user's own folder for caches.

    ``TRTNN_CACHE_DIR`` names it; without that it is ``trtnn`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.
    """
    chosen = os.environ.get(CACHE_ENVIRONMENT)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "trtnn")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` as a folder that takes new files; it is made where it is missing.

    Raises:
        ArgumentError: it is a file, or cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ArgumentError(f"cannot keep files in {path}: it is a file", "give the path of a folder") from None
    except OSError as error:
        raise ArgumentError(f"cannot keep files in {path}: {error.strerror}", "give another folder") from error
    if not os.access(path, os.W_OK):
        raise ArgumentError(f"cannot keep files in {path}: no permission to write there", "give another folder")
    return path


def file_name(text: str) -> str:
    """Return ``text`` with what a file's name should not hold replaced."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._")[:64]


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], waiting: str = "") -> Iterator[None]:
    """Hold the lock of ``path`` against other processes and threads; a process that dies lets go of it.

    Args:
        path: what is locked; the lock is the file ``<path>.lock`` beside it, which stays.
        waiting: a line for standard error, said if another holds the lock now.
    """
    lock = FileLock(f"{os.fspath(path)}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            print(waiting, file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
