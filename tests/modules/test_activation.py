"""Activations against torch's."""

import numpy as np
import pytest
import torch

from tests.helpers import RUNS_HERE, check_triangle, message_of, numbers, trace
from trtnn import functional as F
from trtnn import modules
from trtnn.errors import DTypeError, ShapeError
from trtnn.modules import Sequential

ACTIVATIONS = [
    ("ReLU", {}),
    ("SiLU", {}),
    ("Hardswish", {}),
    ("Sigmoid", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.1}),
    ("LeakyReLU", {"negative_slope": -0.5}),
    ("Softmax", {"dim": 1}),
    ("Softmax", {"dim": -1}),
]
WIDE = np.array([-np.inf, -1e4, -20, -3, -2.9, -0.5, -0.0, 0, 1e-3, 0.5, 2.9, 3, 20, 1e4], np.float32)


@pytest.mark.parametrize(("name", "arguments"), ACTIVATIONS)
def test_activation(name, arguments):
    ours, theirs = getattr(modules, name)(**arguments), getattr(torch.nn, name)(**arguments)
    check_triangle(ours, theirs, numbers(2, 3, 4, scale=3))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "name",
    [
        "relu", "silu", "hardswish", "sigmoid", "leaky_relu", "logsigmoid", "softplus", "mish", "gelu", "elu", "selu",
        "celu", "softsign", "tanh", "hardtanh", "relu6", "softshrink", "hardshrink", "tanhshrink", "hardsigmoid",
    ],
)  # fmt: skip
def test_far_from_zero(name):
    finite = WIDE[1:]
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    for x in (finite, finite[:1].reshape(()), finite.reshape(1, 1, -1, 1)):
        check_triangle(ours, theirs, x, build=x.ndim == 4 or RUNS_HERE)


def test_softmax_with_minus_infinity_and_large_numbers():
    check_triangle(lambda x: F.softmax(x, 0), lambda x: torch.softmax(x, 0), WIDE)


@pytest.mark.parametrize(("shape", "dim"), [((4,), 0), ((4,), -1), ((3, 5), 0), ((2, 3, 4, 5), -3), ((2, 3, 1), 2)])
def test_softmax_along_each_dimension(shape, dim):
    check_triangle(lambda x: F.softmax(x, dim), lambda x: torch.softmax(x, dim), numbers(*shape, scale=3))


def test_all_in_a_row():
    names = ["SiLU", "LeakyReLU", "Hardswish", "ReLU", "Sigmoid"]
    ours = Sequential(*(getattr(modules, name)() for name in names))
    theirs = torch.nn.Sequential(*(getattr(torch.nn, name)() for name in names))
    check_triangle(ours, theirs, numbers(1, 3, 4, 4, scale=3))


@pytest.mark.parametrize("name", ["ReLU", "SiLU", "LeakyReLU"])
def test_inplace_is_as_torchs(name):
    ours, theirs = getattr(modules, name)(inplace=True), getattr(torch.nn, name)(inplace=True)
    assert repr(ours) == repr(theirs)
    check_triangle(lambda x: ours(x) + x, lambda x: theirs(x) + x, numbers(2, 3))


@pytest.mark.parametrize("name", ["silu", "hardswish", "leaky_relu", "elu", "softmax"])
def test_integers_are_an_error(name):
    arguments = (0,) if name == "softmax" else ()
    message = message_of(DTypeError, trace, lambda x: getattr(F, name)(x.int(), *arguments), (2, 3))
    assert "takes floating-point input, not int32" in message


@pytest.mark.parametrize(("shape", "dim"), [((4,), 1), ((2, 3), 2), ((2, 3), -3)])
def test_softmax_along_a_dimension_that_is_not_there(shape, dim):
    message = message_of(ShapeError, trace, lambda x: F.softmax(x, dim), shape)
    assert f"dimension {dim} is out of range" in message
