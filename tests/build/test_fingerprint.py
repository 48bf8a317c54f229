"""Two definitions share a fingerprint only if nothing that TensorRT is given differs."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import trtnn
from tests import ROOT
from tests.helpers import ONE_TARGET, layers, message_of, numbers, strongly_typed, trace
from trtnn import Input, get_backend, modules
from trtnn import functional as F
from trtnn.build.fingerprint import _plain, fingerprint
from trtnn.errors import BuildError

trt = get_backend().trt


CHOICES = {
    "stride": 1,
    "padding": 1,
    "dilation": 1,
    "groups": 1,
    "slope": 0.1,
    "window": 3,
    "start": 0,
    "axis": 1,
    "constant": 2.0,
    "output": "out",
    "name": "conv",
    "size": (16, 16),
    "first": "sigmoid",
    "order": (0, 1, 3, 2),
}


class Net(trtnn.Module):
    """A layer of many types; each choice decides one thing about them."""

    def __init__(self, **choices):
        super().__init__()
        self.choices = o = SimpleNamespace(**{**CHOICES, **choices})
        conv = modules.Conv2d(4, 4, 3, stride=o.stride, padding=o.padding, dilation=o.dilation, groups=o.groups)
        setattr(self, o.name, conv)
        self.norm = modules.BatchNorm2d(4)
        self.inputs = {"images": (1, 4, 16, 16)}
        members = (*self.named_parameters(), *self.named_buffers())
        self.load_state_dict({name: abs(numbers(*member.shape)) for name, member in members})

    def forward(self, images):
        o = self.choices
        x = self.norm(F.relu(getattr(self, o.name)(images)))
        x = F.max_pool2d(F.leaky_relu(x, o.slope), o.window, stride=2, padding=1)
        x = F.interpolate(x, size=o.size)[:, :, o.start : o.start + 8] * o.constant
        x = F.cat([getattr(F, o.first)(x), x], o.axis)
        return {o.output: x.permute(*o.order).softmax(-1)}


def of(module, **options):
    network = module.trace(**options)
    return fingerprint(network.graph.definition, network.graph.trt)


@pytest.fixture(scope="module")
def original():
    return of(Net())


def test_two_traces_are_the_same(original):
    assert of(Net()) == original


def test_one_network_read_twice_is_the_same():
    network = Net().trace()
    held = layers(network)
    first = fingerprint(network.graph.definition, trt)
    assert fingerprint(network.graph.definition, trt) == first
    assert held


def test_another_process_gets_the_same(original):
    code = "from tests.build.test_fingerprint import Net, of; print(of(Net()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == original


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 2},
        {"padding": 2},
        {"dilation": 2},
        {"groups": 2},
        {"slope": 0.2},
        {"window": 2},
        {"start": 1},
        {"axis": 2},
        {"constant": 2.5},
        {"output": "scores"},
        {"name": "convolution"},
        {"size": (17, 16)},
        {"first": "relu"},
        {"order": (0, 1, 2, 3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_choice_is_seen(original, change):
    assert of(Net(**change)) != original


@pytest.mark.parametrize("name", ["conv.weight", "conv.bias", "norm.running_mean", "norm.weight"])
def test_one_element_of_one_weight_is_seen(original, name):
    net = Net()
    changed = net.state_dict()[name].copy()
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(9))
    net.load_state_dict({name: changed}, strict=False)
    assert of(net) != original
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(-9))
    assert of(net) == original


def test_the_input_is_seen(original):
    assert of(Net(), inputs={"images": (2, 4, 16, 16)}) != original
    assert of(Net(), inputs={"images": (1, 4, 18, 18)}) != original
    one = trace(lambda x: x.float(), Input((4,), "int32"))
    other = trace(lambda x: x.float(), Input((4,), "bool"))
    assert fingerprint(one.graph.definition, trt) != fingerprint(other.graph.definition, trt)


@strongly_typed
def test_precision_is_seen(original):
    half = of(Net(), fp16=True)
    assert half != original
    assert of(Net(), fp16=True, fp32_modules=("norm",)) not in (half, original)


def set_property(index, name):
    """Set one property of one layer of a new network to another value, and return the network if TensorRT took it."""
    network = Net().trace()
    layer = layers(network)[index]
    before = repr(getattr(layer, name))  # a copy: an array shows the layer's own memory
    value = another(getattr(layer, name))
    if value is None:
        return None
    try:
        setattr(layer, name, value)
    except (TypeError, RuntimeError):
        return None
    return None if repr(getattr(layer, name)) == before else network


def another(value):
    """Return a value of the same type that differs, or None where there is no telling."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "_"
    if isinstance(value, np.ndarray) and value.size:
        return value + value.dtype.type(1)
    if hasattr(type(value), "__members__"):
        return next(member for member in type(value).__members__.values() if member != value)
    if isinstance(value, (trt.Dims, trt.Permutation)) and len(value):
        return type(value)([value[0] + 1, *list(value)[1:]])
    return None


def test_every_property_that_can_be_set_is_seen(original):
    tried, unseen = set(), []
    for index, layer in enumerate(layers(Net().trace())):
        kind = type(layer)
        for name in (n for n in dir(kind) if isinstance(getattr(kind, n), property) and getattr(kind, n).fset):
            network = set_property(index, name)
            if network is None:
                continue
            try:
                seen = fingerprint(network.graph.definition, trt) != original
            except (RuntimeError, ValueError) as error:  # now the network has no shapes
                seen = "shape" in str(error)
            tried.add(f"{kind.__name__}.{name}")
            if not seen:
                unseen.append(f"{kind.__name__}.{name}")
    assert unseen == []
    assert len(tried) > 40
    assert {"IConvolutionLayer.kernel", "IScaleLayer.shift", "IActivationLayer.type", "IPoolingLayer.type"} <= tried


def test_connections_are_seen():
    def write(source):
        network = trace(lambda x: ((x + 1) * 2, (x + 2) * 2, x * 3), (4,))
        found = layers(network, "ELEMENTWISE")
        found[-1].set_input(0, found[source].get_output(0))
        return fingerprint(network.graph.definition, trt)

    assert write(0) == write(0)
    assert write(0) != write(2)


def test_names_tell_tensors_apart():
    network = trace(lambda x: ((x + 1) * 2, (x + 2) * 2), (4,))
    one, _, other, _ = (layer.get_output(0) for layer in layers(network, "ELEMENTWISE"))
    other.name = one.name
    if other.name == one.name:  # TensorRT took it, so it has to refuse the build
        message_of(BuildError, network.build, **ONE_TARGET)


def test_which_tensors_are_outputs_is_seen():
    network = trace(lambda x: (x + 1) * 2, (4,))
    before = fingerprint(network.graph.definition, trt)
    inner = layers(network, "ELEMENTWISE")[0].get_output(0)
    network.graph.definition.mark_output(inner)
    assert fingerprint(network.graph.definition, trt) != before


def test_what_cannot_be_compared_is_refused():
    network = trace(lambda x: x + 1, (4,))
    bits = np.ones(4, np.uint16)
    layer = network.graph.definition.add_constant((4,), trt.Weights(trt.DataType.HALF, bits.ctypes.data, 4))
    layer.name = "half"
    fingerprint(network.graph.definition, trt)
    if hasattr(trt.DataType, "BF16"):
        layer = network.graph.definition.add_constant((4,), trt.Weights(trt.DataType.BF16, bits.ctypes.data, 4))
        layer.name = "brain"
        message = message_of(BuildError, fingerprint, network.graph.definition, trt)
        assert "two networks with a layer like 'brain' cannot be compared" in message
        assert "its weights: " in message
        assert "build without cache_dir, lock and refittable" in message


def test_a_layer_of_unknown_type_is_refused(monkeypatch):
    network = trace(lambda x: x + 1, (4,))
    monkeypatch.setattr("trtnn.graph.definition._layer_classes", lambda trt: {})
    message = message_of(BuildError, fingerprint, network.graph.definition, trt)
    assert "two networks with a layer of type CONSTANT cannot be compared" in message


def test_a_plugin_is_what_it_serialises_to():
    def plugin(content=b"parameters", version="1"):
        return _plain(
            SimpleNamespace(
                plugin_type="Deform", plugin_version=version, plugin_namespace="", serialize=lambda: memoryview(content)
            )
        )

    assert plugin() == plugin()
    assert len({str(p) for p in (plugin(), plugin(b"others"), plugin(version="2"))}) == 3


def test_values_of_different_types_differ():
    values = [None, 0, 0.0, -0.0, False, "0", "", [], [0], [[0]], np.zeros(1), np.zeros(1, np.float32), np.zeros(2)]
    assert len({repr(_plain(value)) for value in values}) == len(values)
