"""What the YOLO families share: their options, and what an engine file says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from trtnn.errors import ArgumentError
from trtnn.inputs import Input
from trtnn.models.family import Family
from trtnn.models.names import unknown_name


class YOLO(Family):
    """A detector of pictures (batch, 3, height, width), RGB in 0..1, sides multiples of the largest stride.

    A family names its ``variants`` and defines ``identify``, which tells the constructor's arguments from a state dict.

    Args:
        name: of the variant.
        classes: how many.
        head: ``"decoded"`` for boxes, ``"raw"`` for maps.
        names: of the classes, for the engine file.
        strides: pixels between the cells of each level of the head, the finest first.
        size: the usual height and width of pictures.

    Attributes:
        pipeline: what turns the decoded head's output into detections, for the engine file.
    """

    pipeline: ClassVar[str]

    def __init__(
        self, name: str, classes: int, head: str, names: Sequence[str] | None, strides: tuple[int, ...], size: int
    ) -> None:
        super().__init__()
        if name not in self.variants:
            raise unknown_name(name, self.variants)
        if head not in ("decoded", "raw"):
            raise ArgumentError(f"{type(self).__name__} head {head!r}", "known: 'decoded', 'raw'")
        if names is not None and len(names) != classes:
            raise ArgumentError(f"{len(names)} names for {classes} classes")
        self.name, self.classes, self.head, self.strides = name, classes, head, strides
        self.inputs = {"images": Input((1, 3, size, size))}
        self.metadata = {
            "model": name,
            "task": "detect",
            "pipeline": self.pipeline,
            "classes": classes,
            "stride": strides[-1],
            "strides": list(strides),
            **({"names": list(names)} if names is not None else {}),
        }
