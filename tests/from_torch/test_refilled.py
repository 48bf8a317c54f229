"""Tensors that lie in the memory of NumPy's arrays, which a forward fills with other numbers than those it took."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close, message_of
from trtnn.errors import UnsupportedError

X = images(2, 4)


class Filled(nn.Module):
    """Sums of what one array holds in turn, and of a number that is set between calls."""

    def __init__(self, take, times: int = 3) -> None:
        super().__init__()
        self.array, self.take, self.times, self.first = np.zeros(4, np.float32), take, times, 1.0

    def forward(self, x):
        for i in range(self.times):
            self.array[:] = self.first + i
            x = x + self.take(self.array) * x
        return x


@pytest.mark.parametrize("take", [torch.from_numpy, torch.as_tensor, lambda array: torch.from_numpy(array)[:]])
@pytest.mark.parametrize("verify", [True, False])
def test_an_array_that_is_filled_again_is_refused(take, verify):
    """All of them would be the last."""
    message = message_of(UnsupportedError, trtnn.from_torch, Filled(take).eval(), X, verify=verify)
    assert "a tensor of a NumPy array's memory" in message
    assert "in the model's own forward: other numbers are put there meanwhile: torch.tensor(array) copies it" in message
    assert "test_refilled.py:" in message


def test_an_array_that_is_copied_may_be_filled_again():
    model = Filled(torch.tensor).eval()
    assert_close(trtnn.from_torch(model, X).trace().run((X - 1).numpy()), model(X - 1), 1e-5)


def test_an_array_that_a_later_call_fills():
    """What was converted holds its own."""
    model = Filled(torch.from_numpy, 1).eval()
    converted, expected = trtnn.from_torch(model, X), model(X)
    model.first = 5.0
    model(X)
    assert_close(converted.trace().run(X.numpy()), expected, 1e-5)


def test_an_array_that_torch_writes_to():
    def function(x):
        table = torch.as_tensor(np.arange(4, dtype=np.float32))
        table[1:] = table[1:] * 3
        table += 1
        return x * table

    assert_close(trtnn.from_torch(function, X).trace().run((X - 1).numpy()), function(X - 1), 1e-5)


def test_an_array_with_what_is_no_number():
    array = np.array([np.nan, np.inf, -0.0, 1], np.float32)
    model = trtnn.from_torch(lambda x: x + torch.from_numpy(array), X)
    assert_close(model.trace().run(X.numpy()), X + torch.from_numpy(array), 1e-6)
