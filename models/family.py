"""Family: what the networks here have beyond a Module, so that they are found by name and by their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trtnn.errors import ArgumentError
from trtnn.inputs import Input
from trtnn.models.names import unknown_name
from trtnn.models.registry import describe
from trtnn.modules import Module
from trtnn.modules.module import LoadResult


class Family(Module):
    """Networks of one design in several sizes.

    The constructor takes a name out of ``variants`` first, and calls :meth:`declare`.

    Attributes:
        variants: what makes each size, by its name.
        pipeline: a key of :data:`trtnn.vision.PIPELINES`, which says how pictures become inputs and outputs become
            detections.
        task: ``"detect"`` or ``"classify"``.
        heads: what the option ``head`` may be.
    """

    variants: ClassVar[Mapping[str, Any]]
    pipeline: ClassVar[str]
    task: ClassVar[str] = "detect"
    heads: ClassVar[tuple[str, ...]] = ("decoded", "raw")

    def declare(
        self,
        name: str,
        classes: int,
        head: str,
        names: Sequence[str] | None,
        size: int,
        strides: Sequence[int] = (),
        stride: int | None = None,
    ) -> None:
        """Check the options that every family has, and set ``name``, ``classes``, ``strides``, ``inputs`` and
        ``metadata``.

        Args:
            name: of the variant.
            classes: how many.
            head: one of ``heads``.
            names: of the classes, for the engine file.
            size: the usual height and width of pictures.
            strides: pixels between the cells of each level of the head, the finest first; none for a classifier.
            stride: what height and width are multiples of, where it is not the last of ``strides``.

        Raises:
            ArgumentError: one of them is not what it may be.
        """
        if name not in self.variants:
            raise unknown_name(name, self.variants)
        if head not in self.heads:
            raise ArgumentError(f"{type(self).__name__} head {head!r}", f"known: {', '.join(map(repr, self.heads))}")
        if names is not None and len(names) != classes:
            raise ArgumentError(f"{len(names)} names for {classes} classes")
        self.name, self.classes, self.strides = name, classes, tuple(strides)
        self.inputs = {"images": Input((1, 3, size, size))}
        self.metadata = {
            "model": name,
            "task": self.task,
            "pipeline": self.pipeline,
            "classes": classes,
            **({"stride": stride or strides[-1], "strides": list(strides)} if strides else {}),
            **({"names": list(names)} if names is not None else {}),
        }

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the constructor's arguments, ``"name"`` first, that a state dict's names and sizes tell of, or None.

        The names may be all that :meth:`canonical` knows; arrays may be flat, as ``.wts`` has them.
        """
        raise NotImplementedError(f"{cls.__name__} defines no identify")

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under this family's own names, where another project's are known; else as it is.

        Raises:
            StateDictError: its names are those of a form that is known, and its arrays are not.
        """
        return state_dict

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Take arrays from a state dict, under any names that :meth:`canonical` knows; see :class:`trtnn.Module`."""
        return super().load_state_dict(self.canonical(state_dict), strict)

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str:
        """Say which model of any family a state dict looks like."""
        found = describe(state_dict)
        if found is None:
            return f"this does not look like a {type(self).__name__}, nor like another model of trtnn"
        return f"this looks like {found}"
