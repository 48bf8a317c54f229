"""The caches with a TensorRT that measures on the GPU."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import trtnn
from tests.helpers import layers, numbers, trace
from trtnn import functional as F
from trtnn import get_backend
from trtnn.build.fingerprint import fingerprint
from trtnn.modules import Conv2d, ReLU, Sequential

measures = pytest.mark.skipif(
    get_backend().capabilities.targets, reason="this TensorRT measures nothing while it builds"
)


@pytest.fixture
def net():
    module = Sequential(Conv2d(3, 16, 3), ReLU(), Conv2d(16, 32, 3, stride=2), ReLU(), Conv2d(32, 8, 1))
    module.inputs = {"input": (1, 3, 64, 64)}
    module.load_state_dict({name: numbers(*p.shape, scale=0.1) for name, p in module.named_parameters()})
    return module


def build(network, folder):
    return network.build(progress=False, optimization_level=1, timing_cache=folder)


def timing_files(folder):
    return sorted(folder.glob("timing-*.cache"))


@measures
def test_a_warm_timing_cache_has_all_that_is_measured(net, tmp_path):
    first = build(net.trace(), tmp_path)
    (file,) = timing_files(tmp_path)
    assert get_backend().version in file.name
    measured = file.stat().st_size
    second = build(net.trace(), tmp_path)
    assert file.stat().st_size == measured
    images = numbers(1, 3, 64, 64)
    np.testing.assert_allclose(first(images), second(images), rtol=0, atol=1e-3)


@measures
def test_the_file_grows_by_what_is_new(net, tmp_path):
    network = net.trace()
    build(network, tmp_path)
    (file,) = timing_files(tmp_path)
    before = file.read_bytes()
    other = trace(lambda x: F.max_pool2d(F.relu(x), 2), (1, 8, 24, 24))
    build(other, tmp_path)
    assert timing_files(tmp_path) == [file]
    after = file.read_bytes()
    assert len(after) > len(before)
    build(network, tmp_path)  # what was there before is still there: nothing is added
    assert file.stat().st_size == len(after)


@measures
def test_a_damaged_timing_cache_is_replaced(net, tmp_path):
    network = net.trace()
    build(network, tmp_path)
    (file,) = timing_files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    with pytest.warns(UserWarning, match="is damaged and is replaced"):
        build(network, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        build(network, tmp_path)


def test_an_engine_from_the_cache_runs(net, monkeypatch, tmp_path):
    images = numbers(1, 3, 64, 64)
    built = net.compile(cache_dir=tmp_path, optimization_level=1)
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: pytest.fail("it is in the cache"))
    for network in (net.trace(), net.trace()):
        found = network.build(cache_dir=tmp_path, optimization_level=1)
        np.testing.assert_array_equal(found(images), built(images))


def test_one_network_keeps_its_key_through_builds(net, monkeypatch, tmp_path):
    """Where networks are weakly typed, a build pins layers' precision in the definition."""
    network = net.trace(fp16=True, fp32_modules=("2",))
    network.build(cache_dir=tmp_path, optimization_level=1)
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: pytest.fail("it is in the cache"))
    network.build(cache_dir=tmp_path, optimization_level=1)


@pytest.mark.skipif(
    not hasattr(get_backend().trt.INetworkDefinition, "add_plugin_v2"), reason="no plugins of version 2"
)
def test_a_plugins_fields_are_in_the_fingerprint():
    trt, logger = get_backend().trt, get_backend().logger
    if not hasattr(trt, "init_libnvinfer_plugins") or not trt.init_libnvinfer_plugins(logger, ""):
        pytest.skip("TensorRT's own plugins are not here")
    creator = trt.get_plugin_registry().get_plugin_creator("LReLU_TRT", "1", "")
    if creator is None:
        pytest.skip("this TensorRT has no LReLU_TRT")

    def of(slope):
        network = trace(lambda x: x + 1, (1, 4, 8, 8))
        definition = network.graph.definition
        field = trt.PluginField("negSlope", np.array([slope], np.float32), trt.PluginFieldType.FLOAT32)
        plugin = creator.create_plugin("leaky", trt.PluginFieldCollection([field]))
        layer = definition.add_plugin_v2([layers(network)[-1].get_output(0)], plugin)
        layer.name = "plugin"
        return fingerprint(definition, trt)

    assert of(0.1) == of(0.1)
    assert of(0.1) != of(0.2)
