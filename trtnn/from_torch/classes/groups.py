"""A class of the source, and the drafts of the module instances that it is made of."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from trtnn.from_torch.forward.attributes import SELF
from trtnn.from_torch.source.expressions import Attribute, Call, Expression, blank
from trtnn.from_torch.source.lines import Line

_NOT_PASSED = frozenset(("None",))


def class_name(module: nn.Module) -> str:
    """Return the full name of a module's class; of a module of an exported program, of what it was exported of."""
    name = getattr(module, "type_name", None)
    exported = name() if callable(name) else None
    return exported if isinstance(exported, str) else full_name(type(module))


def full_name(kind: type) -> str:
    """Return a class's name with its module's, which of a script is the file's: it runs under another."""
    name = kind.__module__
    file = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    if "." not in name and file.suffix == ".py" and file.stem not in ("__init__", "__main__"):
        name = file.stem
    return f"{name}.{kind.__qualname__}"


@dataclass(eq=False)
class Way:
    """A way in which a module is called.

    Attributes:
        parameters: the arguments that hold tensors or lengths.
        lines: what forward does then.
        passed: what each argument is in calls of this way: literals, and :data:`~trtnn.from_torch.source.lines.THERE`
            of those above; nothing where no literal says it.
        first: the number of the first such call.
    """

    parameters: list[str]
    lines: list[Line]
    passed: dict[str, frozenset[str]]
    first: int

    def argument(self, name: str) -> frozenset[str]:
        """Return what an argument is; what is not passed at all is as good as None."""
        return self.passed.get(name, _NOT_PASSED)

    @property
    def given(self) -> int:
        """How many arguments are neither None nor false."""
        return sum(not values <= {"None", "False"} for values in self.passed.values())


@dataclass(eq=False)
class Draft:
    """One instance: the lines of its constructor, and the ways in which it is called."""

    module: nn.Module
    path: str
    base: str
    init: list[Line]
    ways: list[Way]
    shapes: tuple[str, str] = ("", "")

    def key(self) -> Any:
        """Return what two instances of one class have in common that are called in one way."""
        return (
            class_name(self.module),
            self.base,
            tuple(map(without_numbers, self.init)),
            *((tuple(way.parameters), tuple(map(without_numbers, way.lines))) for way in self.ways),
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


class Parameter(NamedTuple):
    """A parameter of a class's forward, and what it is where it is left out; ``...`` where it cannot be."""

    name: str
    default: Any = ...


@dataclass(eq=False)
class Group:
    """A class of the source.

    Attributes:
        name: what it is called.
        drafts: its instances, the first of which its text is made of.
        arguments: of its constructor.
        parameters: of its forward.
        stored: the attributes that forward reads, with their expressions.
        init, lines: the text's lines, where numbers are literals or arguments.
    """

    name: str
    drafts: list[Draft]
    arguments: list[Argument] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
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
