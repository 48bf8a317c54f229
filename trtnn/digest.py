"""What tells one content from another, and this package from its other versions."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

_BYTES = 20


def digest(*parts: Any) -> str:
    """Return the digest of some buffers of bytes, one after the other, in hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


@cache
def own_version() -> str:
    """Return the version of trtnn that is installed, ``"unknown"`` of a clone that is not."""
    from importlib.metadata import PackageNotFoundError, version  # not imported with trtnn, for it takes long

    try:
        return version("trtnn")
    except PackageNotFoundError:
        return "unknown"
