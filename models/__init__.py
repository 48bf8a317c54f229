"""The networks that come with trtnn, and the table of their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtnn.errors import StateDictError
from trtnn.models.centernet import CenterNet
from trtnn.models.names import unknown_name
from trtnn.models.resnet import ResNet
from trtnn.models.retinanet import RetinaNet
from trtnn.models.yolov3 import YOLOv3
from trtnn.models.yolov5 import YOLOv5
from trtnn.models.yolov8 import YOLOv8
from trtnn.modules import Module

# A family has ``variants``, the names that its constructor takes first, and ``identify``, which tells from a state dict
# the arguments of the model that it belongs to.
FAMILIES = (YOLOv5, YOLOv8, YOLOv3, ResNet, RetinaNet, CenterNet)
NAMES = {name: family for family in FAMILIES for name in family.variants}


def create(name: str, **options: Any) -> Module:
    """Return the model of that name, such as ``create("yolov5s", classes=80)``.

    Raises:
        ArgumentError: there is none, with the nearest name.
    """
    if name not in NAMES:
        raise unknown_name(name, NAMES)
    return NAMES[name](name, **options)


def identify(state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of :func:`create` that a state dict's names and sizes tell of, or None."""
    return next((found for family in FAMILIES if (found := family.identify(state_dict))), None)


def from_state_dict(state_dict: Mapping[str, Any], name: str | None = None, **options: Any) -> Module:
    """Return a model with the weights of a state dict, which itself tells what it belongs to.

    Args:
        state_dict: what :func:`trtnn.load` returned.
        name: the model's name, where it is not to be told by the state dict.
        **options: arguments of the model, in place of what the state dict tells.

    Raises:
        StateDictError: no family knows these names, or they do not fit the model.
    """
    if name is not None and name not in NAMES:
        raise unknown_name(name, NAMES)
    found = identify(state_dict) if name is None else NAMES[name].identify(state_dict)
    if found is None and name is None:
        sample = ", ".join(list(state_dict)[:3])
        raise StateDictError(
            f"no model of trtnn has parameters named like these: {sample or 'none at all'}, ...",
            f"known: {', '.join(NAMES)}",
        )
    arguments = {**(found or {}), **({"name": name} if name else {}), **options}
    model = create(**arguments)
    model.load_state_dict(state_dict)
    return model
