"""Builds that are done again under a lock: what is held, what may be new, what differs, and locks that are none.

TensorRT measures only where there is a GPU (see tests/gpu/test_lock.py); here a stand-in chooses the tactics. What
TensorRT-RTX builds is real.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

import trtnn.build.build
import trtnn.build.lock
import trtnn.cuda
from tests.build.measuring import Machine
from tests.fuzz import mutations
from tests.helpers import ONE_TARGET, message_of, numbers
from trtnn import BuildConfig, Dim, get_backend
from trtnn.build.build import _make_settings
from trtnn.build.lock import describe_build
from trtnn.build.pinning import NO_PINS, HalfLayer, PinnedLayer, Pins
from trtnn.build.refitting import refittable
from trtnn.build.timing_cache import unpack
from trtnn.cuda import driver_version
from trtnn.digest import digest
from trtnn.errors import ArgumentError, BuildError
from trtnn.files import CACHE_ENVIRONMENT
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.modules import Conv2d, ReLU, Sequential

SILENT = {"progress": False}
IMAGES = (1, 3, 16, 16)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.lock"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def net(seed=0, channels=4):
    module = Sequential(Conv2d(3, channels, 3), ReLU(), Conv2d(channels, 4, 3))
    module.inputs = {"input": IMAGES}
    named = module.named_parameters()
    module.load_state_dict({n: numbers(*p.shape, seed=seed + i) for i, (n, p) in enumerate(named)})
    return module


def build(path, module=None, **options):
    return (module or net()).compile(lock=path, **SILENT, **options)


def timing(path):
    return path.with_name(f"{path.name}.timing")


def files(path):
    """Return what the files beside a lock hold, and when each was written."""
    found = [file for file in path.parent.iterdir() if file.is_file()]
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in found}


def tactics(engine):
    return {row["Name"]: row["TacticName"] for row in json.loads(bytes(engine.plan))}


def lines_of(path, *args, **options):
    """Return the lines of the error of a build, of which neither an engine nor a changed lock is left."""
    before = files(path)
    lines = message_of(BuildError, build, path, *args, **options).splitlines()
    assert files(path) == before
    return [line.strip() for line in lines]


def rewrite(path, **changes):
    """Change what a lock says; ... for what it shall not have."""
    told = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not ...}))


# -- the same again ---------------------------------------------------------------------------------------------------


def test_the_first_build_writes_it(machine, path):
    engine = build(path, fp16=True, max_aux_streams=1)
    assert {file.name for file in path.parent.iterdir()} == {"net.lock", "net.lock.timing"}
    told = json.loads(path.read_bytes())
    assert told["trtnn_lock"] == 1
    assert told["trtnn"] == engine.description["trtnn"]
    assert (told["driver"], told["model"]) == ("550.54.15", "Sequential")
    gpu = {"name": "NVIDIA H200", "capability": "sm90", "multiprocessors": 132}
    assert (told["build"]["tensorrt"], told["build"]["gpu"]) == (repr(get_backend()), gpu)
    options = told["build"]["options"]
    assert (options["precision"], options["max_aux_streams"], options["optimization_level"]) == ("float16", 1, None)
    assert options["flags"] == ["TF32"]
    assert options["tactic_sources"] == list(get_backend().trt.TacticSource.__members__)
    assert told["build"]["network"]["inputs"] == {"input": {"shape": [*IMAGES], "dtype": "float32"}}
    measured = unpack(timing(path).read_bytes())
    assert measured == b"".join(f"{name}={tactic}\n".encode() for name, tactic in sorted(tactics(engine).items()))
    assert told["timing_cache"] == digest(measured)
    kinds = ["Row major linear FP32"]
    rows = json.loads(bytes(engine.plan))
    assert told["tactics"] == [
        {
            "layer": row["Name"], "type": row["LayerType"], "tactic": f"sm90_xmma_{row['Name']}", "value": "0x1",
            "reads": kinds, "gives": kinds,
        }
        for row in rows
    ]  # fmt: skip
    assert told["plan"] == digest(engine.plan)
    assert set(told["weights"]) == {f"{layer} {role}" for layer in "02" for role in ("KERNEL", "BIAS")}
    said = {"digest": digest(path.read_bytes()), "tactics": len(rows), "new_weights": 0, "same_plan": True}
    assert engine.description["lock"] == said


def test_the_next_takes_its_tactics_and_leaves_it_as_it_is(machine, path):
    first, before, measured = build(path), files(path), list(machine.measured)
    machine.choose = "sm90_slower_{}".format
    machine.driver("560.35")
    second = build(str(path))
    assert machine.measured == measured
    assert machine.builds == 2
    assert bytes(second.plan) == bytes(first.plan)
    assert second.description == first.description
    assert files(path) == before


def test_no_other_timing_cache_has_a_part_in_it(machine, path, cache):
    net().compile(**SILENT)
    (shared,) = cache.glob("*.cache")
    content = shared.read_bytes()
    machine.choose = "sm90_other_{}".format
    assert {*tactics(build(path)).values()} == {f"sm90_other_{name}" for name in tactics(build(path))}
    assert shared.read_bytes() == content
    assert {*tactics(net().compile(**SILENT)).values()} == {f"sm90_xmma_{name}" for name in tactics(build(path))}
    before = files(path)
    net(channels=8).compile(**SILENT)  # which adds to the shared one alone
    assert files(path) == before


def test_new_weights_are_allowed_and_told(machine, path):
    first = build(path)
    changed = net()
    changed.load_state_dict({**net().state_dict(), "2.bias": numbers(4, seed=9)})
    second = build(path, changed)
    assert second.description["lock"] == {
        "digest": digest(path.read_bytes()), "tactics": len(tactics(first)), "new_weights": 1,
    }  # fmt: skip
    assert build(path, net(5)).description["lock"]["new_weights"] == 4
    assert build(path).description == first.description


def test_a_network_object_is_built_again(machine, path):
    network = net().trace(fp16=True)
    engines = [network.build(lock=path, **SILENT) for _ in range(2)]
    assert engines[0].description == engines[1].description
    assert network.build(BuildConfig(lock=path, **SILENT)).description == engines[0].description


def test_a_network_that_is_pinned_is_built_again(machine, path, monkeypatch):
    def pin(graph, settings):
        graph.is_pinned = True
        graph.definition.get_layer(0).metadata = "pinned"
        return NO_PINS

    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, strongly_typed=False))
    monkeypatch.setattr(trtnn.build.build, "pin_layers", pin)
    first = build(path)
    network = net().trace()
    assert [network.build(lock=path, **SILENT).description["lock"] for _ in range(2)] == [first.description["lock"]] * 2
    other = net().trace()
    other.build(**SILENT)
    assert "trace it again" in message_of(BuildError, other.build, lock=path, **SILENT)


def test_a_build_that_fails_writes_none(machine, path):
    machine.fails = True
    assert "could not build" in message_of(BuildError, build, path)
    assert list(path.parent.iterdir()) == []


def test_a_relative_path_and_a_link(machine, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    build("net.lock")
    path.with_name("linked").symlink_to(path)
    timing(path.with_name("linked")).symlink_to(timing(path))
    assert build(path.with_name("linked")).description["lock"]["same_plan"]


# -- what differs after the build -------------------------------------------------------------------------------------


def test_other_tactics_are_an_error_that_lists_them(machine, path):
    names = list(tactics(build(path)))
    machine.drops_caches = True
    machine.choose = lambda name: f"sm90_{'cask' if name == '2' else 'xmma'}_{name}"
    summary, *lines = lines_of(path)
    assert summary == f"TensorRT did not choose the tactics that {path} holds, so there is no engine"
    assert lines == [
        "2: tactic sm90_xmma_2 in the lock, tactic sm90_cask_2 in this build",
        f"for a new lock give another name, or remove {path}, and build again",
    ]
    machine.choose = "sm90_best_{}".format
    assert [line.partition(":")[0] for line in lines_of(path)[1:-1]] == names


def test_a_build_that_measures_the_same_again_is_held(machine, path):
    first = build(path)
    machine.drops_caches = True
    assert build(path).description == first.description


def test_what_was_measured_again_is_told(machine, path):
    build(path)
    content = unpack(timing(path).read_bytes()).split(b"\n", 1)[1]
    timing(path).write_bytes(trtnn.build.timing_cache.pack(content))
    rewrite(path, timing_cache=digest(content))
    machine.choose = "sm90_slower_{}".format
    machine.driver("560.35")
    lines = lines_of(path)
    told = "TensorRT measured again what it did not find in the lock's timing cache"
    assert lines[2:4] == [told, "the driver was 550.54.15 when the lock was written, and is 560.35"]


@pytest.mark.parametrize(("layers", "more"), [(40, []), (41, ["... and 1 more"]), (50, ["... and 10 more"])])
def test_many_differences_are_cut(machine, path, layers, more):
    deep = Sequential(*[Conv2d(3, 3, 1) for _ in range(layers)])
    deep.inputs = {"input": IMAGES}
    deep.load_state_dict({n: numbers(*p.shape) for n, p in deep.named_parameters()})
    build(path, deep)
    machine.drops_caches, machine.choose = True, "other_{}".format
    lines = lines_of(path, deep)
    assert [line.partition(":")[0] for line in lines[1:41]] == [str(number) for number in range(40)]
    assert lines[41:] == [
        *more,
        "TensorRT measured again what it did not find in the lock's timing cache",
        f"for a new lock give another name, or remove {path}, and build again",
    ]


# -- what differs before it -------------------------------------------------------------------------------------------


def test_all_that_differs_is_told_at_once(machine, path, monkeypatch):
    build(path, optimization_level=1)
    builds = machine.builds
    machine.gpu("NVIDIA H100", "sm90", 114)
    monkeypatch.setattr(get_backend(), "version", "99.1")
    other = net(channels=8)
    other.metadata = {"model": "another"}
    lines = lines_of(path, other, inputs={"input": (2, 3, 16, 16)}, tf32=False, max_aux_streams=1)
    version = json.loads(path.read_text())["build"]["tensorrt"]
    assert lines == [
        f"this build is not the one that {path} holds",
        f"tensorrt: {version} in the lock, {get_backend().name} 99.1 in this build",
        "gpu.name: NVIDIA H200 in the lock, NVIDIA H100 in this build",
        "gpu.multiprocessors: 132 in the lock, 114 in this build",
        "options.optimization_level: 1 in the lock, none in this build",
        "options.tf32: true in the lock, false in this build",
        "options.max_aux_streams: none in the lock, 1 in this build",
        "options.flags: TF32 in the lock, none in this build",
        "network.inputs.input.shape: [1, 3, 16, 16] in the lock, [2, 3, 16, 16] in this build",
        "network.outputs.output.shape: [1, 4, 12, 12] in the lock, [2, 4, 12, 12] in this build",
        "the network has other layers, connections, settings or shapes",
        "the lock is of the model Sequential, and this is another",
        f"build as it was, or for a new lock give another name, or remove {path}, and build again",
    ]
    assert machine.builds == builds


DYNAMIC = {"input": (Dim("batch", 1, 2, 4), 3, 16, 16)}
DIFFERENT = {
    "precision": ({"fp16": True}, "options.precision: float32 in the lock, float16 in this build"),
    "hardware": ({"hardware_compatible": True}, "options.hardware_compatible: false in the lock, true in this build"),
    "refit": ({"refittable": True}, "options.flags: only in this build REFIT"),
    "workspace": ({"workspace_bytes": np.int64(1 << 20)}, "options.workspace_bytes: none in the lock, 1048576 in"),
    "profiles": ({"inputs": DYNAMIC}, "options.profiles: none in the lock, [{"),
    "inner outputs": ({"outputs": ["0"]}, "options.inner_outputs: none in the lock, 0 in this build"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_each_option_is_held(machine, path, what):
    build(path)
    options, expected = DIFFERENT[what]
    assert any(line.startswith(expected) for line in lines_of(path, **options)), lines_of(path, **options)


def test_modules_in_fp32_are_held(machine, path):
    build(path, fp16=True, fp32_modules=["0"])
    lines = lines_of(path, fp16=True, fp32_modules=["2"])
    assert "options.fp32_modules: only in the lock 0; only in this build 2" in lines


def test_a_network_of_the_same_sizes_is_another(machine, path):
    build(path)
    other = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 4, 3, stride=1, padding=1, dilation=2))
    other.inputs = {"input": IMAGES}
    other.load_state_dict(net().state_dict())
    assert "the network has other layers, connections, settings or shapes" in lines_of(path, other)


def test_pins_and_plugins_are_held(monkeypatch, tmp_path):
    graph = net().trace().graph
    library = tmp_path / "library.so"
    monkeypatch.setattr(graph, "plugins", {"a": PluginLayer("dcnv2", {}, library, 0, None)})
    described = {"inputs": {}, "outputs": {}, "trtnn": "0"}
    settings, _ = _make_settings(graph, BuildConfig(**ONE_TARGET), ONE_TARGET.get("targets", ()))

    def held(content, *pinned):
        library.write_bytes(content)
        pins = Pins(
            [PinnedLayer(name, ()) for name in pinned], [HalfLayer("CONVOLUTION", SimpleNamespace(name="half"))]
        )
        return describe_build(graph, refittable(graph), {}, settings, pins, described).build

    first = held(b"one", "0", "1", "2", "3", "4")
    assert first["options"]["plugins"] == {"dcnv2": digest(b"one")}
    assert trtnn.build.lock._differences(first, held(b"two", "0")) == [
        "options.pinned_to_fp32: only in the lock 1, 2, 3 and 1 more",
        f"options.plugins.dcnv2: {digest(b'one')} in the lock, {digest(b'two')} in this build",
    ]
    assert first["options"]["pinned_to_fp16"] == ["half"]


def test_a_lock_of_another_trtnn_says_so_where_something_differs(machine, path):
    build(path)
    rewrite(path, trtnn="0.0.7")
    assert build(path).description["lock"]["same_plan"]
    line = f"trtnn was 0.0.7 when the lock was written, and is {build(path).description['trtnn']}"
    assert line in lines_of(path, fp16=True)


def test_a_timing_cache_that_is_not_the_locks(machine, path):
    build(path)
    good, old = timing(path).read_bytes(), path.read_bytes()
    damaged = f"its timing cache {timing(path)} is damaged, or another lock's"
    for content in (b"", good[:-1], good + b"\n", good[:-2] + b"?\n", b"bare=bytes\n"):
        timing(path).write_bytes(content)
        assert lines_of(path)[1:-1] == [damaged]
    other = path.with_name("other.lock")
    build(other, Sequential(net()), inputs={"input": IMAGES})
    timing(path).write_bytes(timing(other).read_bytes())
    assert lines_of(path)[1:-1] == [damaged]
    timing(path).unlink()
    missing = f"its timing cache {timing(path)} cannot be read: No such file or directory; copy it beside the lock"
    assert lines_of(path)[1:-1] == [missing]
    timing(path).write_bytes(good)
    machine.refuses_caches = True
    assert lines_of(path)[0] == f"TensorRT does not accept the timing cache {timing(path)}"
    machine.refuses_caches = False
    rewrite(path, tactics=None)
    assert lines_of(path)[1:-1] == ["it has no tactics, which a build could be held to"]
    path.write_bytes(old)
    assert build(path)


# -- files that are none ----------------------------------------------------------------------------------------------

BROKEN = {
    "empty": (b"", "it is no lock of trtnn's"),
    "no JSON": (b"\x80\x02model", "no lock of trtnn's"),
    "a list": (b"[]", "it is a list, not an object"),
    "another file": (b'{"nc": 80}', "it has no 'trtnn_lock'"),
    "a newer format": (b'{"trtnn_lock": 2}', "it is of the format 2, and this trtnn reads the format 1"),
    "no number": (b'{"trtnn_lock": true}', "it is of the format True, and this trtnn reads the format 1"),
    "a key twice": (b'{"trtnn_lock": 1, "trtnn_lock": 1}', "it has 'trtnn_lock' twice"),
    "deep": (b'{"trtnn_lock": 1, "build": ' + b"[" * 5000 + b"]" * 5000 + b"}", "it is nested too deeply"),
    "long": (b" " * ((1 << 24) + 1), "it has more than the 16,777,216 bytes that are read"),
    "many values": (b'{"a": [' + b"1," * 1_000_001 + b"1]}", "values, and 1,000,000 are read"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_lock_is_an_error_and_stays(machine, path, what):
    content, why = BROKEN[what]
    path.write_bytes(content)
    lines = lines_of(path)
    assert lines[0] == f"{path} is no lock of trtnn's, or is damaged"
    assert why in f"it is no lock of trtnn's {lines[1]}" or what in ("empty", "no JSON")
    assert lines[2] == f"for a new lock give another name, or remove {path}, and build again"
    assert machine.builds == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": ...}, "a lock has trtnn, driver, model, build, weights, plan, timing_cache, tactics"),
        ({"more": 1}, "tactics, more; a lock has trtnn"),
        ({"build": []}, "its build is a list"),
        ({"weights": {"0 KERNEL": 1}}, "its weights are not all digests"),
        ({"tactics": [1]}, "one of its tactics is none: 1"),
        ({"tactics": [{"layer": ["a"]}]}, "one of its tactics is none: {'layer': ['a']}"),
        ({"tactics": [{"layer": "a", "reads": [1]}]}, "one of its tactics is none"),
        ({"tactics": [{"layer": "a", "tactic": {}}]}, "one of its tactics is none"),
        ({"timing_cache": 1}, "its timing_cache is a int"),
    ],
)
def test_a_lock_that_lacks_something_is_damaged(machine, path, changes, why):
    build(path)
    rewrite(path, **changes)
    lines = lines_of(path)
    assert lines[0] == f"{path} is no lock of trtnn's, or is damaged"
    assert why in lines[1]


def test_values_of_other_kinds_are_differences(machine, path):
    build(path)
    told = json.loads(path.read_text())
    told["build"] |= {"tensorrt": {"a": 1}, "options": "all", "network": [{}]}
    rewrite(path, **told)
    lines = lines_of(path)
    assert lines[1] == f'tensorrt: {{"a": 1}} in the lock, {get_backend()} in this build'
    assert lines[2].startswith('options: all in the lock, {"targets": []')
    assert lines[3].startswith("network: [{}] in the lock, {")


def test_what_a_lock_says_cannot_steer_a_terminal(machine, path):
    build(path)
    told = json.loads(path.read_text())
    told["build"]["gpu"]["name"] = told["trtnn"] = told["model"] = "\x1b[2J"
    told["build"]["\x1b[3J"] = 1
    rewrite(path, **told)
    text = message_of(BuildError, build, path)
    assert text.count("\\x1b[2J") == 3
    assert text.replace("\n", "").isprintable()
    told["build"] = json.loads(json.dumps(told["build"]).replace("\\u001b[2J", "NVIDIA H200"))
    del told["build"]["\x1b[3J"]
    told["tactics"][0]["layer"] = told["tactics"][1]["tactic"] = "\x1b[2J"
    path.write_text(json.dumps(told))
    text = message_of(BuildError, build, path)
    assert text.count("\\x1b[2J") == 3
    assert text.replace("\n", "").isprintable()


def test_damage_is_found_or_harmless(machine, path):
    """Whatever bytes a lock has, a build is held to the tactics that it says, or is an error of ours."""
    build(path)
    good, random = path.read_bytes(), Random(0)
    damages = (mutations.flip_bits, mutations.overwrite, mutations.insert, mutations.remove, mutations.truncate)
    held = 0
    for number in range(100):
        path.write_bytes(damages[number % len(damages)](random, good))
        try:
            build(path)
            held += 1
            assert json.loads(path.read_bytes())["tactics"] == json.loads(good)["tactics"]
        except BuildError:
            pass
    assert held < 50


def test_a_lock_that_cannot_be_written(machine, path):
    def refused(path):
        message = message_of(ArgumentError, build, path)
        assert machine.builds == 0
        return message

    assert "the folder /proc/nothing does not exist" in refused("/proc/nothing/net.lock")
    assert "cannot write /proc/net.lock" in refused("/proc/net.lock")
    path.write_bytes(b"")
    assert f"{path} is a file" in refused(path / "net.lock")
    path.unlink()
    timing(path).write_text("mine")
    message = refused(path)
    assert f"the timing cache of the lock would take the place of {timing(path)}, which is none" in message
    timing(path).unlink()
    timing(path).mkdir()
    assert f"cannot write {timing(path)}: it is a folder" in refused(path)
    assert message_of(BuildError, build, path.parent) == (
        f"cannot read the lock {path.parent}: Is a directory\n  give the path of a file"
    )
    assert "embedded null" in message_of(BuildError, build, "a\0b")
    assert machine.builds == 0


def test_a_build_that_no_lock_can_hold(machine, path, monkeypatch):
    monkeypatch.setattr(trtnn.build.lock, "_MOST_VALUES", 20)
    message = message_of(BuildError, build, path)
    assert message.startswith("no lock can hold this build: it has about ")
    assert message.endswith("build it without one")
    assert list(path.parent.iterdir()) == []


def test_long_values_are_cut(machine, path):
    build(path)
    told = json.loads(path.read_text())
    for length, shown in ((200, "x" * 200), (201, f"{'x' * 200} ...")):
        told["build"]["tensorrt"] = "x" * length
        rewrite(path, **told)
        assert f"  tensorrt: {shown} in the lock, " in message_of(BuildError, build, path)


def test_a_lock_that_was_written_meanwhile_is_not_overwritten(machine, path):
    machine.during_build = lambda: path.write_text("theirs")
    assert message_of(BuildError, build, path).splitlines()[0] == f"another build has written {path} meanwhile"
    assert path.read_text() == "theirs"


def test_the_file_of_a_lock_that_was_removed_is_written_again(machine, path):
    build(path)
    path.unlink()
    machine.choose = "sm90_other_{}".format
    build(path)
    assert b"sm90_other" in timing(path).read_bytes()
    assert build(path)


@pytest.mark.parametrize("value", [3, True, "", False])
def test_what_a_lock_is_given_by(value):
    assert message_of(ArgumentError, BuildConfig, lock=value) == f"lock takes the path of a file, not {value!r}"


@pytest.mark.parametrize("value", [False, "folder"])
def test_a_lock_takes_no_other_timing_cache(value):
    message = message_of(ArgumentError, BuildConfig, lock="a", timing_cache=value)
    assert message == "a lock has a timing cache of its own, and takes no other\n  leave timing_cache out"


# -- engines that are kept --------------------------------------------------------------------------------------------


def test_engines_of_each_lock_are_kept_apart(machine, path, tmp_path):
    folder = tmp_path / "engines"
    machine.choose = "sm90_other_{}".format
    net().compile(cache_dir=folder, **SILENT)
    machine.choose = "sm90_xmma_{}".format
    engines = [build(path, cache_dir=folder) for _ in range(3)]
    assert machine.builds == 3  # without it, as it was written, and held to it
    assert engines[0].description == engines[1].description == engines[2].description
    assert {*tactics(engines[2]).values()} == {f"sm90_xmma_{name}" for name in tactics(engines[0])}
    timing(path).unlink()
    assert "cannot be read" in lines_of(path, cache_dir=folder)[1]


# -- TensorRT-RTX -----------------------------------------------------------------------------------------------------

only_rtx = pytest.mark.skipif(not get_backend().capabilities.targets, reason="this TensorRT measures")


@only_rtx
@pytest.mark.parametrize("fp16", [False, True])
def test_two_builds_of_rtx_are_held_as_one(path, fp16):
    """Their plans may differ by the order of some names; the lock says whether they do."""
    first, second = (build(path, fp16=fp16, **ONE_TARGET) for _ in range(2))
    same = bytes(first.plan) == bytes(second.plan)
    assert second.description["lock"] == {"digest": digest(path.read_bytes()), "new_weights": 0, "same_plan": same}
    assert not timing(path).exists()


@only_rtx
def test_what_rtx_builds_is_held(path):
    build(path, **ONE_TARGET)
    told = json.loads(path.read_text())
    assert (told["timing_cache"], told["tactics"], "gpu" in told["build"]) == (None, None, False)
    assert build(path, net(5), **ONE_TARGET).description["lock"]["new_weights"] == 4
    lines = lines_of(path, fp16=True, targets=("sm89",))
    assert "options.targets: only in the lock sm86; only in this build sm89" in lines
    assert "options.precision: float32 in the lock, float16 in this build" in lines
    rewrite(path, plan="another")  # as dynamic networks have each time
    assert build(path, **ONE_TARGET).description["lock"]["same_plan"] is False


@only_rtx
def test_an_engine_that_is_built_again_while_it_runs_is_held_to_its_lock(path):
    engine = build(path, net(), **ONE_TARGET)
    engine.refit(net(5).state_dict(), rebuild=True)
    assert engine.description["lock"] == {"digest": digest(path.read_bytes()), "new_weights": 4}
    assert bytes(engine.plan) == bytes(build(path, net(5), **ONE_TARGET).plan)
    path.write_text("{")
    assert "lock" in message_of(BuildError, engine.refit, net(6).state_dict(), rebuild=True)
    assert bytes(engine.plan) == bytes(net(5).compile(**SILENT, **ONE_TARGET).plan)


@only_rtx
def test_a_lock_of_rtx_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: pytest.fail("a build was started"))
    message = message_of(ArgumentError, build, "/proc/net.lock", **ONE_TARGET)
    assert message.startswith("cannot write /proc/net.lock: /proc takes no files")


@only_rtx
def test_a_lock_of_a_tensorrt_that_measures_is_none_for_rtx(path, monkeypatch):
    with monkeypatch.context() as inner:
        machine = Machine(inner)
        inner.setattr(get_backend(), "name", "tensorrt")
        build(path)
        assert machine.builds == 1
    lines = lines_of(path, **ONE_TARGET)
    assert f"tensorrt: tensorrt {get_backend().version} in the lock, {get_backend()} in this build" in lines
    assert any(line.startswith("gpu: {") for line in lines)


# -- the driver -------------------------------------------------------------------------------------------------------


class Nvml:
    """NVIDIA's management library, which knows the driver."""

    def __init__(self, **codes):
        self.codes, self.calls = codes, []

    def nvmlInit_v2(self):
        return self.codes.get("init", 0)

    def nvmlSystemGetDriverVersion(self, text, length):
        assert length == len(text) == 80
        text.value = b"550.54.15"
        return self.codes.get("version", 0)

    def nvmlShutdown(self):
        self.calls.append("shutdown")


def test_the_driver_is_known_by_its_library(monkeypatch):
    nvml = Nvml()
    monkeypatch.setattr(ctypes, "CDLL", {"libnvidia-ml.so.1": nvml}.__getitem__)
    assert driver_version() == "550.54.15"
    assert nvml.calls == ["shutdown"]
    for failing in (Nvml(init=9), Nvml(version=9)):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=failing: library)
        assert driver_version() == ""

    def missing(name):
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert driver_version() == ""
