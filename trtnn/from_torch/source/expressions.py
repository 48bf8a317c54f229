"""Python expressions as trees: what source is made of before it is text.

A tree may hold what is no text yet: a :class:`Ref` to a value that has no name, and a :class:`Number` that may be
another in another instance of the same class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

WIDTH = 120

_PRECEDENCE = {
    "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "|": 5, "^": 6, "&": 7, "<<": 8, ">>": 8, "+": 9, "-": 9,
    "*": 10, "/": 10, "//": 10, "%": 10, "@": 10, "**": 12,
}  # fmt: skip
_UNARY = 11
_PRIMARY = 14


class Expression:
    """A node; its fields hold nodes, tuples of nodes, and plain values."""

    def parts(self) -> Iterator[Expression]:
        """Yield the nodes right below this one, from left to right."""
        for value in vars(self).values():
            if isinstance(value, Expression):
                yield value
            elif isinstance(value, tuple):
                for item in value:
                    if isinstance(item, Expression):
                        yield item
                    elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Expression):
                        yield item[1]

    def text_and_precedence(self) -> tuple[str, int]:
        """Return the node in one line, and how tightly its outermost operator binds."""
        raise TypeError(f"{type(self).__name__} is no text yet")

    def walk(self) -> Iterator[Expression]:
        """Yield this node and all below it, in the order of the text."""
        yield self
        for part in self.parts():
            yield from part.walk()

    def map(self, change: Callable[[Expression], Expression | None]) -> Expression:
        """Return the tree with each node that ``change`` has an answer for replaced by that, from the top."""
        changed = change(self)
        if changed is not None:
            return changed
        changed = {}
        for name, value in vars(self).items():
            new = _mapped(value, change)
            if new is not value:
                changed[name] = new
        return replace(self, **changed) if changed else self  # type: ignore[type-var]


def _mapped(value: Any, change: Callable[[Expression], Expression | None]) -> Any:
    if isinstance(value, Expression):
        return value.map(change)
    if isinstance(value, tuple):
        items = tuple(_mapped(item, change) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


@dataclass(frozen=True)
class Text(Expression):
    """Source that stands as it is: a name, or a literal that never varies."""

    text: str

    def text_and_precedence(self) -> tuple[str, int]:
        return self.text, _PRIMARY


@dataclass(frozen=True)
class Number(Expression):
    """A literal that may differ between instances.

    Attributes:
        value: an int, a float, or a tuple or list of such.
        hint: what an argument with it would be called.
        attribute: the attribute of ``self`` that the line read it from, or "".
        default: what the argument that it is for has where it is left out.
    """

    value: Any
    hint: str = "value"
    attribute: str = ""
    default: Any = ...

    def __eq__(self, other: object) -> bool:
        """Whether it is the same literal: 1 and 1.0 are two, for torch makes other types of them."""
        if type(other) is not Number or type(self.value) is not type(other.value):
            return False
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[Any, ...]:
        return self.value, self.hint, self.attribute, self.default

    def text_and_precedence(self) -> tuple[str, int]:
        text = literal(self.value)
        return text, _UNARY if text[0] == "-" else _PRIMARY


@dataclass(frozen=True)
class Slot(Expression):
    """A module that is another in another instance of the same class: an argument of its constructor.

    Attributes:
        name: of the child or the argument.
        optional: whether it is None in one.
    """

    name: str
    optional: bool = False


@dataclass(frozen=True, eq=False)
class Ref(Expression):
    """A value that has no name yet."""

    value: Any


@dataclass(frozen=True)
class Attribute(Expression):
    base: Expression
    name: str

    def text_and_precedence(self) -> tuple[str, int]:
        base = text_of(self.base, _PRIMARY)
        if isinstance(self.base, Number):  # a constant tensor of no dimensions, of which a method is called
            base = f"F.tensor({text_of(self.base)})"
        return f"{base}.{self.name}", _PRIMARY


@dataclass(frozen=True)
class Item(Expression):
    base: Expression
    index: tuple[Expression, ...]

    def text_and_precedence(self) -> tuple[str, int]:
        return f"{text_of(self.base, _PRIMARY)}[{', '.join(map(text_of, self.index))}]", _PRIMARY


@dataclass(frozen=True)
class Call(Expression):
    function: Expression
    args: tuple[Expression, ...]
    kwargs: tuple[tuple[str, Expression], ...] = ()

    def text_and_precedence(self) -> tuple[str, int]:
        return f"{text_of(self.function, _PRIMARY)}({', '.join(arguments(self))})", _PRIMARY


@dataclass(frozen=True)
class Binary(Expression):
    left: Expression
    sign: str
    right: Expression

    def text_and_precedence(self) -> tuple[str, int]:
        precedence = _PRECEDENCE[self.sign]
        if self.sign == "**":
            left, right = text_of(self.left, precedence + 1), text_of(self.right, _UNARY)
            tight = _is_simple(self.left) and _is_simple(self.right)
            return f"{left}**{right}" if tight else f"{left} ** {right}", precedence
        return f"{text_of(self.left, precedence)} {self.sign} {text_of(self.right, precedence + 1)}", precedence


@dataclass(frozen=True)
class Negative(Expression):
    operand: Expression
    sign: str = "-"

    def text_and_precedence(self) -> tuple[str, int]:
        return f"{self.sign}{text_of(self.operand, _UNARY)}", _UNARY


@dataclass(frozen=True)
class Sequence(Expression):
    """A tuple or a list; ``brackets`` are ``()`` or ``[]``."""

    items: tuple[Expression, ...]
    brackets: str = "()"

    def text_and_precedence(self) -> tuple[str, int]:
        inner = ", ".join(map(text_of, self.items))
        comma = "," if len(self.items) == 1 and self.brackets == "()" else ""
        return f"{self.brackets[0]}{inner}{comma}{self.brackets[1]}", _PRIMARY


@dataclass(frozen=True)
class Dictionary(Expression):
    items: tuple[tuple[str, Expression], ...]

    def text_and_precedence(self) -> tuple[str, int]:
        return "{" + ", ".join(f"{quoted(key)}: {text_of(item)}" for key, item in self.items) + "}", _PRIMARY


@dataclass(frozen=True)
class Slice(Expression):
    start: Expression | None
    stop: Expression | None
    step: Expression | None = None

    def text_and_precedence(self) -> tuple[str, int]:
        return _slice(self), 0


@dataclass(frozen=True)
class Member(Expression):
    """A module in a container, ``self.layers[2]``.

    Attributes:
        base: the container.
        key: the text of its index.
        position: its place in the container.
        total: how many there are.
    """

    base: Expression
    key: str
    position: int
    total: int

    def text_and_precedence(self) -> tuple[str, int]:
        return f"{text_of(self.base, _PRIMARY)}[{self.key}]", _PRIMARY


@dataclass(frozen=True)
class Starred(Expression):
    operand: Expression

    def text_and_precedence(self) -> tuple[str, int]:
        inner = text_of(self.operand)
        return (f"*({inner})" if isinstance(self.operand, Comprehension) else f"*{inner}"), 0


@dataclass(frozen=True)
class IfThere(Expression):
    """The last item of a Sequential, which some instances of a class have and some have not."""

    operand: Expression

    def text_and_precedence(self) -> tuple[str, int]:
        inner = text_of(self.operand)
        return f"*([{inner}] if {inner} is not None else [])", 0


@dataclass(frozen=True)
class Comprehension(Expression):
    """``item for variable in source``, without brackets of its own; with a ``key``, in those of a dict."""

    item: Expression
    variable: str
    source: Expression
    key: str = ""

    def text_and_precedence(self) -> tuple[str, int]:
        text = f"{text_of(self.item)} for {self.variable} in {text_of(self.source)}"
        return (f"{{{self.key}: {text}}}", _PRIMARY) if self.key else (text, 0)


@dataclass(frozen=True)
class New(Expression):
    """A module of one of the classes that are written, with the arguments of its constructor."""

    group: Any
    args: tuple[tuple[str, Expression], ...] = ()

    def text_and_precedence(self) -> tuple[str, int]:
        return text_of(as_call(self)), _PRIMARY


@dataclass(frozen=True)
class Passing(Expression):
    """A call of a module, whose class says later which arguments it takes, and how they are passed.

    Attributes:
        function: the module.
        args: what holds tensors or lengths, by the names of the arguments.
        literals: what it was called with besides.
        module: torch's.
    """

    function: Expression
    args: tuple[tuple[str, Expression], ...]
    literals: tuple[tuple[str, Expression], ...]
    module: Any = field(compare=False)

    def text_and_precedence(self) -> tuple[str, int]:
        return text_of(Call(self.function, tuple(node for _, node in self.args))), _PRIMARY


@dataclass(frozen=True)
class Passed(Text):
    """A literal that a module is called with; one that is the argument's ``default`` is left out."""

    default: str | None = None


NOTHING = Text("None")  # for a child that is not there, which is the default of its argument


def without_defaults(node: Expression) -> Expression:
    """Return a tree without the keyword arguments that are what they would be if they were left out."""

    def change(part: Expression) -> Expression | None:
        if not isinstance(part, Call) or not part.kwargs:
            return None
        kwargs = tuple((name, value) for name, value in part.kwargs if not _is_left_out(value))
        return Call(part.function.map(change), tuple(a.map(change) for a in part.args), _mapped(kwargs, change))

    return node.map(change)


def blank(node: Expression) -> Expression:
    """Return a tree in which a type stands for each number: what two that differ in numbers alone have in common."""
    return node.map(lambda part: Number(type(part.value).__name__) if isinstance(part, Number) else None)


def _is_left_out(node: Expression) -> bool:
    if isinstance(node, Passed):
        return node.text == node.default
    return node is NOTHING or (
        isinstance(node, Number) and type(node.value) is type(node.default) and node.value == node.default
    )


def text_of(node: Expression, above: int = 0) -> str:
    """Return an expression in one line, in parentheses where what is above it binds more tightly."""
    text, precedence = node.text_and_precedence()
    return f"({text})" if precedence < above else text


def as_call(node: New) -> Call:
    """Return the call that makes a module: one or two arguments stand by position, more by name."""
    args = [(name, value) for name, value in node.args if not _is_left_out(value)]
    positional = 2 if len(args) <= 2 else 0
    plain = [value for name, value in args[:positional] if name in node.group.positional]
    if len(plain) < positional and len(args) > len(plain):
        plain = plain[: next((i for i, (n, _) in enumerate(args) if n not in node.group.positional), 0)]
    return Call(Text(node.group.name), tuple(plain), tuple(args[len(plain) :]))


def arguments(node: Call) -> list[str]:
    """Return the texts of the arguments of a call."""
    return [*map(text_of, node.args), *(f"{name}={text_of(value)}" for name, value in node.kwargs)]


def _is_simple(node: Expression) -> bool:
    """Whether a formatter puts no spaces around ``**`` beside it."""
    if isinstance(node, Negative):
        return isinstance(node.operand, (Text, Number))
    if isinstance(node, Attribute):
        return _is_simple(node.base)
    return isinstance(node, (Text, Number))


def _slice(node: Slice) -> str:
    ends = [end for end in (node.start, node.stop, node.step) if end is not None]
    tight = all(
        isinstance(end, (Text, Number)) or (isinstance(end, Negative) and isinstance(end.operand, (Text, Number)))
        for end in ends
    )
    gap = "" if tight else " "
    text = ""
    if node.start is not None:
        text += text_of(node.start) + gap
    text += ":"
    if node.stop is not None:
        text += gap + text_of(node.stop)
    if node.step is not None:
        text += f"{gap if node.stop is not None else ''}:{gap}{text_of(node.step)}"
    return text


def quoted(value: str) -> str:
    """Return a string as Python writes it, in double quotes."""
    text = repr(value)
    if text[0] == "'":
        text = '"' + text[1:-1].replace('"', '\\"').replace("\\'", "'") + '"'
    return text


def literal(value: Any) -> str:
    """Return a number, or a tuple or list of numbers, as Python writes it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, float):
        if math.isnan(value):
            return 'float("nan")'
        if value in (float("inf"), float("-inf")):
            return f'float("{"-" if value < 0 else ""}inf")'
        return float.__repr__(value).replace("e+", "e")  # as formatters write it
    return quoted(value) if isinstance(value, str) else repr(value)
