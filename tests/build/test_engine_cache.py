"""Engines found again by content and never otherwise; files that are damaged, shared or cannot be written."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import trtnn.build.build
import trtnn.build.engine_cache
import trtnn.engine.file
import trtnn.engine.memory
import trtnn.files
from tests import ROOT
from tests.helpers import ONE_TARGET, message_of, numbers
from trtnn import BuildConfig, Engine, get_backend
from trtnn.build.engine_cache import cache_key
from trtnn.cli import app
from trtnn.errors import ArgumentError, BuildError
from trtnn.examples.digits.demo import WEIGHTS
from trtnn.files import default_cache_dir, file_name
from trtnn.modules import Conv2d, ReLU, Sequential

SILENT = {"progress": False, "optimization_level": 0, **ONE_TARGET}


@pytest.fixture
def net():
    module = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 4, 3))
    module.inputs = {"input": (1, 3, 16, 16)}
    module.load_state_dict({name: numbers(*parameter.shape) for name, parameter in module.named_parameters()})
    return module


@pytest.fixture
def builds(monkeypatch):
    """What was built, one entry for each time that TensorRT's builder ran."""
    done, original = [], trtnn.build.build._build_plan
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: done.append(args[3]) or original(*args))
    return done


def engine_files(folder):
    return sorted(Path(folder).glob("*.engine"))


def same(one, other):
    return bytes(one.plan) == bytes(other.plan) and json.dumps(one.description) == json.dumps(other.description)


# -- found by content -------------------------------------------------------------------------------------------------


def test_the_same_is_built_once(net, builds, tmp_path):
    folder = tmp_path / "made" / "here"
    first = net.compile(cache_dir=folder, **SILENT)
    second = net.compile(cache_dir=str(folder), **SILENT)
    assert len(builds) == 1
    assert same(first, second)
    assert isinstance(second.plan.obj, mmap.mmap)
    (file,) = engine_files(folder)
    assert file.name.startswith("Sequential-")
    assert bytes(Engine.load(file).plan) == bytes(first.plan)  # an ordinary engine file
    assert trtnn.build.engine_cache._ENTRY not in second.description


def test_without_a_folder_nothing_is_kept(net, builds, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    net.compile(**SILENT)
    net.compile(**SILENT)
    assert len(builds) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_shows_or_keeps_is_no_part_of_the_key(net, builds, tmp_path):
    net.compile(cache_dir=tmp_path, progress=False, **ONE_TARGET)
    net.compile(cache_dir=tmp_path, progress=True, timing_cache=False, **ONE_TARGET)
    assert len(builds) == 1


def test_the_default_targets_are_those_named(net, builds, tmp_path):
    targets = net.compile(cache_dir=tmp_path, progress=False).targets
    net.compile(cache_dir=tmp_path, progress=False, targets=targets)
    assert len(builds) == 1


def change_a_weight(net):
    bias = net.state_dict()["2.bias"].copy()
    bias[-1] = np.nextafter(bias[-1], np.float32(9))
    net.load_state_dict({"2.bias": bias}, strict=False)


def change_a_stride(net):
    net._modules["0"].stride = (2, 2)


def change_metadata(net):
    net.metadata["classes"] = ["digit"]


@pytest.mark.parametrize("change", [change_a_weight, change_a_stride, change_metadata])
def test_another_network_is_built(net, builds, tmp_path, change):
    first = net.compile(cache_dir=tmp_path, **SILENT)
    change(net)
    second = net.compile(cache_dir=tmp_path, **SILENT)
    assert len(builds) == len(engine_files(tmp_path)) == 2
    assert not same(first, second)
    net.compile(cache_dir=tmp_path, **SILENT)
    assert len(builds) == 2


OPTIONS = [
    {"fp16": True},
    {"fp16": True, "fp32_modules": ("0",)},
    {"optimization_level": 1},
    {"workspace_bytes": 1 << 24},
    {"max_aux_streams": 1},
    {"tf32": False},
    {"inputs": {"input": (2, 3, 16, 16)}},
    *([{"targets": ("sm89",)}, {"targets": ("sm89", "sm86")}] if ONE_TARGET else []),
]


def test_other_options_are_built(net, builds, tmp_path):
    net.compile(cache_dir=tmp_path, **SILENT)
    for _ in range(2):
        for options in OPTIONS:
            net.compile(cache_dir=tmp_path, **{**SILENT, **options})
        assert len(builds) == len(engine_files(tmp_path)) == 1 + len(OPTIONS)


def test_versions_and_the_gpu_are_in_the_key(net):
    network = net.trace()

    def key(description=None, flags=0):
        return cache_key(network.graph, {"tensorrt": "8.6.0", "gpu": "H100", **(description or {})}, {}, flags)

    keys = [
        key(),
        key({"gpu": "H200"}),
        key({"tensorrt": "8.6.1"}),
        key({"trtnn": "9"}),
        key({"backend": "x"}),
        key(flags=1),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_the_description_names_the_versions_in_the_key(net, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(trtnn.build.build, "cache_key", lambda *args: seen.append(args[1]) or "key")
    net.compile(cache_dir=tmp_path, **SILENT)
    backend = get_backend()
    assert {"backend": backend.name, "tensorrt": backend.version}.items() <= seen[0].items()
    assert seen[0]["trtnn"]
    assert seen[0]["targets"]


def test_the_command_line_keeps_engines(builds, tmp_path):
    arguments = ["build", str(WEIGHTS), "--size", "64"]
    arguments += ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "digits.engine")]
    for target in ONE_TARGET.get("targets", ()):
        arguments += ["--target", target]
    for _ in range(2):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert Engine.load(tmp_path / "digits.engine").outputs
    assert len(builds) == len(engine_files(tmp_path / "cache")) == 1


# -- damage -----------------------------------------------------------------------------------------------------------


def truncate(path, _):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path, _):
    path.write_bytes(b"")


def flip_a_bit_of_the_plan(path, _):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


def change_the_description(path, _):
    path.write_bytes(path.read_bytes().replace(b'"model": "Sequential"', b'"model": "Sequentiel"'))


def take_another_engine(path, other):
    path.write_bytes(other.read_bytes())


def take_an_engine_from_elsewhere(path, _):
    engine = Engine.load(path)
    engine.description.pop(trtnn.build.engine_cache._ENTRY)
    engine.save(path)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        flip_a_bit_of_the_plan,
        change_the_description,
        take_another_engine,
        take_an_engine_from_elsewhere,
    ],
)
def test_a_damaged_file_is_replaced(net, builds, tmp_path, damage):
    good = net.compile(cache_dir=tmp_path, **SILENT)
    (file,) = engine_files(tmp_path)
    other = net.compile(cache_dir=tmp_path / "other", fp16=True, **SILENT)
    damage(file, engine_files(tmp_path / "other")[0])
    with pytest.warns(
        UserWarning, match="an engine is built again, since its file in the cache is damaged: "
    ) as caught:
        again = net.compile(cache_dir=tmp_path, **SILENT)
    assert str(file) in str(caught[0].message)
    assert len(builds) == 3
    assert again.description == good.description != other.description
    assert again.plan.nbytes == good.plan.nbytes
    assert same(net.compile(cache_dir=tmp_path, **SILENT), again)
    assert len(builds) == 3


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder(net, builds, tmp_path):
    file = tmp_path / "file"
    file.touch()
    message = message_of(ArgumentError, net.compile, cache_dir=file, **SILENT)
    assert message == f"cannot keep files in {file}: it is a file\n  give the path of a folder"
    message = message_of(ArgumentError, net.compile, cache_dir=file / "inner", **SILENT)
    assert f"cannot keep files in {file / 'inner'}: Not a directory" in message
    assert builds == []


def test_a_folder_that_is_closed_to_us(net, builds, monkeypatch, tmp_path):
    monkeypatch.setattr(trtnn.files.os, "access", lambda path, mode: False)
    message = message_of(ArgumentError, net.compile, cache_dir=tmp_path, **SILENT)
    assert message == f"cannot keep files in {tmp_path}: no permission to write there\n  give another folder"
    assert builds == []


@pytest.mark.parametrize("name", ["cache_dir", "timing_cache"])
def test_what_is_no_path(name):
    assert message_of(ArgumentError, BuildConfig, **{name: 3}) == f"{name} takes the path of a folder, not 3"
    assert f"{name} takes the path of a folder, not True" in message_of(ArgumentError, BuildConfig, **{name: True})


def test_a_hit_needs_no_right_to_write(net, builds, monkeypatch, tmp_path):
    net.compile(cache_dir=tmp_path, **SILENT)
    monkeypatch.setattr(trtnn.build.engine_cache, "make_cache_folder", lambda path: pytest.fail("a hit writes nothing"))
    monkeypatch.setattr(trtnn.build.engine_cache, "locked", lambda *args: pytest.fail("a hit takes no lock"))
    net.compile(cache_dir=tmp_path, **SILENT)
    assert len(builds) == 1


def test_a_full_disk_costs_no_engine(net, monkeypatch, tmp_path):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trtnn.engine.file, "atomic_write", full)
    with pytest.warns(UserWarning, match="the engine was not kept in the cache: .*No space left on device"):
        engine = net.compile(cache_dir=tmp_path, **SILENT)
    assert engine.plan.nbytes > 0
    assert engine_files(tmp_path) == []


def test_a_failed_build_leaves_nothing(net, monkeypatch, tmp_path):
    network = net.trace()
    fail_to_build(network, monkeypatch, "some reason")
    assert "some reason" in message_of(BuildError, network.build, cache_dir=tmp_path, **SILENT)
    assert engine_files(tmp_path) == []
    assert list(tmp_path.glob("*.tmp")) == []


def test_the_name_of_a_model_stays_a_name(net, tmp_path):
    net.metadata["model"] = "../../somewhere/my model" + "!" * 300
    net.compile(cache_dir=tmp_path / "cache", **SILENT)
    (file,) = engine_files(tmp_path / "cache")
    assert file.name.startswith("somewhere_my_model-")
    assert file_name("NVIDIA H100 80GB HBM3") == "NVIDIA_H100_80GB_HBM3"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TRTNN_CACHE_DIR": "/there", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/there"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/trtnn"),
        ({"HOME": "/home/me"}, "/home/me/.cache/trtnn"),
    ],
)
def test_the_users_own_folder(monkeypatch, environment, expected):
    for name in ("TRTNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == Path(expected)


def test_without_a_home_the_error_names_what_to_set(net, monkeypatch):
    """A relative folder would be another one wherever a program is started, where anyone may have put files."""
    for name in ("TRTNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trtnn.files.os.path, "expanduser", lambda path: path)  # of a user that has no entry either
    message = message_of(ArgumentError, default_cache_dir)
    assert "there is no folder for caches: neither HOME nor XDG_CACHE_HOME is an absolute path" in message
    assert "received no XDG_CACHE_HOME, no HOME" in message
    assert "set TRTNN_CACHE_DIR to a folder, or HOME" in message
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert "received XDG_CACHE_HOME='here', no HOME" in message_of(ArgumentError, default_cache_dir)


# -- other users ------------------------------------------------------------------------------------------------------

has_owners = pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners and modes here")


@has_owners
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_cache_that_others_can_write_to_is_not_used(net, builds, tmp_path, mode):
    net.compile(cache_dir=tmp_path / "cache", **SILENT)
    (tmp_path / "cache").chmod(mode)
    for module in (net, Sequential(ReLU())):  # an engine is there, and is not
        module.inputs = {"input": (1, 3, 16, 16)}
        message = message_of(ArgumentError, module.compile, cache_dir=tmp_path / "cache", **SILENT)
        assert f"{tmp_path / 'cache'} is not trusted: other users can write to it (mode {mode:04o})" in message
        assert "chmod -R go-w" in message
    assert len(builds) == 1
    (tmp_path / "cache").chmod(0o755)
    net.compile(cache_dir=tmp_path / "cache", **SILENT)
    assert len(builds) == 1


@has_owners
def test_a_folder_is_made_for_its_owner_alone(net, tmp_path):
    before = os.umask(0)
    try:
        net.compile(cache_dir=tmp_path / "made" / "here", **SILENT)
    finally:
        os.umask(before)
    for folder in (tmp_path / "made", tmp_path / "made" / "here"):
        assert folder.stat().st_mode & 0o777 == 0o700


@has_owners
def test_a_cache_of_another_user_is_not_used(net, builds, monkeypatch, tmp_path):
    mine = tmp_path.stat().st_uid
    monkeypatch.setattr(trtnn.files.os, "getuid", lambda: 12345)
    if mine:
        message = message_of(ArgumentError, net.compile, cache_dir=tmp_path, **SILENT)
        assert f"{tmp_path} is not trusted: it belongs to another user (uid {mine}, and this is 12345)" in message
        assert builds == []
    else:  # root can write anywhere in any case
        net.compile(cache_dir=tmp_path, **SILENT)


@has_owners
def test_a_file_that_others_can_write_to_is_replaced(net, builds, tmp_path):
    net.compile(cache_dir=tmp_path, **SILENT)
    (file,) = engine_files(tmp_path)
    file.chmod(0o666)
    with pytest.warns(UserWarning, match="is not trusted: other users can write to it"):
        net.compile(cache_dir=tmp_path, **SILENT)
    assert len(builds) == 2
    assert file.stat().st_mode & 0o022 == 0
    net.compile(cache_dir=tmp_path, **SILENT)
    assert len(builds) == 2


# -- several processes ------------------------------------------------------------------------------------------------

BUILDER = """
import sys
import numpy as np
import trtnn.build.build
from trtnn.modules import Conv2d

build_plan = trtnn.build.build._build_plan
def slowly(*args):
    print("built", flush=True)
    sys.stdin.readline()
    return build_plan(*args)
trtnn.build.build._build_plan = slowly
trtnn.build.build.sys.stderr.isatty = lambda: True

net = Conv2d(3, 4, 3)
net.load_state_dict({"weight": np.ones((4, 3, 3, 3), np.float32), "bias": np.ones(4, np.float32)})
network = net.trace({"input": (1, 3, 16, 16)})
print("ready", flush=True)
sys.stdin.readline()
engine = network.build(cache_dir=sys.argv[1], **OPTIONS)
print("engine", engine.plan.nbytes, flush=True)
"""


def test_of_two_processes_one_builds(tmp_path):
    code = BUILDER.replace("OPTIONS", repr(ONE_TARGET))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "bufsize": 1}
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, **pipes) for _ in range(2)]
    builds, waits = children
    for child in children:
        assert child.stdout.readline() == "ready\n"
    builds.stdin.write("\n")
    assert builds.stdout.readline() == "built\n"
    waits.stdin.write("\n")
    assert "waiting for another process that builds Conv2d" in waits.stderr.readline()
    results = [child.communicate("\n") for child in (builds, waits)]
    assert [child.returncode for child in children] == [0, 0]
    (file,) = engine_files(tmp_path)
    assert [output for output, _ in results] == [f"engine {Engine.load(file).plan.nbytes}\n"] * 2
    assert "waiting" not in results[0][1]


def test_a_process_that_dies_lets_go(net, tmp_path):
    code = BUILDER.replace("OPTIONS", repr(ONE_TARGET))
    code = code.replace("return build_plan(*args)", "__import__('os')._exit(9)")
    for _ in range(2):
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, input="\n\n", capture_output=True, text=True, check=False)
        assert done.returncode == 9
        assert done.stdout == "ready\nbuilt\n"  # the second did not wait for the first
    assert engine_files(tmp_path) == []


# -- memory -----------------------------------------------------------------------------------------------------------


def fail_to_build(network, monkeypatch, line):
    """Let TensorRT's builder fail with a line in its log."""
    logger, severity = get_backend().logger, get_backend().trt.ILogger.Severity
    builder = network.graph.builder
    fake = SimpleNamespace(
        create_builder_config=builder.create_builder_config,
        build_serialized_network=lambda definition, settings: logger.log(severity.ERROR, line),
    )
    monkeypatch.setattr(network.graph, "builder", fake)


@pytest.mark.parametrize(
    "line", ["Error Code 2: OutOfMemory (no further information)", "no implementation: insufficient workspace"]
)
def test_out_of_memory_gives_the_numbers(net, monkeypatch, line):
    network = net.trace()
    fail_to_build(network, monkeypatch, line)
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: (3 << 30, 80 << 30))
    message = message_of(BuildError, network.build, workspace_bytes=3 << 19, **SILENT)
    assert line in message
    assert "workspace limit (workspace_bytes): 1.5 MiB" in message
    assert "memory of the GPU: 3,072 MiB free of 81,920" in message
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: None)
    message = message_of(BuildError, network.build, **SILENT)
    assert message.endswith("workspace limit (workspace_bytes): none")


def test_other_failures_give_no_numbers(net, monkeypatch):
    network = net.trace()
    fail_to_build(network, monkeypatch, "Invalid TopK K")
    assert "workspace" not in message_of(BuildError, network.build, **SILENT)


@pytest.mark.parametrize("limit", [0, -1, 1e9, "1G", (1 << 48) + 1])
def test_a_limit_is_positive(limit):
    message = message_of(ArgumentError, BuildConfig, workspace_bytes=limit)
    assert message == f"workspace_bytes is an int from 1 to 1 << 48, such as 1 << 30, not {limit!r}"
