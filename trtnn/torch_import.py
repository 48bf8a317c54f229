"""Import what needs torch, and say who needs it where it is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from trtnn.errors import BackendError


def import_with_torch(name: str, who: str) -> ModuleType:
    """Import torch, or a module of ours that imports it.

    Args:
        name: the module, such as ``"torch"``.
        who: who needs it, for the message: ``"the CPU reference needs"``.

    Raises:
        BackendError: torch is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise BackendError(f"{who} torch", "pip install torch") from error
