"""The kernel's own source on a CPU: compiled with csrc/emulator.h in CUDA's place."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from trtnn.plugins.dcnv2.building import SOURCES
from trtnn.plugins.dcnv2.kernel import Library


def compile_emulated(folder, *more: str):
    """Compile the kernel for the CPU, and return the library's path; ``more`` are further arguments of g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++ here to compile the emulated kernel")
    path = folder / "libemulated.so"
    flags = ["-O2", "-std=c++17", "-fPIC", "-shared", "-DDCNV2_EMULATE", "-w", "-I", str(SOURCES), "-x", "c++"]
    command = [compiler, *flags, str(SOURCES / "dcnv2.cu"), *more, "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "_Float16" in done.stderr:
        pytest.skip("this g++ has no _Float16, which the emulated kernel needs")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    return Library(compile_emulated(tmp_path_factory.mktemp("emulated")))
