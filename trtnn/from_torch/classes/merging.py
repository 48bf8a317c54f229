"""Instances of one torch class that differ in children, or in lines that a child, a flag or an argument decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trtnn.from_torch.classes.common import in_common
from trtnn.from_torch.classes.conditions import Conditions, Undecided
from trtnn.from_torch.classes.groups import Draft, Way, child_of
from trtnn.from_torch.classes.rows import Row, aligned
from trtnn.from_torch.source.expressions import Slot
from trtnn.from_torch.source.lines import Condition, Line


@dataclass(eq=False)
class Variant:
    """Instances that are of one class.

    Attributes:
        drafts: the instances.
        init: the lines that their constructors have in common, with Slots for the children that differ.
        rows: likewise of forward; None of what is not called.
        conditions: what decides whether each of these runs.
    """

    drafts: list[Draft]
    init: list[Line]
    rows: list[Row] | None
    conditions: list[Condition | None]

    @property
    def length(self) -> int:
        """How many lines forward has."""
        return len(self.rows or ())


def alike(drafts: Sequence[Draft]) -> Variant:
    """Return instances that are called in one way, or not at all, and have one key."""
    ways = [way for draft in drafts for way in draft.ways]
    rows = _rows(ways) if ways else None
    return Variant([*drafts], drafts[0].init, rows, [None] * len(rows or ()))


def of_instance(draft: Draft) -> Variant | None:
    """Return an instance with all the ways in which it is called; None where nothing says which way to go.

    The longest way is first, or else the shortest: one that returns early stands before what others do instead.
    """
    longest_first = sorted(draft.ways, key=lambda way: (-len(way.lines), -way.given))
    for ways in (longest_first, longest_first[::-1]):
        rows = _rows(ways[:1])
        for way in ways[1:]:
            rows = aligned(rows, _rows([way]), of_one_instance=True)
        if _know_arguments([draft], rows):
            try:
                return Variant([draft], draft.init, *Conditions([draft], rows).find())
            except Undecided:
                pass
    return None


def merged(whole: Variant, part: Variant) -> Variant | None:
    """Return what two variants have in common, where the first may have children that the second has not, or None."""
    if whole.drafts[0].base != part.drafts[0].base or (part.rows is not None and whole.rows is None):
        return None
    drafts, rows, conditions = [*whole.drafts, *part.drafts], whole.rows, whole.conditions
    if whole.rows is not None and part.rows is not None:
        rows = aligned(whole.rows, part.rows, of_one_instance=False)
        if not _know_arguments(drafts, rows):
            return None
        try:
            rows, conditions = Conditions(drafts, rows).find()
        except Undecided:
            return None
    optional = {condition.name for condition in conditions if condition is not None and condition.kind == "child"}
    init = _init(whole.init, part.init, optional)
    return None if init is None else Variant(drafts, init, rows, conditions)


def _rows(ways: Sequence[Way]) -> list[Row]:
    """Return the lines of ways that have the same ones."""
    return [Row(line, dict.fromkeys(ways, i)) for i, line in enumerate(ways[0].lines)]


def _know_arguments(drafts: Sequence[Draft], rows: Sequence[Row]) -> bool:
    """Whether each call can be given all arguments of forward."""
    ways = [way for draft in drafts for way in draft.ways]
    names = {name for way in ways for name in way.parameters}.union(*(row.names for row in rows))
    return all(way.argument(name) for way in ways for name in names)


def _init(whole: Sequence[Line], part: Sequence[Line], optional: set[str]) -> list[Line] | None:
    """Return the lines of both constructors, or None; a child that is optional may be missing in the part."""
    theirs = {child_of(line): line for line in part if child_of(line)}
    others = iter([line for line in part if not child_of(line)])
    written: list[Line] = []
    for line in whole:
        child = child_of(line)
        if child and child not in theirs:
            if child not in optional or line.kind != "set":
                return None
            written.append(replace(line, expression=Slot(child, True)))
            continue
        other = theirs[child] if child else next(others, None)
        if other is None or line.kind != other.kind or line.place != other.place:
            return None
        if line.expression is None or other.expression is None:
            return None
        node = in_common(line.expression, other.expression, child)
        if node is None:
            return None
        written.append(replace(line, expression=node))
    there = [child_of(line) for line in whole if child_of(line)]
    same_order = [name for name in there if name in theirs] == list(theirs)
    return written if next(others, None) is None and same_order else None
