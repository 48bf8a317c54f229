"""A class of the source, and the drafts of the module instances that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trtnn.from_torch.forward.attributes import SELF
from trtnn.from_torch.source.expressions import Attribute, Call, Expression, Number, blank
from trtnn.from_torch.source.lines import Line


def class_name(module: nn.Module) -> str:
    """Return the full name of a module's class; of a module of an exported program, of what it was exported of."""
    name = getattr(module, "type_name", None)
    exported = name() if callable(name) else None
    return exported if isinstance(exported, str) else f"{type(module).__module__}.{type(module).__qualname__}"


@dataclass
class Draft:
    """One instance: the lines of its constructor and of its forward."""

    module: nn.Module
    path: str
    base: str
    init: list[Line]
    parameters: list[str]
    lines: list[Line] | None
    shapes: tuple[str, str] = ("", "")

    def numbers(self) -> list[Number]:
        """Return its numbers in the order of the text."""
        lines = [*self.init, *(self.lines or ())]
        return [node for line in lines for node in line.walk() if isinstance(node, Number)]

    def key(self) -> Any:
        """Return what two instances of one class have in common."""
        return (
            class_name(self.module),
            self.base,
            tuple(map(without_numbers, self.init)),
            tuple(self.parameters),
            None if self.lines is None else tuple(map(without_numbers, self.lines)),
        )


@dataclass
class Argument:
    """An argument of a class's constructor.

    Attributes:
        name: what it is called.
        values: of each instance, a number or an expression.
        default: what it is where it is left out; ``...`` where it cannot be.
    """

    name: str
    values: list[Any]
    default: Any = ...


@dataclass(eq=False)
class Group:
    """A class of the source.

    Attributes:
        name: what it is called.
        drafts: its instances, the first of which its text is made of.
        arguments: of its constructor.
        stored: the attributes that forward reads, with their expressions.
        init, lines: the text's lines, where numbers are literals or arguments.
    """

    name: str
    drafts: list[Draft]
    arguments: list[Argument] = field(default_factory=list)
    stored: dict[str, Expression] = field(default_factory=dict)
    init: list[Line] = field(default_factory=list)
    lines: list[Line] | None = None

    @property
    def positional(self) -> set[str]:
        """The names of the arguments that stand by position."""
        return {argument.name for argument in self.arguments if argument.default is ...}

    @property
    def base(self) -> str:
        return self.drafts[0].base


# -- what lines are of ------------------------------------------------------------------------------------------------


def without_numbers(line: Line) -> Line:
    """Return a line with types for numbers: what lines of one class have in common."""
    return line.map(blank)


def child_of(line: Line) -> str:
    """Return the attribute of ``self`` that a line of a constructor sets, or ""."""
    place = line.place
    return place.name if line.kind == "set" and isinstance(place, Attribute) and place.base == SELF else ""


def called_child(line: Line) -> str | None:
    """Return the child that a line of a forward does nothing but call, or None."""
    if line.kind != "assign" or not isinstance(line.expression, Call):
        return None
    function = line.expression.function
    return function.name if isinstance(function, Attribute) and function.base == SELF else None
