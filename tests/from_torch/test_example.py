"""docs/from_torch_example.md: the source there is what is written, and its three changes do what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import trtnn
from tests.helpers import assert_close

PAGE = (Path(__file__).parents[2] / "docs" / "from_torch_example.md").read_text(encoding="utf-8")
THEIRS, OURS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CHANGES = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)
X = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    (folder / "net_torch.py").write_text(THEIRS)
    sys.path.insert(0, str(folder))
    try:
        import net_torch
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    return net_torch.Net().eval()


def changed(number: int, **state):
    """Return the model of the page's source with a change, and the state dict given."""
    text = OURS
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", CHANGES[number], re.MULTILINE):
        before = [line[1:] for line in old.splitlines()]
        for line in before[:-1]:
            assert text.count(f"{line}\n") == 1
            text = text.replace(f"{line}\n", "")
        assert text.count(f"{before[-1]}\n") == 1
        text = text.replace(f"{before[-1]}\n", "".join(f"{line[1:]}\n" for line in new.splitlines()))
    module = ModuleType("net")
    exec(compile(text, "net.py", "exec"), module.__dict__)
    net = module.Net()
    net.load_state_dict(**state)
    return net


def test_the_page_shows_what_is_written(model):
    assert trtnn.from_torch(model, X).source == OURS


def test_another_activation(model):
    net = changed(0, state_dict=model.state_dict())
    for block in model.blocks:
        block.act = nn.ReLU()
    with torch.no_grad():
        assert_close(net.trace().run(X.numpy()), model(X), 1e-5)
    for block in model.blocks:
        block.act = nn.SiLU(inplace=True)


def test_no_head(model):
    net = changed(1, state_dict=model.state_dict(), strict=False)
    head, model.head = model.head, nn.Identity()
    with torch.no_grad():
        assert_close(net.trace().run(X.numpy()), model(X), 1e-5)
    model.head = head


def test_one_more_output(model):
    net = changed(2, state_dict=model.state_dict())
    classes, features = net.trace().run(X.numpy())
    with torch.no_grad():
        assert_close(classes, model(X), 1e-5)
        assert_close(model.head(torch.from_numpy(features)).numpy(), model(X), 1e-5)
