"""The facts of an engine: TensorRT's layers, their times, and what the network tells of each."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.helpers import ONE_TARGET, message_of
from tests.standin import stand_in
from tests.viewer.engines import DYNAMIC, inspected, loaded, times_of
from trtnn import Dim, Engine, Input, compare
from trtnn.compare import ComparedOutput, Comparison
from trtnn.engine.inspector import EngineLayer
from trtnn.engine.timing import EngineTiming
from trtnn.engine.viewing import engine_facts
from trtnn.errors import ArgumentError, EngineError

IMAGES = np.zeros((1, 3, 32, 32), np.float32)
FUSED = "stem.conv + stem.act"


@pytest.fixture
def timing(engine):
    return engine.timing(IMAGES, runs=2)


def row_of(facts, name):
    (found,) = [row for row in facts.rows if row.name == name]
    return found


def test_what_was_fused_is_one_row_of_its_modules(engine, half_network, timing):
    row = row_of(engine.facts(timing, half_network), FUSED)
    assert (row.module, list(row.modules)) == ("stem", ["stem.conv", "stem.act"])
    assert row.layers == ["stem.conv", "stem.act"]
    assert (row.kind, row.asked, row.built) == ("CaskConvolution", "float16", "float16")
    assert row.details == {"TacticName": "sm86_xmma_fprop"}


def test_a_row_is_built_in_the_type_of_its_weights(built):
    """What it gives may be of another type: a kernel in int8 may write fp16."""
    end = {"Name": "y", "Dimensions": [1], "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}
    weights = {"Type": "Int8", "Count": 8}
    rows = [
        {"Name": "stem.conv", "Outputs": [end], "Weights": weights},
        {"Name": "head", "Outputs": [end], "Weights": {"Type": "Float", "Count": 0}},
    ]
    facts = engine_facts(built.description, built._shapes, 1, rows, None, None, [])
    assert [row.built for row in facts.rows] == ["int8", "float16"]


def test_figures_of_a_fused_row_are_sums_over_the_layers_in_it(engine, half_network, timing):
    own = half_network.facts()
    facts = engine.facts(timing, own)
    layers = {layer.name: layer for layer in own.rows}
    row = row_of(facts, FUSED)
    assert row.flops == layers["stem.conv"].flops + layers["stem.act"].flops > 0
    assert row.parameters == 8 * 27 + 8
    assert row.weights == layers["stem.conv"].weights
    assert row.line == layers["stem.conv"].line == layers["stem.act"].line
    # What lies between the convolution and the activation is neither written nor read.
    assert row.activation_bytes == 2 * 8 * 16 * 16
    assert row.moved_bytes == 2 * (3 * 32 * 32 + 8 * 16 * 16 + 8 * 27 + 8)
    assert sum(one.flops or 0 for one in facts.rows) == half_network.flops


def test_times_are_the_timings(engine, timing):
    facts = engine.facts(timing)
    assert [row.milliseconds for row in facts.rows] == [layer.milliseconds for layer in timing.layers]
    assert sum(row.share for row in facts.rows) == pytest.approx(1)
    assert facts.about["time of all layers"] == f"{timing.milliseconds:.4f} ms, medians of 2 runs"
    assert facts.rows[0].module is None  # TensorRT's own


def test_what_is_not_known_is_none_and_said(engine):
    facts = engine.facts()
    row = row_of(facts, FUSED)
    assert (row.milliseconds, row.flops, row.parameters, row.line) == (None, None, None, None)
    assert facts.rows[0].moved_bytes is None
    assert any(note.startswith("Layers are without times") for note in facts.notes)
    assert any(note.startswith("FLOPs, weights and the user's lines are the network's") for note in facts.notes)


def test_a_layer_in_two_rows_or_a_run_of_layers_has_no_flops(built, half_network):
    rows = [
        {"Name": "first", "Metadata": "stem.conv\x1estem.act"},
        {"Name": "second", "Metadata": "stem.act"},
        {"Name": "{ForeignNode[body.0.conv...body.1.act]}"},
        {"Name": "body.1.conv"},
        {"Name": "not.there"},
        {"Name": "body.0.act + not.there"},
    ]
    facts = engine_facts(built.description, built._shapes, 1, rows, None, half_network.facts(), [])
    assert [row.flops is None for row in facts.rows] == [True, True, True, False, True, True]
    assert [list(row.modules) for row in facts.rows[2:3]] == [["body.0.conv", "body.1.act"]]
    assert any(note.startswith("FLOPs of 5 of 6 layers are unknown") for note in facts.notes)


def test_dynamic_lengths_are_the_networks(monkeypatch):
    network = loaded().trace(DYNAMIC, fp16=True)
    rows = inspected(network)
    stand_in(monkeypatch, network, layers=rows)
    engine = network.build(**ONE_TARGET)
    alone, joined = row_of(engine.facts(), FUSED), row_of(engine.facts(network=network), FUSED)
    assert (alone.activation_bytes, alone.moved_bytes) == (None, None)
    assert joined.activation_bytes == 2 * (2 * 8 * 16 * 16)  # at batch 2, which is fastest
    facts = engine.facts(network=network)
    (given,) = [tensor for tensor in facts.tensors if tensor.name == "images"]
    assert given.ranges == [{"min": [1, 3, 32, 32], "opt": [2, 3, 32, 32], "max": [4, 3, 32, 32]}]


def test_layers_are_of_one_profile(monkeypatch):
    """TensorRT has layers of its own for each profile, and names them by it from the second on."""
    sizes = [Dim("batch", 1, 2, 4), Dim("batch", 5, 6, 8)]
    network = loaded().trace({"images": [Input((size, 3, 32, 32)) for size in sizes]}, fp16=True)
    first = inspected(network)
    second = [{**row, "Name": f"{row['Name']} [profile 1]"} for row in first]
    stand_in(monkeypatch, network, layers=[*first, *second])
    engine = network.build(**ONE_TARGET)
    facts = engine.facts(network=network)
    assert [row.name for row in facts.rows] == [row["Name"] for row in first]
    assert facts.notes[0] == "Layers are those of optimisation profile 0: each has layers of its own."
    timed = engine.facts(EngineTiming.of_runs([times_of(second)], []), network)
    assert [row.name for row in timed.rows] == [row["Name"] for row in second]
    one, other = row_of(facts, FUSED), row_of(timed, f"{FUSED} [profile 1]")
    assert (list(one.modules), one.layers) == (list(other.modules), other.layers)
    assert (one.flops is None, other.flops) == (False, None)
    assert timed.notes[0].endswith(" FLOPs are known of the first profile alone.")
    assert (one.activation_bytes, other.activation_bytes) == (2 * 2 * 8 * 256, 2 * 6 * 8 * 256)


def test_names_alone_are_shown_too(built, half_network):
    facts = engine_facts(built.description, built._shapes, 1, [FUSED], None, half_network.facts(), [])
    assert (facts.rows[0].module, facts.rows[0].kind, facts.rows[0].built) == ("stem", "", None)
    assert facts.rows[0].flops == next(row.flops for row in half_network.facts().rows if row.name == "stem.conv")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"Name": "x", "Inputs": "no list", "Outputs": [3, None]},
        {"Name": "x", "Outputs": [{"Name": "y", "Dimensions": ["a"], "Format/Datatype": 5}], "Weights": {"Count": "n"}},
        {"Name": "x", "Outputs": [{"Name": "y", "Dimensions": [True, 2], "Datatype": "Half"}], "Weights": {"Count": 3}},
    ],
)
def test_an_odd_row_is_shown_as_far_as_it_goes(built, row):
    facts = engine_facts(built.description, built._shapes, 1, [row], None, None, [])
    assert facts.rows[0].moved_bytes is None
    json.dumps(facts.to_json(), allow_nan=False)


# -- times ------------------------------------------------------------------------------------------------------------


def test_times_of_another_engine_are_refused(engine):
    other = EngineTiming.of_runs([[("elsewhere", 1.0)]], [])
    message = message_of(EngineError, engine.facts, other)
    assert message.startswith("the times are not of this engine's layers\n  the engine has such as Reformatting")
    assert "the times are of such as elsewhere" in message


def test_a_layer_that_the_inspector_does_not_show_keeps_its_time(engine, half_network):
    times = [*times_of(inspected(half_network)), ("[trainStation1]", 5.0), (FUSED, 100.0)]
    facts = engine.facts(EngineTiming.of_runs([times], []))
    assert facts.rows[-1].name == "[trainStation1]"
    assert (facts.rows[-1].milliseconds, facts.rows[-1].module) == (5.0, None)
    own = dict(times_of(inspected(half_network)))[FUSED]
    assert row_of(facts, FUSED).milliseconds == own + 100  # it was reported twice in a run, as within a loop
    assert sum(row.milliseconds for row in facts.rows) == pytest.approx(sum(time for _, time in times))


def test_a_time_of_layers_of_one_name_is_a_row_of_its_own(built):
    rows = [{"Name": "a"}, {"Name": "a"}, {"Name": "b"}]
    timing = EngineTiming.of_runs([[("a", 3.0), ("b", 1.0)]], [])
    facts = engine_facts(built.description, built._shapes, 1, rows, timing, None, [])
    assert [(row.name, row.milliseconds) for row in facts.rows] == [("a", None), ("a", None), ("b", 1), ("a", 3)]


def test_a_network_of_other_inputs_is_refused(engine):
    from tests.helpers import trace

    other = trace(lambda x: x.relu(), (1, 3))
    message = message_of(ArgumentError, engine.facts, network=other)
    assert message == (
        "the network is not the one that this engine was built from\n"
        "  the engine: small, images [1, 3, 32, 32] -> output [1, 5]\n"
        "  the network: Function, x0 [1, 3] -> output [1, 3]"
    )


def test_a_network_of_other_shapes_is_refused(engine):
    """Its FLOPs would be those of another batch."""
    other = loaded().trace({"images": (2, 3, 32, 32)}, fp16=True)
    message = message_of(ArgumentError, engine.facts, network=other)
    assert message.endswith("the network: small, images [2, 3, 32, 32] -> output [2, 5]")
    message = message_of(ArgumentError, engine.facts, network=loaded().trace(DYNAMIC, fp16=True))
    assert message.endswith("the network: small, images [batch, 3, 32, 32] -> output [batch, 5]")


def test_a_network_of_another_model_is_refused(engine, half_network):
    """It may have the same inputs, outputs and names of layers, as the sizes of a family have."""
    facts = half_network.facts()
    other = dataclasses.replace(facts, about={**facts.about, "model": "large"})
    message = message_of(ArgumentError, engine.facts, network=other)
    assert message.startswith("the network is not the one that this engine was built from\n  the engine: small, images")
    assert "\n  the network: large, images [1, 3, 32, 32]" in message
    nameless = dataclasses.replace(facts, about={})
    assert engine.facts(network=nameless).rows == engine.facts(network=facts).rows


def test_the_errors_of_a_comparison(engine, half_network):
    comparison = compare(half_network, IMAGES, engine=engine)
    facts = engine.facts(network=half_network, reports=[comparison])
    (root,) = [module for module in facts.modules if module.path == ""]
    assert root.errors == {"engine": comparison.outputs[0].error}


def test_the_errors_of_a_module_of_several_outputs_is_the_largest():
    outputs = [
        ComparedOutput("a", "a/0", 0.25, 1.0),
        ComparedOutput("a", "a/1", 0.5, 1.0),
        ComparedOutput("", "o", 0.1, 1),
    ]
    comparison = Comparison(tuple(outputs), 0.01)
    assert (comparison.measures, comparison.module_errors) == ("engine", {"a": 0.5, "": 0.1})


# -- engines of elsewhere -----------------------------------------------------------------------------------------


def elsewhere(built):
    return Engine(built.plan, {**built.description, "tensorrt": "1.0", "targets": ["sm1"]})


def test_an_engine_of_another_tensorrt_is_shown_by_its_file(built, half_network):
    facts = elsewhere(built).facts()
    assert facts.rows == []
    assert facts.about["tensorrt"] == "1.0"
    assert [tensor.name for tensor in facts.tensors] == ["images", "output"]
    (note,) = facts.notes
    assert note.startswith("Layers cannot be shown here: this engine, of small, cannot run here: it needs ")
    facts = elsewhere(built).facts(network=half_network)
    assert facts.rows == []
    assert facts.notes == [note, "The network's own layers are on a page of its own: network.view()."]


def test_how_many_modules_of_an_engine_are_quantised(built):
    quantized = {"stem.conv": "int8", "body.0.conv": "int8", "head": "float8_e4m3fn"}
    facts = Engine(built.plan, {**built.description, "quantized": quantized}).facts()
    assert facts.about["quantised"] == "int8: 2 modules, float8_e4m3fn: 1 module"
    assert "quantised" not in Engine(built.plan, built.description).facts().about


def test_a_bare_plan_is_shown_by_its_size(built):
    facts = Engine(built.plan, {}).facts()
    assert facts.title == "engine"
    assert facts.about == {"plan": f"{built.plan.nbytes / 1e6:.1f} MB"}
    assert (facts.inputs, facts.rows, len(facts.notes)) == ([], [], 1)


def test_with_files_of_trtexec_it_is_whole(built, engine, half_network, timing, tmp_path):
    engine.save_layer_info(tmp_path / "layers.json")
    timing.save(tmp_path / "times.json")
    here = engine.facts(timing, half_network)
    read = EngineTiming.load(tmp_path / "times.json")
    there = elsewhere(built).facts(read, half_network, layer_info=tmp_path / "layers.json")
    assert there.rows == here.rows
    assert there.notes == here.notes


def test_of_an_engine_of_another_tensorrt_times_alone_are_shown(built, half_network, tmp_path):
    times = times_of(inspected(half_network))
    entries = [{"name": n, "timeMs": t, "averageMs": t, "medianMs": t, "percentage": 1} for n, t in times]
    (tmp_path / "times.json").write_text(json.dumps([{"count": 1}, *entries]))
    facts = elsewhere(built).facts(EngineTiming.load(tmp_path / "times.json"))
    assert [(row.name, row.milliseconds) for row in facts.rows] == times
    assert facts.notes[0].startswith("More of layers than their times cannot be shown here: this engine, of small, ")


def test_a_closed_engine_says_so(engine):
    engine.close()
    assert message_of(EngineError, engine.facts).startswith("this engine was closed")


# -- trtexec's files --------------------------------------------------------------------------------------------------


def test_the_layer_info_is_the_inspectors(engine, half_network, tmp_path):
    path = engine.save_layer_info(tmp_path / "layers.json")
    written = json.loads(path.read_text())  # strictly: as other tools read it
    assert written["Layers"] == inspected(half_network)


def test_a_control_character_in_the_layer_info_is_jsons(engine, half_network, monkeypatch, tmp_path):
    rows = [{"Name": "a", "Metadata": "stem.conv\x1estem.act"}]
    stand_in(monkeypatch, half_network, layers=rows)
    path = Engine(engine.plan, engine.description).save_layer_info(tmp_path / "layers.json")
    assert b"\x1e" not in path.read_bytes()
    assert json.loads(path.read_text())["Layers"] == rows


def test_the_times_are_as_trtexec_writes_them(tmp_path):
    runs = [[("a", 1.0), ("b", 2.0)], [("a", 2.0), ("b", 2.0)], [("a", 6.0), ("b", 2.0)]]
    timing = EngineTiming.of_runs(runs, [EngineLayer("a", ("a",), "Conv", "float16")])
    head, *rows = json.loads(timing.save(tmp_path / "times.json").read_text())
    assert head == {"count": 3}
    assert rows == [
        {"name": "a", "timeMs": 9.0, "averageMs": 3.0, "medianMs": 2.0, "percentage": 60.0},
        {"name": "b", "timeMs": 6.0, "averageMs": 2.0, "medianMs": 2.0, "percentage": 40.0},
    ]
    assert sum(row["percentage"] for row in rows) == 100
    again = EngineTiming.load(tmp_path / "times.json", [EngineLayer("a", ("a",), "Conv", "float16")])
    assert again == timing


def test_trtexecs_own_text_is_read(tmp_path):
    """It is in the form of its ``exportJSONProfile``, with a median since 8.5."""
    path = tmp_path / "times.json"
    path.write_text(
        '[\n  { "count" : 2 }\n, { "name" : "stem.conv", "timeMs" : 3, "averageMs" : 1.5, "medianMs" : 1.25,'
        ' "percentage" : 100 }\n]\n'
    )
    timing = EngineTiming.load(path)
    assert (timing.runs, timing.milliseconds, timing.layers[0].path) == (2, 1.25, "stem.conv")


NO_LIST = 'does not hold times of layers\n  it is no list of {"count": runs} and of an object for each layer'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"count": 3}]', "holds no layer's time"),
        ("[]", NO_LIST),
        ("{}", NO_LIST),
        ("3", NO_LIST),
        ('{"Layers": [{"Name": "a"}], "Bindings": []}', NO_LIST),
        ("no json", "does not hold times of layers\n  Expecting value: line 1 column 1"),
        ('[{"count": 1}, {"name": "a"}]', "does not hold times of layers\n  an entry has no 'medianMs'"),
        ('[{"count": 1}, {"name": "a", "medianMs": NaN, "averageMs": 1}]', "medianMs is nan"),
        ('[{"count": 1}, {"name": "a", "medianMs": -1, "averageMs": 1}]', "medianMs is -1.0"),
        ('[{"count": 1}, {"name": "a", "medianMs": 1, "averageMs": 1e999}]', "averageMs is inf"),
    ],
)
def test_files_that_hold_no_times(text, message, tmp_path):
    path = tmp_path / "times.json"
    path.write_text(text)
    told = message_of(EngineError, EngineTiming.load, path)
    assert told.startswith(str(path))
    assert message in told


def test_a_file_of_no_layers_is_told(engine, tmp_path):
    (tmp_path / "layers.json").write_text('{"Layers": []}')
    told = message_of(EngineError, engine.facts, layer_info=tmp_path / "layers.json")
    assert told == f"{tmp_path / 'layers.json'} holds no layers, so there is nothing to show of it"


def test_files_that_are_not_there(engine, tmp_path):
    assert "No such file" in message_of(EngineError, EngineTiming.load, tmp_path / "missing.json")
    told = message_of(EngineError, engine.facts, layer_info=tmp_path / "missing.json")
    assert told.startswith(f"{tmp_path / 'missing.json'} does not hold an engine's layers\n  No such file")


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": 3}', '{"Layers": [3]}', "{}"])
def test_files_that_hold_no_layers(text, engine, tmp_path):
    path = tmp_path / "layers.json"
    path.write_text(text)
    told = message_of(EngineError, engine.facts, layer_info=path)
    assert told.startswith(f"{path} does not hold an engine's layers\n  ")
    assert "trtexec --exportLayerInfo writes such a file" in told


def test_a_folder_that_cannot_be_written_is_told(engine, timing, network, tmp_path):
    for write in (engine.save_layer_info, timing.save, network.to_onnx_graph, network.view, engine.view):
        told = message_of(ArgumentError, write, tmp_path / "missing" / "file")
        assert told.startswith(f"cannot write {tmp_path / 'missing' / 'file'}: the folder ")
