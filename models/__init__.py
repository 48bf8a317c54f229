"""The networks that come with trtnn, and the table of their names."""

from __future__ import annotations

from typing import Any

from trtnn.models.names import unknown_name
from trtnn.models.yolov5 import YOLOv5

from trtnn.modules import Module

FAMILIES: tuple[type[Module], ...] = (YOLOv5,)
NAMES: dict[str, type[Module]] = {name: family for family in FAMILIES for name in family.variants}


def create(name: str, **options: Any) -> Module:
    """Return the model of that name, such as ``create("yolov5s", classes=80)``.

    Raises:
        ArgumentError: there is none, with the nearest name.
    """
    if name not in NAMES:
        raise unknown_name(name, NAMES)
    return NAMES[name](name, **options)
