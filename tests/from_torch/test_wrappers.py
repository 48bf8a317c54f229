"""What torch puts around modules to train or compile them: the source is without it, or the weights find their way."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.DataParallel(torch.compile(net))])
def test_what_is_wrapped_is_converted(wrap):
    model = wrap(Net()).eval()
    result = trtnn.from_torch(model, images(2, 4))
    assert type(result).__name__ == "Net"
    assert [*result.state_dict()] == [*Net().state_dict()]
    other = {name: tensor * 0.5 for name, tensor in model.state_dict().items()}
    result.load_state_dict(other)
    model.load_state_dict(other)
    x = images(2, 4) - 0.5
    assert_close(result.trace().run(x.numpy()), _inner(model)(x), 1e-6)


def _inner(model):
    while not isinstance(model, Net):
        model = model.module if hasattr(model, "module") else model._orig_mod
    return model


class Holder(nn.Module):
    """A module of one's own that has torch's name of what is wrapped."""

    def __init__(self, inner):
        super().__init__()
        self.module = inner

    def forward(self, x):
        return self.module(x) * 2


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own
@pytest.mark.parametrize("make", [lambda: Holder(Net()), lambda: Holder(nn.Sequential(torch.compile(nn.Linear(4, 4))))])
def test_weights_of_names_that_files_are_read_without(make, tmp_path, monkeypatch):
    model = make().eval()
    converted = trtnn.from_torch(model, images(2, 4))
    trtnn.save_source(converted, tmp_path / "held.py")
    torch.save(model.state_dict(), tmp_path / "held.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("held", None)
    import held  # pyright: ignore[reportMissingImports]

    x = images(2, 4) - 0.5
    for file in ("held.safetensors", "held.pt"):
        again = held.Holder()
        again.load_state_dict(trtnn.load(tmp_path / file))
        assert [*again.state_dict()] == [*model.state_dict()]
        assert_close(again.trace().run(x.numpy()), converted.trace().run(x.numpy()), 1e-6)
