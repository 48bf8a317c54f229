"""The table of models: by name, and by what a state dict tells."""

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from trtnn import models
from trtnn.errors import ArgumentError, StateDictError
from trtnn.examples.digits import WEIGHTS
from trtnn.models.yolov5 import YOLOv5


def state_of(model):
    """A state dict of zeros that takes no memory."""
    members = (*model.named_parameters(), *model.named_buffers())
    return {name: np.broadcast_to(np.float32(0), member.shape) for name, member in members}


@pytest.mark.parametrize("name", models.by_name())
def test_a_state_dict_tells_its_model(name):
    for version in ("6.0", "5.0"):
        state = state_of(models.create(name, classes=7, version=version))
        assert models.identify(state) == {"name": name, "classes": 7, "version": version}
        flat = {key: array.reshape(-1) for key, array in state.items()}  # as .wts has them
        assert models.identify(flat) == models.identify(state)


def test_names_and_options():
    assert list(models.by_name())[:5] == [f"yolov5{size}" for size in "nsmlx"]
    model = models.create("yolov5m", classes=3, head="raw")
    assert isinstance(model, YOLOv5)
    assert (model.name, model.classes, model.head) == ("yolov5m", 3, "raw")


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


def test_a_state_dict_of_another_model():
    state = trtnn.load(WEIGHTS)
    message = message_of(StateDictError, models.from_state_dict, state, "yolov5s")
    assert 'this looks like YOLOv5("yolov5n", classes=10, version="6.0")' in message
    message = message_of(StateDictError, models.from_state_dict, {"a": np.zeros(2)}, "yolov5n")
    assert "this does not look like a YOLOv5" in message
    message = message_of(StateDictError, models.from_state_dict, state, classes=80)
    assert "wrong shape: model.24.m.0.bias: expected (255,), received (45,)" in message
