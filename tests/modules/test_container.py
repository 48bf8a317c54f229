"""Sequential, ModuleList and ModuleDict against torch's."""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers import check_triangle, message_of, numbers
from trtnn import Parameter, modules
from trtnn.errors import ArgumentError
from trtnn.modules import Linear, ModuleDict, ModuleList, ParameterDict, ReLU, Sequential, Sigmoid, SiLU


def layers_of(nn):
    return [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5), nn.SiLU()]


def both(make):
    return make(modules), make(torch.nn)


def names(module):
    return [name for name, _ in module.named_children()]


def test_sequential_calls_one_after_another():
    ours, theirs = both(lambda nn: nn.Sequential(*layers_of(nn)))
    check_triangle(ours, theirs, numbers(2, 4))


def test_an_empty_sequential_returns_its_input():
    check_triangle(Sequential(), torch.nn.Sequential(), numbers(2, 4))
    assert repr(Sequential()) == repr(torch.nn.Sequential())


def test_a_sequential_of_names():
    ours = Sequential({"first": Linear(4, 3), "second": ReLU()})
    assert names(ours) == ["first", "second"]
    assert ours[1] is ours.second
    assert list(ours) == [ours.first, ours.second]
    ours[-1] = SiLU()
    assert isinstance(ours.second, SiLU)


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
@pytest.mark.parametrize("index", [slice(1, 3), slice(None), slice(None, None, 2), slice(-1, None), slice(2, 2)])
def test_slices_are_named_as_in_torch(kind, index):
    def make(nn):
        cls = getattr(nn, kind)
        return cls(*layers_of(nn)) if kind == "Sequential" else cls(layers_of(nn))

    ours, theirs = both(make)
    assert type(ours[index]).__name__ == kind
    assert names(ours[index]) == names(theirs[index])
    assert list(ours[index]) == list(ours)[index]


@pytest.mark.parametrize("kind", [Sequential, ModuleList])
def test_positions(kind):
    first, second, third = Linear(2, 2), ReLU(), SiLU()
    container = kind(first, second) if kind is Sequential else kind([first, second])
    assert len(container) == 2
    assert container.append(third) is container
    assert [container[0], container[-1], container[np.int64(1)]] == [first, third, second]
    container[1] = sigmoid = Sigmoid()
    assert list(container) == [first, sigmoid, third]
    assert container.extend([second]) is container
    assert names(container) == ["0", "1", "2", "3"]
    for index in (4, -5):
        assert f"{kind.__name__} holds 4 modules, there is no {index}" in message_of(
            IndexError, container.__getitem__, index
        )
        assert "holds 4 modules" in message_of(IndexError, container.__setitem__, index, first)


def test_module_dict():
    first, second = Linear(2, 2), ReLU()
    container = ModuleDict({"a": first})
    container["b"] = second
    assert len(container) == 2
    assert list(container) == list(container.keys()) == ["a", "b"]
    assert list(container.values()) == [first, second]
    assert list(container.items()) == [("a", first), ("b", second)]
    assert "a" in container
    assert "c" not in container
    assert container["b"] is container.b is second
    container.update({"b": first, "c": second})
    assert list(container.values()) == [first, first, second]
    message = message_of(ArgumentError, container.__getitem__, "d")
    assert "holds no 'd'" in message
    assert "it holds: a, b, c" in message


@pytest.mark.parametrize("container", [ModuleList(), ModuleDict()])
def test_lists_and_dicts_have_no_forward(container):
    assert "defines no forward" in message_of(NotImplementedError, container.trace, {"x": (1,)})


def test_only_modules_go_in():
    assert "'0' takes a Module, not function" in message_of(ArgumentError, Sequential, lambda x: x)
    assert "'1' takes a Module, not int" in message_of(ArgumentError, ModuleList, [ReLU(), 3])
    assert "already has an attribute 'keys'" in message_of(ArgumentError, ModuleDict, {"keys": ReLU()})


def test_names_of_what_the_traced_module_alone_has_and_torchs_has_not():
    def forward(self, x):
        return self.parts["trace"](self.parts["metadata"](x)) + self.parts["inputs"](x)

    named = {"trace": ("ReLU", ()), "metadata": ("Linear", (3, 3)), "inputs": ("Tanh", ())}

    def make(nn):
        kind = type("Named", (nn.Module,), {"forward": forward})
        module = kind()
        module.parts = nn.ModuleDict({name: getattr(nn, kind)(*args) for name, (kind, args) in named.items()})
        return module

    check_triangle(make(modules), make(torch.nn), numbers(2, 3))
    module = modules.Module()
    module.register_parameter("trace", Parameter(1))
    assert "already has an attribute 'trace'" in message_of(ArgumentError, module.add_module, "trace", ReLU())


# -- what torch's containers do beside ---------------------------------------------------------------------------------


def numbered(nn, kind, count=4):
    """Modules that can be told apart, in a container of a kind."""
    layers = [nn.Linear(1, i + 1) for i in range(count)]
    return getattr(nn, kind)(*layers) if kind == "Sequential" else getattr(nn, kind)(layers)


def widths(container):
    return {name: child.out_features for name, child in container._modules.items()}


def named(nn):
    return nn.Sequential(OrderedDict(a=nn.Linear(1, 1), b=nn.Linear(1, 2), c=nn.Linear(1, 3)))


CHANGES = {
    "del 1": lambda nn, c: c.__delitem__(1),
    "del -1": lambda nn, c: c.__delitem__(-1),
    "del slice": lambda nn, c: c.__delitem__(slice(None, None, 2)),
    "pop": lambda nn, c: c.pop(1).out_features,
    "pop last": lambda nn, c: c.pop(-1).out_features,
    "insert": lambda nn, c: c.insert(1, nn.Linear(1, 9)),
    "insert behind": lambda nn, c: c.insert(len(c), nn.Linear(1, 9)),
    "extend": lambda nn, c: c.extend([nn.Linear(1, 9), nn.Linear(1, 8)]),
    "add": lambda nn, c: widths(
        c + type(c)(*([nn.Linear(1, 9)] if isinstance(c, nn.Sequential) else [[nn.Linear(1, 9)]]))
    ),
    "iadd": lambda nn, c: c.__iadd__(nn.Sequential(nn.Linear(1, 9))) is c,
}


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_torchs(kind, change):
    results = []
    for nn in (modules, torch.nn):
        container = numbered(nn, kind)
        given = change(nn, container)
        results.append((given if isinstance(given, (int, dict)) else None, widths(container), len(container)))
        assert [child.out_features for child in container] == list(widths(container).values())
    assert results[0] == results[1]


def test_what_is_left_of_names_are_positions():
    for change in (CHANGES["del 1"], CHANGES["pop last"], CHANGES["del slice"]):
        ours, theirs = both(named)
        change(modules, ours)
        change(torch.nn, theirs)
        assert widths(ours) == widths(theirs)
        assert not hasattr(ours, "a")
    ours, theirs = both(named)
    assert widths(ours[1:]) == widths(theirs[1:]) == {"b": 2, "c": 3}
    assert widths(ours.insert(0, Linear(1, 9))) == {"0": 9, "1": 1, "2": 2, "3": 3}


def test_multiples_share_their_modules():
    for nn in (modules, torch.nn):
        container = numbered(nn, "Sequential", 2)
        assert widths(container * 2) == widths(2 * container) == {"0": 1, "1": 2, "2": 1, "3": 2}
        assert (container * 2)[2] is container[0]
        assert len(list((container * 3).parameters())) == 4
        container *= 2
        assert len(container) == 4
    for wrong in (0, -1, 1.5, "2"):
        assert "multiplied by a positive int" in message_of(ArgumentError, container_of_ours().__mul__, wrong)


def container_of_ours():
    return numbered(modules, "Sequential", 1)


def test_errors_of_sequences():
    for kind in ("Sequential", "ModuleList"):
        container = numbered(modules, kind)
        assert "holds 4 modules, there is no 4" in message_of(IndexError, container.__delitem__, 4)
        assert "there is no -5" in message_of(IndexError, container.pop, -5)
        assert "none can be added at 5" in message_of(IndexError, container.insert, 5, ReLU())
        assert f"{kind} takes a Module, not int" in message_of(ArgumentError, container.insert, 0, 3)
        assert f"{kind} takes several members, not one int" in message_of(ArgumentError, container.extend, 3)
        assert widths(container) == {"0": 1, "1": 2, "2": 3, "3": 4}
    assert "extend takes any modules" in message_of(ArgumentError, container_of_ours().__add__, [ReLU()])


def test_changes_of_a_module_dict():
    for nn in (modules, torch.nn):
        container = nn.ModuleDict([("b", nn.Linear(1, 1)), ("a", nn.Linear(1, 2))])
        container.update(nn.ModuleDict({"c": nn.Linear(1, 3)}))
        container.update({"b": nn.Linear(1, 4)})
        assert widths(container) == {"b": 4, "a": 2, "c": 3}
        assert container.pop("a").out_features == 2
        del container["c"]
        assert widths(container) == {"b": 4}
        container.clear()
        assert not len(container)
    for wrong, words in ((3, "not one int"), ([3], "not 3"), ([("a",)], "not ('a',)")):
        assert words in message_of(ArgumentError, container_of_names().update, wrong)
    assert "holds no 'x'" in message_of(ArgumentError, container_of_names().pop, "x")
    assert "holds no 'x'" in message_of(ArgumentError, container_of_names().__delitem__, "x")


def container_of_names():
    return ModuleDict({"a": ReLU()})


OURS = SimpleNamespace(nn=modules, parameter=Parameter)
THEIRS = SimpleNamespace(nn=torch.nn, parameter=lambda *shape: torch.nn.Parameter(torch.zeros(shape)))


def lengths(container):
    return {name: len(parameter) for name, parameter in container.named_parameters()}


@pytest.mark.parametrize("library", [OURS, THEIRS], ids=["trtnn", "torch"])
def test_changes_of_a_parameter_dict(library):
    of = library.parameter
    container = library.nn.ParameterDict({"b": of(1), "a": of(2)})  # by the alphabet
    assert list(container) == ["a", "b"]
    assert list(reversed(container)) == ["b", "a"]
    container.update(OrderedDict(d=of(3), c=of(4)))
    assert lengths(container) == {"a": 2, "b": 1, "d": 3, "c": 4}
    assert container.get("x") is None
    assert container.get("a") is container["a"]
    assert container.setdefault("a", of(9)) is container["a"]
    assert container.setdefault("e", of(5)) is container["e"]
    assert container.popitem()[0] == "e"
    twin = container.copy()
    assert twin["a"] is container["a"]
    assert len(container.pop("a")) == 2
    assert list(twin) == ["a", "b", "d", "c"]
    assert lengths(container | {"z": of(6)}) == {"b": 1, "d": 3, "c": 4, "z": 6}
    joined = {"z": of(6)} | container
    assert {name: len(parameter) for name, parameter in joined.items()} == {"z": 6, "b": 1, "d": 3, "c": 4}
    container |= {"b": of(7)}
    assert lengths(container) == {"b": 7, "d": 3, "c": 4}
    assert list(container.fromkeys("pq", of(1))) == ["p", "q"]
    del container["d"]
    container.clear()
    assert not len(container)


def test_an_empty_parameter_dict_gives_no_item():
    assert "is empty" in message_of(ArgumentError, ParameterDict().popitem)


@pytest.mark.parametrize("library", [OURS, THEIRS], ids=["trtnn", "torch"])
def test_changes_of_a_parameter_list(library):
    of = library.parameter
    container = library.nn.ParameterList([of(1), of(2)])
    container += [of(3)]
    container.extend([of(4)]).append(of(5))
    container[-1] = of(6)
    assert lengths(container) == {"0": 1, "1": 2, "2": 3, "3": 4, "4": 6}
    assert lengths(container[1:4:2]) == {"0": 2, "1": 4}
    assert len(container[-2]) == 4
    for index in (5, -6):
        with pytest.raises(IndexError):
            container[index]
        with pytest.raises(IndexError):
            container[index] = of(1)


@pytest.mark.parametrize("name", ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"])
def test_no_method_of_torchs_is_left_out(name):
    ours, theirs = getattr(modules, name), getattr(torch.nn, name)
    assert {method for method in vars(theirs) if method not in vars(torch.nn.Module)} - set(dir(ours)) <= {
        "__annotations__", "__dict__", "__doc__", "__module__", "__weakref__", "__parameters__", "__constants__",
        "_get_abs_string_index", "_get_item_by_idx", "_key_to_attr", "__static_attributes__", "__firstlineno__",
    }  # fmt: skip
