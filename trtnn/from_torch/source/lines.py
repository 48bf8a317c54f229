"""A line of a constructor or of a forward: an expression, and what becomes of what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from trtnn.from_torch.source.expressions import Expression

THERE = ""  # of an argument that holds tensors or lengths, and of a module: no literal says what it is
_SINGLE = frozenset(("None", "True", "False"))

RELATIONS = {  # of two numbers, where a comparison of them holds
    "<": frozenset("<"),
    "<=": frozenset(("<", "==")),
    "==": frozenset(("==",)),
    "!=": frozenset("<>"),
    ">=": frozenset((">", "==")),
    ">": frozenset(">"),
}
ANY_RELATION = frozenset(("<", "==", ">"))


def sign_of(relations: frozenset[str]) -> str:
    """Return the comparison that holds in some relations of two numbers."""
    return next(sign for sign, those in RELATIONS.items() if those == relations)


@dataclass(frozen=True)
class Condition:
    """What decides whether a line of a forward runs.

    Attributes:
        kind: ``"argument"``, ``"flag"``, an attribute that is true or false, ``"child"``, which may be None, or
            ``"length"``, which is compared with another.
        name: of the argument, the attribute or the child; the text of the length.
        values: the literals that it is where the line runs; :data:`THERE` stands for tensors and modules. Of a length
            what it may be to the other: some of ``<``, ``==`` and ``>``.
        others: those that it is where the line does not.
        compared_with: the text of the other length.
    """

    kind: str
    name: str
    values: frozenset[str]
    others: frozenset[str]
    compared_with: str = ""

    @property
    def text(self) -> str:
        """The condition in Python."""
        if self.kind == "length":
            return f"{self.name} {sign_of(self.values)} {self.compared_with}"
        subject = self.name if self.kind == "argument" else f"self.{self.name}"
        if {"True"} in (self.values, self.others) and self.values | self.others <= _SINGLE:
            return subject if "True" in self.values else f"not {subject}"
        if {"None"} in (self.values, self.others):
            return f"{subject} is None" if self.values == {"None"} else f"{subject} is not None"
        if len(self.values) == 1:
            return f"{subject} {'is' if self.values & _SINGLE else '=='} {min(self.values)}"
        if len(self.others) == 1:
            return f"{subject} {'is not' if self.others & _SINGLE else '!='} {min(self.others)}"
        return f"{subject} in ({', '.join(sorted(self.values))})"

    def is_of(self, other: Condition | None) -> bool:
        """Whether it asks for what another one does."""
        return other is not None and (self.kind, self.name, self.compared_with) == (
            other.kind, other.name, other.compared_with,
        )  # fmt: skip


class Blocks:
    """How conditions that stand one behind another are written: which open a block, and which go on with one.

    What follows ``if`` in one statement is decided by what the argument was there, and not by what it is later.
    """

    def __init__(self) -> None:
        self._before: Condition | None = None
        self._seen: frozenset[str] = frozenset()

    def opening(self, condition: Condition | None, line: Line) -> str:
        """Return ``"if"``, ``"elif"`` or ``"else"`` where a line with a condition opens a block, else ``""``."""
        before, self._before = self._before, condition if line.kind != "return" else None
        if condition is None or condition == before:
            return ""
        if not condition.is_of(before) or condition.values & self._seen:
            self._seen = condition.values
            return "if"
        self._seen |= condition.values
        return "elif" if condition.others - self._seen else "else"


@dataclass(frozen=True)
class Line:
    """A statement whose values have names.

    Attributes:
        kind: ``"assign"``, ``"augment"``, ``"set"``, ``"run"``, ``"append"``, ``"assert"``, ``"return"`` or ``"for"``.
        targets: the names that it binds; of a loop its variables.
        body: the lines of a loop.
        containers: what a loop runs over.
        condition: what decides whether it runs, if anything does.
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
    condition: Condition | None = None
    steps: tuple[Any, ...] = field(default=(), compare=False)

    def map(self, change: Callable[[Expression], Expression | None]) -> Line:
        """Return the line with its expressions changed."""
        place = self.place and self.place.map(change)  # in the order of walk
        expression = self.expression and self.expression.map(change)
        containers = tuple(container.map(change) for container in self.containers)
        body = tuple(line.map(change) for line in self.body)
        return replace(self, expression=expression, place=place, body=body, containers=containers)

    def trees(self) -> Iterator[Expression]:
        """Yield its expressions in order, and those of the lines within."""
        for tree in (self.place, self.expression, *self.containers):
            if tree is not None:
                yield tree
        for line in self.body:
            yield from line.trees()

    def walk(self) -> Iterator[Expression]:
        """Yield the nodes of its expressions in order."""
        for tree in self.trees():
            yield from tree.walk()

    def binds(self, name: str) -> bool:
        """Whether a variable has another value behind the line than before."""
        return name in self.targets or any(line.binds(name) for line in self.body)
