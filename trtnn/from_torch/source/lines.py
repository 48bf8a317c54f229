"""A line of a constructor or of a forward: an expression, and what becomes of what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from trtnn.from_torch.source.expressions import Expression


@dataclass(frozen=True)
class Line:
    """A statement whose values have names.

    Attributes:
        kind: ``"assign"``, ``"augment"``, ``"set"``, ``"run"``, ``"append"``, ``"assert"``, ``"return"`` or ``"for"``.
        targets: the names that it binds; of a loop its variables.
        body: the lines of a loop, or those under a condition.
        containers: what a loop runs over.
        optional: the child that has to be there, where it may be None.
        flag: the attribute that has to be true.
        steps: what it was recorded as: what is computed within the line first.
    """

    kind: str
    targets: tuple[str, ...] = ()
    expression: Expression | None = None
    place: Expression | None = None
    sign: str = ""
    unpacks: bool = False
    body: tuple[Line, ...] = ()
    containers: tuple[Expression, ...] = ()
    optional: str = ""
    flag: str = ""
    steps: tuple[Any, ...] = field(default=(), compare=False)

    def map(self, change: Callable[[Expression], Expression | None]) -> Line:
        """Return the line with its expressions changed."""
        place = self.place and self.place.map(change)  # in the order of walk
        expression = self.expression and self.expression.map(change)
        containers = tuple(container.map(change) for container in self.containers)
        body = tuple(line.map(change) for line in self.body)
        return replace(self, expression=expression, place=place, body=body, containers=containers)

    def walk(self) -> Iterator[Expression]:
        """Yield the nodes of its expressions in order."""
        for tree in (self.place, self.expression, *self.containers):
            if tree is not None:
                yield from tree.walk()
        for line in self.body:
            yield from line.walk()
