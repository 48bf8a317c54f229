"""The plugin's C++ as TensorRT would drive it, on the emulated kernel, for each version's headers that are here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins.test_building import VERSIONS, headers_of
from trtnn.errors import BuildError
from trtnn.plugins.dcnv2.building import SOURCES, find_nvcc


@pytest.mark.parametrize("version", VERSIONS)
def test_creates_serialises_and_runs(version, tmp_path):
    include = headers_of(version)
    try:
        cuda = Path(find_nvcc()).resolve().parent.parent
    except BuildError as error:
        pytest.skip(error.summary)
    cuda = next(
        (root for root in (cuda, Path("/usr/local/cuda")) if (root / "include/cuda_runtime_api.h").is_file()), None
    )
    if cuda is None or shutil.which("g++") is None:
        pytest.skip("there are no CUDA headers or no g++ here")
    program = tmp_path / "wrapper"
    flags = ["-O1", "-std=c++17", "-w", "-DDCNV2_EMULATE", "-x", "c++"]
    folders = ["-I", str(SOURCES), "-I", str(include), "-I", str(cuda / "include")]
    sources = [str(Path(__file__).with_name("wrapper.cpp")), str(SOURCES / "dcnv2.cu")]
    subprocess.run(["g++", *flags, *folders, *sources, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
