"""The table of models: by name, and by what a state dict tells; one table of tests for all of them."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from trtnn import models
from trtnn.errors import ArgumentError, StateDictError
from trtnn.examples.digits import WEIGHTS
from trtnn.models import registry
from trtnn.models.family import Family
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import Linear
from trtnn.vision import PIPELINES

NAMES = list(models.by_name())


def state_of(model):
    """A state dict of zeros that takes no memory."""
    members = (*model.named_parameters(), *model.named_buffers())
    return {name: np.broadcast_to(np.float32(0), member.shape) for name, member in members}


# -- every model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_model_says_what_it_is(name):
    model = models.create(name, classes=7)
    family = models.by_name()[name]
    assert type(model) is family
    assert issubclass(family, Family)
    ((_, spec),) = model.inputs.items()
    batch, channels, *size = spec.shape
    assert (batch, channels, min(size) >= 32) == (1, 3, True)
    assert model.metadata["model"] == name
    assert model.metadata["classes"] == 7
    assert model.metadata["pipeline"] in PIPELINES
    is_detector = PIPELINES[model.metadata["pipeline"]].head is not None
    assert model.metadata["task"] == ("detect" if is_detector else "classify")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_tells_its_model(name):
    state = state_of(models.create(name, classes=7))
    found = models.identify(state)
    assert (found["name"], found["classes"]) == (name, 7)
    assert [family for family in models.families() if family.identify(state)] == [models.by_name()[name]]
    assert {n: a.shape for n, a in state_of(models.create(**found)).items()} == {n: a.shape for n, a in state.items()}
    flat = {key: array.reshape(-1) for key, array in state.items()}  # as .wts has them
    assert models.identify(flat) == found
    assert models.describe(state).startswith(f'{models.by_name()[name].__name__}("{name}", classes=7')
    assert type(models.from_state_dict(state)) is models.by_name()[name]


@pytest.mark.parametrize(("name", "other"), list(zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True)))
def test_a_state_dict_of_another_model_is_named(name, other):
    state = state_of(models.create(other, classes=7))
    message = message_of(StateDictError, models.create(name).load_state_dict, state)
    assert f"\n  this looks like {models.describe(state)}\n" in message
    message = message_of(StateDictError, models.from_state_dict, state, name)
    assert f"this looks like {models.by_name()[other].__name__}(" in message


@pytest.mark.parametrize("family", models.families())
def test_a_state_dict_of_no_model(family):
    model = family(next(iter(family.variants)))
    message = message_of(StateDictError, model.load_state_dict, {"fc.weight": np.zeros((10, 512))})
    assert f"this does not look like a {family.__name__}, nor like another model of trtnn" in message


@pytest.mark.parametrize("family", models.families())
def test_an_unknown_name_of_a_family(family):
    message = message_of(ArgumentError, family, "resnot50")
    assert "no model is called 'resnot50'" in message
    assert f"known: {', '.join(family.variants)}" in message


# -- the functions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["6.0", "5.0"])
def test_a_state_dict_tells_a_version(version):
    state = state_of(models.create("yolov5s", classes=7, version=version))
    assert models.identify(state) == {"name": "yolov5s", "classes": 7, "version": version}
    assert models.describe(state) == f'YOLOv5("yolov5s", classes=7, version="{version}")'


def test_names_and_options():
    assert NAMES[:5] == [f"yolov5{size}" for size in "nsmlx"]
    assert len(NAMES) == sum(len(family.variants) for family in models.families())
    model = models.create("yolov5m", classes=3, head="raw")
    assert isinstance(model, YOLOv5)
    assert (model.name, model.classes, model.head) == ("yolov5m", 3, "raw")


def test_no_family_is_imported_before_it_is_looked_up():
    code = "import sys, trtnn.models as m; before = set(sys.modules); m.by_name(); print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {f"trtnn.models.{file}" for file, _ in models.FAMILIES} <= set(out)


def test_a_model_of_a_state_dict():
    state = trtnn.load(WEIGHTS)
    for name in (None, "yolov5n"):
        model = models.from_state_dict(state, name)
        assert (model.name, model.classes, model.version) == ("yolov5n", 10, "6.0")
        np.testing.assert_array_equal(model.state_dict()["model.0.conv.weight"], state["model.0.conv.weight"])
    assert models.from_state_dict(state, head="raw").head == "raw"


def test_an_unknown_name():
    for function, args in ((models.create, ("yolov5-s",)), (models.from_state_dict, ({}, "yolov5-s"))):
        message = message_of(ArgumentError, function, *args)
        assert message.startswith("no model is called 'yolov5-s'\n  nearest: yolov5s\n  known: yolov5n, yolov5s, ")
    assert "no model is called ''" in message_of(ArgumentError, models.create, "")


def test_a_state_dict_of_no_known_family():
    message = message_of(StateDictError, models.from_state_dict, {"a": np.zeros(2), "b": np.zeros(2)})
    assert message.startswith("no model of trtnn has parameters named like these: a, b")
    assert "known: yolov5n" in message
    assert "none at all" in message_of(StateDictError, models.from_state_dict, {})
    assert models.identify({}) is models.describe({}) is None


def test_a_state_dict_that_does_not_fit():
    state = trtnn.load(WEIGHTS)
    message = message_of(StateDictError, models.from_state_dict, state, "yolov5s")
    assert 'this looks like YOLOv5("yolov5n", classes=10, version="6.0")' in message
    message = message_of(StateDictError, models.from_state_dict, {"a": np.zeros(2)}, "yolov5n")
    assert "this does not look like a YOLOv5" in message
    message = message_of(StateDictError, models.from_state_dict, state, classes=80)
    assert "wrong shape: model.24.m.0.bias: expected (255,), received (45,)" in message


# -- a family with names of another project ----------------------------------------------------------------------------


class Renamed(Family):
    """One layer, whose project calls it ``head``; others call it ``fc``."""

    variants = {"renamed-2": 2, "renamed-4": 4}

    def __init__(self, name="renamed-2", classes=3):
        super().__init__()
        self.head = Linear(self.variants[name], classes)

    @classmethod
    def canonical(cls, state_dict):
        return {key.replace("fc.", "head."): array for key, array in state_dict.items()}

    @classmethod
    def identify(cls, state_dict):
        weight = cls.canonical(state_dict).get("head.weight")
        name = None if weight is None else f"renamed-{weight.shape[-1]}"
        return {"name": name, "classes": len(weight)} if name in cls.variants else None


@pytest.fixture
def renamed(monkeypatch):
    """Add a family to the table."""
    module = ModuleType("trtnn.models.renamed")
    module.Renamed = Renamed
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, ("renamed", "Renamed")))
    registry.families.cache_clear()
    registry.by_name.cache_clear()
    yield
    monkeypatch.undo()
    registry.families.cache_clear()
    registry.by_name.cache_clear()


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("layer", ["head", "fc"])
def test_names_of_another_project(layer):
    state = {f"{layer}.weight": np.arange(12, dtype=np.float32).reshape(3, 4), f"{layer}.bias": np.ones(3, np.float32)}
    assert models.identify(state) == {"name": "renamed-4", "classes": 3}
    for model in (models.from_state_dict(state), models.create("renamed-4")):
        model.load_state_dict(state)
        np.testing.assert_array_equal(model.head.weight.data, state[f"{layer}.weight"])
    for model in (models.create("renamed-2"), models.create("yolov5n")):
        message = message_of(StateDictError, model.load_state_dict, state)
        assert 'this looks like Renamed("renamed-4", classes=3)' in message
    assert "unexpected: head.extra" in message_of(
        StateDictError, models.from_state_dict, {**state, "head.extra": np.ones(1)}
    )
    assert models.from_state_dict(state).load_state_dict({}, strict=False).missing_keys == ["head.weight", "head.bias"]
