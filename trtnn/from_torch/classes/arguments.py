"""The arguments of a class's constructor: what differs between its instances, and what that is called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from trtnn.from_torch.classes.common import captured, is_light
from trtnn.from_torch.classes.groups import Argument, Draft, Group, Parameter, child_of
from trtnn.from_torch.classes.merging import Variant
from trtnn.from_torch.classes.rows import numbers_of, with_passed_numbers
from trtnn.from_torch.forward.attributes import SELF, names_in
from trtnn.from_torch.forward.parameters import declared_by, is_plain
from trtnn.from_torch.source.expressions import (
    NOTHING,
    Attribute,
    Binary,
    Expression,
    Number,
    Sequence,
    Slot,
    Text,
    without_defaults,
)
from trtnn.from_torch.source.lines import THERE, Line
from trtnn.from_torch.source.names import free_name, is_name

_WIDTHS = ("channels", "features", "dim", "size", "width", "planes", "shape", "embed", "hidden", "d_model")
_VAGUE = ("dim", "value", "size", "depth")  # names that say nothing of what a number is for
_DEFAULTS = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "bias": True}
_VARYING = (Number, Slot)


def write_with_arguments(group: Group, variant: Variant) -> None:
    """Find the arguments of a class and of its forward, and write its lines with them.

    Args:
        group: the class, with its drafts.
        variant: what they have in common.
    """
    arguments = _Arguments(group)
    if variant.rows is not None:
        ways = [way for draft in variant.drafts for way in draft.ways]
        variant = replace(variant, rows=with_passed_numbers(variant.rows, ways))
    lines = None if variant.rows is None else [row.line for row in variant.rows]
    varying = [
        (node, in_forward)
        for those, in_forward in ((variant.init, False), (lines or (), True))
        for line in those
        for node in line.walk()
        if isinstance(node, _VARYING)
    ]
    columns = zip(*(_values_of(draft, variant) for draft in group.drafts), strict=True)
    written: list[Expression] = []
    for (node, in_forward), column in zip(varying, columns, strict=True):
        if isinstance(node, Slot):
            written.append(arguments.child(node, list(column)))
        else:
            written.append(arguments.number(_completed(column), in_forward))
    decided_by = dict.fromkeys(condition for condition in variant.conditions if condition is not None)
    for flag in dict.fromkeys(condition.name for condition in decided_by if condition.kind == "flag"):
        arguments.flag(flag)
    it = iter(arguments.named_by_place(written))

    def fill(line: Line) -> Line:
        return line.map(lambda node: next(it) if isinstance(node, _VARYING) else None).map(without_defaults)

    group.init = [fill(line) for line in variant.init]
    if lines is not None:
        pairs = zip(lines, variant.conditions, strict=True)
        group.lines = [replace(fill(line), condition=condition) for line, condition in pairs]
        group.parameters = _parameters(variant)
    arguments.set_defaults()


def _parameters(variant: Variant) -> list[Parameter]:
    """Return what forward takes, in torch's order: tensors, lengths, and literals that tell its ways apart."""
    ways = [way for draft in variant.drafts for way in draft.ways]
    names = dict.fromkeys(name for way in ways for name in way.parameters)
    names |= dict.fromkeys(c.name for c in variant.conditions if c is not None and c.kind == "argument")
    names |= dict.fromkeys(name for row in variant.rows or () for name in sorted(row.names))
    if all(way.parameters == [*names] for way in ways):
        return [Parameter(name) for name in names]
    declared = declared_by(variant.drafts[0].module)
    order = {name: i for i, name in enumerate(declared)}
    parameters = []
    for name in sorted(names, key=lambda name: order.get(name, len(order))):
        default: Any = ...
        if any(way.argument(name) != {THERE} for way in ways):
            default = declared[name].default if name in declared else None
            default = default if is_plain(default) else ...
        parameters.append(Parameter(name, default))
    return sorted(parameters, key=lambda parameter: parameter.default is not ...)


def _completed(column: Iterable[Expression | None]) -> list[Number]:
    """Return the numbers of a line; for instances in which it does not run one of another."""
    numbers = [*column]
    other = next(number for number in numbers if number is not None)
    return [other if number is None else number for number in numbers]  # type: ignore[misc]


def _values_of(draft: Draft, variant: Variant) -> list[Expression | None]:
    """Return what an instance has where its class has a Number or a Slot, in the order of the text, or None."""
    own = {child_of(line): line for line in draft.init if child_of(line)}
    others = iter([line for line in draft.init if not child_of(line)])
    nodes: list[Expression | None] = []
    for line in variant.init:
        assert line.expression is not None
        child = child_of(line)
        mine = own.get(child) if child else next(others)
        if mine is None:
            nodes.append(NOTHING)
        else:
            assert mine.expression is not None
            nodes += captured(line.expression, mine.expression)
    for row in variant.rows or ():
        way = next((way for way in draft.ways if way in row.own), None)
        if way is None:
            nodes += [None for node in row.line.walk() if isinstance(node, Number)]
        else:
            nodes += numbers_of(row, way)
    return nodes


class _Arguments:
    """The arguments of a class, as they are found: first of the constructor's own lines, then of forward's.

    Attributes:
        group: the class, which takes them and the attributes that forward reads.
        instances: its torch modules.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.instances = [draft.module for draft in group.drafts]

    def child(self, slot: Slot, column: list[Any]) -> Expression:
        """Return what stands for a child: an argument; one that other children are as well where it holds no weights.

        Args:
            slot: the child.
            column: what it is in each instance.
        """
        if all(is_light(node) for node in column):
            for argument in self.group.arguments:
                if argument.values == column:
                    return Text(argument.name)
        default = None if NOTHING in column else ...
        return self._add(free_name(slot.name, self._is_taken), column, default)

    def number(self, column: list[Number], in_forward: bool) -> Expression:
        """Return what stands for a number: a literal where all instances have one, else an argument.

        Args:
            column: what it is in each instance.
            in_forward: whether forward reads it, and not the constructor.
        """
        values = [number.value for number in column]
        first = replace(column[0], attribute=self._attribute(column, values))
        if all(type(value) is type(values[0]) and value == values[0] for value in values):
            return self._literal(first, in_forward)
        node = self._as_argument(first, values)
        if node is None:
            node = self._add(self._name(first, values), values)
        return self._stored(node) if in_forward else node

    def _literal(self, number: Number, in_forward: bool) -> Expression:
        """Return a number that all instances have; in forward the attribute that it is read from."""
        plain = Number(number.value)
        if in_forward and number.attribute and self.group.stored.get(number.attribute, plain) == plain:
            self.group.stored[number.attribute] = plain
            return Attribute(SELF, number.attribute)
        return Number(number.value, default=number.default)

    def _stored(self, node: Expression) -> Expression:
        """Keep the arguments that an expression reads in attributes, and return it for forward."""
        for name in [part.text for part in node.walk() if isinstance(part, Text)]:
            self.group.stored.setdefault(name, Text(name))
        return node.map(lambda part: Attribute(SELF, part.text) if isinstance(part, Text) else None)

    def flag(self, name: str) -> None:
        """Make an argument of an attribute that decides lines."""
        self.group.stored[name] = self._add(name, [vars(module)[name] for module in self.instances], False)

    def named_by_place(self, nodes: list[Expression]) -> list[Expression]:
        """Return expressions in which, of two widths that a class goes through, the last is ``out_channels``."""
        for kind in ("channels", "features"):
            first, last, middle = f"out_{kind}", f"out_{kind}2", f"mid_{kind}"
            names = {argument.name: argument for argument in self.group.arguments}
            stored = {first, last} & {*self.group.stored}
            if last not in names or f"out_{kind}3" in names or middle in names or stored:
                continue
            names[first].name, names[last].name = middle, first
            new = {first: Text(middle), last: Text(first)}
            nodes = [
                node.map(lambda part, new=new: new.get(part.text) if isinstance(part, Text) else None)  # type: ignore[misc]
                for node in nodes
            ]
        return nodes

    def set_defaults(self) -> None:
        """Let arguments be left out that mostly are what everybody expects, and put them behind the others."""
        for argument in self.group.arguments:
            usual = _DEFAULTS.get(argument.name.rstrip("0123456789").rpartition("_")[2] or argument.name, ...)
            if argument.default is ... and usual is not ... and any(value == usual for value in argument.values):
                argument.default = usual
        self.group.arguments.sort(key=lambda argument: argument.default is not ...)

    def _add(self, name: str, values: list[Any], default: Any = ...) -> Text:
        self.group.arguments.append(Argument(name, values, default))
        return Text(name)

    def _is_taken(self, name: str) -> bool:
        return name == "self" or any(argument.name == name for argument in self.group.arguments)

    # -- which argument a number is -----------------------------------------------------------------------------------

    def _as_argument(self, number: Number, values: list[Any]) -> Expression | None:
        """Return a number as an argument that is there already, or a multiple or a part of one."""
        arguments = self.group.arguments
        for argument in arguments:
            alike = argument.name == number.attribute or _are_alike(argument.name, number.hint)
            if alike and _is_column(argument.values, values):
                return Text(argument.name)
        if number.hint == "padding":
            for argument in arguments:
                if argument.name == "kernel_size" and all(
                    type(kernel) is int and kernel // 2 == value
                    for kernel, value in zip(argument.values, values, strict=True)
                ):
                    return Binary(Text(argument.name), "//", Number(2))
        if all(type(value) is tuple and len(value) == 1 for value in values):
            inner = self._as_argument(Number(values[0][0], "dim"), [value[0] for value in values])
            return None if inner is None else Sequence((inner,))
        groups = number.hint == "groups" and len(set(values)) > 1
        if not all(type(value) is int and value > 0 for value in values) or not (groups or _is_width(number.hint)):
            return None
        for argument in arguments:
            others = argument.values
            if not _is_width(argument.name) or not all(type(other) is int and other > 0 for other in others):
                continue
            if (ratio := _ratio(values, others)) is not None:
                return Binary(Number(ratio), "*", Text(argument.name))
            if (ratio := _ratio(others, values)) is not None:
                return Binary(Text(argument.name), "//", Number(ratio))
        return None

    # -- what a number is called --------------------------------------------------------------------------------------

    def _attribute(self, column: list[Number], values: list[Any]) -> str:
        """Return the attribute that a number is read from: where one instance leaves it open, what the others say."""
        names = {number.attribute for number in column} - {""}
        if len(names) != 1:
            return ""
        (name,) = names
        return name if self._has_column(name, values) else ""

    def _has_column(self, attribute: str, values: list[Any]) -> bool:
        """Whether an attribute has these values in all instances."""
        return _is_column([vars(module).get(attribute) for module in self.instances], values)

    def _name(self, number: Number, values: list[Any]) -> str:
        """Return what to call an argument: as an attribute that has its value in all instances, or what it is for."""
        first = self.instances[0]
        wanted = number.attribute
        if not wanted:
            named = [
                name
                for name in vars(first)
                if not name.startswith("_") and name != "training" and _are_alike(name, number.hint)
                and self._has_column(name, values)
            ]  # fmt: skip
            wanted = named[0] if named else "dim" if number.hint == "normalized_shape" else number.hint
        members = names_in(first)
        return free_name(wanted if is_name(wanted) else "value", lambda name: name in members or self._is_taken(name))


def _ratio(values: list[int], others: list[int]) -> int | None:
    """Return how many times others values are, where it is one whole number above 1 for all of them."""
    ratio = values[0] // others[0]
    same = all(value == other * ratio for value, other in zip(values, others, strict=True))
    return ratio if ratio > 1 and same else None


def _is_width(name: str) -> bool:
    return any(word in name for word in _WIDTHS) and "kernel" not in name


def _are_alike(argument: str, hint: str) -> bool:
    """Whether a number that was passed for one purpose may stand for one of another."""
    if hint in _VAGUE or argument.rstrip("0123456789") == hint:
        return True
    return _is_width(argument) and (_is_width(hint) or hint == "groups")


def _is_column(values: list[Any], others: list[Any]) -> bool:
    return all(type(a) is type(b) and a == b for a, b in zip(values, others, strict=True))
