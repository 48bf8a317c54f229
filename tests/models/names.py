"""The names and shapes of a state dict as one short text, to compare them with another project's."""

import hashlib
from collections.abc import Mapping
from typing import Any


def digest(state_dict: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the sorted lines "name shape", without ``num_batches_tracked``."""
    lines = (f"{name} {tuple(value.shape)}" for name, value in state_dict.items() if "num_batches" not in name)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
