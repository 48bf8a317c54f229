"""Timings: whose layer it is, the times of several runs, the tables; the GPU is stood in for."""

import json

import numpy as np
import pytest

from tests.helpers import ONE_TARGET, message_of, trace
from tests.standin import stand_in
from trtnn import Engine
from trtnn.engine.engine import TIMING_WARM_UP
from trtnn.engine.inspector import EngineLayer, module_paths, quantized_as, read_layer
from trtnn.engine.timing import EngineTiming, holder
from trtnn.errors import ArgumentError, EngineError


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("model.0.conv", ["model.0.conv"]),
        ("model.24/slice_2", ["model.24"]),
        ("/concatenation", [""]),
        ("model.0.conv + PWN(PWN(model.0.act/activation), model.0.act)", ["model.0.conv", "model.0.act"]),
        ("PWN(PWN(conv/a), b) + c", ["conv", "b", "c"]),
        ("model.2.cv1.conv || model.2.cv2.conv", ["model.2.cv1.conv", "model.2.cv2.conv"]),
        ("{ForeignNode[model.24/concatenation...model.25/shuffle]}", ["model.24", "model.25"]),
        (
            "Reformatting CopyNode for Input Tensor 0 to model.1.conv + PWN(model.1.act)",
            ["model.1.conv", "model.1.act"],
        ),
        ("Reformatting CopyNode for Output Tensor 1 to PWN(a.b/x, c)", ["a.b", "c"]),
        ("Reformatting CopyNode for Input Tensor 1 to {ForeignNode[a.0/x...a.1]}", ["a.0", "a.1"]),
        ("Reformatting CopyNode for Network Input images", []),
        ("model.4.cv3:0 copy", ["model.4.cv3"]),
        ("model.9 input reformatter 0", ["model.9"]),
        ("reshape_before_fc + head.fc/matrix_multiply", ["fc", "head.fc"]),
        ("squeeze_after_head.fc", ["head.fc"]),
        ("unsqueeze_node_after_fc/constant", ["fc"]),
        ("reshape.squeeze/slice", ["reshape.squeeze"]),  # modules may be called so
        ("(Unnamed Layer* 3) [Shuffle]", []),
        ("(Unnamed Layer* 3) [Shuffle] + model.0.conv", ["model.0.conv"]),
        ("[trainStation1]", []),
        ("[HostToDeviceCopy 0]", []),
        ("__myl_ConvSilu_myl0_3", []),
        ("model.0.conv [profile 1]", ["model.0.conv"]),
        ("model.0.conv + PWN(model.0.act) [profile 12]", ["model.0.conv", "model.0.act"]),
        ("model.0.conv\x1fmodel.0.act", ["model.0.conv", "model.0.act"]),
        ("model.0.conv\x1emodel.0.act/activation_2\x1emodel.0.act", ["model.0.conv", "model.0.act"]),
    ],
)
def test_whose_layer_it_is(name, paths):
    assert module_paths(name) == tuple(paths)


@pytest.mark.parametrize(
    ("paths", "common"),
    [
        (["model.0.conv", "model.0.act"], "model.0"),
        (["model.1.conv", "model.10.conv"], "model"),
        (["model.1", "model.1.conv"], "model.1"),
        (["stem", "head"], ""),
        (["", "head"], ""),
        (["head"], "head"),
    ],
)
def test_which_module_holds_all(paths, common):
    assert holder(paths) == common


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("model.0.conv", EngineLayer("model.0.conv", ("model.0.conv",))),
        (
            {
                "Name": "model.0.conv",
                "LayerType": "CaskConvolution",
                "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
            },
            EngineLayer("model.0.conv", ("model.0.conv",), "CaskConvolution", "float16"),
        ),
        (
            {
                "Name": "__myl_Conv_myl0_3",
                "LayerType": "kgen",
                "Outputs": [{"Format/Datatype": "", "Format": "N/A", "Datatype": "Float"}],
                "Metadata": "a.conv\x1eb/activation",
            },
            EngineLayer("__myl_Conv_myl0_3", ("a.conv", "b"), "kgen", "float32"),
        ),
        (
            {"Name": "x", "Outputs": [{"Format/Datatype": "Row major linear INT32"}]},
            EngineLayer("x", ("x",), "", "int32"),
        ),
        ({"Name": "x", "Outputs": [{"Datatype": "BFloat16"}]}, EngineLayer("x", ("x",), "", "bfloat16")),
        ({"Name": "x", "Outputs": [], "Metadata": ""}, EngineLayer("x", ("x",))),
    ],
)
def test_what_the_inspector_says(row, expected):
    assert read_layer(row) == expected


RUNS = [
    [("a.conv", 3.0), ("a.act + b.conv", 1.0), ("c/slice", 0.5), ("__myl_k", 0.5)],
    [("a.conv", 100.0), ("a.act + b.conv", 2.0), ("c/slice", 0.5), ("__myl_k", 0.5)],
    [("a.conv", 6.0), ("a.act + b.conv", 3.0), ("c/slice", 1.5), ("__myl_k", 0.5)],
]


@pytest.fixture
def timing():
    return EngineTiming.of_runs(RUNS, [EngineLayer("a.conv", ("a.conv",), "Conv", "float16")])


def test_times_are_medians(timing):
    assert [row.milliseconds for row in timing.layers] == [6.0, 2.0, 0.5, 0.5]
    assert timing.milliseconds == 9.0
    assert timing.runs == 3
    assert [row.share for row in timing.layers] == pytest.approx([6 / 9, 2 / 9, 0.5 / 9, 0.5 / 9])
    assert (timing.layers[0].kind, timing.layers[0].precision) == ("Conv", "float16")
    assert [row.path for row in timing.layers] == ["a.conv", "", "c", "(TensorRT)"]


def test_a_layer_that_runs_several_times_in_a_run():
    timing = EngineTiming.of_runs([[("loop", 1.0), ("loop", 5.0)], [("loop", 3.0), ("loop", 7.0)]], [])
    assert [(row.name, row.milliseconds) for row in timing.layers] == [("loop", 2.0), ("loop", 6.0)]


def test_times_of_modules():
    times = [("m.0.conv", 1.0), ("m.0.act", 2.0), ("m.1.conv", 4.0), ("m.1.conv + m.2.conv", 8.0), ("/add", 16.0)]
    timing = EngineTiming.of_runs([[*times, ("__myl_k", 32.0)]], [])
    assert timing.by_module(2) == {"m.0": 3.0, "m.1": 4.0, "m": 8.0, "": 16.0, "(TensorRT)": 32.0}
    assert timing.by_module(1) == {"m": 15.0, "": 16.0, "(TensorRT)": 32.0}
    assert list(timing.by_module()) == ["m.0.conv", "m.0.act", "m.1.conv", "m", "", "(TensorRT)"]
    lines = timing.module_table(2, by_time=True).splitlines()
    assert lines[0].split() == ["module", "ms", "share"]
    assert [line.split()[0] for line in lines[2:-2]] == ["(TensorRT)", "(forward)", "m", "m.1", "m.0"]
    assert lines[-1].split() == ["total", "63.0000", "100.0%"]


def test_the_table(timing):
    lines = str(timing).splitlines()
    assert lines[0].split() == ["module", "layer", "type", "precision", "ms", "share"]
    assert lines[2].split() == ["a.conv", "a.conv", "Conv", "float16", "6.0000", "66.7%"]
    assert lines[3].split() == ["(forward)", "a.act", "+", "b.conv", "2.0000", "22.2%"]
    assert lines[-1].split() == ["total", "4", "layers,", "3", "runs", "9.0000", "100.0%"]
    assert len({len(line) for line in lines}) == 1
    few = timing.table(by_time=True, limit=1).splitlines()
    assert few[2:4] == [few[2], "... and 3 more"]
    assert few[-1].split() == lines[-1].split()  # the total is of all


def test_the_slowest_first_and_long_names():
    long = " + ".join(f"model.{i}.conv" for i in range(50))
    table = EngineTiming.of_runs([[("a", 1.0), (long, 2.0)]], []).table(by_time=True)
    assert table.splitlines()[2].split()[1] == "model.0.conv"
    assert "..." in table
    assert max(map(len, table.splitlines())) < 120


def test_json(timing):
    values = json.loads(json.dumps(timing.to_json()))
    assert values["milliseconds"] == 9.0
    assert values["layers"][1]["paths"] == ["a.act", "b.conv"]
    assert values["layers"][1]["name"] == "a.act + b.conv"


def test_nothing_was_reported():
    for runs in ([], [[]], [[("a", 1.0)], []]):
        assert "reported no layer's time" in message_of(EngineError, EngineTiming.of_runs, runs, [])


# -- engines ----------------------------------------------------------------------------------------------------------

X = np.float32([1, 2])


@pytest.fixture
def network():
    return trace(lambda x: x + 1, (2,))


@pytest.fixture
def engine(network):
    return network.build(**ONE_TARGET)


def test_an_engine_s_timing(network, engine, monkeypatch):
    shown = [{"Name": "/add", "LayerType": "PointWise", "Outputs": [{"Datatype": "Float"}], "Metadata": "/add\x1e/mul"}]
    stood_in = stand_in(monkeypatch, network, lambda run: [("/add", float(run)), ("copy", 1.0)], shown)
    timing = engine.timing(X, runs=3)
    measured = [TIMING_WARM_UP + 1, TIMING_WARM_UP + 2, TIMING_WARM_UP + 3]
    assert stood_in.runs == measured[-1]
    assert [row.milliseconds for row in timing.layers] == [measured[1], 1.0]
    assert timing.runs == 3
    assert timing.layers[0].kind == "PointWise"
    assert engine.layers() == [EngineLayer("/add", ("",), "PointWise", "float32")]
    assert not stood_in.contexts  # the one that was watched is gone
    assert engine(X).tolist() == [2, 3]
    (context,) = stood_in.contexts
    assert context.profiler is None  # an ordinary call is not watched


def test_its_worker_is_closed_after_an_error(network, engine, monkeypatch):
    stood_in = stand_in(monkeypatch, network)
    assert "reported no layer's time" in message_of(EngineError, engine.timing, X)
    assert stood_in.runs > 0
    assert not stood_in.contexts
    stood_in.log.clear()
    assert message_of(ArgumentError, engine.timing, X, X)
    assert not stood_in.log  # what does not fit is told before there is one


def test_an_engine_on_several_streams_says_how_to_time_it(network, engine, monkeypatch):
    stand_in(monkeypatch, network).num_aux_streams = 2
    message = message_of(EngineError, engine.timing, X)
    assert "the engine runs on 3 streams" in message
    assert "max_aux_streams=0" in message


def test_wrong_arguments(engine):
    assert "runs is a positive number, not 0" in message_of(ArgumentError, engine.timing, X, runs=0)


def test_an_inspector_s_text_that_cannot_be_read(network, engine, monkeypatch):
    stood_in = stand_in(monkeypatch, network)
    for text in ("", "{}", "[]", "null"):
        monkeypatch.setattr(stood_in, "get_engine_information", lambda _, text=text: text)
        assert "inspector gave what cannot be read" in message_of(EngineError, engine.layers)


def test_without_a_gpu_it_says_so(engine):
    if engine.targets == ():
        pytest.skip("this TensorRT builds for its own GPU alone")
    other = Engine(engine.plan, {**engine.description, "targets": ["sm1"]})
    assert "cannot run here" in message_of(EngineError, other.timing, X)


def test_engines_are_built_to_be_looked_into(network, monkeypatch):
    from trtnn import BuildConfig
    from trtnn.build.build import _make_settings, resolve_targets

    targets = resolve_targets(network.graph.backend, ONE_TARGET.get("targets"))
    settings, _ = _make_settings(network.graph, BuildConfig(), targets)
    assert settings.profiling_verbosity == network.graph.trt.ProfilingVerbosity.DETAILED
    definition = network.graph.definition
    for index in range(definition.num_layers):
        assert definition.get_layer(index).metadata == definition.get_layer(index).name


def test_what_a_quantised_module_was_built_as():
    rows = [
        {"Name": "a.conv/quantize", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]},
        {
            "Name": "a.conv/weight + a.conv/quantize_2 + a.conv + PWN(a.act, a.act/elementwise)",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
            "Outputs": [{"Format/Datatype": "Row major linear FP32"}],
        },
        {
            "Name": "b + PWN(b.act)",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
        },
        {"Name": "__myl_c", "Metadata": "c", "LayerType": "kgen", "Inputs": [{"Datatype": "FP8"}]},
    ]
    built = quantized_as(map(read_layer, rows), ["a.conv", "a.act", "b", "c", "d"])
    assert built == {"a.conv": "int8", "a.act": "int8", "b": "float16", "c": "float8_e4m3fn", "d": ""}
