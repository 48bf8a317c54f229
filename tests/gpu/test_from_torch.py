"""Torch modules on a GPU, converted: their weights come over once, and an engine computes what torch does there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import trtnn
from tests.from_torch.models import images, make
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError


@pytest.mark.parametrize("name", ["residual", "transformer", "buffers", "in place"])
def test_a_module_on_a_gpu(name, monkeypatch):
    model, args, kwargs = make(name)
    expected = trtnn.from_torch(model, *args, **kwargs)
    model, args = model.cuda(), tuple(tensor.cuda() for tensor in args)
    weights = {tensor.data_ptr() for tensor in model.state_dict().values()}
    brought: list[int] = []
    bring = torch.Tensor.cpu

    def counted(tensor, *args, **kwargs):
        if tensor.is_cuda and tensor.data_ptr() in weights:
            brought.append(tensor.data_ptr())
        return bring(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    converted = trtnn.from_torch(model, *args, **kwargs)
    assert len(brought) == len(set(brought))
    assert converted.source == expected.source
    for key, array in converted.state_dict().items():
        np.testing.assert_array_equal(array, expected.state_dict()[key])
    with torch.no_grad():
        assert_close(converted.compile()(*(tensor.cpu().numpy() for tensor in args)), model(*args).cpu(), 1e-3)


def test_randomness_on_a_gpu():
    with pytest.raises(UnsupportedError, match="an engine draws no random numbers"):
        trtnn.from_torch(lambda x: x + torch.rand_like(x), images(2, 3).cuda())


def test_an_example_on_the_cpu_for_a_module_on_a_gpu():
    model, args, _ = make("residual")
    with pytest.raises(trtnn.errors.ArgumentError, match="torch's own forward raised RuntimeError"):
        trtnn.from_torch(model.cuda(), *args)
