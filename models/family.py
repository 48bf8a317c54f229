"""Family: what the networks here have beyond a Module, so that they are found by name and by their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from trtnn.models.registry import describe
from trtnn.modules import Module
from trtnn.modules.module import LoadResult


class Family(Module):
    """Networks of one design in several sizes.

    The constructor takes a name out of ``variants`` first, and declares ``inputs`` and ``metadata``; of the latter
    ``"model"`` is the name and ``"pipeline"`` a key of :data:`trtnn.vision.PIPELINES`, which says how pictures become
    inputs and outputs become detections.

    Attributes:
        variants: what makes each size, by its name.
    """

    variants: ClassVar[Mapping[str, Any]]

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the constructor's arguments, ``"name"`` first, that a state dict's names and sizes tell of, or None.

        The names may be all that :meth:`canonical` knows; arrays may be flat, as ``.wts`` has them.
        """
        raise NotImplementedError(f"{cls.__name__} defines no identify")

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under this family's own names, where another project's are known; else as it is."""
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
