"""Module against torch.nn.Module: the same class bodies, over either library."""

import copy
import pickle
import sys
from collections import OrderedDict
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnn
from tests.helpers import assert_close, load_random, message_of, numbers
from trtnn import Buffer, Input, Module, Parameter, modules
from trtnn.errors import ArgumentError, DTypeError, ShapeError, StateDictError, TrtnnError, UnsupportedError
from trtnn.modules import ReLU
from trtnn.modules.missing import METHODS

OURS = SimpleNamespace(nn=modules, parameter=Parameter, buffer=lambda *shape: np.zeros(shape, np.float32))
THEIRS = SimpleNamespace(
    nn=torch.nn,
    parameter=lambda *shape: torch.nn.Parameter(torch.zeros(shape)),
    buffer=lambda *shape: torch.zeros(shape),
)


def make_net(library):
    """A net with every way to hold something, as a module of ``library``."""
    nn = library.nn

    class Block(nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(c_out)
            self.act = nn.SiLU(inplace=True)

        def forward(self, x):
            return self.act(self.bn(self.conv(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = library.parameter(4, 1, 1)
            self.register_buffer("offset", library.buffer(4, 1, 1))
            self.register_parameter("nothing", None)
            self.register_buffer("nothing_either", None)
            self.width = 4
            self.stem = nn.Sequential(Block(3, 4), nn.MaxPool2d(2))
            self.blocks = nn.ModuleList(Block(4, 4) for _ in range(2))
            self.heads = nn.ModuleDict({"a": nn.Conv2d(4, 2, 1), "b": nn.Conv2d(4, 3, 1)})
            self.again = self.stem[0]
            self.tied = nn.Conv2d(4, 2, 1)
            self.tied.weight = self.heads["a"].weight
            self.absent = None

        def forward(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = x + block(x)
            x = x * self.gain + self.offset
            return {"a": self.heads["a"](x), "b": self.heads["b"](x), "tied": self.tied(x)}

    return Net()


@pytest.fixture
def ours():
    return make_net(OURS)


@pytest.fixture
def theirs():
    return load_random(make_net(THEIRS))


def without_counters(names):
    return [name for name in names if not name.endswith("num_batches_tracked")]


def shown_by_torch(module):
    return repr(module).replace(" bias=True, track", " track")  # newer torch shows an argument that is not ours


# -- names ------------------------------------------------------------------------------------------------------------


def test_names_and_order_are_torchs(ours, theirs):
    for method in ("named_modules", "named_parameters", "named_children"):
        assert [n for n, _ in getattr(ours, method)()] == [n for n, _ in getattr(theirs, method)()], method
    assert [n for n, _ in ours.named_buffers()] == without_counters(n for n, _ in theirs.named_buffers())
    for method in ("modules", "children"):
        expected = [type(m).__name__ for m in getattr(theirs, method)()]
        assert [type(m).__name__ for m in getattr(ours, method)()] == expected
    assert [p.shape for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    assert len(list(ours.buffers())) == len(without_counters(n for n, _ in theirs.named_buffers()))


def test_repr_is_torchs(ours, theirs):
    assert repr(ours) == shown_by_torch(theirs)
    assert "(0-1): 2 x Block(" in repr(ours)


def test_apply_goes_children_first(ours, theirs):
    seen, expected = [], []
    assert ours.apply(lambda module: seen.append(type(module).__name__)) is ours
    theirs.apply(lambda module: expected.append(type(module).__name__))
    assert seen == expected


def test_state_dict_has_torchs_names_in_torchs_order(ours, theirs):
    assert list(ours.state_dict()) == ["offset"]  # the others are empty
    ours.load_state_dict(theirs.state_dict())
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == without_counters(expected)
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, expected[name])


def trees(depth):
    """Draw trees of containers, as functions that build one of a library's ``nn``."""
    leaf = st.sampled_from(
        [
            lambda nn: nn.ReLU(),
            lambda nn: nn.Linear(2, 3),
            lambda nn: nn.Conv2d(2, 2, 3, bias=False),
            lambda nn: nn.BatchNorm2d(2),
        ]
    )
    if not depth:
        return leaf
    children = st.lists(trees(depth - 1), max_size=3)
    named = st.dictionaries(st.sampled_from("abcd"), trees(depth - 1), max_size=3)
    return st.one_of(
        leaf,
        children.map(lambda makers: lambda nn: nn.Sequential(*(make(nn) for make in makers))),
        children.map(lambda makers: lambda nn: nn.ModuleList(make(nn) for make in makers)),
        named.map(lambda makers: lambda nn: nn.ModuleDict({name: make(nn) for name, make in makers.items()})),
    )


@settings(deadline=None, max_examples=60)
@given(trees(3))
def test_any_tree_is_torchs(make):
    ours, theirs = make(modules), make(torch.nn)
    assert repr(ours) == shown_by_torch(theirs)
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    state = theirs.state_dict()
    assert ours.load_state_dict(state) == ([], [])
    assert list(ours.state_dict()) == without_counters(state)


def test_get_submodule(ours):
    assert ours.get_submodule("") is ours
    assert ours.get_submodule("blocks.1.conv") is ours.blocks[1].conv
    assert ours.get_submodule("heads.a") is ours.heads["a"]
    message = message_of(ArgumentError, ours.get_submodule, "blocks.1.cov")
    assert "no module 'blocks.1.cov'" in message
    assert "Block holds: conv, bn, act" in message
    assert "blocks.1.conv" in message.split("near: ")[1]


# -- attributes -------------------------------------------------------------------------------------------------------


def test_attributes_register_themselves_by_their_kind():
    module = Module()
    module.thing = Parameter(2, 3)
    assert dict(module.named_parameters()) == {"thing": module.thing}
    assert "thing" in dir(module)
    module.thing = Buffer(2)
    assert not dict(module.named_parameters())
    assert dict(module.named_buffers()) == {"thing": module.thing}
    module.thing = modules.ReLU()
    assert not dict(module.named_buffers())
    assert dict(module.named_children()) == {"thing": module.thing}
    module.thing = 3
    assert not list(module.children())
    assert module.thing == 3
    module.thing = None
    assert module.thing is None
    module.thing = Parameter((4, 5))
    assert module.thing.shape == (4, 5)
    assert module.thing.numel() == 20
    del module.thing
    assert not hasattr(module, "thing")
    assert not list(module.parameters())


def test_what_is_registered_under_a_name_is_its_attribute():
    module = modules.Sequential(modules.ReLU())
    module[0] = modules.SiLU()
    assert getattr(module, "0") is module[0]
    module.register_parameter("weight", Parameter(2))
    module.register_parameter("weight", None)
    assert module.weight is None
    module.register_buffer("count", np.zeros(3))
    assert module.count is dict(module.named_buffers())["count"]
    twin = copy.deepcopy(module)
    assert twin.count is dict(twin.named_buffers())["count"]
    assert twin.count is not module.count


def test_an_attribute_that_is_not_there(ours):
    with pytest.raises(AttributeError, match="Net has no attribute 'stam'"):
        _ = ours.stam
    with pytest.raises(AttributeError):
        del ours.stam


def test_names_without_a_value(ours):
    assert ours.nothing is None
    assert ours.nothing_either is None
    assert "nothing" not in dict(ours.named_parameters())
    assert "nothing_either" not in dict(ours.named_buffers())


@pytest.mark.parametrize(
    ("register", "arguments", "words"),
    [
        ("register_parameter", ("a.b", Parameter(1)), "without dots, not 'a.b'"),
        ("register_parameter", ("", Parameter(1)), "without dots, not ''"),
        ("register_parameter", (3, Parameter(1)), "without dots, not 3"),
        ("register_parameter", ("forward", Parameter(1)), "already has an attribute 'forward'"),
        ("register_parameter", ("stem", Parameter(1)), "already has an attribute 'stem'"),
        ("register_parameter", ("new", np.zeros(3)), "'new' takes a Parameter, not ndarray"),
        ("register_buffer", ("new", 3), "'new' takes a Buffer, not int"),
        ("register_buffer", ("width", Buffer(1)), "already has an attribute 'width'"),
        ("add_module", ("new", Parameter(1)), "'new' takes a Module, not Parameter"),
        ("add_module", ("gain", modules.ReLU()), "already has an attribute 'gain'"),
    ],
)
def test_errors_of_registering(ours, register, arguments, words):
    assert words in message_of(ArgumentError, getattr(ours, register), *arguments)


def test_without_super_init():
    class Assigns(Module):
        def __init__(self):
            self.conv = 3

    class Forgets(Module):
        def __init__(self):
            pass

    assert "Assigns sets 'conv' before super().__init__() was called" in message_of(TrtnnError, Assigns)
    with pytest.raises(AttributeError, match=r"Forgets.*did not call super\(\).__init__\(\)"):
        Forgets().state_dict()
    with pytest.raises(AttributeError, match=r"Forgets.*did not call super\(\).__init__\(\)"):
        _ = Forgets().conv


def test_without_forward():
    class Nothing(Module):
        pass

    assert "Nothing defines no forward" in message_of(NotImplementedError, Nothing().trace, {"x": (1,)})


def test_a_call_outside_a_trace(ours):
    message = message_of(TrtnnError, ours, np.zeros((1, 3, 8, 8)))
    assert "Net was called outside a trace" in message
    assert "model.trace().run(images)" in message
    assert "model.compile()(images)" in message


# -- state ------------------------------------------------------------------------------------------------------------


def test_it_computes_what_torch_computes(ours, theirs):
    ours.load_state_dict(theirs.state_dict())
    x = numbers(2, 3, 8, 6)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    assert_close(ours.trace({"x": x.shape}).run(x), expected)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float64"])
def test_torch_tensors_of_every_floating_type_load(ours, theirs, kind):
    state = {n: t.to(getattr(torch, kind)) if t.is_floating_point() else t for n, t in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert ours.gain.data.dtype == ("float32" if kind == "bfloat16" else kind)  # NumPy has no bfloat16
    np.testing.assert_array_equal(ours.gain.data.astype(np.float64), state["gain"].double())
    x = numbers(1, 3, 4, 4)
    theirs.load_state_dict(state)
    with torch.no_grad():
        assert_close(ours.trace({"x": x.shape}).run(x), theirs(torch.from_numpy(x)))


def test_arrays_are_kept_as_they_are(ours, theirs):
    arrays = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict(arrays)
    assert ours.gain.data is arrays["gain"]
    assert ours.state_dict()["gain"] is arrays["gain"]


def test_parameters_that_require_grad_load(ours, theirs):
    ours.load_state_dict({**theirs.state_dict(), **dict(theirs.named_parameters(remove_duplicate=False))})
    np.testing.assert_array_equal(ours.gain.data, theirs.gain.detach())


def test_flat_arrays_fill_any_shape(ours, theirs):
    ours.load_state_dict({name: tensor.flatten() for name, tensor in theirs.state_dict().items()})
    np.testing.assert_array_equal(ours.heads["a"].weight.data, theirs.heads["a"].weight.detach())


def test_shared_parameters_stay_shared(ours, theirs):
    assert ours.tied.weight is ours.heads["a"].weight
    ours.load_state_dict(theirs.state_dict())
    assert ours.tied.weight is ours.heads["a"].weight
    assert ours.again is ours.stem[0]
    state = ours.state_dict()
    assert state["tied.weight"] is state["heads.a.weight"]
    assert state["again.conv.weight"] is state["stem.0.conv.weight"]


def test_batch_counters_are_ignored(ours, theirs):
    state = theirs.state_dict()
    assert "stem.0.bn.num_batches_tracked" in state
    assert ours.load_state_dict(state) == ([], [])
    assert ours.load_state_dict({name: state[name] for name in without_counters(state)}) == ([], [])


def test_a_failed_load_changes_nothing_and_says_everything(ours, theirs):
    ours.load_state_dict(theirs.state_dict())
    before = dict(ours.state_dict())
    state = {name: tensor + 1 for name, tensor in theirs.state_dict().items()}
    del state["gain"], state["blocks.1.bn.running_var"]
    state["blocks.2.conv.weight"] = torch.zeros(4, 4, 3, 3)
    state["extra"] = np.zeros(7)
    state["heads.b.bias"] = torch.zeros(4)
    state["stem.0.conv.weight"] = torch.zeros(4, 3, 5, 5)
    for strict in (True, False):  # a wrong shape is an error either way, as in torch
        message = message_of(StateDictError, ours.load_state_dict, state, strict=strict)
        assert "the state dict does not fit Net" in message
        assert "2 missing, 2 unexpected, 2 of the wrong shape; nothing was loaded" in message
        assert "missing: gain (4, 1, 1)" in message
        assert "missing: blocks.1.bn.running_var (4,)" in message
        assert "unexpected: blocks.2.conv.weight (4, 4, 3, 3)" in message
        assert "unexpected: extra (7,)" in message
        assert "wrong shape: heads.b.bias: expected (3,), received (4,)" in message
        assert "wrong shape: stem.0.conv.weight: expected (4, 3, 3, 3), received (4, 3, 5, 5)" in message
        assert {name: id(array) for name, array in ours.state_dict().items()} == {n: id(a) for n, a in before.items()}


def test_a_failed_load_into_an_empty_module_leaves_it_empty(ours, theirs):
    state = theirs.state_dict()
    del state["gain"]
    message_of(StateDictError, ours.load_state_dict, state)
    assert list(ours.state_dict()) == ["offset"]
    assert not ours.offset.data.any()


def test_not_strict_returns_what_it_passed_over(ours, theirs):
    state = {**theirs.state_dict(), "extra": torch.zeros(1)}
    del state["gain"]
    ours.offset.data = None
    result = ours.load_state_dict(state, strict=False)
    assert result.missing_keys == ["gain"]
    assert result.unexpected_keys == ["extra"]
    assert ours.gain.data is None
    assert ours.tied.bias.data is not None


def test_a_buffer_may_be_absent_where_it_says_so():
    class Scaled(Module):
        def __init__(self):
            super().__init__()
            self.scale = Buffer(2, data=np.array([2, 3], np.float32), optional=True)

        def forward(self, x):
            return x * self.scale

    module = Scaled()
    assert module.load_state_dict({}) == ([], [])
    x = np.ones(2, np.float32)
    np.testing.assert_array_equal(module.trace({"x": (2,)}).run(x), [2, 3])
    module.load_state_dict({"scale": np.array([5, 7], np.float32)})
    np.testing.assert_array_equal(module.trace({"x": (2,)}).run(x), [5, 7])


# -- what a state dict holds ------------------------------------------------------------------------------------------


class Holder(Module):
    """A parameter under two names, a 0-d one, a buffer of whole numbers, and one that was declared as nothing."""

    def __init__(self):
        super().__init__()
        self.weight = Parameter(2)
        self.alias = self.weight
        self.gain = Parameter(())
        self.index = Buffer(3, data=np.array([0, 1, 2]))
        self.count = Buffer(2)

    def forward(self, x):
        return x * self.weight + self.gain


def load(strict=True, **entries):
    """Load a Holder with these entries in place of good ones; None leaves one out."""
    module = Holder()
    good = {"weight": np.ones(2, np.float32), "gain": 2.0, "index": np.array([2, 1, 0]), "count": np.zeros(2)}
    state = {name: value for name, value in {**good, **entries}.items() if value is not None}
    return module, module.load_state_dict(state, strict)


@pytest.mark.parametrize("names", [("weight",), ("alias",), ("weight", "alias"), ("alias", "weight")])
@pytest.mark.parametrize("strict", [True, False])
def test_of_a_shared_parameter_one_name_is_enough(names, strict):
    array = np.array([3, np.nan], np.float32)
    entries = {"weight": None, **{name: array.copy() for name in names}}
    module, result = load(strict, **entries)
    assert result == ([], [])
    assert module.weight is module.alias
    np.testing.assert_array_equal(module.weight.data, array)


def test_a_shared_parameter_without_any_name_is_missing():
    _, result = load(strict=False, weight=None)
    assert result.missing_keys == ["weight", "alias"]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ([1, 2], [1, 2.5], "at (1,) the one has 2.0, the other 2.5"),
        ([0.0, 1], [-0.0, 1], "at (0,) the one has 0.0, the other -0.0"),
        ([np.nan, 1], [1, 1], "at (0,) the one has nan, the other 1.0"),
    ],
)
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_two_arrays_for_a_shared_parameter_have_to_be_the_same(one, other, words, kind):
    arrays = np.array(one, np.float32), np.array(other, np.float32).astype(kind)
    for strict in (True, False):
        if kind == "float16" and arrays[0][0] == arrays[1][0] == 0:
            continue  # of different types numbers are compared, not bits
        message = message_of(StateDictError, load, strict, weight=arrays[0], alias=arrays[1])
        assert "1 not taken; nothing was loaded" in message
        assert f"not taken: weight and alias are one parameter and differ: {words}" in message


def test_a_shared_parameter_of_two_types_with_the_same_numbers():
    half = np.array([1.5, np.nan], np.float16)
    module, _ = load(weight=half.astype(np.float32), alias=half)
    assert module.weight.data.dtype == "float32"  # the first in the model's order


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones(2, complex), "an array of complex numbers (complex128)"),
        (np.array(["a", "b"]), "an array of text (<U1)"),
        (np.array([1, 2], object), "an array of Python objects"),
        (np.array(["2020", "2021"], "M8[s]"), "an array of dates"),
        (np.zeros(2, [("a", "f4")]), "an array of records"),
        ("ab", "str, which is no array"),
        ([1.0, 2.0], "list, which is no array"),
        ({"a": np.ones(2)}, "dict, which is no array"),
        (Parameter(2), "trtnn.Parameter, which gives no array: a parameter of shape (2,) is empty"),
        (torch.ones(2).to_sparse(), "a sparse torch tensor (sparse_coo)"),
        (torch.ones(2, device="meta"), "a torch tensor on the meta device"),
        (torch.ones(2, dtype=torch.complex64), "a torch tensor of complex64"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "a masked array"),
        (np.array([2**24 + 1, 2]), "an array of int64, of which float32 does not hold every number"),
        (np.array([2**63 - 1, 2]), "an array of int64, of which float32 does not hold every number"),
        (np.array([2**64 - 1, 2], np.uint64), "an array of uint64, of which float32 does not hold every number"),
    ],
)
def test_what_is_no_number(value, words):
    message = message_of(StateDictError, load, weight=value, count=None, extra=0.5)
    assert "1 missing, 1 unexpected, 0 of the wrong shape, 1 not taken; nothing was loaded" in message
    assert f"not taken: weight: {words}" in message


@pytest.mark.filterwarnings("ignore")  # torch's, that these are new, or old
def test_tensors_that_are_no_arrays():
    for tensor, words in (
        (torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8), "a quantised torch tensor (qint8)"),
        (torch.nested.nested_tensor([torch.ones(2)]), "torch.Tensor, which gives no array"),
        (torch.ones(2, 2).to_sparse_csr(), "a sparse torch tensor (sparse_csr)"),
    ):
        assert f"not taken: weight: {words}" in message_of(StateDictError, load, weight=tensor)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.array([1, 2.5]), "float64"),
        (np.array([1, 2.5], ">f4"), "float32"),
        (np.array([1, 2.5], np.float16), "float16"),
        (np.array([1, 2.5], ml_dtypes.bfloat16), "float32"),
        (np.array([1, 2.5], ml_dtypes.float8_e4m3fn), "float32"),
        (torch.tensor([1, 2.5], dtype=torch.bfloat16), "float32"),
        (torch.tensor([1, 2.5]).to(torch.float8_e5m2), "float32"),
        (torch.tensor([1, 2.5], requires_grad=True), "float32"),
        (torch._neg_view(torch.tensor([-1, -2.5])), "float32"),
        (np.ma.masked_array([1, 2.5], [False, False]), "float64"),
        (np.array([1, 0, 2.5, 0])[::2], "float64"),
    ],
)
def test_numbers_of_every_kind(value, dtype):
    module, _ = load(weight=value)
    assert module.weight.data.dtype == np.dtype(dtype)
    assert module.weight.data.tolist() == [1, 2.5]
    assert module.trace({"x": (2,)}).run(np.ones(2, np.float32)).tolist() == [3, 4.5]


@pytest.mark.parametrize("value", [np.array([True, False]), torch.tensor([1, 0]), np.array([1, 0], np.uint8)])
def test_whole_numbers_for_floating_ones(value):
    module, _ = load(weight=value)
    assert module.weight.data.dtype == "float32"
    assert module.weight.data.tolist() == [1, 0]


def test_large_whole_numbers_that_a_float_holds():
    for numbers_ in (np.array([-(2**63), 2**62]), np.array([2**63, 2**24], np.uint64)):
        module, _ = load(weight=numbers_)
        assert [int(number) for number in module.weight.data] == numbers_.tolist()


@pytest.mark.parametrize("value", [2, 2.5, True, np.float16(2.5), np.array(2.5), np.array([2.5]), torch.tensor(2.5)])
def test_numbers_for_a_parameter_of_no_dimensions(value):
    module, _ = load(gain=value)
    assert module.gain.data.shape == ()
    assert module.gain.data == value
    assert "expected (2,), received ()" in message_of(StateDictError, load, weight=value if np.ndim(value) < 1 else 1.0)


def test_numbers_that_numpy_has_not():
    assert "gain: an array of Python objects" in message_of(StateDictError, load, gain=2**70)
    assert "gain: an array of complex numbers" in message_of(StateDictError, load, gain=1j)


def test_a_buffer_keeps_the_kind_that_it_was_declared_with():
    module, _ = load(index=np.array([2.0, 0, 1]), count=np.array([3, 4]))
    assert module.index.data.dtype == "int64"
    assert module.index.data.tolist() == [2, 0, 1]
    assert module.count.data.dtype == "int64"  # it was declared as nothing
    module.load_state_dict(
        {"weight": np.ones(2), "gain": 1.0, "index": np.array([1, 1, 1], np.int32), "count": 0.5 * np.ones(2)}
    )
    assert module.index.data.dtype == "int32"
    assert module.count.data.tolist() == [0.5, 0.5]
    for wrong in ([0.5, 0, 0], [np.nan, 0, 0], [1e30, 0, 0]):
        assert "of which int64 does not hold every number" in message_of(StateDictError, load, index=np.array(wrong))


def test_the_errors_come_in_the_models_order():
    state = {"gain": np.ones(3), "count": "no", "index": np.ones(4), "weight": None}
    for order in (state, dict(reversed(state.items()))):
        lines = message_of(StateDictError, Holder().load_state_dict, order).splitlines()[1:]
        names = [line.split(": ")[1].split()[0] for line in lines if not line.startswith("  declared in ")]
        assert names == [
            "gain",
            "index",
            "weight",
            "count",
        ]  # those of the wrong shape before those that are no numbers


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "a mapping of names to arrays, not a NoneType"),
        ("yolov5s.pt", 'model.load_state_dict(trtnn.load("weights.pt"))'),
        (torch.nn.Linear(1, 1), "give what its state_dict() returns"),
        ([("weight", 1)], "not a list"),
        ({3: np.ones(2)}, "strings, not 3"),
    ],
)
def test_what_is_no_state_dict(value, words):
    assert words in message_of(ArgumentError, Holder().load_state_dict, value)


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ({"epoch": 3, "state_dict": OrderedDict(weight=np.ones(2))}, "checkpoint['state_dict']"),
        ({"model": {"weight": np.ones(2)}, "optimizer": {"state": {}, "param_groups": []}}, "checkpoint['model']"),
        ({"ema": None, "model": torch.nn.Linear(1, 1)}, "checkpoint['model'].state_dict()"),
        ({"critic": {"a": np.ones(2)}, "generator": {"weight": np.ones(2)}}, "checkpoint['generator']"),
    ],
)
def test_a_checkpoint_is_no_state_dict(checkpoint, words):
    message = message_of(StateDictError, Holder().load_state_dict, checkpoint)
    assert "this is no state dict, but holds one under" in message
    assert message.endswith(f"load that: {words}")


def test_buffers_that_are_not_in_the_state_dict():
    def make(library, array):
        module = library.nn.Sequential()
        module.register_buffer("kept", array(3.0))
        module.register_buffer("derived", array(4.0), persistent=False)
        return library.nn.Sequential(module)

    ours, theirs = make(OURS, np.array), make(THEIRS, torch.tensor)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["0.kept"]
    assert [name for name, _ in ours.named_buffers()] == ["0.kept", "0.derived"]
    assert ours.load_state_dict({"0.kept": np.array(5.0)}) == ([], [])
    assert "unexpected: 0.derived" in message_of(
        StateDictError, ours.load_state_dict, {"0.kept": 1.0, "0.derived": 1.0}
    )
    assert list(copy.deepcopy(ours).state_dict()) == ["0.kept"]
    ours[0].register_buffer("derived", np.array(1.0))
    assert list(ours.state_dict()) == ["0.kept", "0.derived"]


def test_a_state_dict_under_a_prefix_into_a_dict():
    module, _ = load()
    theirs = torch.nn.Linear(2, 2).state_dict(prefix="head.")
    into = {"other": 1}
    assert module.state_dict(destination=into, prefix="head.") is into
    assert list(into) == ["other", "head.weight", "head.alias", "head.gain", "head.index", "head.count"]
    assert list(theirs) == ["head.weight", "head.bias"]
    assert module.state_dict(keep_vars=True)["alias"] is module.weight


def test_copies_and_pickles_keep_what_is_shared(ours, theirs):
    ours.load_state_dict(theirs.state_dict())
    twin = copy.deepcopy(ours)
    assert twin.tied.weight is twin.heads["a"].weight is twin.tied._parameters["weight"]
    assert twin.tied.weight is not ours.tied.weight
    module, _ = load()
    twin = pickle.loads(pickle.dumps(module))
    assert twin.weight is twin.alias is twin._parameters["weight"]
    x = np.ones(2, np.float32)
    np.testing.assert_array_equal(twin.trace({"x": (2,)}).run(x), module.trace({"x": (2,)}).run(x))


# -- torch's ways -----------------------------------------------------------------------------------------------------


def names_of(found):
    return without_counters(name for name, _ in found)


@pytest.mark.parametrize("method", ["named_parameters", "named_buffers", "named_modules"])
@pytest.mark.parametrize("options", [{}, {"prefix": "a.b"}, {"remove_duplicate": False}, {"recurse": False}])
def test_walks_take_torchs_arguments(ours, theirs, method, options):
    if method == "named_modules" and "recurse" in options:
        options = {"memo": set()}
    assert names_of(getattr(ours, method)(**options)) == names_of(getattr(theirs, method)(**options))


def test_walks_of_a_module_held_twice(ours, theirs):
    for module in (ours, theirs):
        module.add_module("twice", module.again)
        module.register_module("thrice", module.again)
    assert names_of(ours.named_children()) == names_of(theirs.named_children())
    assert len(list(ours.modules())) == len(list(theirs.modules()))
    assert len(list(ours.modules(remove_duplicate=False))) == len(list(theirs.modules(remove_duplicate=False)))
    assert len(list(ours.parameters(recurse=False))) == len(list(theirs.parameters(recurse=False)))


def test_get_parameter_and_buffer(ours):
    assert ours.get_parameter("heads.a.weight") is ours.tied.weight
    assert ours.get_buffer("offset") is ours.offset
    message = message_of(ArgumentError, ours.get_parameter, "heads.a.wieght")
    assert "Net has no parameter 'heads.a.wieght'" in message
    assert "heads.a.weight" in message
    assert "no buffer 'gain'" in message_of(ArgumentError, ours.get_buffer, "gain")


def test_it_is_in_evaluation_at_all_times(ours):
    assert ours.training is False
    assert ours.eval() is ours
    assert ours.train(False) is ours
    assert "does not train" in message_of(UnsupportedError, ours.train)
    assert ours.requires_grad_(False) is ours


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m.to("cuda"), lambda m: m.to(torch.device("cpu")), lambda m: m.to(0, non_blocking=True),
        lambda m: m.to(memory_format=torch.channels_last), lambda m: m.to("cuda:1", torch.float32),
        lambda m: m.to(torch.zeros(1)), lambda m: m.to(dtype=trtnn.float32), lambda m: m.cuda(), lambda m: m.cuda(1),
        lambda m: m.cpu(), lambda m: m.float(), lambda m: m.type(torch.float32), lambda m: m.to("meta"),
        lambda m: m.to(np.float32), lambda m: m.to("float32"), lambda m: m.to(None, non_blocking=True),
    ],
)  # fmt: skip
def test_it_may_be_sent_anywhere(ours, move):
    assert move(ours) is ours


@pytest.mark.parametrize(
    ("convert", "name"),
    [
        (lambda m: m.half(), "float16"), (lambda m: m.bfloat16(), "bfloat16"), (lambda m: m.double(), "float64"),
        (lambda m: m.to(torch.half), "float16"), (lambda m: m.to("cuda", dtype=torch.float16), "float16"),
        (lambda m: m.to(trtnn.float16), "float16"), (lambda m: m.to(torch.zeros(1, dtype=torch.double)), "float64"),
        (lambda m: m.type(torch.complex64), "complex64"), (lambda m: m.to(np.float16), "float16"),
        (lambda m: m.to(np.dtype("float16")), "float16"), (lambda m: m.to(dtype="half"), "half"),
        (lambda m: m.to("float16"), "float16"), (lambda m: m.to("cuda", np.float64), "float64"),
    ],
)  # fmt: skip
def test_what_is_computed_in_is_said_by_the_trace(ours, convert, name):
    message = message_of(DTypeError, convert, ours)
    assert f"Net cannot be made {name}" in message
    assert "model.trace(fp16=True)" in message


def test_methods_of_torchs_that_are_not_here_say_why(ours):
    assert "a network has no hooks" in message_of(AttributeError, getattr, ours, "register_forward_hook")
    theirs = {name for name in dir(torch.nn.Module) if not name.startswith("_")}
    theirs -= {"smart_apply"}  # which transformers gives it
    assert theirs - set(dir(Module)) - METHODS.keys() == {"T_destination", "call_super_init", "dump_patches"}
    assert not METHODS.keys() & set(dir(Module))
    theirs |= set(dir(torch.nn.BatchNorm2d))
    assert {name for name in METHODS if not name.startswith("_")} <= theirs


def test_dir_leaves_out_what_is_no_name():
    assert "0" not in dir(modules.Sequential(modules.ReLU()))
    assert {"weight", "forward"} <= set(dir(modules.Linear(1, 1)))


# -- limits -----------------------------------------------------------------------------------------------------------


def test_modules_nested_very_deep():
    deep = modules.Linear(1, 1)
    for _ in range(2000):
        deep = modules.Sequential(deep)
    path = ".".join(["0"] * 2000)
    assert len(list(deep.modules())) == 2001
    assert deep.get_submodule(path).in_features == 1
    deep.load_state_dict({f"{path}.weight": np.ones((1, 1)), f"{path}.bias": np.ones(1)})
    assert list(deep.state_dict()) == [f"{path}.weight", f"{path}.bias"]
    seen = []
    deep.apply(seen.append)
    assert (type(seen[0]), seen[-1]) == (modules.Linear, deep)
    assert "..." in repr(deep)
    message = message_of(TrtnnError, deep.trace, {"input": (1, 1)})
    assert f"the calls within Sequential are nested deeper than Python's {sys.getrecursionlimit()}" in message


def test_a_forward_that_calls_itself():
    class Endless(Module):
        def forward(self, x):
            return self(x)

    assert "a forward calls itself without end" in message_of(TrtnnError, Endless().trace, {"x": (1,)})


def test_a_module_that_holds_itself():
    inner = modules.Sequential(modules.ReLU())
    outer = modules.Sequential(inner)
    inner.append(outer)
    assert repr(outer) == "Sequential(\n  (0): Sequential(\n    (0): ReLU()\n    (1): ...\n  )\n)"
    assert len(list(outer.modules())) == 3
    for method in (outer.state_dict, lambda: outer.apply(print), lambda: outer.trace({"input": (1,)})):
        assert "Sequential holds itself, as 0.1" in message_of(ArgumentError, method)


def test_a_module_shared_at_every_level_is_walked_once():
    tree = modules.Linear(1, 1)
    for _ in range(40):
        tree = modules.ModuleList([tree, tree])  # 2^40 paths lead to the Linear
    assert len(list(tree.modules())) == 41
    assert len(list(tree.parameters())) == 2


@pytest.mark.parametrize("shape", [(-1, 3), ("x",), ("ab",), (2.5,), (None,), (True,), ((2, -3),)])
def test_shapes_that_no_parameter_has(shape):
    for kind in (Parameter, Buffer):
        assert "holds ints that are not negative, not " in message_of(ShapeError, kind, *shape)


def test_shapes_of_parameters():
    assert Parameter(np.int64(2), 3).shape == Parameter(torch.Size((2, 3))).shape == Parameter([2, 3]).shape == (2, 3)
    assert Parameter(0, 3).numel() == 0
    for numbers_ in (torch.zeros(1), np.zeros(1)):
        assert "Parameter(*x.shape)" in message_of(ShapeError, Parameter, numbers_)
    assert "shape (3,) was given data of shape (2,)" in message_of(ShapeError, Buffer, 3, data=np.zeros(2))


def test_buffers_of_torch_tensors():
    module = Module()
    module.register_buffer("index", torch.arange(3))
    np.testing.assert_array_equal(module.index.data, [0, 1, 2])
    assert "sparse" in message_of(DTypeError, module.register_buffer, "other", torch.ones(2).to_sparse())


def test_compile_before_load_says_what_is_empty(ours, theirs):
    message = message_of(ArgumentError, ours.compile, {"x": (1, 3, 8, 8)})
    assert "parameters of Net are empty" in message
    assert "model.load_state_dict(trtnn.load(" in message
    assert "gain (4, 1, 1)" in message
    assert "stem.0.conv.weight (4, 3, 3, 3)" in message
    assert f"... and {len(without_counters(theirs.state_dict())) - 1 - 10} more" in message
    ours.load_state_dict(theirs.state_dict())
    ours.tied.bias.data = None
    message = message_of(ArgumentError, ours.trace, {"x": (1, 3, 8, 8)})
    assert "1 parameters of Net are empty" in message
    assert "tied.bias (2,)" in message


# -- inputs -----------------------------------------------------------------------------------------------------------


class Sum(Module):
    def __init__(self):
        super().__init__()
        self.inputs = {"b": Input((1, 3)), "a": (2, 3)}

    def forward(self, a, b, c=0.5):
        return a + b + c


def test_declared_inputs_in_the_order_of_forward():
    network = Sum().trace()
    assert list(network.inputs.items()) == [("a", Input((2, 3))), ("b", Input((1, 3)))]


def test_given_inputs_come_before_declared_ones():
    network = Sum().trace({"a": (5, 3), "c": Input((1,), "float32")})
    assert network.inputs == {"a": Input((5, 3)), "b": Input((1, 3)), "c": Input((1,))}
    a, b, c = numbers(5, 3), numbers(1, 3), numbers(1)
    assert_close(network.run(a, c=c, b=b), torch.from_numpy(a + b + c))


def test_inputs_that_are_missing_or_unknown():
    module = Sum()
    message = message_of(ArgumentError, module.trace, {"d": (1,)})
    assert "inputs of Sum are unknown: d" in message
    assert "its forward takes: a, b, c" in message
    module.inputs = {}
    message = message_of(ArgumentError, module.compile, {"a": (1, 3)})
    assert "inputs of Sum are missing: b" in message
    assert 'pass inputs={"a": (1, 3, 640, 640), "b": (1, 3, 640, 640)}' in message
    assert "missing: a, b" in message_of(ArgumentError, module.trace)
    for wrong, received in (((1, 3), "(1, 3)"), (numbers(1, 3), "a ndarray")):
        message = message_of(ArgumentError, module.trace, wrong)
        assert f'such as inputs={{"a": (1, 3, 640, 640), "b": (1, 3, 640, 640)}}, not {received}' in message


def test_a_forward_of_any_number_of_positional_inputs_cannot_name_them():
    class Cat(Module):
        def forward(self, *xs):
            return trtnn.functional.cat(xs)

    message = message_of(ArgumentError, Cat().trace, {"a": (1,), "b": (1,)})
    assert "unknown: a, b" in message
    assert "no names of its own" in message


@pytest.mark.parametrize("shape", [(1, 0), (1, -1), (1.5,), (True, 2), ("1",)])
def test_shapes_that_are_none(shape):
    assert "a shape holds positive ints" in message_of(TrtnnError, Sum().trace, {"a": shape})


class Outer(Module):
    def __init__(self, inner):
        super().__init__()
        self.inputs, self.inner = {"x": (2, 3)}, inner

    def forward(self, x):
        return self.inner(x)


class Failing(Module):
    def __init__(self, fail):
        super().__init__()
        self.fail = fail

    def forward(self, x):
        return self.fail(x)


@pytest.mark.parametrize(
    ("fail", "error", "words"),
    [
        (lambda x: x.sigmoidd(), AttributeError, "'Tensor' object has no attribute 'sigmoidd'"),
        (lambda x: Outer(ReLU()).missing, AttributeError, "Outer has no attribute 'missing'"),
        (lambda x: np.nothing_such, AttributeError, "nothing_such"),
        (lambda x: {}["key"], KeyError, "key"),
        (lambda x: x + len(5), TypeError, "has no len"),
    ],
)
def test_an_error_of_ones_own_forward_shows_ones_own_lines(fail, error, words):
    with pytest.raises(error, match=words) as caught:
        Outer(Failing(fail)).trace()
    names = [(entry.path.name, entry.name) for entry in caught.traceback]
    here = "test_module.py"
    own = [(here, "forward"), (here, "forward"), (here, "<lambda>")]
    assert names[:5] == [(here, caught.traceback[0].name), ("module.py", "trace"), *own]
    assert not [entry for entry in caught.traceback[2:] if "/trtnn/" in str(entry.path)]


def test_an_error_that_our_own_code_raises_keeps_its_lines(monkeypatch):
    monkeypatch.setattr(trtnn.graph.ends, "flatten", None)
    with pytest.raises(TypeError, match="NoneType") as caught:
        Outer(ReLU()).trace()
    assert [entry.path.name for entry in caught.traceback].count("ends.py") >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fp16": "yes"}, "fp16 is True or False, not 'yes'"),
        ({"fp16": 1}, "fp16 is True or False, not 1"),
        ({"fp16": True, "fp32_modules": 3}, "fp32_modules takes a tuple of paths, not 3"),
        ({"fp16": True, "fp32_modules": [3]}, "fp32_modules takes a tuple of paths, not [3]"),
        ({"fp16": True, "fp32_modules": "inner"}, "fp32_modules takes a tuple of paths, not the string 'inner'"),
        ({"outputs": 3}, "outputs takes a list of module paths, not 3"),
        ({"outputs": [None]}, "outputs takes a list of module paths, not [None]"),
    ],
)
def test_options_of_a_trace_that_are_none(options, words):
    assert words in message_of(ArgumentError, Outer(ReLU()).trace, **options)
    assert Outer(ReLU()).trace(fp16=np.bool_(True)).graph.precision.compute is trtnn.dtypes.float16


@pytest.mark.parametrize("shape", [(1,), (8,), (), (2, 4)])
def test_an_array_of_another_shape_than_is_declared_is_told(shape):
    model = modules.Sequential(modules.Conv2d(3, 4, 3), modules.BatchNorm2d(4))
    for member in [*model.parameters(), *model.buffers()]:
        member.data = np.ones(member.shape, np.float32)
    model.trace({"input": (1, 3, 8, 8)})
    model[0].bias.data = np.ones(shape, np.float32)  # which would be broadcast where the BatchNorm is folded
    message = message_of(ShapeError, model.trace, {"input": (1, 3, 8, 8)})
    assert f"\n  0.bias is declared (4,) and holds {shape}\n" in message
    model[0].bias = trtnn.Parameter(4)  # as it says
    model[0].bias.data = np.ones(4, np.float32)
    model.trace({"input": (1, 3, 8, 8)})
