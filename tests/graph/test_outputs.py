"""Outputs of inner modules as outputs of a network: which, under which names, and what comes back."""

import json
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch

from tests.helpers import ONE_TARGET, assert_close, layers, load_random, message_of, numbers, strongly_typed, trace
from tests.standin import stand_in
from trtnn import Engine, Input, Module, functional, modules
from trtnn.engine.inspector import module_paths
from trtnn.errors import ArgumentError
from trtnn.models import create
from trtnn.structure import leaves_of, unflatten


def make_net(nn, cat):
    class Split(nn.Module):
        def forward(self, x):
            return x[:, :2], {"rest": x[:, 2:], "count": 3, "mask": None}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.blocks = nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Conv2d(8, 4, 1), nn.Sigmoid())])
            self.split = Split()
            self.unused = nn.ReLU()

        def forward(self, image):
            x = self.conv(image)
            for block in self.blocks:
                x = block(x)
            first, others = self.split(x)
            return {"model": cat([others["rest"], first], 1)}

    return Net()


@pytest.fixture(scope="module")
def theirs():
    return load_random(make_net(torch.nn, torch.cat))


@pytest.fixture(scope="module")
def model(theirs):
    net = make_net(modules, functional.cat)
    net.inputs = {"image": (2, 3, 8, 6)}
    net.load_state_dict(theirs.state_dict())
    return net


IMAGE = numbers(2, 3, 8, 6)


def hooked(theirs, paths):
    """What torch's modules return."""
    seen = {}
    hooks = [
        theirs.get_submodule(path).register_forward_hook(lambda m, i, o, path=path: seen.update({path: o}))
        for path in paths
    ]
    with torch.no_grad():
        result = theirs(torch.from_numpy(IMAGE))
    for hook in hooks:
        hook.remove()
    return result, {path: seen[path] for path in paths}


def outputs_of(network):
    definition = network.graph.definition
    return [definition.get_output(i).name for i in range(definition.num_outputs)]


PATHS = ["conv", "blocks.0", "blocks.1.0", "blocks.1", "split"]


@pytest.mark.parametrize("fp16", [False, True])
def test_they_are_what_torchs_hooks_see(model, theirs, fp16):
    network = model.trace(fp16=fp16, outputs=PATHS)
    result, inner = network.run(IMAGE)
    expected, seen = hooked(theirs, PATHS)
    assert_close(result, expected, 2e-3 if fp16 else 1e-5)
    assert list(inner) == PATHS
    assert_close(inner, seen, 2e-3 if fp16 else 1e-5)  # of torch's types, so all are fp32
    assert {spec.dtype.name for spec in network.outputs.values()} == {"float32"}


def test_their_names_are_their_paths(model):
    network = model.trace(outputs=PATHS)
    assert list(network.outputs) == [
        "model", "conv", "blocks.0", "blocks.1.0", "blocks.1", "split_0", "split_1_rest",
    ]  # fmt: skip
    assert outputs_of(network) == list(network.outputs)
    assert network.outputs["split_1_rest"] == Input((2, 2, 6, 4))
    assert network.graph.inner_outputs == PATHS


def test_without_them_nothing_changes(model):
    network = model.trace(outputs=[])
    assert network.graph.structure == {"dict": {"model": "model"}}
    assert network.graph.inner_outputs == []
    assert isinstance(network.run(IMAGE), dict)


def test_patterns(model):
    def found(*patterns):
        return model.trace(outputs=patterns).graph.inner_outputs

    assert found("blocks.*") == ["blocks.0", "blocks.1.0", "blocks.1.1", "blocks.1"]  # what is called comes first
    assert found("*") == ["conv", "blocks.0", "blocks.1.0", "blocks.1.1", "blocks.1", "split"]  # not the model itself
    assert found("split", "blocks.?", "blocks.0", "split") == ["split", "blocks.0", "blocks.1"]
    assert found("") == [""]


def test_one_tensor_under_several_names(model, theirs):
    """A Sequential returns what its last module does, and a model may return what a module of it does."""
    network = model.trace(outputs=["blocks.1.1", "blocks.1", ""])
    result, inner = network.run(IMAGE)
    expected, seen = hooked(theirs, ["blocks.1"])
    assert_close(inner["blocks.1.1"], seen["blocks.1"])
    assert_close(inner["blocks.1"], seen["blocks.1"])
    assert_close(inner[""], expected)
    assert_close(result, expected)
    assert len(layers(network, "IDENTITY")) == 2
    assert network.build(**ONE_TARGET).outputs == network.outputs


def test_a_module_that_returns_the_input():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.same = modules.Identity() if hasattr(modules, "Identity") else modules.Sequential()

        def forward(self, x):
            return self.same(x) + 1

    for fp16 in (False, True):
        result, inner = Net().trace({"x": (3,)}, fp16=fp16, outputs=["same"]).run(np.float32([1, 2, 3]))
        assert (result.tolist(), inner["same"].tolist()) == ([2, 3, 4], [1, 2, 3])


def test_names_that_are_taken(theirs):
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.x, self.y = modules.ReLU(), modules.Sigmoid()

        def forward(self, x):
            return {"y": self.x(x) + self.y(x)}

    network = Net().trace({"x": (2,)}, outputs=["x", "y"])
    assert list(network.outputs) == ["y", "x_2", "y_2"]
    x = np.float32([-1, 2])
    result, inner = network.run(x)
    assert inner["x"].tolist() == [0, 2]
    assert_close(inner["y"], torch.from_numpy(x).sigmoid())
    assert_close(result["y"], torch.from_numpy(x).relu() + torch.from_numpy(x).sigmoid())


def test_a_module_called_twice_gives_its_last_output():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.act = modules.ReLU()

        def forward(self, x):
            return self.act(x) + self.act(x + 1)

    _, inner = Net().trace({"x": (2,)}, outputs=["act"]).run(np.float32([-2, 3]))
    assert inner["act"].tolist() == [0, 4]


def test_a_list_that_is_changed_later():
    class Two(Module):
        def forward(self, x):
            return [x + 1, x + 2]

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.two = Two()

        def forward(self, x):
            parts = self.two(x)
            parts.append(x + 3)
            return functional.cat(parts, 0)

    _, inner = Net().trace({"x": (1,)}, outputs=["two"]).run(np.float32([0]))
    assert [part.tolist() for part in inner["two"]] == [[1], [2]]


@strongly_typed
def test_a_module_in_fp32_gives_what_it_computed(model, theirs):
    """Its output is rounded for what reads it, but leaves as it was."""
    network = model.trace(fp16=True, fp32_modules=["conv"], outputs=["conv"])
    with torch.no_grad():
        expected = theirs.conv(torch.from_numpy(IMAGE))
    assert_close(network.run(IMAGE)[1]["conv"], expected)


def test_running_with_more_outputs_wraps_what_the_network_returns(model):
    network = model.trace(outputs=["conv"])
    (result, inner), more = network.run(IMAGE, outputs=["blocks.*"])
    assert list(result) == ["model"]
    assert list(inner) == ["conv"]
    assert list(more) == ["blocks.0", "blocks.1.0", "blocks.1.1", "blocks.1"]
    np.testing.assert_array_equal(more["blocks.0"], np.maximum(inner["conv"], 0))


def yolov5n():
    model = create("yolov5n")
    state = {name: numbers(*member.shape, scale=0.05) for name, member in model._state().items()}
    model.load_state_dict({name: abs(a) + 1 if name.endswith("running_var") else a for name, a in state.items()})
    return model


def test_half_precision_is_measured_on_them_as_well(model):
    report = model.trace(outputs=["blocks.*"]).fp16_report([IMAGE])
    assert list(report.errors) == ["model", "blocks.0", "blocks.1.0", "blocks.1.1", "blocks.1"]
    chosen = model.trace(fp16=True, fp32_modules="auto", samples=[IMAGE], outputs=["conv"])
    assert list(chosen.outputs) == ["model", "conv"]


# -- engines ----------------------------------------------------------------------------------------------------------


def test_an_engine_file_knows_them(model, tmp_path, monkeypatch):
    network = model.trace(fp16=True, outputs=["conv", "split"])
    engine = Engine.load(network.build(**ONE_TARGET).save(tmp_path / "a.engine"))
    assert engine.outputs == network.outputs
    assert engine.description["inner_outputs"] == ["conv", "split"]
    stand_in(monkeypatch, network)
    result, inner = engine(IMAGE)
    expected, expected_inner = network.run(IMAGE)
    assert_close(result, expected)
    assert_close(inner, expected_inner)
    assert inner["split"][1]["count"] == 3
    assert inner["split"][1]["mask"] is None


def test_compile_takes_them(model):
    engine = model.compile(outputs=["blocks.0"], **ONE_TARGET)
    assert list(engine.outputs) == ["model", "blocks.0"]
    json.dumps(engine.description)


def test_a_whole_yolov5_with_every_module():
    model = yolov5n()
    network = model.trace({"images": (1, 3, 32, 32)}, fp16=True, outputs=["*"])
    inner = network.graph.inner_outputs
    assert {"model.0.conv", "model.0", "model.24"} <= set(inner)
    assert len(inner) == len(set(inner)) > 150
    images = numbers(1, 3, 32, 32)
    plain = model.trace({"images": (1, 3, 32, 32)}, fp16=True)
    result, found = network.run(images)
    np.testing.assert_array_equal(result, plain.run(images))
    np.testing.assert_array_equal(
        found["model.9"], plain.run(images, outputs=["model.9"])[1]["model.9"].astype(np.float32)
    )
    assert network.build(**ONE_TARGET).outputs == network.outputs


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (["cov"], ["no module 'cov' was called in this network", "near: conv", "called were: conv, blocks.0"]),
        (["conv", "blocks.7.*"], ["no module 'blocks.7.*' was called"]),
        (["unused"], ["no module 'unused' was called", "the model has one there, but no forward calls it"]),
        (["blocks"], ["no forward calls it", "called within it: blocks.0, blocks.1.0, blocks.1.1, blocks.1"]),
        ("conv", ["outputs takes a list of module paths, not the string 'conv'"]),
    ],
)
def test_what_names_no_module(model, outputs, words):
    message = message_of(ArgumentError, model.trace, outputs=outputs)
    for word in words:
        assert word in message


def test_what_cannot_be_an_output():
    class Odd(Module):
        def forward(self, x):
            return x, np.zeros(2)

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.odd = Odd()

        def forward(self, x):
            return self.odd(x)[0] + 1

    message = message_of(ArgumentError, Net().trace, {"x": (2,)}, outputs=["odd"])
    assert "forward returned numpy.ndarray as odd_1" in message


# -- parts of a model -------------------------------------------------------------------------------------------------


def test_a_part_of_a_model_is_a_model(model, theirs):
    part = modules.Sequential(model.conv, *model.blocks)
    with torch.no_grad():
        expected = torch.nn.Sequential(theirs.conv, *theirs.blocks)(torch.from_numpy(IMAGE))
    assert_close(part.trace({"input": IMAGE.shape}).run(IMAGE), expected)
    assert_close(part[:2].trace({"input": IMAGE.shape}).run(IMAGE), torch.relu(theirs.conv(torch.from_numpy(IMAGE))))
    _, inner = part[1:].trace({"input": (2, 8, 6, 4)}, outputs=["2.0"]).run(numbers(2, 8, 6, 4))
    assert list(inner) == ["2.0"]
    assert part[:2].compile({"input": IMAGE.shape}, **ONE_TARGET).outputs["output"].shape == (2, 8, 6, 4)


def test_the_backbone_of_a_yolov5():
    model = yolov5n()
    images = numbers(1, 3, 64, 64)
    _, inner = model.trace({"images": images.shape}).run(images, outputs=["model.9"])
    backbone = modules.Sequential(*model.model[:10])
    np.testing.assert_array_equal(backbone.trace({"input": images.shape}).run(images), inner["model.9"])
    message = message_of(NotImplementedError, model.model[:10].compile, {"input": images.shape})
    assert "ModuleList defines no forward" in message
    assert "Sequential(*modules)" in message


# -- structure --------------------------------------------------------------------------------------------------------


def test_leaves_of_is_the_inverse_of_unflatten():
    structure = {"tuple": ["a", {"dict": {"k": {"list": ["b", {"value": None}]}}}]}
    leaves = {"a": 1, "b": 2}
    assert unflatten(structure, leaves) == (1, {"k": [2, None]})
    assert leaves_of(structure, unflatten(structure, leaves)) == leaves
    for wrong in (1, [1, {"k": [2, None]}], (1,), (1, {"k": [2]}), (1, {"j": [2, None]})):
        assert "expected a" in message_of(ArgumentError, leaves_of, structure, wrong)
    assert "expected a dict of k, received a dict" in message_of(ArgumentError, leaves_of, structure, (1, {"j": []}))


def test_a_layer_is_named_after_its_module(model):
    names = [layer.name for layer in layers(model.trace())]
    assert "conv" in names
    assert "/concatenation" in names  # of the model's own forward, whose path is empty
    assert module_paths("/concatenation") == ("",)


def nested(levels):
    def function(x):
        for level in range(levels):
            x = ((x,), [x], {"a": x})[level % 3]
        return x

    return function


def test_outputs_nested_deep(tmp_path):
    network = trace(nested(90), (2,))
    result = network.run(np.ones(2, np.float32))
    for level in range(90)[::-1]:
        result = result["a" if level % 3 == 2 else 0]
    np.testing.assert_array_equal(result, [1, 1])
    assert network.build(**ONE_TARGET).plan.nbytes > 0
    for function in (nested(101), nested(3000)):
        assert "may be nested in 100 levels, and these are in more" in message_of(ArgumentError, trace, function, (2,))


def test_an_output_that_holds_itself():
    def as_list(x):
        result = [x]
        result.append(result)
        return result

    def as_dict(x):
        result = {"x": x}
        result["again"] = (result,)
        return result

    for function in (as_list, as_dict):
        assert "one that holds itself has no end" in message_of(ArgumentError, trace, function, (2,))


def test_the_class_of_what_goes_from_module_to_module_stays():
    """At an edge of precision its Tensors are others."""

    class Found(OrderedDict):
        def __getattr__(self, name):
            return self[name]

    Pair = namedtuple("Pair", "left right")

    class Inner(Module):
        def forward(self, x):
            return Found(a=x + 1, b=Pair(x, [x]))

    class Outer(Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            found = self.inner(x)
            return found.a + found.b.left

    network = Outer().trace({"x": (2,)}, fp16=True, fp32_modules=["inner"])
    np.testing.assert_array_equal(network.run(np.ones(2, np.float32)), [3, 3])
