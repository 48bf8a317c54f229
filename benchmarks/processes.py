"""Processes that a benchmark starts: each with a time limit, and ended with all that it started."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def run_for(
    command: Sequence[str], seconds: float, log: Path, environment: Mapping[str, str], folder: Path | None = None
) -> int | None:
    """Run a command and write what it says to the end of a file; return how it ended, None where time ran out."""
    with log.open("a") as file:
        # A session of its own, so that what it starts ends with it: torch.compile has helpers.
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=folder, env=environment, start_new_session=True
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def first_gpus(parser: argparse.ArgumentParser, count: int) -> list[str]:
    """Return the first few of the GPUs that CUDA_VISIBLE_DEVICES leaves, by the names that it takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    known = visible.split(",") if visible else [str(index) for index in range(count)]
    if not 1 <= count <= len(known):
        parser.error(f"--gpus {count}: at least 1, and no more than CUDA_VISIBLE_DEVICES={visible} names")
    return known[:count]
