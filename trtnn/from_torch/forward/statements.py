"""Statements: lines of a forward whose values have no names yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trtnn.from_torch.recording.steps import Step
from trtnn.from_torch.source.expressions import Expression, Ref


class Variable:
    """A value that a statement binds, and the name that it gets."""

    __slots__ = ("authors", "is_length", "name", "preferred")

    def __init__(self, preferred: str | None, authors: bool = False, is_length: bool = False) -> None:
        self.preferred, self.authors, self.is_length = preferred, authors, is_length
        self.name = ""


@dataclass
class Statement:
    """One line of a forward.

    Attributes:
        kind: ``"assign"``, ``"augment"``, ``"set"``, ``"run"``, ``"append"``, ``"assert"`` or ``"return"``.
        targets: what it binds: one Variable, or one for each part with None for what nobody reads.
        place: of ``"augment"`` and ``"set"`` and ``"append"`` what is changed.
        expression: what it computes.
        step: what it was recorded as.
        unpacks: whether the targets are the parts of what is computed.
        sign: of ``"augment"`` the operator.
    """

    kind: str
    targets: list[Variable | None]
    expression: Expression
    step: Step | None
    place: Expression | None = None
    unpacks: bool = False
    sign: str = ""
    inlined: list[Step] = field(default_factory=list)  # of what is computed within the line

    def reads(self) -> Iterator[Variable]:
        """Yield the Variables that it reads."""
        for tree in (self.place, self.expression):
            if tree is not None:
                yield from (node.value for node in tree.walk() if isinstance(node, Ref))


@dataclass
class Problem:
    """An operation that has no counterpart."""

    what: str
    step: Step
