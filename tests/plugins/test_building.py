"""The build command: where libraries go, what it looks for, what it says, and that every version's wrapper compiles."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError, BuildError
from trtnn.plugins.dcnv2 import building
from trtnn.plugins.dcnv2.__main__ import main

HEADERS = "TRTNN_TENSORRT_HEADERS"  # names a folder of VERSION/include
VERSIONS = {"8.6": "v8.6.1", "10.13": "v10.13.0", "11.1": "v11.1"}


def headers_of(version: str) -> Path:
    """Return the folder of a TensorRT's headers, or skip the test."""
    include = Path(os.environ.get(HEADERS, ""), VERSIONS[version], "include")
    if not include.is_dir():
        pytest.skip(
            f"{HEADERS} names no folder that holds {VERSIONS[version]}/include, the headers of TensorRT {version}"
        )
    return include


def make_headers(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    for name in building.NEEDED:
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def no_places(monkeypatch):
    monkeypatch.setattr(building, "PLACES", ())
    monkeypatch.delenv("TENSORRT_ROOT", raising=False)


@pytest.mark.parametrize("name", ["sm_90", "sm90", "90"])
def test_architectures_have_one_name(name):
    assert building.architecture(name) == "sm90"


@pytest.mark.parametrize(("here", "target"), [("sm90", "sm90a"), ("sm89", "sm89"), ("sm100", "sm100")])
def test_a_hopper_here_is_built_for_with_its_own_instructions(monkeypatch, here, target):
    monkeypatch.setattr(building, "gpus", lambda: (here,))
    assert building.architecture(None) == target
    assert building.architecture("sm_90a") == "sm90a"


@pytest.mark.parametrize(
    ("arch", "flags"),
    [
        ("sm89", ["-arch=sm_89"]),
        ("sm90", ["-arch=sm_90"]),
        ("sm90a", ["-gencode=arch=compute_90a,code=sm_90a", "-DDCNV2_WGMMA"]),
        ("sm100a", ["-gencode=arch=compute_100a,code=sm_100a"]),
    ],
)
def test_only_hoppers_code_has_its_products(arch, flags):
    assert building.target_flags(arch) == flags


@pytest.mark.parametrize(("name", "words"), [("hopper", "expected one such as sm_80"), ("sm_75", "sm_80 and later")])
def test_bad_architectures_are_named(name, words):
    assert words in message_of(ArgumentError, lambda: building.architecture(name))


def test_without_a_gpu_the_architecture_is_asked_for(monkeypatch):
    monkeypatch.setattr(building, "gpus", lambda: ())
    assert "build --arch sm_90" in message_of(ArgumentError, lambda: building.architecture(None))


def test_the_cache_folder_is_named_by_version_architecture_and_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path))
    digest = building.digest()
    assert building.library_path("sm90", "8.6") == tmp_path / f"dcnv2/tensorrt-8.6-sm90-{digest}" / building.PLUGIN
    assert building.library_path("sm80", None) == tmp_path / f"dcnv2/kernel-sm80-{digest}" / building.KERNEL
    assert building.library_path("sm90", None, "/x") == Path(f"/x/kernel-sm90-{digest}") / building.KERNEL


def test_the_digest_changes_with_every_source(monkeypatch, tmp_path):
    for path in building.SOURCES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(building, "SOURCES", tmp_path)
    seen = {building.digest.__wrapped__()}
    names = sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
        seen.add(building.digest.__wrapped__())
    assert len(seen) == len(names) + 1


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("#define NV_TENSORRT_MAJOR 8 //!< x\n#define NV_TENSORRT_MINOR 6\n", "8.6"),
        (
            "#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 13\n"
            "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n",
            "10.13",
        ),
    ],
)
def test_the_headers_tell_their_version(no_places, monkeypatch, tmp_path, text, version):
    folder = make_headers(tmp_path / "TensorRT [10]" / "include", text)
    assert building.find_headers(folder) == (folder, version)
    monkeypatch.setenv("TENSORRT_ROOT", str(folder.parent))
    assert building.find_headers() == (folder, version)


def test_headers_of_no_version_are_named(tmp_path):
    folder = make_headers(tmp_path / "include", "")
    assert "does not say which TensorRT" in message_of(BuildError, lambda: building.find_headers(folder))


def test_missing_headers_say_where_they_were_looked_for_and_how_to_get_them(no_places, tmp_path, capsys):
    folder = tmp_path / "[none]"
    assert main(["build", "--arch", "sm_90", "--tensorrt-include", str(folder)]) == 1
    said = capsys.readouterr().err
    assert f"looked in: {folder}\n" in said
    for words in ("NvInferRuntime.h", "libnvinfer-headers-dev", "git clone", "--kernel-only"):
        assert words in said


def test_a_missing_nvcc_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    message = message_of(BuildError, lambda: building.build(arch="sm_90", output=tmp_path, kernel_only=True))
    assert "nvcc was not found" in message
    assert "CUDA_HOME" in message


def make_compiler(folder: Path, script: str) -> None:
    (folder / "bin").mkdir()
    (folder / "bin/nvcc").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin/nvcc").chmod(0o755)


def test_what_nvcc_says_is_shown_and_nothing_is_kept(monkeypatch, tmp_path):
    make_compiler(tmp_path, "echo 'kernel.h(7): error: nonsense' >&2; exit 2")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    message = message_of(BuildError, lambda: building.build(arch="sm_90", output=tmp_path / "out", kernel_only=True))
    assert "kernel.h(7): error: nonsense" in message
    assert not list((tmp_path / "out").rglob("*.so"))


def test_a_library_is_built_once(monkeypatch, tmp_path, capsys):
    make_compiler(tmp_path, f'echo "$@" >> {tmp_path}/calls; while [ "$1" != -o ]; do shift; done; echo made > "$2"')
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    arguments = ["build", "--arch", "sm_90", "--kernel-only", "--output", str(tmp_path / "out")]
    assert main(arguments) == main(arguments) == 0
    path = building.library_path("sm90", None, tmp_path / "out")
    assert capsys.readouterr().out == f"{path}\n" * 2
    assert path.read_text() == "made\n"
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert main([*arguments, "--force"]) == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert "-arch=sm_90 " in calls[0]
    assert "plugin.cpp" not in calls[0]


def test_what_is_no_longer_what_was_built_is_built_again(monkeypatch, tmp_path):
    make_compiler(tmp_path, 'while [ "$1" != -o ]; do shift; done; echo library > "$2"')
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    options = {"arch": "sm_90", "output": tmp_path / "out", "kernel_only": True}
    path = building.build(**options)
    assert building.is_unchanged(path)
    path.write_bytes(b"another")
    assert not building.is_unchanged(path)
    assert building.build(**options) == path
    assert path.read_bytes() == b"library\n"
    assert building.is_unchanged(path)


def test_help_has_examples():
    said = subprocess.run(
        [sys.executable, "-m", "trtnn.plugins.dcnv2", "build", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "examples:" in said
    assert "--tensorrt-include TensorRT/include --arch sm_90a" in said


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_plugin_compiles_for(version, tmp_path):
    include = headers_of(version)
    try:
        building.find_nvcc()
    except BuildError as error:
        pytest.skip(error.summary)
    path = building.build(include, "sm_90", tmp_path)  # sm_90a is many more block shapes, minutes of nvcc
    library = ctypes.CDLL(str(path))
    library.trtnn_dcnv2_tensorrt.restype = ctypes.c_char_p
    assert library.trtnn_dcnv2_tensorrt().decode() == version
    wanted = "getPluginCreators" if version.startswith("8.") else "getCreators"
    assert all(hasattr(library, name) for name in (wanted, "setLoggerFinder", "dcnv2_forward"))
