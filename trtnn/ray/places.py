"""Places of files: folders of this machine, and addresses that fsspec knows, such as ``s3://bucket/folder``.

https://filesystem-spec.readthedocs.io
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from trtnn.errors import ArgumentError, ImageError
from trtnn.vision import SUFFIXES
from trtnn.vision.sources import STREAM_SCHEMES


def files_at(place: str) -> tuple[Any, str]:
    """Return fsspec's files at a place, and the path there.

    Raises:
        ArgumentError: fsspec knows no such place, or needs a package for it.
    """
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place)
    except (ValueError, ImportError) as error:
        raise ArgumentError(f"there are no files at {place}: {error}") from error
    return files, root.rstrip("/")


def is_local(files: Any) -> bool:
    """Whether files are those of this machine."""
    return "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol)


def is_address(text: str) -> bool:
    """Whether a text is an address of files: of what is neither the web's nor a stream."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    return scheme is not None and scheme[1].lower() not in ("http", "https", *STREAM_SCHEMES)


def images_at(address: str, recursive: bool = False) -> list[str]:
    """Return the addresses of the images in a folder, in the order of their names, or of the one that it is.

    Args:
        address: what fsspec knows.
        recursive: whether a folder's subfolders count.

    Raises:
        ArgumentError: fsspec knows no such place, or needs a package for it.
        ImageError: there is none, or nobody lets us look.
    """
    files, root = files_at(address)
    try:
        if files.isfile(root):
            return [address]
        found = files.find(root) if recursive else files.ls(root, detail=False)
    except FileNotFoundError:
        found = []
    except Exception as error:  # those of file systems are their own
        raise ImageError(f"cannot look for pictures at {address}: {type(error).__name__}: {error}") from error
    names = sorted(name for name in found if PurePosixPath(name).suffix.lower() in SUFFIXES)
    if not names:
        raise ImageError(f"no picture at {address}", f"known suffixes: {' '.join(sorted(SUFFIXES))}")
    return [files.unstrip_protocol(name) for name in names]
