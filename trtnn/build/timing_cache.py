"""TensorRT's timing cache: what one build measured on a GPU, kept for the next.

Each file is of one TensorRT, version and GPU. It is a magic line, a digest and TensorRT's own bytes: the digest keeps
damaged bytes away from TensorRT's parser.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trtnn.backend import Backend
from trtnn.cuda import gpu_name, gpus
from trtnn.digest import digest
from trtnn.errors import ArgumentError
from trtnn.files import atomic_write, check_trusted, file_name, locked, open_regular

_MAGIC = b"trtnn timing cache 1\n"


# TensorRT 8.6 may drop a cache as it builds: "Myelin error from unknown graph", mostly where another network left
# something in it. Often it builds all the same, and sometimes it finds no kernel any more.
_DROPPED = "timing cache will not be used"


def timing_cache_file(folder: Path, backend: Backend, network: str = "") -> Path:
    """Return where the measurements of this TensorRT on this GPU are kept.

    Args:
        folder: of timing caches.
        backend: what measures.
        network: the digest of one that has a file of its own; empty for the one that all others share.
    """
    of = (backend.name, backend.version, *gpus()[:1], gpu_name(), *([f"network-{network}"] if network else []))
    return folder / f"timing-{'-'.join(map(file_name, of))}.cache"


@contextmanager
def timing_cache(settings: Any, path: Path, is_shared: bool = True) -> Iterator[None]:
    """Let a build within the block use what ``path`` holds, and add what it measures if it succeeds.

    Others may build at the same time: what they wrote meanwhile is merged. A file that is damaged, or that cannot be
    written, costs time and no engine, so it is a warning. Where TensorRT takes no cache at all nothing is kept.

    Args:
        settings: the ``IBuilderConfig`` that the build is given.
        path: the file; it need not exist.
        is_shared: the file may come from elsewhere, so that a user is told where TensorRT refuses it. What it wrote of
            one network and refuses is replaced without a word: nobody can do anything about it.
    """
    content = _read(path)
    is_refused = not attach(settings, content)
    is_kept = not is_refused or (bool(content) and attach(settings, b""))
    if is_refused and is_kept and content and is_shared:
        warnings.warn(f"TensorRT does not accept the timing cache {path}; it is replaced", stacklevel=2)
    yield
    if not is_kept:
        return
    measured = settings.get_timing_cache()
    try:
        with locked(path):
            before = _read(path)
            is_of_use = before and not (is_refused and before == content)
            others = settings.create_timing_cache(before) if is_of_use else None
            if others is not None:
                measured.combine(others, False)
            after = bytes(measured.serialize())
            if after != before:
                with atomic_write(path) as file:
                    file.write(pack(after))
    except (OSError, ArgumentError) as error:
        warnings.warn(f"the timing cache was not kept: {error}", stacklevel=2)


def give_up(path: Path) -> None:
    """Write into a network's own file that TensorRT does not use what it measured of it."""
    with suppress(OSError, ArgumentError), locked(path), atomic_write(path) as file:
        file.write(pack(b""))


def is_given_up(path: Path) -> bool:
    """Return whether :meth:`give_up` wrote a file."""
    try:
        with open_regular(path) as file:
            return file.read(len(pack(b"")) + 1) == pack(b"")
    except OSError:
        return False


def was_dropped(lines: Iterable[str]) -> bool:
    """Return whether TensorRT says, in lines of its log, that it did without the timing cache."""
    return any(_DROPPED in line for line in lines)


def attach(settings: Any, content: bytes) -> bool:
    """Let a build use what was measured before, empty for nothing; return whether TensorRT accepts it.

    Args:
        settings: the ``IBuilderConfig`` that the build is given.
        content: TensorRT's own bytes.
    """
    cache = settings.create_timing_cache(content)
    # False: TensorRT shall refuse what was measured on a GPU of other properties.
    return cache is not None and bool(settings.set_timing_cache(cache, False))


def pack(content: bytes) -> bytes:
    """Return the bytes of a file that holds TensorRT's own."""
    return _MAGIC + digest(content).encode() + content


def unpack(data: bytes) -> bytes | None:
    """Return TensorRT's own bytes of a file's, None where they are not what was written."""
    content = data[len(_MAGIC) + len(digest()) :]
    return content if data == pack(content) else None


def is_timing_cache(path: Path) -> bool:
    """Return whether a file is one of these, by its beginning."""
    with open_regular(path) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _read(path: Path) -> bytes:
    """Return TensorRT's own bytes of a file; none where it is missing or damaged."""
    try:
        check_trusted(path)
        with open_regular(path) as file:
            data = file.read()
    except FileNotFoundError:
        return b""
    except ArgumentError as error:
        warnings.warn(f"the timing cache is replaced: {error}", stacklevel=2)
        return b""
    except OSError as error:
        warnings.warn(f"the timing cache {path} cannot be read: {error.strerror}", stacklevel=2)
        return b""
    content = unpack(data)
    if content is None:
        warnings.warn(f"the timing cache {path} is damaged and is replaced", stacklevel=2)
    return content or b""
