"""Declared inputs, and what a network says of wrong ones."""

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, message_of, numbers, trace
from trtnn import Input, Module, float16
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.shapes.call import name_arguments
from trtnn.shapes.spec import as_input


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


@pytest.mark.parametrize("shape", ["ab", 3, None, {1: 2}, {1, 2}])
def test_what_is_no_shape(shape):
    assert f"a shape is a sequence of positive ints, not {shape!r}" in message_of(ShapeError, Input, shape)


def test_whole_numbers_of_others_are_lengths():
    for shape in ((np.int64(2), 3), torch.Size((2, 3)), np.array([2, 3]), (torch.tensor(2), 3)):
        spec = Input(shape)
        assert spec.shape == (2, 3)
        assert [type(length) for length in spec.shape] == [int, int]
    for shape in ((np.float32(2),), (np.bool_(True),), (np.array([1, 2]),), (torch.tensor(2.0),)):
        assert "a shape holds positive ints" in message_of(ShapeError, Input, shape)


def test_what_tensorrt_has_no_shape_for():
    assert Input((1,) * 8).shape == (1,) * 8
    assert "at most 8 dimensions, not the 9 of (1, 1, " in message_of(ShapeError, Input, (1,) * 9)
    assert "at most 8 dimensions" in message_of(ShapeError, Difference().trace, {"left": (1,) * 9, "right": (1,)})
    assert "a shape holds positive ints" in message_of(ShapeError, Input, (2**63,))


def test_shapes_nested_very_deep():
    shape = [1]
    for _ in range(2000):
        shape = [shape]
    for wrong in ({"left": shape, "right": (1,)}, {"left": [shape], "right": (1,)}):
        assert "a shape holds positive ints, not ('list',)" in message_of(ShapeError, Difference().trace, wrong)
    assert "unknown: 3" in message_of(ArgumentError, Difference().trace, {3: (1,)})


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
        ((np.ma.masked_array(LEFT, LEFT > 0), RIGHT), {}, DTypeError, ["takes no masked array", "x.filled(0)"]),
        ((torch.from_numpy(LEFT).to_sparse(), RIGHT), {}, DTypeError, ["takes no sparse torch tensor"]),
        ((torch.from_numpy(LEFT).to("meta"), RIGHT), {}, DTypeError, ["on the meta device"]),
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


def test_tensors_that_require_grad(network):
    left = torch.from_numpy(LEFT).requires_grad_()
    result = network.run(left, RIGHT)
    assert not result.requires_grad
    assert not trace(lambda x: x, LEFT).run(left).requires_grad
    assert_close(network.run(LEFT, torch.from_numpy(RIGHT)), result)
    assert_close(network.run(LEFT, right=torch.from_numpy(RIGHT)), result)
