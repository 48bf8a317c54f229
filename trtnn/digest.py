"""What tells one content from another."""

from __future__ import annotations

import hashlib
from typing import Any

_BYTES = 20


def digest(*parts: Any) -> str:
    """Return the digest of some buffers of bytes, one after the other, in hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        whole.update(part)
    return whole.hexdigest()
