"""Which bindings are looked at, where they are, and why one may not be there."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = "TRTNN_BINDINGS"
TARGET = "make .venv/bindings/ready"


@dataclass(frozen=True)
class Bindings:
    """A version's bindings: the package of them, and the newest Python that it has a wheel for."""

    version: str
    package: str
    newest_python: tuple[int, int]

    @property
    def folder(self) -> Path:
        return Path(os.environ.get(ENVIRONMENT) or Path(sys.prefix, "bindings"), self.version)

    def no_wheel(self) -> str | None:
        """Return why there can be none here, or None."""
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            return (
                f"the stubs and wheels of these tests are for Linux on x86-64, not {sys.platform} {platform.machine()}"
            )
        if sys.version_info[:2] > self.newest_python:
            python = ".".join(map(str, sys.version_info[:2]))
            return f"{self.package} {self.version} has no wheel for Python {python}"
        return None

    def missing(self) -> str | None:
        """Return why they cannot be imported here, or None."""
        if reason := self.no_wheel():
            return reason
        if not self.folder.is_dir():
            return f"no {self.folder}: {TARGET}, or name the folder that holds it in {ENVIRONMENT}"
        if shutil.which("gcc") is None:
            return "gcc, which makes the stubs of TensorRT's libraries, is not installed"
        return None


VERSIONS = (
    Bindings("8.6.1", "tensorrt-bindings", (3, 11)),
    Bindings("10.13.0.35", "tensorrt-cu12-bindings", (3, 13)),
    Bindings("11.4.0.106", "tensorrt-cu13-bindings", (3, 14)),
)
