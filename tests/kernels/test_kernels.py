"""How kernels are compiled, kept and launched; the driver is stood in for, NVRTC is the real one."""

from __future__ import annotations

import ctypes
import importlib.util
import sys

import pytest

import trtnn.cuda
import trtnn.kernels
import trtnn.kernels.__main__
from tests.helpers import message_of
from trtnn.errors import ArgumentError, BuildError, EngineError
from trtnn.files import CACHE_ENVIRONMENT
from trtnn.kernels import CompilerMissingError, Kernels, cache_path, compile_source, cubin, is_ready
from trtnn.kernels.__main__ import main

NVRTC = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cu13")
needs_nvrtc = pytest.mark.skipif(not (NVRTC and importlib.util.find_spec("cuda.core")), reason="NVRTC is not installed")
SOURCES = sorted(path.stem for path in trtnn.kernels.SOURCES.glob("*.cu"))
ELF = b"\x7fELF"


class Driver:
    """What it is asked for is noted; modules of damaged code it refuses."""

    def __init__(self):
        self.calls = []

    def cuModuleLoadData(self, module, code):
        self.calls.append(("load", code))
        module._obj.value = 5
        return 0 if code.startswith(ELF) else 200

    def cuModuleGetFunction(self, function, module, name):
        self.calls.append(("function", module.value, name))
        function._obj.value = 6
        return 0 if name != b"none" else 500

    def cuLaunchKernel(self, function, *rest):
        *sizes, stream, places, extra = rest
        structure = ctypes.cast(places[0], ctypes.POINTER(ctypes.c_int)).contents.value
        self.calls.append(("launch", function.value, [size.value for size in sizes], stream.value, structure, extra))
        return 0

    def cuGetErrorString(self, code, text):
        text._obj.value = b"some reason"


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(trtnn.cuda, "driver", lambda: made)
    monkeypatch.setattr(trtnn.kernels, "gpus", lambda: ("sm90", "sm75"))
    return made


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiled(monkeypatch):
    """What is compiled is noted, and becomes a word."""
    made = []

    def compile_source(name, arch):
        made.append((name, arch))
        return ELF + bytes(str(len(made)), "ascii")

    monkeypatch.setattr(trtnn.kernels, "compile_source", compile_source)
    return made


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
@pytest.mark.parametrize("name", SOURCES)
def test_nvrtc_compiles_every_source(name, arch):
    assert compile_source(name, arch).startswith(ELF)


@needs_nvrtc
def test_what_does_not_compile_is_told_by_nvrtcs_log(monkeypatch, tmp_path):
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void broken(float* x) { x[0] = y; }')
    monkeypatch.setattr(trtnn.kernels, "SOURCES", tmp_path)
    lines = message_of(BuildError, compile_source, "broken", "sm_90").splitlines()
    assert lines[0] == "NVRTC could not compile broken.cu for sm_90"
    assert any('identifier "y" is undefined' in line for line in lines)


def test_without_cuda_core_the_line_for_pip_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    message = message_of(CompilerMissingError, compile_source, "preprocessing", "sm_90")
    assert "kernels for the GPU are compiled by cuda-core" in message
    assert 'pip install "trtnn[cuda]"' in message


def test_what_is_compiled_once_is_kept(compiled):
    assert cubin("preprocessing", "sm_90") == cubin("preprocessing", "sm_90") == ELF + b"1"
    assert cubin("preprocessing", "sm_75") == ELF + b"2"
    assert cubin("preprocessing", "sm_90", fresh=True) == ELF + b"3"
    assert cubin("preprocessing", "sm_90") == ELF + b"3"
    assert compiled == [("preprocessing", arch) for arch in ("sm_90", "sm_75", "sm_90")]


def test_the_key_is_of_sources_options_version_and_architecture(monkeypatch, tmp_path):
    paths = {cache_path("preprocessing", "sm_90"), cache_path("preprocessing", "sm_75"), cache_path("other", "sm_90")}
    with monkeypatch.context() as changed:
        changed.setattr(trtnn.kernels, "_OPTIONS", {**trtnn.kernels._OPTIONS, "fma": True})
        paths.add(cache_path("preprocessing", "sm_90"))
    with monkeypatch.context() as changed:
        changed.setattr(trtnn.kernels, "own_version", lambda: "99")
        paths.add(cache_path("preprocessing", "sm_90"))
    for path in trtnn.kernels.SOURCES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(trtnn.kernels, "SOURCES", tmp_path)
    assert cache_path("preprocessing", "sm_90") in paths
    (tmp_path / "device.h").write_bytes(b"// changed")
    paths.add(cache_path("preprocessing", "sm_90"))
    assert len(paths) == 6


def test_a_cache_that_others_can_write_is_not_used(compiled, cache):
    cubin("preprocessing", "sm_90")
    cache_path("preprocessing", "sm_90").chmod(0o666)
    assert "is not trusted" in message_of(ArgumentError, cubin, "preprocessing", "sm_90")


def test_it_is_ready_where_it_is_kept_or_can_be_compiled(compiled, monkeypatch):
    monkeypatch.setattr(trtnn.kernels.importlib.util, "find_spec", lambda name: None)
    assert not is_ready("preprocessing", "sm_90")
    cubin("preprocessing", "sm_90")
    assert is_ready("preprocessing", "sm_90")
    assert not is_ready("preprocessing", "sm_75")
    monkeypatch.setattr(trtnn.kernels.importlib.util, "find_spec", lambda name: object())
    assert is_ready("preprocessing", "sm_75")


def test_without_cuda_at_all_nothing_is_ready(monkeypatch):
    """The parent of cuda.core may be missing as well, which find_spec raises for."""

    def find_spec(name):
        raise ModuleNotFoundError("No module named 'cuda'")

    monkeypatch.setattr(trtnn.kernels.importlib.util, "find_spec", find_spec)
    assert not is_ready("preprocessing", "sm_90")


class Arguments(ctypes.Structure):
    _fields_ = [("value", ctypes.c_int)]


def test_a_kernel_is_launched_with_its_structure(driver, compiled):
    kernels = Kernels("preprocessing")
    assert compiled == [("preprocessing", "sm_90")]
    for value in (41, 42):
        kernels.launch("some_kernel", (3, 4, 5), 256, 9, Arguments(value))
    sizes = [3, 4, 5, 256, 1, 1, 0]
    assert driver.calls == [
        ("load", ELF + b"1"),
        ("function", 5, b"some_kernel"),
        ("launch", 6, sizes, 9, 41, None),
        ("launch", 6, sizes, 9, 42, None),
    ]


@pytest.mark.parametrize(("gpu", "has_clusters"), [("sm89", False), ("sm90", True), ("sm120", True)])
def test_clusters_are_there_from_hopper_on(driver, compiled, monkeypatch, gpu, has_clusters):
    monkeypatch.setattr(trtnn.kernels, "gpus", lambda: (gpu,))
    assert Kernels("preprocessing").has_clusters is has_clusters


def test_a_kernel_that_is_not_there_is_told(driver, compiled):
    kernels = Kernels("preprocessing")
    message = message_of(EngineError, kernels.launch, "none", (1, 1, 1), 1, 9, Arguments(1))
    assert message == "cuModuleGetFunction failed: some reason (500)"


def test_damaged_code_of_the_cache_is_compiled_again(driver, compiled):
    cubin("preprocessing", "sm_90")
    cache_path("preprocessing", "sm_90").write_bytes(b"damaged")
    Kernels("preprocessing")
    assert [call for call in driver.calls if call[0] == "load"] == [("load", b"damaged"), ("load", ELF + b"2")]
    assert cubin("preprocessing", "sm_90") == ELF + b"2"


def test_without_a_gpu_that_is_told(monkeypatch):
    monkeypatch.setattr(trtnn.kernels, "gpus", lambda: ())
    assert message_of(EngineError, Kernels, "preprocessing") == "there is no GPU here, and kernels need one"


def test_kernels_are_compiled_ahead(compiled, capsys, monkeypatch):
    assert main(["sm_86", "sm_90"]) == 0
    assert compiled == [(name, arch) for arch in ("sm_86", "sm_90") for name in SOURCES]
    assert capsys.readouterr().out.split() == [str(cache_path(*key)) for key in compiled]
    monkeypatch.setattr(trtnn.kernels.__main__, "gpus", lambda: ("sm90", "sm90"))
    assert main([]) == 0
    assert len(compiled) == 2 * len(SOURCES)  # they are kept
    monkeypatch.setattr(trtnn.kernels.__main__, "gpus", lambda: ())
    assert main([]) == 1
    assert "name architectures: python -m trtnn.kernels sm_90" in capsys.readouterr().err
