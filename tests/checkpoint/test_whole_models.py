"""Whole pickled models of classes that are not here any more, as in YOLOv5's own files."""

import collections
import sys
import types
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from torch import nn

from trtnn.checkpoint import load


@pytest.fixture
def yolo(monkeypatch):
    """A package ``models`` with blocks of its own, importable only until the test calls ``yolo.remove()``."""
    package, common, yolo = (types.ModuleType(name) for name in ("models", "models.common", "models.yolo"))
    modules = {"models": package, "models.common": common, "models.yolo": yolo}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    class Conv(nn.Module):
        def __init__(self, c1, c2):
            super().__init__()
            self.conv = nn.Conv2d(c1, c2, 3, bias=False)
            self.bn = nn.BatchNorm2d(c2, eps=1e-3)
            self.act = nn.SiLU(inplace=True)

    class Detect(nn.Module):
        stride = None

        def __init__(self):
            super().__init__()
            self.stride = torch.tensor([8.0, 16.0, 32.0])
            self.grid = [torch.empty(0)] * 3
            self.register_buffer("anchors", torch.rand(3, 3, 2))
            self.register_buffer("scratch", torch.rand(4), persistent=False)
            self.register_buffer("absent", None)
            self.m = nn.ModuleList([nn.Conv2d(4, 6, 1) for _ in range(3)])
            self.register_module("nothing", None)

    class DetectionModel(nn.Module):
        def __init__(self):
            super().__init__()
            shared = Conv(4, 4)
            self.model = nn.Sequential(Conv(3, 4), shared, shared, nn.Upsample(None, 2, "nearest"), Detect())
            self.tied = self.model[0].conv.weight
            self.save, self.names, self.yaml = [1, 2], {0: "person"}, {"anchors": [[10, 13]], "path": PosixPath("/x")}
            self.head = nn.ParameterList([nn.Parameter(torch.rand(2))])

        def __setstate__(self, state):
            raise AssertionError("code of the model was run")

    for module, cls in [(common, Conv), (yolo, Detect), (yolo, DetectionModel)]:
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)

    def remove():
        for name in modules:
            monkeypatch.setitem(sys.modules, name, None)  # makes its import fail, whatever lies in the folder

    yolo.remove = remove
    return yolo


def expected_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False])
def test_yolov5_s_own_file(tmp_path, yolo, zipped):
    torch.manual_seed(0)
    model = yolo.DetectionModel().half().to(memory_format=torch.channels_last)
    expected = expected_of(model)
    assert len(expected) == 27
    assert "model.2.conv.weight" in expected, "torch lists a shared module under every name"
    assert "tied" in expected
    assert "model.4.scratch" not in expected
    content = {
        "epoch": -1,
        "best_fitness": np.array([0.5]),
        "model": model,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "opt": {"hyp": "hyp.yaml"},
        "git": {"remote": None},
        "date": "2022-11-22T00:00:00",
    }
    torch.save(content, tmp_path / "yolov5s.pt", _use_new_zipfile_serialization=zipped)
    yolo.remove()
    with pytest.raises(ModuleNotFoundError):
        torch.load(tmp_path / "yolov5s.pt", weights_only=False)
    assert_same(load(tmp_path / "yolov5s.pt"), expected)


def test_the_moving_average_goes_before_the_model(tmp_path, yolo):
    model, ema = yolo.DetectionModel(), yolo.DetectionModel()
    expected = expected_of(ema)
    torch.save({"model": model, "ema": ema, "updates": 3}, tmp_path / "last.pt")
    yolo.remove()
    assert_same(load(tmp_path / "last.pt"), expected)


def test_classes_that_extend_dict_and_list(tmp_path, monkeypatch):
    module = types.ModuleType("utils")
    monkeypatch.setitem(sys.modules, "utils", module)
    for base in (dict, list, collections.OrderedDict):
        name = f"Own{base.__name__}"
        setattr(module, name, type(name, (base,), {"__module__": "utils"}))
    own = module.Owndict(a=1)
    own.attribute = 2
    content = {"own": own, "list": module.Ownlist([1, 2]), "ordered": module.OwnOrderedDict(a=1), "one": "x"}
    torch.save({"model": {"w": torch.ones(2)}, **content}, tmp_path / "a.pt")
    monkeypatch.delitem(sys.modules, "utils")
    assert list(load(tmp_path / "a.pt")) == ["w"]


def test_a_class_of_an_unknown_package(tmp_path, monkeypatch):
    module = types.ModuleType("somewhere")
    monkeypatch.setitem(sys.modules, "somewhere", module)
    module.Net = type("Net", (nn.Linear,), {"__module__": "somewhere"})
    net = module.Net(2, 2)
    torch.save(net, tmp_path / "a.pt")
    monkeypatch.delitem(sys.modules, "somewhere")
    assert_same(load(tmp_path / "a.pt"), expected_of(net))
