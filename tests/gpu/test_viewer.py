"""The facts of an engine on a GPU: what TensorRT's inspector and profiler really say, beside the network's own."""

from __future__ import annotations

import json

import pytest

from tests.helpers import numbers
from tests.viewer.engines import DYNAMIC, loaded
from trtnn.engine.timing import EngineTiming
from trtnn.viewer.roofline import gpu_roofline

IMAGES = numbers(2, 3, 32, 32)


@pytest.fixture(scope="module", params=["static", "dynamic"])
def network(request):
    inputs = {"images": (2, 3, 32, 32)} if request.param == "static" else DYNAMIC
    return loaded().trace(inputs, fp16=True)


@pytest.fixture(scope="module")
def engine(network):
    return network.build(max_aux_streams=0)


@pytest.fixture(scope="module")
def timing(engine):
    return engine.timing(IMAGES, runs=5)


@pytest.fixture(scope="module")
def facts(engine, network, timing):
    return engine.facts(timing, network)


def test_every_time_is_a_rows(facts, timing):
    assert sum(row.milliseconds or 0 for row in facts.rows) == pytest.approx(timing.milliseconds)
    shown = sum(row.milliseconds is not None for row in facts.rows)
    assert shown == len({layer.name for layer in timing.layers})
    inspected = {layer.name for layer in timing.layers} & {row.name for row in facts.rows}
    assert len(inspected) >= 0.8 * len(facts.rows), "the inspector and the profiler name layers alike"


def test_rows_are_of_the_networks_modules(facts, network):
    paths = {module.path for module in network.facts().modules}
    assert {path for row in facts.rows for path in row.modules} <= paths
    assert {"stem.conv", "body.0.conv", "body.1.conv"} <= {path for row in facts.rows for path in row.modules}


def test_flops_are_the_networks_where_all_are_known(facts, network):
    told = [row.flops for row in facts.rows]
    known = sum(flops or 0 for flops in told)
    assert 0 < known <= network.flops
    convolutions = [row for row in facts.rows if any(path.endswith(".conv") for path in row.modules)]
    assert {row.built for row in convolutions} <= {"float16", "float32", None}  # TensorRT 8.6 may keep a small one


def test_bytes_are_known_of_what_is_computed(facts, network):
    (row, *_) = [row for row in facts.rows if "stem.conv" in row.modules and row.flops]
    assert row.activation_bytes == 2 * 2 * 8 * 16 * 16
    if network.profiles and not {*row.inputs} <= {tensor.name for tensor in network.facts().tensors}:
        assert row.moved_bytes is None  # TensorRT 8.6 does not tell how long its own copy of the input is
    else:
        assert row.moved_bytes >= row.activation_bytes + 2 * (8 * 27 + 8)


def test_files_for_other_tools(engine, timing, facts, network, tmp_path):
    path = engine.save_layer_info(tmp_path / "layers.json")
    assert len(json.loads(path.read_text())["Layers"]) >= len([row for row in facts.rows if row.kind])
    again = EngineTiming.load(timing.save(tmp_path / "times.json"), engine.layers())
    assert again == timing
    assert engine.facts(again, network, layer_info=path).rows == facts.rows


def test_the_gpus_roofline():
    roofline = gpu_roofline()
    assert roofline is not None
    assert 1e11 < roofline.bytes_per_second < 2e13
    assert 1e13 < roofline.flops_per_second["float16"] < 1e16


def test_a_page_is_written(engine, network, timing, tmp_path):
    for name in ("vl_convert", "netron"):
        pytest.importorskip(name)
    page = engine.view(tmp_path / "page.html", timing=timing, network=network)
    assert page.stat().st_size < 6_000_000
