"""Source and weights as two files that need no torch."""

from __future__ import annotations

import os
from pathlib import Path

from trtnn.checkpoint import save
from trtnn.errors import ArgumentError, check_switches
from trtnn.files import atomic_write
from trtnn.modules.module import Module


def save_source(model: Module, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write the source of a converted module, and its weights beside it as ``.safetensors``.

    >>> trtnn.save_source(trtnn.from_torch(module, x), "net.py")
    >>> from net import Net
    >>> model = Net()
    >>> model.load_state_dict(trtnn.load("net.safetensors"))

    Args:
        model: what :func:`trtnn.from_torch` returned.
        path: the file to write, which ends in ``.py``.
        force: whether files that are there may be overwritten.

    Raises:
        ArgumentError: the module was not converted, or a file is there.
    """
    check_switches(force=force)
    path = Path(path)
    source = getattr(model, "source", None) if isinstance(model, Module) else None
    if not isinstance(source, str):
        raise ArgumentError(f"save_source takes what from_torch returned, not a {type(model).__name__}")
    weights = check_free(path, force)
    save(model.state_dict(), weights)
    with atomic_write(path) as file:
        file.write(source.encode())


def check_free(path: Path, force: bool) -> Path:
    """Check that source can be written to a file, and its weights beside it; return where these go.

    Raises:
        ArgumentError: it does not end in ``.py``, or a file is there.
    """
    if path.suffix != ".py":
        raise ArgumentError(f"source is written to a file that ends in .py, not to {path}")
    weights = path.with_suffix(".safetensors")
    there = [str(file) for file in (path, weights) if file.exists()]
    if there and not force:
        raise ArgumentError(f"{' and '.join(there)} would be overwritten", "give another name, or force=True (--force)")
    return weights
