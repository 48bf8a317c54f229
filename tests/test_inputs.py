"""Declared inputs, and what a network says of wrong ones."""

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, message_of, numbers
from trtnn import Input, Module, float16
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.inputs import as_input, name_arguments


class Difference(Module):
    def forward(self, left, right):
        return left - right


@pytest.fixture(scope="module")
def network():
    return Difference().trace({"left": (2, 3), "right": Input((2, 1), "int32")})


LEFT, RIGHT = numbers(2, 3), np.array([[1], [2]], np.int32)


def test_an_input_normalises_its_arguments():
    spec = Input([1, 3], "float16")
    assert spec == Input((1, 3), np.float16) == Input((1, 3), torch.float16)
    assert spec.shape == (1, 3)
    assert spec.dtype is float16
    assert str(spec) == "float16[1, 3]"
    assert Input.from_json(spec.to_json()) == spec
    assert as_input(spec) is spec
    assert as_input([1, 3]) == Input((1, 3))


@pytest.mark.parametrize("shape", [(0,), (-1, 2), (1.0,), ("1",), (None,), (True,)])
def test_shapes_hold_positive_ints(shape):
    assert f"a shape holds positive ints, not {shape}" in message_of(ShapeError, Input, shape)


def test_by_position_and_by_name(network):
    expected = torch.from_numpy(LEFT - RIGHT.astype(np.float32))
    for result in (
        network.run(LEFT, RIGHT),
        network.run(LEFT, right=RIGHT),
        network.run(right=RIGHT, left=LEFT),
    ):
        assert_close(result, expected)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "words"),
    [
        ((), {}, ArgumentError, ["missing input: left, right", "it takes: left, right"]),
        ((LEFT,), {}, ArgumentError, ["missing input: right"]),
        ((LEFT, RIGHT, LEFT), {}, ArgumentError, ["3 inputs given, 2 expected", "it takes: left, right"]),
        ((LEFT, RIGHT), {"left": LEFT}, ArgumentError, ["input 'left' was given twice, by position and by name"]),
        ((LEFT, RIGHT), {"middle": LEFT}, ArgumentError, ["no input is called 'middle'", "it takes: left, right"]),
        (
            (LEFT[:1], RIGHT),
            {},
            ShapeError,
            ["input 'left' has the wrong shape", "expected (2, 3)", "received (1, 3)", 'inputs={"left": (1, 3)}'],
        ),
        ((LEFT[0], RIGHT), {}, ShapeError, ["expected (2, 3)", "received (3,)"]),
        (
            (LEFT.astype(np.float64), RIGHT),
            {},
            DTypeError,
            ["input 'left' has the wrong type", "expected float32", "received float64", 'left.astype("float32")'],
        ),
        (
            (torch.from_numpy(LEFT).half(), RIGHT),
            {},
            DTypeError,
            ["expected float32", "received float16", "left.to(torch.float32)"],
        ),
        ((LEFT, RIGHT.astype(np.uint16)), {}, DTypeError, ["input 'right'", "expected int32", "received uint16"]),
        ((LEFT.tolist(), RIGHT), {}, DTypeError, ["input 'left' takes a NumPy array or a torch tensor, not list"]),
        ((None, RIGHT), {}, DTypeError, ["not NoneType"]),
    ],
)
def test_wrong_inputs(network, args, kwargs, error, words):
    message = message_of(error, network.run, *args, **kwargs)
    for word in words:
        assert word in message


def test_arguments_come_in_the_order_of_the_inputs():
    assert list(name_arguments(["a", "b", "c"], [1], {"c": 3, "b": 2}).items()) == [("a", 1), ("b", 2), ("c", 3)]


def test_arrays_of_any_layout(network):
    transposed = np.asfortranarray(LEFT)
    backwards = LEFT[:, ::-1]
    read_only = LEFT.copy()
    read_only.flags.writeable = False
    for left in (transposed, backwards, read_only):
        assert_close(network.run(left, RIGHT), torch.from_numpy(left - RIGHT.astype(np.float32)))


def test_big_endian_arrays(network):
    message = message_of(DTypeError, network.run, LEFT.astype(">f4"), RIGHT)
    assert "received >f4" in message
