"""Engines that hold plugins: what their description says, and what happens before TensorRT sees them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import trtnn.engine.engine
from tests.helpers import message_of, numbers, trace
from tests.plugins.definition import take_plugins
from tests.plugins.test_loading import make_library
from tests.standin import stand_in
from trtnn import Engine, get_backend
from trtnn.build.describe import describe
from trtnn.engine.session import Session
from trtnn.errors import BackendError, EngineError
from trtnn.modules import DCN
from trtnn.plugins import dcnv2, load_plugins
from trtnn.plugins.dcnv2 import building, loading

PLAN = b"ftrt, and what a plan goes on with"


@pytest.fixture
def network(monkeypatch, tmp_path):
    """A network of one plugin, traced by a TensorRT that is not there."""
    path = tmp_path / "libplugin.so"
    path.write_bytes(b"library")
    take_plugins(monkeypatch, path, v3=True)
    module = DCN(8, 6, 3, lowering="plugin")
    module.load_state_dict({name: numbers(*p.shape, scale=0.2) for name, p in module.named_parameters()})
    return trace(module, (1, 8, 6, 6))


@pytest.fixture
def engine(network, tmp_path):
    """An engine of it, saved and loaded again."""
    built = Engine(PLAN, describe(network.graph, ("sm90",), {"model": "dcn"}, PLAN))
    return Engine.load(built.save(tmp_path / "dcn.engine"))


@pytest.fixture
def runnable(monkeypatch, network):
    """Let engines run, and tell what was loaded before it was made."""
    events = []
    stand_in(monkeypatch, network)
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *args: events.append("session") or Session(*args))
    return events


def test_the_description_names_its_plugins(engine):
    assert engine.description["plugins"] == ["dcnv2"]


def test_a_network_without_plugins_names_none():
    graph = trace(lambda x: x.relu(), (2, 3)).graph
    assert "plugins" not in describe(graph, (), {}, PLAN)


def test_plugins_are_loaded_before_the_plan(engine, network, runnable, monkeypatch):
    monkeypatch.setattr(dcnv2, "load", lambda: runnable.append("dcnv2"))
    x = numbers(1, 8, 6, 6)
    np.testing.assert_array_equal(engine(x), network.run(x))
    engine(x)
    assert runnable == ["dcnv2", "session"]


def test_an_engine_without_plugins_loads_none(runnable, monkeypatch):
    monkeypatch.setattr(dcnv2, "load", lambda: runnable.append("dcnv2"))
    network = trace(lambda x: x.relu(), (2, 3))
    stand_in(monkeypatch, network)
    Engine(PLAN, describe(network.graph, (), {}, PLAN))._open()
    assert runnable == ["session"]


def test_a_missing_library_is_said_before_the_plan_is_read(engine, runnable, monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "architecture", lambda arch: "sm90")
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path))
    message = message_of(EngineError, engine, numbers(1, 8, 6, 6))
    assert "the library of the DCNv2 plugin for" in message
    assert f"looked for: {tmp_path}/dcnv2/tensorrt-" in message
    assert building.PLUGIN in message
    assert "build it: python -m trtnn.plugins.dcnv2 build --arch sm_90" in message
    assert runnable == []


def test_a_library_for_another_tensorrt_is_said_before_the_plan_is_read(engine, runnable, monkeypatch, tmp_path):
    library = make_library(tmp_path / "other" / building.PLUGIN, "7.2")
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "find_library", lambda backend: library)
    message = message_of(EngineError, engine, numbers(1, 8, 6, 6))
    assert f"the library of the DCNv2 plugin was built for TensorRT 7.2, this is {get_backend()}" in message
    assert str(library) in message
    assert runnable == []


def test_a_plugin_that_is_not_known(engine, runnable):
    engine.description["plugins"] = ["dcnv3"]
    message = message_of(EngineError, engine, numbers(1, 8, 6, 6))
    assert "this engine holds the plugin 'dcnv3', which this trtnn does not have" in message
    assert "known: dcnv2" in message


def test_a_tensorrt_without_plugins():
    assert "has no plugins" in message_of(BackendError, load_plugins, ["dcnv2"])


@pytest.mark.parametrize("plugins", ["dcnv2", [1], {"dcnv2": 1}, None])
def test_a_damaged_list_of_plugins(engine, tmp_path, plugins):
    text = json.dumps({**engine.description, "plugins": plugins}).encode()
    path = tmp_path / "damaged.engine"
    path.write_bytes(len(text).to_bytes(4, "little") + text + PLAN)
    message = message_of(EngineError, Engine.load, path)
    assert "is not an engine file, or is damaged" in message
    assert f"its plugins are not a list of strings: {plugins!r}" in message
