"""Linear against torch's."""

import numpy as np
import pytest
import torch

from tests.helpers import check_triangle, message_of, numbers, trace
from trtnn import functional as F
from trtnn.errors import DTypeError, ShapeError
from trtnn.modules import Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_linear(shape, bias):
    check_triangle(Linear(5, 4, bias), torch.nn.Linear(5, 4, bias), numbers(*shape))


@pytest.mark.parametrize("bias", [True, False])
def test_looks_like_torch(bias):
    ours, theirs = Linear(5, 4, bias=bias), torch.nn.Linear(5, 4, bias=bias)
    assert repr(ours) == repr(theirs)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: tuple(p.shape) for n, p in theirs.named_parameters()}


WEIGHT = np.ones((4, 5), np.float32)


@pytest.mark.parametrize(
    ("function", "shape", "error", "words"),
    [
        (lambda x: F.linear(x, WEIGHT), (2, 4), ShapeError, ["expected 5", "(2, 4)"]),
        (lambda x: F.linear(x[0], WEIGHT), (5,), ShapeError, ["expected 5", "()"]),
        (lambda x: F.linear(x, x[None]), (5, 5), ShapeError, ["the weight of linear has 2 dimensions"]),
        (lambda x: F.linear(x, x[0], x[0]), (5, 5), ShapeError, ["linear takes no bias beside a weight of one"]),
        (lambda x: F.linear(x.int(), WEIGHT), (2, 5), DTypeError, ["linear", "int32"]),
        (lambda x: F.linear(x, WEIGHT, np.ones(3)), (2, 5), ShapeError, ["(2, 4)", "3"]),
    ],
)
def test_errors(function, shape, error, words):
    message = message_of(error, trace, function, shape)
    for word in words:
        assert word in message
