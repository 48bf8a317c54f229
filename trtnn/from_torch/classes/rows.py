"""What the ways of a forward have in common: rows, each of the lines of some ways that are one line of source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from trtnn.from_torch.classes.common import captured
from trtnn.from_torch.classes.groups import Way
from trtnn.from_torch.source.expressions import Expression, Item, Member, Number, Passed, Text, literal
from trtnn.from_torch.source.lines import Line

_DIFFERENT = object()


@dataclass(eq=False)
class Row:
    """A line of source.

    Attributes:
        line: what all of its ways have there, but for numbers.
        own: of each way that has it the place of the line there.
        names: the arguments of forward that it reads where some ways have literals.
    """

    line: Line
    own: dict[Way, int]
    names: frozenset[str] = frozenset()


def aligned(first: Sequence[Row], second: Sequence[Row], of_one_instance: bool) -> list[Row]:
    """Return the rows of both, in the order of each, with as many in common as there can be.

    Args:
        first, second: the rows of other ways.
        of_one_instance: whether the ways are of one instance, so that no argument of a constructor tells their numbers.
    """
    known: dict[tuple[int, int], Row | None] = {}

    def both(i: int, k: int) -> Row | None:
        if (i, k) not in known:
            known[i, k] = _Both(first[i], second[k], of_one_instance).row()
        return known[i, k]

    start, end, other_end = 0, len(first), len(second)
    while start < min(end, other_end) and both(start, start) is not None:
        start += 1
    behind: list[Row] = []
    while start < min(end, other_end) and (row := both(end - 1, other_end - 1)) is not None:
        behind.insert(0, row)
        end, other_end = end - 1, other_end - 1
    most = [[0] * (other_end + 1) for _ in range(end + 1)]  # in common from a row of each on
    for i in range(end - 1, start - 1, -1):
        for k in range(other_end - 1, start - 1, -1):
            shared = most[i + 1][k + 1] + 1 if both(i, k) is not None else 0
            most[i][k] = max(shared, most[i + 1][k], most[i][k + 1])
    rows: list[Row] = []
    i = k = 0
    while i < end or k < other_end:
        row = both(i, k) if i < end and k < other_end else None
        if row is not None:
            rows.append(row)
            i, k = i + 1, k + 1
        elif k == other_end or (i < end and most[i + 1][k] >= most[i][k + 1] + is_alias(second[k].line)):
            rows.append(first[i])
            i += 1
        else:
            rows.append(second[k])
            k += 1
    return rows + behind


def with_passed_numbers(rows: Sequence[Row], ways: Sequence[Way]) -> list[Row]:
    """Return rows in which an argument of forward stands for a number that differs, where each call passed it."""
    return [_with_passed_numbers(row, ways) for row in rows] if len(ways) > 1 else [*rows]


def _with_passed_numbers(row: Row, ways: Sequence[Way]) -> Row:
    names: list[str] = []
    has_numbers = any(isinstance(node, Number) for node in row.line.walk())
    columns = zip(*(numbers_of(row, way) for way in row.own), strict=True) if has_numbers else ()
    for column in columns:
        differ = len({literal(number.value) for number in column}) > 1 and not any(n.attribute for n in column)
        candidates = dict.fromkeys(name for way in ways for name in way.passed) if differ else ()
        names.append(next((n for n in candidates if _all_pass(row, ways, n, column)), ""))
    if not any(names):
        return row
    it = iter(names)

    def change(node: Expression) -> Expression | None:
        name = next(it) if isinstance(node, Number) else ""
        return Text(name) if name else None

    return replace(row, line=row.line.map(change), names=row.names | {*names} - {""})


def _all_pass(row: Row, ways: Sequence[Way], name: str, column: Sequence[Number]) -> bool:
    """Whether an argument is known in all ways, and in those of a row has the numbers of a column."""
    own = zip(row.own.items(), column, strict=True)
    known = all(way.argument(name) for way in ways)
    return known and all(is_passed(way, at, name, number) for (way, at), number in own)


def numbers_of(row: Row, way: Way) -> list[Number]:
    """Return what a way has where a row has numbers."""
    pairs = zip(row.line.trees(), way.lines[row.own[way]].trees(), strict=True)
    return [node for template, tree in pairs for node in captured(template, tree)]  # type: ignore[misc]


def is_alias(line: Line) -> bool:
    """Whether a line gives a value another name."""
    return line.kind == "assign" and not line.unpacks and isinstance(line.expression, Text)


class _Both:
    """Two rows of different ways, as one."""

    def __init__(self, first: Row, second: Row, of_one_instance: bool) -> None:
        self.first, self.second, self.of_one_instance = first, second, of_one_instance
        self.names: set[str] = set()

    def row(self) -> Row | None:
        """Return what both are, or None."""
        line = self._line(self.first.line, self.second.line)
        if line is None:
            return None
        names = self.first.names | self.second.names | self.names
        return Row(line, {**self.first.own, **self.second.own}, names)

    def _line(self, a: Line, b: Line) -> Line | None:
        targets = self._targets(a, b)
        if targets is None or (a.kind, a.sign, a.unpacks) != (b.kind, b.sign, b.unpacks):
            return None
        changed: dict[str, Any] = {"targets": targets}
        for name in ("place", "expression", "containers"):
            both = self._value(getattr(a, name), getattr(b, name))
            if both is _DIFFERENT:
                return None
            changed[name] = both
        if len(a.body) != len(b.body):
            return None
        body = [self._line(x, y) for x, y in zip(a.body, b.body, strict=True)]
        if any(line is None for line in body):
            return None
        return replace(a, **changed, body=tuple(body))

    def _targets(self, a: Line, b: Line) -> tuple[str, ...] | None:
        """Return the names that both lines bind; one of what is unpacked may be of no use to one of them."""
        if a.targets == b.targets or not a.unpacks or len(a.targets) != len(b.targets):
            return a.targets if a.targets == b.targets else None
        targets = []
        for one, other in zip(a.targets, b.targets, strict=True):
            name, row = (other, self.first) if one == "_" else (one, self.second)
            if one != other and ("_" not in (one, other) or any(_has_name(way, name) for way in row.own)):
                return None
            targets.append(name)
        return tuple(targets)

    def _value(self, a: Any, b: Any) -> Any:
        """Return what two fields have in common, or _DIFFERENT."""
        if isinstance(a, Expression) and isinstance(b, Expression):
            both = self._tree(a, b)
            return _DIFFERENT if both is None else both
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            items = tuple(self._value(x, y) for x, y in zip(a, b, strict=True))
            return _DIFFERENT if any(item is _DIFFERENT for item in items) else items
        return a if a == b else _DIFFERENT

    def _tree(self, a: Expression, b: Expression) -> Expression | None:
        """Return the tree that both ways have, if an argument stands where their literals differ."""
        if a == b:
            return a
        alike = isinstance(a, Number) and isinstance(b, Number) and type(a.value) is type(b.value)
        if alike and (a.value == b.value or not self.of_one_instance):  # type: ignore[attr-defined]
            return a
        argument = self._argument(a, b)
        if argument is not None:
            return argument
        if Member in (type(a), type(b)) and {type(a), type(b)} <= {Member, Item}:
            argument = self._argument(_key(a), _key(b)) if a.base == b.base else None  # type: ignore[attr-defined]
            return None if argument is None else Item(a.base, (argument,))  # type: ignore[attr-defined]
        if type(a) is not type(b) or isinstance(a, (Number, Text, Member)):
            return None
        changed = {item.name: self._value(getattr(a, item.name), getattr(b, item.name)) for item in fields(a)}  # type: ignore[arg-type]
        return None if any(value is _DIFFERENT for value in changed.values()) else replace(a, **changed)  # type: ignore[type-var]

    def _argument(self, a: Expression, b: Expression) -> Text | None:
        """Return the argument of forward that has been passed to each way what it has here, or None."""
        if type(a) is Text and self._is_passed(self.second, a.text, b):
            name = a.text
        elif type(b) is Text and self._is_passed(self.first, b.text, a):
            name = b.text
        else:
            names = dict.fromkeys(name for way in self.first.own for name in way.passed)
            both = (n for n in names if self._is_passed(self.first, n, a) and self._is_passed(self.second, n, b))
            name = next(both, "")
        self.names |= {name} - {""}
        return Text(name) if name else None

    def _is_passed(self, row: Row, name: str, node: Expression) -> bool:
        """Whether a literal is what an argument is in all ways of a row."""
        return all(is_passed(way, at, name, node) for way, at in row.own.items())


def _has_name(way: Way, name: str) -> bool:
    """Whether a way has a name for anything."""
    is_read = any(Text(name) in line.walk() for line in way.lines)
    return is_read or name in way.passed or any(line.binds(name) for line in way.lines)


def _key(node: Expression) -> Expression:
    """Return what picks a module of a container: a literal, or an argument."""
    if isinstance(node, Member):
        return Passed(node.key)
    assert isinstance(node, Item)
    return node.index[0]


def is_passed(way: Way, at: int, name: str, node: Expression) -> bool:
    """Whether a literal in a line of a way is what an argument is there."""
    text = _literal(node)
    return text is not None and way.argument(name) == {text} and not any(line.binds(name) for line in way.lines[:at])


def _literal(node: Expression) -> str | None:
    """Return the text of a literal; None of anything else."""
    if isinstance(node, Number):
        return literal(node.value)
    if isinstance(node, Passed):
        return node.text
    is_literal = isinstance(node, Text) and (node.text in ("None", "True", "False") or node.text[:1] == '"')
    return node.text if is_literal else None  # type: ignore[attr-defined]
