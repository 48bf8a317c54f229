"""The kernels' own source on a CPU: compiled by g++ with ``host.h`` in CUDA's place."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from trtnn.kernels import SOURCES

HERE = Path(__file__).parent
FLAGS = ["-O2", "-std=c++20", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror"]


@functools.cache
def library(name: str) -> Path:
    """Return a source compiled for the CPU."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++ here to compile the kernels for the CPU")
    path = Path(tempfile.mkdtemp(), f"{name}.so")
    command = [compiler, *FLAGS, "-I", str(HERE), "-x", "c++", str(SOURCES / f"{name}.cu"), "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "_Float16" in done.stderr:
        pytest.skip("this g++ has no _Float16, which the kernels on the CPU need")
    assert done.returncode == 0, done.stderr
    return path


class EmulatedKernels:
    """The kernels of one source on the CPU, on addresses of the host, in the place of :class:`trtnn.kernels.Kernels`.

    Args:
        name: of the source.
        threads: of a block; more than one are threads of the system.

    Attributes:
        log: what is launched.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._library, self._threads = ctypes.CDLL(str(library(name))), threads
        self.log: list[tuple[Any, ...]] = []
        self._lock = threading.Lock()  # the memory of a block is there once

    has_clusters = False  # blocks run one after the other

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, stream: int, arguments: Any) -> None:
        self.log.append(("launch", name))
        count = min(threads, self._threads)
        with self._lock:
            getattr(self._library, f"launch_{name}")(*grid, count, ctypes.byref(arguments))
