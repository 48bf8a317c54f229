"""A process that writes a file, says when it has come to a certain moment of that, and waits there to be killed.

>>> python -m tests.files.killed half save weights.npz new.safetensors
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from functools import partial
from typing import Any

HALF_BYTES = 1000  # what is on disk when it stops in the middle of writing


def stop() -> None:
    print("here", flush=True)
    while True:
        signal.pause()


class Halting:
    """A file that stops in the middle of a write."""

    def __init__(self, file: Any) -> None:
        self.file, self.left_bytes = file, HALF_BYTES

    def write(self, data: Any) -> int:
        data = memoryview(data).cast("B")
        written = self.file.write(data[: self.left_bytes])
        self.left_bytes -= written
        if not self.left_bytes:
            self.file.flush()
            stop()
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Halting:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def stop_at(moment: str) -> None:
    """Arrange that this process stops at a moment of :func:`trtnn.files.atomic_write`."""
    make, opened, replace = tempfile.mkstemp, os.fdopen, os.replace
    match moment:
        case "made":
            tempfile.mkstemp = lambda **options: (make(**options), stop())
        case "half":
            os.fdopen = lambda *arguments: Halting(opened(*arguments))
        case "written":
            os.fsync = lambda descriptor: stop()
        case "before it is renamed":
            os.replace = lambda *paths: stop()
        case "renamed":
            os.replace = lambda *paths: (replace(*paths), stop())


def main(moment: str, action: str, source: str, target: str) -> None:
    import trtnn
    from trtnn.cli import main as command

    if action == "save":
        work = partial(trtnn.save, trtnn.load(source), target)
    elif action == "engine":
        work = partial(trtnn.Engine.load(source).save, target)
    else:
        sys.argv = ["trtnn", "convert", "--force", source, target]
        work = command
    stop_at(moment)
    work()


if __name__ == "__main__":
    main(*sys.argv[1:])
