"""Network: its table of layers, running it on the CPU, and the structure of what it returns."""

import copy
import pickle
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import ONE_TARGET, assert_close, layers, load_random, message_of, numbers, trace
from trtnn import BuildConfig, Module, modules
from trtnn import functional as F
from trtnn.errors import ArgumentError, BackendError, ShapeError, UnsupportedError
from trtnn.reference.layers.common import tensor_of
from trtnn.reference.registry import LAYERS
from trtnn.structure import flatten, map_leaves, unflatten


def make_net(nn, cat):
    class Split(nn.Module):
        def forward(self, x):
            return x[:, :2], {"rest": x[:, 2:], "count": 3}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1)
            self.bn = nn.BatchNorm2d(8)
            self.split = Split()
            self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
            self.fc = nn.Linear(4, 5)

        def forward(self, image):
            x = self.bn(self.conv(image))
            first, others = self.split(x)
            x = self.up(cat([others["rest"], first], 1))
            return self.fc(x.permute(0, 2, 3, 1))

    return Net()


@pytest.fixture(scope="module")
def theirs():
    return load_random(make_net(torch.nn, torch.cat))


@pytest.fixture(scope="module")
def network(theirs):
    net = make_net(modules, F.cat)
    net.inputs = {"image": (2, 3, 8, 6)}
    net.metadata = {"model": "net"}
    net.load_state_dict(theirs.state_dict())
    return net.trace()


IMAGE = numbers(2, 3, 8, 6)


# -- looking ----------------------------------------------------------------------------------------------------------


def test_layers_are_counted(network):
    rows = {row.path: row for row in network.layers() if row.parameters}
    assert rows["conv"].parameters == 8 * 3 * 9 + 8  # with the BatchNorm folded in
    assert rows["conv"].flops == 2 * (2 * 8 * 4 * 3) * (3 * 9)
    assert rows["conv"].output.shape == (2, 8, 4, 3)
    assert rows["conv"].kind == "CONVOLUTION"
    assert "bn" not in rows
    assert rows["up"].parameters == 8 * 4 * 4 + 4
    assert rows["up"].flops == 2 * (2 * 8 * 4 * 3) * (4 * 4)  # each input number meets 4 outputs at 2 x 2 places
    matrix = next(row for row in network.layers() if row.kind == "MATRIX_MULTIPLY")
    assert (matrix.path, matrix.flops) == ("fc", 2 * (2 * 8 * 6) * 4 * 5)
    assert sum(row.flops for row in network.layers() if row.kind in ("SCALE", "SLICE", "SHUFFLE")) == 0


def test_flops_of_einsum():
    network = trace(lambda x, y: F.einsum("bij,bjk->bik", x, y), (2, 3, 4), (2, 4, 5))
    assert [row.flops for row in network.layers() if row.flops] == [2 * 2 * 3 * 4 * 5]


def test_flops_of_groups():
    weight = np.ones((8, 2, 3, 3), np.float32)
    (row,) = trace(lambda x: F.conv2d(x, weight, groups=4, padding=1), (1, 8, 5, 5)).layers()
    assert row.flops == 2 * (8 * 25) * (2 * 9)
    weight = np.ones((8, 3, 2, 2), np.float32)
    (row,) = trace(lambda x: F.conv_transpose2d(x, weight, groups=4), (1, 8, 5, 5)).layers()
    assert row.flops == 2 * (8 * 25) * (3 * 4)


def test_summary_is_a_table(network):
    lines = network.summary().splitlines()
    assert lines[0].split() == ["module", "layer", "output", "parameters", "FLOPs"]
    assert set(lines[1]) == set(lines[-2]) == {"-"}
    assert lines[2].split() == ["conv", "convolution", "float32[2,", "8,", "4,", "3]", "224", "10,368"]
    rows = network.layers()
    assert len(lines) == len(rows) + 4
    total = lines[-1].split()
    assert total[0] == "total"
    assert int(total[-2].replace(",", "")) == sum(row.parameters for row in rows)
    assert int(total[-1].replace(",", "")) == sum(row.flops for row in rows)
    assert any(line.startswith("(forward)") for line in lines)
    assert len({len(line) for line in lines[1:2] + lines[-1:]}) == 1


def test_repr(network):
    text = repr(network)
    assert text.startswith("Network(net: image float32[2, 3, 8, 6] -> output float32[2, 8, 6, 5], ")
    assert str(network.graph.backend) in text


# -- running ----------------------------------------------------------------------------------------------------------


def test_run_agrees_with_torch(network, theirs):
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IMAGE))
    assert_close(network.run(IMAGE), expected)
    assert_close(network.run(image=IMAGE), expected)


def test_torch_in_torch_out(network):
    result = network.run(torch.from_numpy(IMAGE))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result, network.run(IMAGE))
    assert isinstance(network.run(IMAGE), np.ndarray)


def test_inner_outputs_are_those_of_torchs_hooks(network, theirs):
    paths = ["conv", "bn", "split", "up", "fc"]  # the first is folded into, so a trace has to be asked for it
    net = make_net(modules, F.cat)
    net.load_state_dict(theirs.state_dict())
    marked = net.trace({"image": (2, 3, 8, 6)}, outputs=paths)
    seen = {}
    hooks = [
        theirs.get_submodule(path).register_forward_hook(lambda m, i, o, path=path: seen.update({path: o}))
        for path in paths
    ]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IMAGE))
    for hook in hooks:
        hook.remove()
    result, inner = network.run(IMAGE, outputs=paths[1:])
    assert_close(result, expected)
    assert_close(inner, {path: seen[path] for path in paths[1:]})
    assert list(inner) == paths[1:]
    assert_close(marked.run(IMAGE), (expected, seen))
    tensors, inner = network.run(torch.from_numpy(IMAGE), outputs=["split"])
    assert isinstance(tensors, torch.Tensor)
    assert isinstance(inner["split"][1]["rest"], torch.Tensor)


def test_inner_outputs_of_what_was_not_called(network):
    message = message_of(ArgumentError, network.run, IMAGE, outputs=["bn", "cov"])
    assert "no module 'cov' was called in this network" in message
    assert "called were: bn, split, up, fc, conv" in message


def test_results_share_no_memory():
    network = trace(lambda x: (x, x.reshape(4), x[0]), (2, 2))
    x = np.zeros((2, 2), np.float32)
    results = network.run(x)
    for result in results:
        np.add(result, 1, out=result)
    assert not x.any()
    assert [result.max() for result in results] == [1, 1, 1]
    for result in network.run(x):
        assert not result.any()


def test_running_twice_gives_the_same(network):
    np.testing.assert_array_equal(network.run(IMAGE), network.run(IMAGE))


def test_the_reference_needs_torch(network, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("trtnn.reference")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    fresh = trace(lambda x: x + 1, (1,))
    message = message_of(BackendError, fresh.run, np.zeros(1, np.float32))
    assert "the CPU reference needs torch" in message
    assert "pip install torch" in message


def test_a_layer_that_the_reference_does_not_know(monkeypatch):
    network = trace(lambda x: x.softmax(0), (1, 2))
    monkeypatch.delitem(LAYERS, "SOFTMAX")
    message = message_of(UnsupportedError, network.run, np.zeros((1, 2), np.float32))
    assert "does not know the layer" in message
    assert "of type SOFTMAX" in message


def test_building_takes_a_config_or_options(network):
    assert network.build(BuildConfig(**ONE_TARGET)).description["model"] == "net"
    message = message_of(ArgumentError, network.build, BuildConfig(), optimization_level=1)
    assert "a BuildConfig or options, not both" in message


# -- structure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: [x + 1], ["output_0"]),
        (lambda x: (x + 1, x + 2), ["output_0", "output_1"]),
        (lambda x: [x, [x * 2, x * 3]], ["output_0", "output_1_0", "output_1_1"]),
        (lambda x: {"boxes": x, "scores": x * 2}, ["boxes", "scores"]),
        (lambda x: {"a": {"b": x, "c": (x, x)}}, ["a_b", "a_c_0", "a_c_1"]),
        (lambda x: ({"a": x}, {"a": x + 1}), ["output_0_a", "output_1_a"]),
        (lambda x: {"a_0": x, "a": [x + 1]}, ["a_0", "a_0_2"]),
        (lambda x: (x + 1, [], {}), ["output_0"]),
    ],
)
def test_what_forward_returns_comes_back(function, names):
    network = trace(function, (2, 3))
    x = numbers(2, 3)
    assert list(network.outputs) == names
    assert_close(network.run(x), function(torch.from_numpy(x)))
    engine = network.build(**ONE_TARGET)
    assert list(engine.outputs) == names
    leaves = {name: name.upper() for name in names}
    assert unflatten(engine.description["structure"], leaves) == unflatten(network.graph.structure, leaves)
    assert [layer.name for layer in layers(network)]


TREES = st.recursive(
    st.integers(),
    lambda tree: (
        st.lists(tree, max_size=3)
        | st.lists(tree, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", "a_0", "output"]), tree, max_size=3)
    ),
    max_leaves=8,
)


@given(TREES, st.sets(st.sampled_from(["output", "a", "output_0"])))
def test_any_structure_can_be_put_together_again(tree, taken):
    leaves, structure = flatten(tree, taken=taken)
    assert unflatten(structure, leaves) == tree
    assert not taken & leaves.keys()
    assert map_leaves(lambda leaf: leaf, tree) == tree


def test_a_module_without_a_name_is_called_by_its_class():
    class Doubler(Module):
        def forward(self, x):
            return x * 2

    assert Doubler().trace({"x": (1,)}).metadata == {"model": "Doubler"}


@pytest.mark.parametrize("size", [3, 300])  # bytes that are copied at once, and later
def test_what_becomes_of_arrays_after_the_trace_is_not_in_the_network(size):
    """Neither other numbers nor, where TensorRT would read it, freed memory."""
    linear = modules.Linear(size, size)
    weight, bias = np.full((size, size), 0.5, np.float32), np.arange(size, dtype=np.float32)
    linear.load_state_dict({"weight": weight.copy(), "bias": bias.copy()})
    network, x = linear.trace({"input": (1, size)}), numbers(1, size)
    expected = torch.from_numpy(x @ weight.T + bias)
    linear.weight.data[:] = 7
    for parameter in (linear.weight, linear.bias):
        parameter.data.resize((1,), refcheck=False)
    assert_close(network.run(x), expected)
    assert network.build(**ONE_TARGET).plan.nbytes > 0


def test_nine_dimensions_within_a_forward():
    message = message_of(ShapeError, trace, lambda x: x.reshape((1,) * 9), (1,))
    assert "would give 9 dimensions\n  TensorRT has at most 8" in message


@pytest.mark.parametrize("copy_it", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_network_is_not_copied(copy_it):
    message = message_of(UnsupportedError, copy_it, trace(lambda x: x + 1, (3,)))
    assert message.endswith("copied or pickled\n  copy or pickle the Module, and trace that")


def test_an_array_that_may_not_be_written_is_taken_where_it_lies():
    """As some versions of TensorRT show theirs; torch would warn, which no thread can keep from others."""
    array = np.arange(6, dtype=np.float32)
    array.flags.writeable = False
    tensor = tensor_of(array)
    assert (tensor.data_ptr(), tensor.tolist()) == (array.ctypes.data, [0, 1, 2, 3, 4, 5])
    address = array.ctypes.data
    del array
    assert (tensor.data_ptr(), tensor.tolist()) == (address, [0, 1, 2, 3, 4, 5])
