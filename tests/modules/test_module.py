"""Module against torch.nn.Module: the same class bodies, over either library."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnn
from tests.helpers import assert_close, load_random, message_of, numbers
from trtnn import Buffer, Input, Module, Parameter, modules
from trtnn.errors import ArgumentError, StateDictError, TrtnnError

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
