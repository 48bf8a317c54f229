"""``as_strided``: what it reads of each dimension, for a network's tensors have no places in memory."""

from __future__ import annotations

import pytest
import torch

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError


def windows(x):
    return x.as_strided((2, 3, 4, 5), (50, 15, 5, 1))  # rows 0 to 3, 3 to 6 and 6 to 9


def chunks(x):
    """Chunks that overlap by half, of chunks that do not, as Longformer's."""
    x = x.view(x.size(0), x.size(1) // 2, 2, x.size(2))
    size, stride = list(x.size()), list(x.stride())
    size[1], stride[1] = size[1] * 2 - 1, stride[1] // 2
    return x.as_strided(size=size, stride=stride)


def steps(x):
    return torch.as_strided(x, (5, 2, 2), (10, 2, 50))


def turned(x):
    return x.transpose(1, 2).as_strided((2, 10, 5), (50, 5, 1))


def windows_of_columns(x):
    return x.as_strided((2, 10, 2, 3), (50, 5, 2, 1))


def first_rows(x):
    return x[:, :6].as_strided((2, 2, 3, 5), (50, 15, 5, 1), 0)


def beside_a_mask(x):
    y = x.as_strided((2, 9, 2, 5), (50, 5, 5, 1)) * 2
    return y.relu() + x[:, 1:, None]


def across_rows(x):
    return x.as_strided((2, 9, 7), (50, 5, 1))


FUNCTIONS = [windows, across_rows, chunks, steps, turned, windows_of_columns, first_rows, beside_a_mask]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_is_read_of_each_dimension(function):
    converted = trtnn.from_torch(function, images(2, 10, 5))
    assert "as_strided" not in converted.source
    x = images(2, 10, 5) * 2 - 1
    assert_close(converted.trace().run(x.numpy()), function(x), 1e-6)


@pytest.mark.parametrize("function", [chunks, beside_a_mask], ids=lambda function: function.__name__)
def test_a_dynamic_batch(function):
    def of_any_batch(x):
        return function(x) if function is chunks else x.as_strided((x.shape[0], 9, 2, 5), (50, 5, 5, 1))

    converted = trtnn.from_torch(of_any_batch, images(2, 10, 5), dynamic=trtnn.Dim("batch", 1, 2, 4))
    for batch in (1, 4):
        x = images(batch, 10, 5) * 2 - 1
        assert_close(converted.trace().run(x.numpy()), of_any_batch(x), 1e-6)


def test_chunks_of_a_dynamic_length():
    shapes = {"x": (2, trtnn.Dim("length", 4, 10, 20, multiple_of=2), 5)}
    converted = trtnn.from_torch(chunks, images(2, 10, 5), dynamic=shapes)
    for length in (4, 16):
        x = images(2, length, 5) * 2 - 1
        assert_close(converted.trace().run(x.numpy()), chunks(x), 1e-6)


def test_as_many_are_read_as_the_size_says_whatever_the_length():
    def three(x):
        return x.as_strided((3, 4, 5), (10, 5, 1))

    shapes = {"x": (trtnn.Dim("length", 8, 8, 20), 5)}
    network = trtnn.from_torch(three, images(8, 5), dynamic=shapes).trace()
    for length in (8, 9, 17):
        x = images(length, 5) * 2 - 1
        assert_close(network.run(x.numpy()), three(x), 1e-6)


def on_and_on(x):
    return x.as_strided((2, 4, 3, 3), (50, 10, 5, 3))


def backwards_in_memory(x):
    return x[1].as_strided((10, 5), (5, 1), 0)


def repeated(x):
    return x.as_strided((2, 10, 5, 3), (50, 5, 1, 0))


@pytest.mark.parametrize("function", [on_and_on, backwards_in_memory, repeated], ids=lambda function: function.__name__)
def test_what_is_not_read_by_dimensions_is_refused(function):
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(function, images(2, 10, 5))
    assert "torch.Tensor.as_strided: once, in the model's own forward: trtnn has not" in str(caught.value)
