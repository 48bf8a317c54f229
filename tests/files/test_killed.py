"""kill -9 while a file is written: the old one stays whole, byte for byte, and what is left over is in nobody's way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from tests.files.killed import HALF_BYTES
from trtnn import Engine, Input, load, save
from trtnn.backend import get_backend
from trtnn.checkpoint import convert
from trtnn.engine.file import describe_plan, write
from trtnn.errors import CheckpointError

OLD = {"old": np.arange(7, dtype=np.float32)}
NEW = {"new": np.arange(5000, dtype=np.float32), "more": np.ones(3, np.float32)}
BEFORE = ["made", "half", "written", "before it is renamed"]


def killed(moment: str, *arguments: object) -> None:
    """Start :mod:`tests.files.killed`, wait until it has come to a moment, and kill it there."""
    command = [sys.executable, "-m", "tests.files.killed", moment, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        lines = iter(process.stdout.readline, b"")
        assert any(line == b"here\n" for line in lines), "it ended before it came there"
    finally:
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".tmp")]


def assert_same(path: Path, expected: dict[str, np.ndarray]) -> None:
    got = load(path)
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)


def check(moment: str, action: str, source: Path, target: Path) -> None:
    """Kill a write that would replace ``target``, and see that nothing of it shows."""
    content = {path: path.read_bytes() for path in (source, target)}
    killed(moment, action, source, target)
    for path, before in content.items():
        assert path.read_bytes() == before
    (left,) = leftovers(target.parent)
    size = left.stat().st_size
    assert {"made": size == 0, "half": size == HALF_BYTES}.get(moment, size > HALF_BYTES), size
    assert left.name.startswith(f".{target.name}.")  # hidden, and of no suffix that anything reads
    with pytest.raises(CheckpointError, match="no suffix of a checkpoint"):
        load(left)
    assert {path.name for path in target.parent.glob("*") if not path.name.startswith(".")} == {
        path.name for path in content
    }


@pytest.mark.parametrize(
    ("suffix", "moment"),
    [*((".safetensors", moment) for moment in BEFORE), *((suffix, "half") for suffix in (".npz", ".wts", ".pt"))],
)
def test_save(tmp_path, suffix, moment):
    save(NEW, source := tmp_path / "source.npz")
    save(OLD, target := tmp_path / f"weights{suffix}")
    check(moment, "save", source, target)
    assert_same(target, OLD)
    save(NEW, target)  # with what was left over beside it
    assert_same(target, NEW)
    assert len(leftovers(tmp_path)) == 1


@pytest.mark.parametrize("moment", ["half", "before it is renamed"])
def test_convert(tmp_path, moment):
    save(NEW, source := tmp_path / "source.safetensors")
    save(OLD, target := tmp_path / "target.npz")
    check(moment, "convert", source, target)
    assert_same(target, OLD)
    convert(source, target, force=True)
    assert_same(target, NEW)


def test_convert_of_a_file_onto_itself(tmp_path):
    save(NEW, path := tmp_path / "weights.safetensors")
    check("half", "convert", path, path)
    assert_same(path, NEW)


def test_a_file_that_was_not_there_is_not_there_after(tmp_path):
    save(NEW, source := tmp_path / "source.npz")
    killed("half", "save", source, target := tmp_path / "weights.safetensors")
    assert not target.exists()
    killed("half", "save", source, target)  # again, where one is left over already
    assert not target.exists()
    assert len(leftovers(tmp_path)) == 2
    save(NEW, target)
    assert_same(target, NEW)


def test_killed_once_it_was_renamed(tmp_path):
    save(NEW, source := tmp_path / "source.npz")
    save(OLD, target := tmp_path / "weights.safetensors")
    killed("renamed", "save", source, target)
    assert_same(target, NEW)
    assert leftovers(tmp_path) == []


def engine_file(path: Path, plan: bytes) -> Path:
    """Write an engine whose plan is no plan: nothing here reads it."""
    spec = {"x": Input((1, 3))}
    write(path, describe_plan(get_backend(), ["sm86"], spec, {"y": spec["x"]}, "y", plan), memoryview(plan))
    return path


@pytest.mark.parametrize("moment", ["half", "written", "before it is renamed"])
def test_engine_save(tmp_path, moment):
    source = engine_file(tmp_path / "source.engine", b"new" * 3000)
    target = engine_file(tmp_path / "net.engine", b"old" * 500)
    check(moment, "engine", source, target)
    loaded = Engine.load(target)
    loaded.check_plan()
    assert bytes(loaded.plan) == b"old" * 500
    Engine.load(source).save(target)
    assert target.read_bytes() == source.read_bytes()
