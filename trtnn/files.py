"""Files: only regular ones are read, an interrupted write leaves the old one whole, and a cache is of its owner alone.

A lock keeps processes apart.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import shlex
import stat
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trtnn.errors import ArgumentError, FileError

CACHE_ENVIRONMENT = "TRTNN_CACHE_DIR"
_KINDS = {  # by what ``stat`` calls them
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}
#: Characters of a file's name in that of its temporary one, which may not be longer than a name is.
NAME_SHOWN = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_UMASK = threading.Lock()  # it is read by setting another, which a second thread would take for the process's own


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, in binary; a pipe, which might never answer, and a device are refused.

    Raises:
        OSError: it cannot be opened, or is of another kind, which ``strerror`` says.
    """

    def opener(name: str, flags: int) -> int:
        # An open of a pipe waits for who writes to it, unless it was asked not to.
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        status = os.fstat(descriptor)
        kind = _kind(status)
        if kind is not None and not stat.S_ISDIR(status.st_mode):  # of a folder ``open`` itself says so
            os.close(descriptor)
            raise OSError(errno.EINVAL, kind, name)
        return descriptor

    return open(path, "rb", opener=opener)


class MappedFile(mmap.mmap):
    """A file's bytes, which are read when they are touched.

    Where the file is replaced or deleted, as :func:`atomic_write` does, they stay what they were. Where it is written
    to they become others, and where it is cut short to touch them ends the process.

    Args:
        file: open for reading, not empty.
        access: of the map, as of ``mmap.mmap``.

    Attributes:
        path: of the file.
    """

    path: Path
    _descriptor: int
    _was: os.stat_result

    def __new__(cls, file: BinaryIO, access: int) -> MappedFile:
        self = super().__new__(cls, file.fileno(), 0, access=access)
        self.path, self._was = Path(file.name), os.fstat(file.fileno())
        self._descriptor = os.dup(file.fileno())  # of this file, whatever has its name later
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        return self

    def is_as_it_was(self) -> bool:
        """Whether nobody has written to the file since it was mapped, as far as its size and time tell."""
        now, was = os.fstat(self._descriptor), self._was
        return (now.st_size, now.st_mtime_ns) == (was.st_size, was.st_mtime_ns)

    def is_whole(self) -> bool:
        """Whether all bytes that were mapped are there still: to touch others ends the process."""
        return os.fstat(self._descriptor).st_size >= len(self)


def resolved(path: Path) -> Path:
    """Return a path in full and without links; one that goes round in a loop of links as far as it goes."""
    return Path(os.path.realpath(path))  # Path.resolve raises a RuntimeError before Python 3.13


def _kind(status: os.stat_result) -> str | None:
    """Return in words what a file is; None for a regular one."""
    kind = stat.S_IFMT(status.st_mode)
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "it is no regular file")


def default_cache_dir() -> Path:
    """Return the user's own folder for caches.

    ``TRTNN_CACHE_DIR`` names it; without that it is ``trtnn`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.

    Raises:
        ArgumentError: none of them leads to a folder, since there is no ``HOME``.
    """
    chosen = os.environ.get(CACHE_ENVIRONMENT)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):  # it would be another one in every folder that a program is started from
        variables = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "HOME")}
        raise ArgumentError(
            "there is no folder for caches: neither HOME nor XDG_CACHE_HOME is an absolute path",
            f"received {', '.join(f'{n}={v!r}' if v else f'no {n}' for n, v in variables.items())}",
            f"set {CACHE_ENVIRONMENT} to a folder, or HOME",
        )
    return Path(base, "trtnn")


def check_trusted(path: str | os.PathLike[str]) -> None:
    """Check that nobody but this user, and root, can have put a file, or files in a folder, where they are.

    What lies in a cache is used as if it had just been made. Windows has no such owners and modes: nothing is checked.

    Raises:
        ArgumentError: it belongs to another user, or others can write to it; with what to do.
        OSError: it is not there.
    """
    if not hasattr(os, "getuid"):
        return
    status = os.stat(path)
    if status.st_uid not in (os.getuid(), 0):
        raise ArgumentError(
            f"{path} is not trusted: it belongs to another user (uid {status.st_uid}, and this is {os.getuid()})",
            "give a folder of your own for caches",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise ArgumentError(
            f"{path} is not trusted: other users can write to it (mode {stat.S_IMODE(status.st_mode):04o})",
            "look at what is in it, and close it to them: chmod -R go-w",
        )


def make_cache_folder(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` as a folder for a cache; where it is missing it is made, and only this user can use it.

    Raises:
        ArgumentError: as :func:`make_folder` and :func:`check_trusted`.
    """
    path = make_folder(path, mode=0o700)
    check_trusted(path)
    return path


def make_folder(path: str | os.PathLike[str], mode: int = 0o777) -> Path:
    """Return ``path`` as a folder that takes new files; it is made where it is missing.

    Args:
        path: the folder.
        mode: of what is made, less the umask.

    Raises:
        ArgumentError: it is a file, or cannot be made or written.
    """
    path = Path(path)
    try:
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir(mode, exist_ok=True)
        path.mkdir(mode, exist_ok=True)
    except FileExistsError:
        what = "a link to what is not there" if path.is_symlink() and not path.exists() else "a file"
        raise ArgumentError(f"cannot keep files in {path}: it is {what}", "give the path of a folder") from None
    except (OSError, ValueError) as error:  # the latter of a null byte
        why = getattr(error, "strerror", error)
        raise ArgumentError(f"cannot keep files in {path}: {why}", "give another folder") from error
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
    from filelock import FileLock, Timeout

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
        ArgumentError: the path is a folder or a file that may not be written, or its folder is missing or closed to us.
    """
    import tempfile

    path = Path(path)
    try:
        kind = _kind(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        kind = None
    except (OSError, ValueError) as error:  # the latter of a null byte
        raise ArgumentError(f"cannot write {path}: {getattr(error, 'strerror', error)}") from error
    if kind is not None:  # a device would be replaced
        raise ArgumentError(f"cannot write {path}: {kind}", "give the path of a file")
    if not path.parent.is_dir():
        for place in path.parents:
            if os.path.lexists(place) and not place.is_dir():
                what = "a link to what is not there" if place.is_symlink() and not place.exists() else "a file"
                raise ArgumentError(f"cannot write {path}: {place} is {what}", "give the path of a file in a folder")
        raise ArgumentError(
            f"cannot write {path}: the folder {path.parent} does not exist", f"mkdir -p {shlex.quote(str(path.parent))}"
        )
    if not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"cannot write {path}: no permission to write in {path.parent}")
    if path.exists() and not os.access(path, os.W_OK):  # to replace it asks for no permission of its own
        raise ArgumentError(
            f"cannot write {path}: it is there, and may not be written", f"chmod u+w {shlex.quote(str(path))}"
        )
    try:
        tempfile.TemporaryFile(dir=path.parent).close()  # /proc, or a disk that can only be read, takes no files
    except OSError as error:
        raise ArgumentError(f"cannot write {path}: {path.parent} takes no files: {error.strerror}") from error
    return path


def _mode_at(path: Path) -> int:
    """Return who may do what with a new file: what the umask leaves, less what the file was closed to that is there."""
    with _UMASK:
        umask = os.umask(0)
        os.umask(umask)
    before = path.stat().st_mode if path.exists() else 0o666
    return before & 0o666 & ~umask


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` only once it is complete and on disk.

    The bytes go to a temporary file in the same folder, which is renamed at the end; on an error it is removed and
    ``path`` stays as it was. The new file is open to nobody whom the old one was closed to, or the umask closes it to.

    Raises:
        ArgumentError: as :func:`check_writable`.
        FileError: the system refused, as when the disk is full.
    """
    import tempfile

    path = check_writable(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:NAME_SHOWN]}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_at(path))  # mkstemp's own 0600 would hide the file from others
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        # What the system says of a file that it names is of that file, unless it is the hidden one.
        if (
            isinstance(error, OSError)
            and error.errno
            and (error.filename is None or temporary in (None, error.filename))
        ):
            raise FileError(f"cannot write {path}: {error.strerror}") from error
        raise
