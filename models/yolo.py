"""What the YOLO families share: their options, and what an engine file says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trtnn.errors import ArgumentError
from trtnn.inputs import Input
from trtnn.models.names import unknown_name
from trtnn.modules import Module


class YOLO(Module):
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

    variants: ClassVar[Mapping[str, Any]]
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

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the model that a state dict's names and sizes tell of, or None."""
        raise NotImplementedError

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str | None:
        """Say which variant, classes and version a state dict looks like."""
        family, found = type(self).__name__, self.identify(state_dict)
        if found is None:
            return f"this does not look like a {family}"
        name, *others = (f'"{value}"' if isinstance(value, str) else f"{value}" for value in found.values())
        arguments = [name, *(f"{key}={value}" for key, value in zip(list(found)[1:], others, strict=True))]
        return f"this looks like {family}({', '.join(arguments)})"
