"""Building: targets, options, progress, and what is said when it fails."""

import dataclasses
import enum
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.build.build
import trtnn.build.config
from tests.helpers import ONE_TARGET, load_random, message_of, needs_type, strongly_typed, trace
from trtnn import BuildConfig, Input, get_backend, modules
from trtnn.build.build import leave_out_libraries
from trtnn.build.config import DEFAULT_TARGETS, resolve_targets
from trtnn.build.watching import _make_monitor
from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, BackendError, BuildError
from trtnn.modules import Conv2d, Sequential, SiLU

named_targets = pytest.mark.skipif(
    not get_backend().capabilities.targets, reason="this TensorRT builds for its own GPU"
)


@pytest.fixture
def net():
    module = Sequential(Conv2d(3, 4, 3), SiLU(), Conv2d(4, 4, 3))
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU(), torch.nn.Conv2d(4, 4, 3))
    module.load_state_dict(load_random(twin).state_dict())
    module.inputs = {"input": (1, 3, 16, 16)}
    return module


@pytest.fixture
def gpus_are(monkeypatch):
    return lambda *names: monkeypatch.setattr(trtnn.build.config, "gpus", lambda: names)


@named_targets
def test_default_targets_without_a_gpu(net, gpus_are):
    gpus_are()
    engine = net.compile()
    assert engine.targets == DEFAULT_TARGETS == ("sm86", "sm89", "sm120")


@named_targets
@pytest.mark.parametrize(
    ("here", "expected"), [(("sm89",), ("sm89",)), (("sm86", "sm120"), ("sm86",)), (("sm90",), DEFAULT_TARGETS)]
)
def test_default_targets_with_a_gpu(gpus_are, here, expected):
    gpus_are(*here)
    assert resolve_targets(get_backend(), None) == expected


@named_targets
def test_named_targets(net):
    assert net.compile(targets=("sm86", "sm75", "sm86")).targets == ("sm86", "sm75")
    one, two = net.compile(targets="sm89"), net.compile(targets=["sm89", "sm120"])
    assert one.targets == ("sm89",)
    assert bytes(one.plan) != bytes(two.plan)


@named_targets
@pytest.mark.parametrize(
    ("targets", "words"),
    [(("sm86", "sm70"), "sm70"), ("SM86", "SM86"), ((), "no target at all"), ("gpu", "gpu"), ([86], "86")],
)
def test_unknown_targets(net, targets, words):
    message = message_of(ArgumentError, net.compile, targets=targets)
    assert f"{get_backend()} does not build for {words}" in message
    assert "known: sm75, sm80, sm86, sm89, sm120" in message


def test_targets_where_tensorrt_builds_for_its_own_gpu_alone(gpus_are):
    gpus_are("sm90")
    backend = SimpleNamespace(capabilities=SimpleNamespace(targets=False))
    assert resolve_targets(backend, None) == ("sm90",)
    assert resolve_targets(backend, ["sm90"]) == ("sm90",)
    message = message_of(BackendError, resolve_targets, backend, ["sm86"])
    assert "builds for the GPU it runs on, not for targets=('sm86',)" in message
    assert "TRTNN_BACKEND=tensorrt_rtx" in message


def test_unknown_options_name_the_nearest(net):
    message = message_of(ArgumentError, net.compile, workspace_byte=1)
    assert "no build option is called 'workspace_byte'" in message
    assert "nearest: workspace_bytes" in message
    assert "known: targets, optimization_level, tf32, workspace_bytes" in message
    assert "nearest" not in message_of(ArgumentError, net.trace().build, qqq=1)


def test_options_are_checked_before_the_trace():
    empty = Conv2d(3, 4, 3)
    assert "no build option is called 'fp61'" in message_of(
        ArgumentError, empty.compile, {"input": (1, 3, 8, 8)}, fp61=1
    )


@pytest.mark.parametrize("level", [-1, 6, 2.5, "3", True])
def test_optimization_levels(level):
    message = message_of(ArgumentError, BuildConfig, optimization_level=level)
    assert f"optimization_level goes from 0 to 5, not {level!r}" in message


def test_options_reach_tensorrt(net, monkeypatch):
    network = net.trace()
    made = []
    builder = network.graph.builder
    monkeypatch.setattr(
        network.graph,
        "builder",
        SimpleNamespace(
            create_builder_config=lambda: made.append(builder.create_builder_config()) or made[0],
            build_serialized_network=builder.build_serialized_network,
        ),
    )
    network.build(
        optimization_level=1, workspace_bytes=1 << 24, max_aux_streams=2, tf32=False, progress=False, **ONE_TARGET
    )
    (settings,) = made
    assert settings.builder_optimization_level == 1
    assert settings.get_memory_pool_limit(get_backend().trt.MemoryPoolType.WORKSPACE) == 1 << 24
    assert settings.max_aux_streams == 2
    assert not settings.get_flag(get_backend().trt.BuilderFlag.TF32)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"targets": 3}, 'targets is a list such as ("sm86", "sm89"), not 3'),
        ({"progress": "yes"}, "progress is True, False or None, not 'yes'"),
        ({"workspace_bytes": True}, "workspace_bytes is an int from 1 to 1 << 48, such as 1 << 30, not True"),
        ({"workspace_bytes": 1 << 63}, "to 1 << 48, such as 1 << 30, not 9223372036854775808"),
        ({"cache_dir": ""}, "cache_dir takes the path of a folder, not ''"),
    ],
)
def test_options_of_another_kind(option, words):
    assert words in message_of(ArgumentError, BuildConfig, **option)


@pytest.mark.parametrize("streams", [-1, 128, 1 << 31, 1.5, "two", True])
def test_a_number_of_streams_that_is_none(streams):
    message = message_of(ArgumentError, BuildConfig, max_aux_streams=streams)
    assert message == f"max_aux_streams is an int from 0 to 127, not {streams!r}"


def test_an_engine_without_tf32_says_so(net):
    assert net.compile(tf32=False, **ONE_TARGET).description["tf32"] is False
    assert "tf32" not in net.compile(**ONE_TARGET).description


def test_tf32_is_asked_for_by_yes_or_no():
    assert message_of(ArgumentError, BuildConfig, tf32="off") == "tf32 is True or False, not 'off'"


@needs_type("int8")
def test_a_network_that_tensorrt_does_not_build():
    def function(x):  # TensorRT has constants of int8 for quantised weights alone
        constant = x.graph.emit("constant", (2,), np.ones(2, np.int8))
        return x + x.graph.emit("cast", constant, get_backend().data_type(float32))

    network = trace(function, (2,))
    message = message_of(BuildError, network.build, **ONE_TARGET)
    assert "could not build Function" in message
    assert "IBuilder::buildSerializedNetwork" in message
    assert trace(lambda x: x + 1, (2,)).build(**ONE_TARGET).plan.nbytes > 0  # and the next one is not troubled


@strongly_typed
def test_fp16_plans_are_smaller():
    module = Conv2d(64, 64, 3)
    module.load_state_dict(load_random(torch.nn.Conv2d(64, 64, 3)).state_dict())
    full, half = (module.compile({"input": (1, 64, 8, 8)}, fp16=fp16, **ONE_TARGET) for fp16 in (False, True))
    assert full.description["precision"] == "float32"
    assert half.description["precision"] == "float16"
    assert full.plan.nbytes - half.plan.nbytes > 64 * 64 * 9  # bytes


def test_one_network_builds_again_and_again(net):
    network = net.trace()
    first, second = network.build(**ONE_TARGET), network.build(**ONE_TARGET)
    assert first.plan.nbytes == second.plan.nbytes


# -- progress ---------------------------------------------------------------------------------------------------------

has_progress = pytest.mark.skipif(not get_backend().capabilities.progress, reason="this TensorRT reports no progress")


@has_progress
def test_progress_on_a_terminal(net, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    net.compile(progress=True, **ONE_TARGET)
    shown = capsys.readouterr()
    assert "building Sequential" in shown.err
    assert "━" in shown.err
    assert "\x1b[" in shown.err
    assert shown.out == ""


@has_progress
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_where_standard_error_is_a_terminal(net, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    net.compile(**ONE_TARGET)
    assert ("building Sequential" in capsys.readouterr().err) == terminal


@has_progress
def test_no_progress_where_none_is_wanted(net, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    net.compile(progress=False, **ONE_TARGET)
    assert capsys.readouterr().err == ""


def test_phases_within_phases_make_one_fraction():
    shown = []
    progress = SimpleNamespace(update=lambda task, **values: shown.append(values))
    monitor = _make_monitor(SimpleNamespace(IProgressMonitor=object), progress, 0, SimpleNamespace(error=None))
    monitor.phase_start("build", None, 2)
    for phase in ("optimize", "tactics"):
        monitor.phase_start(phase, "build", 4)
        for step in range(4):
            assert monitor.step_complete(phase, step) is True
        monitor.phase_finish(phase)
        monitor.step_complete("build", 0)
    monitor.phase_start("empty", "build", 0)
    monitor.phase_finish("empty")
    monitor.phase_finish("build")
    fractions = [values["completed"] for values in shown if "completed" in values]
    assert fractions == [0.125, 0.25, 0.375, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    assert [values["phase"] for values in shown if "phase" in values] == ["build", "optimize", "tactics", "empty"]


def test_the_fraction_never_falls():
    shown = []
    progress = SimpleNamespace(update=lambda task, **values: shown.append(values.get("completed", 0)))
    monitor = _make_monitor(SimpleNamespace(IProgressMonitor=object), progress, 0, SimpleNamespace(error=None))
    monitor.phase_start("build", None, 1)
    for phase in ("first", "second"):  # both in the same step
        monitor.phase_start(phase, "build", 2)
        for step in range(2):
            monitor.step_complete(phase, step)
        monitor.phase_finish(phase)
    assert [fraction for fraction in shown if fraction] == [0.5, 1.0, 1.0, 1.0]


def test_a_module_of_many_kinds_builds_in_both_precisions():
    net = Sequential(modules.MaxPool2d(2), modules.Upsample(scale_factor=2), modules.Hardswish(), modules.Softmax(1))
    for fp16 in (False, True):
        engine = net.compile({"input": (1, 3, 8, 8)}, fp16=fp16, **ONE_TARGET)
        assert engine.outputs == {"output": Input((1, 3, 8, 8), np.float32)}


def test_a_plugin_brings_no_libraries_along():
    class Source(enum.IntEnum):
        CUBLAS, CUBLAS_LT, CUDNN, EDGE_MASK_CONVOLUTIONS = range(4)

    kept = []
    settings = SimpleNamespace(get_tactic_sources=lambda: 0b1111, set_tactic_sources=kept.append)
    leave_out_libraries(settings, SimpleNamespace(TacticSource=Source))
    assert kept == [1 << Source.EDGE_MASK_CONVOLUTIONS]


@named_targets
def test_an_engine_for_all_gpus_since_ampere(net, monkeypatch):
    message = message_of(BackendError, net.compile, targets=("sm86",), hardware_compatible=True)
    assert "ignores hardware_compatible" in message
    assert "name the GPUs: targets=" in message
    backend = get_backend()  # it takes the setting as others do, and does nothing with it
    able = dataclasses.replace(backend.capabilities, hardware_compatible=True)
    monkeypatch.setattr(backend, "capabilities", able)
    assert net.compile(targets=("sm86",), hardware_compatible=True).description["hardware_compatible"] == "ampere_plus"
    graph = net.trace().graph  # whose builder is one that remembers: TensorRT-RTX shows the level as it was
    for config, given in ((BuildConfig(hardware_compatible=True), True), (BuildConfig(), False)):
        settings = SimpleNamespace(set_compute_capability=lambda *_: None)
        graph.builder = SimpleNamespace(create_builder_config=lambda settings=settings: settings)
        trtnn.build.build._make_settings(graph, config, ("sm86",))
        level = getattr(settings, "hardware_compatibility_level", None)
        assert level == (backend.trt.HardwareCompatibilityLevel.AMPERE_PLUS if given else None)
    assert "hardware_compatible" not in net.compile(targets=("sm86",)).description
    message = message_of(BackendError, net.compile, targets=("sm75",), hardware_compatible=True)
    assert "for GPUs since sm80, and the one here is sm75" in message
    assert "hardware_compatible is True or False" in message_of(ArgumentError, BuildConfig, hardware_compatible=1)
