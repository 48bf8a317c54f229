"""Finding and loading the plugin's library: what is taken, and what is said where none fits."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from tests.helpers import message_of
from trtnn.digest import digest
from trtnn.errors import ArgumentError, BackendError, EngineError
from trtnn.plugins.dcnv2 import building, loading


class Registry:
    """Takes libraries as TensorRT's registry does."""

    def __init__(self, handle):
        self.handle, self.taken = handle, []

    def load_library(self, path):
        self.taken.append(path)
        return self.handle


@pytest.fixture
def backend(monkeypatch):
    """A TensorRT 10.13 that is not there."""
    registry = Registry(handle=object())
    made = SimpleNamespace(
        name="tensorrt",
        version="10.13.0.35",
        capabilities=SimpleNamespace(plugins=True),
        logger=SimpleNamespace(take=lambda: ["could not open the library"]),
        trt=SimpleNamespace(get_plugin_registry=lambda: registry),
        registry=registry,
    )
    monkeypatch.setattr(loading, "get_backend", lambda: made)
    monkeypatch.setattr(loading, "_loaded", {})
    return made


def make_library(path, version, more=""):
    """Compile a library that says it was built for a TensorRT, with its digest beside it."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".cpp")
    function = f'extern "C" const char* trtnn_dcnv2_tensorrt() {{ return "{version}"; }}'
    source.write_text(f"#include <cstdio>\n{function}\n{more}")
    subprocess.run(["g++", "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    path.with_name(path.name + building.DIGEST).write_text(digest(path.read_bytes()))
    return path


def touch(folder, version, arch="sm90", digest=None):
    path = folder / f"tensorrt-{version}-{arch}-{digest or building.digest()}" / building.PLUGIN
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_missing_library_says_where_and_how(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path))
    message = message_of(EngineError, lambda: loading.find_library(backend, "sm_90"))
    where = f"{tmp_path}/dcnv2/tensorrt-10.13-sm90-{building.digest()}/{building.PLUGIN}"
    assert f"looked for: {where}" in message
    assert "python -m trtnn.plugins.dcnv2 build --arch sm_90" in message


def test_libraries_for_others_are_listed_and_not_taken(backend, tmp_path):
    for others in (("8.6",), ("11.1",), ("10.14",), ("10.13", "sm80"), ("10.13", "sm90", "0" * 12)):
        touch(tmp_path, *others)
    message = message_of(EngineError, lambda: loading.find_library(backend, "sm90", tmp_path))
    assert "for another TensorRT, GPU or source: " in message
    assert all(name in message for name in ("tensorrt-8.6-", "tensorrt-10.13-sm80-", "tensorrt-10.14-"))


def test_the_nearest_earlier_minor_version_is_taken(backend, tmp_path):
    touch(tmp_path, "10.2")
    nearest = touch(tmp_path, "10.9")
    touch(tmp_path, "10.14")
    assert loading.find_library(backend, "sm90", tmp_path) == nearest
    own = touch(tmp_path, "10.13")
    assert loading.find_library(backend, "sm90", tmp_path) == own


def test_a_library_is_loaded_once(backend, tmp_path):
    path = make_library(tmp_path / "own.so", "10.13")
    assert loading.load(path) == loading.load() == path
    assert backend.registry.taken == [str(path)]


def test_a_library_for_another_tensorrt_is_refused(backend, tmp_path):
    path = make_library(tmp_path / "other.so", "8.6")
    message = message_of(EngineError, lambda: loading.load(path))
    assert "was built for TensorRT 8.6" in message
    assert str(path) in message
    assert not backend.registry.taken


def make_cached(folder, more=""):
    """Compile a library into the cache."""
    folder = folder / "dcnv2" / f"tensorrt-10.13-sm90-{building.digest()}"
    return make_library(folder / building.PLUGIN, "10.13", more)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "gpus", lambda: ("sm90",))
    monkeypatch.setattr(building, "HOPPER", "sm90")
    return tmp_path / "cache"


def test_a_library_of_the_cache_is_loaded(backend, cache):
    path = make_cached(cache)
    assert loading.load() == path
    assert backend.registry.taken == [str(path)]


def test_nothing_of_a_planted_library_runs(backend, cache, tmp_path):
    """What a library is loaded with runs at once, before anything of it can be asked for."""
    ran = tmp_path / "ran"
    more = f'__attribute__((constructor)) void run() {{ fclose(fopen("{ran}", "w")); }}'
    path = make_cached(cache)
    written = path.with_name(path.name + building.DIGEST)
    before = written.read_text()
    path.unlink()
    make_cached(cache, more)
    written.write_text(before)
    message = message_of(EngineError, loading.load)
    assert f"{path} is not what was built there" in message
    assert "build it again: python -m trtnn.plugins.dcnv2 build" in message
    written.unlink()
    assert "or no digest says so" in message_of(EngineError, loading.load)
    make_cached(cache, more)
    path.parent.chmod(0o777)
    assert f"{path.parent} is not trusted" in message_of(ArgumentError, loading.load)
    path.parent.chmod(0o755)
    assert not ran.exists()
    assert not backend.registry.taken
    assert loading.load() == path
    assert ran.exists()  # or it would have proved nothing


def test_what_tensorrt_says_is_shown(backend, tmp_path):
    backend.registry.handle = None
    message = message_of(EngineError, lambda: loading.load(make_library(tmp_path / "own.so", "10.13")))
    assert "could not open the library" in message


def test_files_that_are_no_library_are_named(backend, tmp_path):
    assert "is not at" in message_of(EngineError, lambda: loading.load(tmp_path / "none.so"))
    (tmp_path / "text.so").write_text("nothing")
    assert "does not load" in message_of(EngineError, lambda: loading.load(tmp_path / "text.so"))


def test_the_kernel_alone_is_not_the_plugin(backend, emulated):
    assert "is not the library of the DCNv2 plugin" in message_of(EngineError, lambda: loading.load(emulated.path))


def test_a_tensorrt_without_plugins_is_said(backend):
    backend.capabilities.plugins = False
    message = message_of(BackendError, loading.load)
    assert "has no plugins" in message
    assert 'lowering="native"' in message
