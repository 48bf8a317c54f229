"""``x[index] = value``, held against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, check_triangle, message_of, needs_type, numbers, run, trace
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.errors import ShapeError, UnsupportedError

X = numbers(3, 4, 5)
INDICES = [
    (0,), (-1,), (1, 2), (0, 0, 0), (slice(1, 3),), (Ellipsis, 2), (slice(None), 1, slice(2, 4)),
    (slice(None), slice(1, -1)), (None, 0), (slice(None), [0, 2]), (slice(None, None, 2),), ([0, 0, 2],),
    (np.array([1]),), (slice(None), slice(None), slice(1, None, 2)), (slice(None),),
    (torch.tensor([2, 1]),), (slice(3, 9),), ([0, 2], [1, 3]), ([0, 2], [1, -1], [4, 0]), (1, [0, 3]), ([0, 2], -1),
    ([2, 0], slice(None), Ellipsis), (np.array([[0], [2]]), [1, 3]), (np.array([[0, 1], [2, 0]]),),
    (Ellipsis, slice(None, None, 2), slice(1, None, 2)), (slice(1, None), slice(1, -1, 2), slice(None, None, 3)),
    (slice(None, None, 2), 1, slice(2, 4)), (slice(1, 3), [0, 2], slice(1, None, 2)), (slice(0, 2), [3, 1]),
    (0, slice(None, None, 2)), (slice(None), None, slice(None, None, 3), 0), (-1, slice(9, 12, 2), 0),
]  # fmt: skip


def assigned(x, index, value):
    x = x.clone()
    x[index if len(index) > 1 else index[0]] = value
    return x


@pytest.mark.parametrize("value", [0.5, 3, True])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_numbers(index, value):
    assert_close(run(lambda x: assigned(x, index, value), X), assigned(torch.from_numpy(X), index, value))


@pytest.mark.parametrize(
    ("index", "shape"),
    [
        ((0,), (5,)), ((0,), (4, 5)), ((slice(None), slice(1, 3)), (3, 2, 5)), ((slice(None), slice(1, 3)), (2, 1)),
        ((slice(None), [3, 1]), (3, 2, 5)), ((Ellipsis, slice(1, 4)), (1, 1, 3)), ((1, 2), (1, 1, 5)),
        ((slice(None), slice(None), slice(None, None, 3)), (4, 2)), ((2, slice(1, 2), 4), (1,)),
        (([0, 2], [1, 3]), (2, 5)), (([0, 2], [1, 3]), (1, 2, 1)), ((np.array([[0], [2]]), [1, 3]), (2, 2, 5)),
        ((1, [3, 0]), (2, 5)), (([0, 1], 2, [4, 0]), (2,)),
        ((Ellipsis, slice(1, None, 2), slice(None, None, 2)), (2, 3)),
        ((slice(None, None, 2), slice(1, 3), slice(1, None, 2)), (2, 2, 2)), ((0, slice(None, None, 2)), (2, 1)),
        ((slice(1, 3), [0, 3, 0], slice(1, None, 2)), (3, 2)), ((slice(None, None, 2), 1, slice(2, 4)), (2, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_tensors(index, shape):
    check_triangle(*[lambda x, y: assigned(x, index, y)] * 2, X, numbers(*shape, seed=1))


def test_every_second_place_of_every_second_row():
    """As the inverse of a wavelet transform is written."""

    def function(x, y):
        whole = y.new_zeros(x.shape[0], 2 * x.shape[1], 2 * x.shape[2])
        whole[:, 0::2, 0::2] = x - y
        whole[:, 1::2, 0::2] = x + y
        whole[..., 1::2] = whole[..., 0::2] * 2
        whole[:, 2:-1:2, ::3] += 1
        return whole

    x, y = numbers(2, 3, 4), numbers(2, 3, 4, seed=1)
    check_triangle(function, function, x, y)
    height, width = Dim("height", 2, 3, 5), Dim("width", 1, 4, 6)
    network = trace(function, Input((2, height, width)), Input((2, height, width)))
    for lengths in (3, 4), (2, 1), (5, 6):
        x, y = numbers(2, *lengths), numbers(2, *lengths, seed=1)
        assert_close(network.run(x, y), function(torch.from_numpy(x), torch.from_numpy(y)))


def test_places_of_the_one_row():
    x, y, places = numbers(1, 4, 5), numbers(1, 2, 5, seed=1), np.array([3, 1])
    check_triangle(*[lambda x, y: assigned(x, (0, [3, 1]), y)] * 2, x, y)
    check_triangle(*[lambda x, y, places: assigned(x, (0, places), y)] * 2, x, y, places)


def test_masks():
    mask = np.array([True, False, True])

    def function(x, mask):
        y = x.clone()
        y[y > 0] = 7
        z = x.clone()
        z[mask] = -1.0
        w = x.clone()
        w[torch.tensor([True, False, False])] = 2
        return y, z, w

    check_triangle(function, function, X, mask)


def test_what_fits_each_place_of_a_mask():
    """As the token that stands for those that are masked."""
    mask = np.array([[True, False, True, False], [False] * 4, [True] * 4])

    def function(x, mask, token):
        y, z, w = x.clone(), x.clone(), x.clone()
        y[mask] = token
        z[mask[:, 0]] = token
        w[mask[:, 1]] = token[:1].reshape(1, 1, 1)
        z[mask] = token[None]
        y[y > 1] = token[:1]
        return y, z, w

    check_triangle(function, function, X, mask, numbers(5, seed=2))


def test_one_place_in_each_row():
    """As a mask of the last steps of sequences is made."""

    def function(x, lengths, value):
        x, y = x.clone(), x.clone()
        x[(torch.arange(x.shape[0]), lengths - 1)] = 1
        y[torch.arange(y.shape[0]), lengths - 1] = value
        return x, y

    def ours(x, lengths, value):
        x, y = x.clone(), x.clone()
        x[(np.arange(x.shape[0]), lengths - 1)] = 1
        y[F.arange(y.shape[0]), lengths - 1] = value
        return x, y

    check_triangle(ours, function, X, np.array([4, 1, 0]), numbers(3, 5, seed=1))


@needs_type("int64")
def test_places_that_the_engine_knows():
    def function(x, at, value):
        x = x.clone()
        x[:, at] = value
        return x

    at, value = np.array([2, 0]), numbers(3, 2, 5, seed=1)
    network = trace(lambda x, at, value: function(x, at.long(), value), X, at.astype(np.int32), value)
    expected = function(torch.from_numpy(X), torch.from_numpy(at), torch.from_numpy(value))
    assert_close(network.run(X, at.astype(np.int32), value), expected)


def test_what_is_assigned_takes_the_type_of_the_whole():
    def function(x):
        x = x.int()
        x[0] = 2.9
        x[:, 1:2] = x[:, :1].float() * 1.5
        return x

    check_triangle(function, function, X)


def test_every_name_of_a_tensor_sees_it():
    def function(x):
        x = x * 1
        same = x
        same[..., 0] = 1
        x[0] += same[1]
        return x * 2

    check_triangle(function, function, X)


@pytest.mark.parametrize("length", [4, 6, 8])
def test_dynamic_lengths(length):
    def function(x, y):
        x = x.clone()
        x[:, 1:3] = y
        x[:, -1] = 2.0
        return x

    network = trace(function, Input((3, Dim("length", 4, 4, 8), 5)), Input((3, 2, 5)))
    x, y = numbers(3, length, 5), numbers(3, 2, 5, seed=1)
    assert_close(network.run(x, y), function(torch.from_numpy(x), torch.from_numpy(y)))


@pytest.mark.parametrize("length", [4, 7, 8])
def test_every_second_element_of_a_dynamic_length(length):
    def function(x, y):
        x = x.clone()
        x[:, 1::2] = y
        return x

    network = trace(function, Input((3, Dim("length", 4, 4, 8), 5)), Input((3, 1, 5)))
    x, y = numbers(3, length, 5), numbers(3, 1, 5, seed=1)
    assert_close(network.run(x, y), function(torch.from_numpy(x), torch.from_numpy(y)))


@pytest.mark.parametrize(
    ("index", "value", "error", "words"),
    [
        ((5,), 1.0, ShapeError, "index 5 is out of range for a dimension of 3"),
        ((slice(None), 0), np.zeros(7, np.float32), ShapeError, "cannot expand"),
        ((0,), np.zeros((2, 4, 5), np.float32), ShapeError, "a value of shape (2, 4, 5) does not fit (4, 5)"),
        ((slice(1), [1], [0]), 1.0, UnsupportedError, "Tensors of integers are of the first dimensions"),
        ((0, slice(None), [1]), 1.0, UnsupportedError, "and others are whole"),
        (([0, 1], [0, 1, 2]), 1.0, ShapeError, "indices of shapes (2,) and (3,) do not broadcast together"),
        (([0, 1], [0, 4]), 1.0, ShapeError, "index 4 is out of range for a dimension of 4"),
        (([0, 1], [0, 2]), np.zeros((3, 5), np.float32), ShapeError, "cannot expand"),
        ((np.array([True, True, False]),), np.ones((2, 4, 5), np.float32), UnsupportedError, "takes what fits each"),
        ((np.array([True, True, False]),), np.ones(4, np.float32), ShapeError, "cannot expand"),
        ((np.array([True, True]),), 1.0, ShapeError, "a mask of shape (2,) does not fit (3, 4, 5)"),
        (("a",), 1.0, UnsupportedError, "an index of type str"),
    ],
)
def test_errors(index, value, error, words):
    assert words in message_of(error, trace, lambda x: assigned(x, index, value), X)


def test_a_list_behind_a_slice_beside_a_number_is_refused():
    def function(x):
        x[0, :, [1, 0]] = -1
        return x

    assert "assignment into a Tensor" in message_of(UnsupportedError, trace, function, (3, 4, 5))


@pytest.mark.parametrize("length", [2, 3, 6])
def test_every_second_place_from_the_end_of_a_dynamic_length(length):
    def function(x):
        x = x.clone()
        x[:, -1::2] = 2
        x[-2::2, 0] += x[0, 0] * 1
        x[:, -2:9:3] *= 3
        return x

    rows, columns = Dim("rows", 2, 3, 6), Dim("columns", 2, 3, 6)
    x = numbers(length, 8 - length)
    assert_close(trace(function, (rows, columns)).run(x), function(torch.from_numpy(x)))
