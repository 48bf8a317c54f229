"""Sequential, ModuleList and ModuleDict against torch's."""

import numpy as np
import pytest
import torch

from tests.helpers import check_triangle, message_of, numbers
from trtnn import modules
from trtnn.errors import ArgumentError
from trtnn.modules import Linear, ModuleDict, ModuleList, ReLU, Sequential, Sigmoid, SiLU


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
