"""What decides which lines of a forward run: a child that may be None, a flag, an argument of forward, or lengths."""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trtnn.from_torch.classes.groups import Draft, Way, called_child, child_of
from trtnn.from_torch.classes.rows import Row, is_alias
from trtnn.from_torch.forward.attributes import names_in
from trtnn.from_torch.source.expressions import Binary, Expression, Number, Text, text_of
from trtnn.from_torch.source.lines import ANY_RELATION, RELATIONS, THERE, Blocks, Condition, Line, sign_of

_Lengths = tuple[Expression, Expression]


class Undecided(Exception):
    """Nothing says in which ways a line runs."""


class Conditions:
    """The conditions of rows, so that in each way those lines run that are its own.

    What runs in a way that has it not is a second name of a value, where nobody reads that.

    Args:
        drafts: the instances.
        rows: what their ways have, in order.
    """

    def __init__(self, drafts: Sequence[Draft], rows: Sequence[Row]) -> None:
        self.rows = [*rows]
        self._drafts = {way: draft for draft in drafts for way in draft.ways}
        self._children = {draft: {*map(child_of, draft.init)} for draft in drafts}
        self._running = dict.fromkeys(self._drafts)  # the ways that have not returned
        self._lengths = Lengths(
            self.rows, {way: (draft, frozenset(way.passed.items())) for way, draft in self._drafts.items()}
        )
        self._blocks = Blocks()
        self._opened = 0  # the row with which the last statement of conditions began

    def find(self) -> tuple[list[Row], list[Condition | None]]:
        """Return the rows and their conditions; comparisons by which ways part are no assertions any more.

        Raises:
            Undecided: there is none for a row.
        """
        rows: list[Row] = []
        conditions: list[Condition | None] = []
        for i, row in enumerate(self.rows):
            if self._lengths.has_parted(row):
                continue
            condition = None
            if len(row.own) < len(self._running) and not self._may_run_in_all(i):
                without = [way for way in self._running if way not in row.own]
                candidates = self._candidates(i, without)
                asserted = None if candidates else self._lengths.asserted(i, [*self._running])
                if asserted is not None:
                    rows += asserted
                    conditions += [None] * len(asserted)
                    continue
                condition = self._best(
                    i, candidates or self._by_lengths(i, without), conditions[-1] if conditions else None
                )
            if self._blocks.opening(condition, row.line) == "if":
                self._opened = i
            if row.line.kind == "return":
                self._running = {way: None for way in self._running if way not in row.own}
            rows.append(row)
            conditions.append(condition)
        return rows, conditions

    def _candidates(self, i: int, without: Sequence[Way]) -> list[Condition]:
        """Return what tells the ways of a row from others, but for lengths: arguments first that the line reads."""
        row = self.rows[i]
        by_arguments = self._by_arguments(i, without)
        by_instances: list[Condition] = []
        if _same_numbers(row):
            drafts = list(dict.fromkeys(self._drafts[way] for way in row.own))
            by_instances = list(self._by_instances(row, drafts, list(dict.fromkeys(self._drafts[w] for w in without))))
        reads = {node.text for node in row.line.walk() if isinstance(node, Text)}
        read = [condition for condition in by_arguments if condition.name in reads]
        return [*read, *by_instances, *by_arguments]

    def _best(self, i: int, candidates: Sequence[Condition], before: Condition | None) -> Condition:
        """Return the condition of a row: one on the child that it calls, or what the line before asks for."""
        if not candidates:
            raise Undecided
        child = called_child(self.rows[i].line)
        called = [condition for condition in candidates if condition.kind == "child" and condition.name == child]
        same = [condition for condition in candidates if condition.is_of(before)]
        return next(iter((*called, *same, *candidates)))

    # -- by the instance ----------------------------------------------------------------------------------------------

    def _by_instances(self, row: Row, drafts: Sequence[Draft], others: Sequence[Draft]) -> Iterator[Condition]:
        """Yield the conditions on a child that is called, and on flags, by which some instances have a line."""
        reads = {node.text for node in row.line.walk() if isinstance(node, Text)}
        called = [(child, row) for row in self.rows if (child := called_child(row.line)) is not None]
        children = dict.fromkeys(child for child, other in called if other is row or reads & {*other.line.targets})
        flags = [name for name in vars(others[0].module) if not name.startswith("_")]
        flags = [name for name in flags if name not in names_in(others[0].module)]
        every = dict.fromkeys(child for child, _ in called)
        for there in (True, False):
            values, without = frozenset((THERE if there else "None",)), frozenset(("None" if there else THERE,))
            for child in children if there else ():
                if self._have(child, drafts, there) and self._have(child, others, not there):
                    yield Condition("child", child, values, without)
            for name in flags:
                if _are(name, drafts, there) and _are(name, others, not there):
                    yield Condition("flag", name, frozenset((str(there),)), frozenset((str(not there),)))
            for child in every:
                if self._have(child, drafts, there) and self._have(child, others, not there):
                    yield Condition("child", child, values, without)

    def _have(self, child: str, drafts: Sequence[Draft], there: bool) -> bool:
        """Whether all of some instances have a child, or all have it not."""
        return all((child in self._children[draft]) == there for draft in drafts)

    # -- by what forward is called with -------------------------------------------------------------------------------

    def _by_arguments(self, i: int, without: Sequence[Way]) -> list[Condition]:
        """Return the conditions on an argument that hold where a row is to run; at best ones on whether it is None."""
        own = self.rows[i].own
        conditions = []
        for name in dict.fromkeys(name for way in self._drafts for name in way.passed):
            if not all(way.argument(name) for way in (*own, *without)):
                continue
            values, others = (frozenset().union(*(way.argument(name) for way in ways)) for ways in (own, without))
            condition = Condition("argument", name, values, others)
            if _tells(condition) and not self._is_bound_anew(i, condition):
                conditions.append(condition)
        return sorted(conditions, key=lambda condition: {"None"} not in (condition.values, condition.others))

    def _is_bound_anew(self, i: int, condition: Condition) -> bool:
        """Whether an argument may be another at a row than it was at first, and a condition on it come out otherwise.

        What is behind ``else`` was decided where the statement began. Tensors take the place of tensors.
        """
        goes_on = copy.copy(self._blocks).opening(condition, self.rows[i].line) != "if"
        begins = self._opened if goes_on else i
        of_tensors = condition.values | condition.others == {"None", THERE}
        return condition.kind == "argument" and any(
            row.line.binds(condition.name)
            for row in self.rows[:begins]
            for way in row.own
            if way in self._running and (not of_tensors or "None" in way.argument(condition.name))
        )

    # -- by lengths ---------------------------------------------------------------------------------------------------

    def _by_lengths(self, i: int, without: Sequence[Way]) -> list[Condition]:
        """Return the comparisons of lengths that came out otherwise where a row did not run."""
        own, conditions = list(self.rows[i].own), []
        for left, right in self._lengths.parted:
            condition = Condition("length", text_of(left), ANY_RELATION, frozenset(), text_of(right))
            for at in dict.fromkeys((self._opened, i)):
                values, others = (self._lengths.relations(ways, (left, right), at) for ways in (own, without))
                if values is None or others is None or values & others:
                    continue
                condition = replace(condition, values=values, others=ANY_RELATION - values)
                goes_on = copy.copy(self._blocks).opening(condition, self.rows[i].line) != "if"
                if goes_on == (at < i):
                    conditions.append(condition)
        return conditions

    # -- other names --------------------------------------------------------------------------------------------------

    def _may_run_in_all(self, i: int) -> bool:
        """Whether a line gives a value another name that ways without it bind anew before they read it, or never do."""
        line = self.rows[i].line
        if not is_alias(line):
            return False
        (name,), value = line.targets, text_of(line.expression)  # type: ignore[arg-type]
        return all(way in self.rows[i].own or self._may_be_bound(i, way, name, value) for way in self._running)

    def _may_be_bound(self, i: int, way: Way, name: str, value: str) -> bool:
        is_there = value in way.parameters or any(line.binds(value) for line in self._lines(way, i))
        if name in way.passed or not is_there:
            return False
        for line in self._lines(way, i, behind=True):
            if Text(name) in line.walk():
                return False
            if line.binds(name):
                return True
        return True

    def _lines(self, way: Way, i: int, behind: bool = False) -> list[Line]:
        """Return the lines of a way before a row, or those behind it."""
        rows = self.rows[i + 1 :] if behind else self.rows[:i]
        return [way.lines[row.own[way]] for row in rows if way in row.own]


class Lengths:
    """What the ways of a forward say of two lengths by the comparisons in them.

    Args:
        rows: what the ways have, in order.
        situations: of each way what else may decide what it does: the instance, and what it is called with.

    Attributes:
        parted: the pairs of lengths by which ways parted.
    """

    def __init__(self, rows: Sequence[Row], situations: Mapping[Way, Hashable]) -> None:
        self.rows, self._situations = rows, situations
        self.parted: dict[_Lengths, None] = {}
        self._outcomes: list[dict[Way, frozenset[str]]] = []  # of each parting, in the ways that ran there
        self._parting: set[tuple[Way, int]] = set()  # the lines that say so

    def relations(self, ways: Sequence[Way], pair: _Lengths, at: int) -> frozenset[str] | None:
        """Return what two lengths may be to one another at a row in some ways, or None where a way does not say it."""
        those = [relation for way in ways if (relation := self._relation(way, pair, at)) is not None]
        return frozenset[str]().union(*those) if len(those) == len(ways) else None

    def _relation(self, way: Way, pair: _Lengths, at: int) -> frozenset[str] | None:
        """Return what all comparisons in a way leave that are of the same numbers as at a row."""
        signs = [_compared(way.lines[i])[2] for i in self._comparisons(way, pair, at)]  # type: ignore[index]
        return functools.reduce(frozenset.__and__, (RELATIONS[sign] for sign in signs)) if signs else None

    def _comparisons(self, way: Way, pair: _Lengths, at: int) -> list[int]:
        """Return which lines of a way compare two lengths that are the same numbers as at a row."""
        names = {node.text for side in pair for node in side.walk() if isinstance(node, Text)}
        here = min((row.own[way] for row in self.rows[at:] if way in row.own), default=len(way.lines))
        return [
            i
            for i, line in enumerate(way.lines)
            if (compared := _compared(line)) is not None and compared[:2] == pair
            and not any(other.binds(name) for other in way.lines[min(i, here) : max(i, here)] for name in names)
        ]  # fmt: skip

    def has_parted(self, row: Row) -> bool:
        """Whether ways parted by a comparison, for which a row is no assertion any more."""
        return all((way, i) in self._parting for way, i in row.own.items())

    def asserted(self, at: int, ways: Sequence[Way]) -> list[Row] | None:
        """Return what stands for an assertion by which ways part: one of what is true in all of them, or none.

        Whatever else may decide, it has to be seen with each outcome of the comparison: what a forward does for two
        outcomes together is not told by what it does for each.

        Args:
            at: the row of the assertion.
            ways: all that run there; None is returned where they do not part by these lengths alone.
        """
        row, compared = self.rows[at], _compared(self.rows[at].line)
        pair = compared[:2] if compared else None
        if pair is None or self.relations(ways, pair, at) is None:
            return None
        found = {way: self.relations([way], pair, at) or frozenset() for way in ways}
        together: dict[Any, frozenset[str]] = {}
        for way, relations in found.items():
            situation = (self._situations[way], *(earlier.get(way) for earlier in self._outcomes))
            together[situation] = together.get(situation, frozenset()) | relations
        total, *others = {*together.values()}
        if others:
            return None
        self.parted[pair] = None
        self._outcomes.append(found)
        lines = {way: self._comparisons(way, pair, at) for way in ways}
        self._parting |= {(way, i) for way, those in lines.items() for i in those}
        if total == ANY_RELATION:
            return []
        node = Binary(pair[0], sign_of(total), pair[1])
        return [Row(replace(row.line, expression=node), {way: those[0] for way, those in lines.items()})]


def _compared(line: Line) -> tuple[Expression, Expression, str] | None:
    """Return what a line asserts of two lengths: both, and the comparison; None of other lines."""
    node = line.expression
    if line.kind != "assert" or not isinstance(node, Binary) or node.sign not in RELATIONS:
        return None
    return node.left, node.right, node.sign


def _same_numbers(row: Row) -> bool:
    """Whether a row has the same numbers in all ways that have it: no other instance has any."""
    numbers = [[node.value for node in way.lines[at].walk() if isinstance(node, Number)] for way, at in row.own.items()]
    return all(those == numbers[0] for those in numbers)


def _are(flag: str, drafts: Sequence[Draft], truth: bool) -> bool:
    """Whether an attribute is true for all of some instances, or false for all."""
    return all(vars(draft.module).get(flag) is truth for draft in drafts)


def _tells(condition: Condition) -> bool:
    """Whether Python can tell the values with which a condition holds from the others."""
    values, others = condition.values, condition.others
    if values & others:
        return False
    if {"None"} in (values, others):
        return True
    if THERE in values | others:
        return False
    try:
        return not any(ast.literal_eval(a) == ast.literal_eval(b) for a in values for b in others)
    except ValueError:  # of infinity
        return False
