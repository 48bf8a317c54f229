"""Instances of one torch class that differ in children, or in lines that a child or an attribute decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trtnn.from_torch.classes.common import in_common
from trtnn.from_torch.classes.groups import Draft, called_child, child_of, without_numbers
from trtnn.from_torch.forward.attributes import names_in
from trtnn.from_torch.source.expressions import Number, Slot, Text
from trtnn.from_torch.source.lines import Line


def merged(whole: Draft, part: Draft, with_it: Sequence[Draft], without: Sequence[Draft]) -> Draft | None:
    """Return what two instances have in common, with Slots for the children that differ; None where that is not all.

    What the first does more is to call children that the second has not, or what an attribute of both, a truth, says.
    What the second does more is to give a value another name, which the first has another value for before it is read.

    Args:
        whole, part: the two.
        with_it, without: all that are as the one and as the other.
    """
    called = part.lines is not None
    if whole.base != part.base or (called and whole.parameters != part.parameters) or (called and whole.lines is None):
        return None
    if any(line.optional or line.flag for line in part.lines or ()):
        return None
    return _Merging(whole, part, with_it, without).draft()


class _Merging:
    def __init__(self, whole: Draft, part: Draft, with_it: Sequence[Draft], without: Sequence[Draft]) -> None:
        self.whole, self.part, self.with_it, self.without = whole, part, with_it, without
        self.children = {*map(child_of, part.init)}  # that the part has

    def draft(self) -> Draft | None:
        """Return what both have in common, or None."""
        lines = self.whole.lines
        if lines is not None and self.part.lines is not None:
            lines = self._lines(lines, self.part.lines)
            if lines is None:
                return None
        init = self._init({line.optional for line in lines or ()})
        return None if init is None else replace(self.whole, init=init, lines=lines)

    # -- forward ------------------------------------------------------------------------------------------------------

    def _lines(self, whole: list[Line], part: list[Line]) -> list[Line] | None:
        """Return the lines of both, each with what decides it; None where nothing does."""
        lines: list[Line] = []
        mine = [without_numbers(line) for line in part]
        k = 0
        for i, line in enumerate(whole):
            bare = replace(without_numbers(line), optional="", flag="")
            while k < len(mine) and bare != mine[k] and _is_alias(part[k], whole[i:]):
                lines.append(part[k])
                k += 1
            if k < len(mine) and bare == mine[k]:
                if not self._is_decided_for_both(line):
                    return None
                lines.append(line)
                k += 1
                continue
            conditional = self._conditional(line)
            if conditional is None:
                return None
            lines.append(conditional)
        return None if k < len(mine) else lines

    def _is_decided_for_both(self, line: Line) -> bool:
        """Whether what decides a line, if anything does, lets the part have it too."""
        if line.flag and not _all_say(line.flag, self.without, True):
            return False
        return not line.optional or line.optional in self.children

    def _conditional(self, line: Line) -> Line | None:
        """Return a line that the whole alone has, with what says so; None where nothing does."""
        if line.flag:
            return line if _all_say(line.flag, self.without, False) else None
        if line.optional:
            return line if line.optional not in self.children else None
        if any(isinstance(node, Number) for node in line.walk()):
            return None
        child = called_child(line)
        if child is not None and child not in self.children:
            return replace(line, optional=child)
        if line.kind == "assign" and not line.unpacks and isinstance(line.expression, Text):
            return line if self._is_unread(line) else None  # another name
        flag = next((name for name in vars(self.part.module) if self._is_flag(name)), None)
        if flag is not None:
            return replace(line, flag=flag)
        child = self._deciding_child(line)
        return replace(line, optional=child) if child is not None else None

    def _is_unread(self, line: Line) -> bool:
        """Whether the part neither reads nor binds what a line binds."""
        lines = self.part.lines or ()
        texts = {node.text for other in lines for node in other.walk() if isinstance(node, Text)}
        targets = {target for other in lines for target in other.targets}
        return not {*line.targets} & (texts | targets)

    def _is_flag(self, name: str) -> bool:
        """Whether an attribute is true for all instances with a line, and false for all without."""
        named = not name.startswith("_") and name not in names_in(self.without[0].module)
        return named and _all_say(name, self.with_it, True) and _all_say(name, self.without, False)

    def _deciding_child(self, line: Line) -> str | None:
        """Return a child that all instances with a line have and none without it; best one whose result it reads."""
        inits = [{*map(child_of, draft.init)} for draft in self.with_it]
        others = [{*map(child_of, draft.init)} for draft in self.without]
        reads = {node.text for node in line.walk() if isinstance(node, Text)}
        chosen = None
        for other in self.whole.lines or ():
            child = other.optional or called_child(other)
            if child is None or any(child in init for init in others) or not all(child in init for init in inits):
                continue
            if reads & {*other.targets}:
                return child
            chosen = chosen or child
        return chosen

    # -- constructor --------------------------------------------------------------------------------------------------

    def _init(self, optional: set[str]) -> list[Line] | None:
        """Return the lines of both constructors, or None; a child that is optional may be missing in the part."""
        theirs = {child_of(line): line for line in self.part.init if child_of(line)}
        others = iter([line for line in self.part.init if not child_of(line)])
        written: list[Line] = []
        for line in self.whole.init:
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
        there = [child_of(line) for line in self.whole.init if child_of(line)]
        same_order = [name for name in there if name in theirs] == list(theirs)
        return written if next(others, None) is None and same_order else None


def _all_say(flag: str, drafts: Sequence[Draft], truth: bool) -> bool:
    return all(vars(draft.module).get(flag) is truth for draft in drafts)


def _is_alias(line: Line, following: list[Line]) -> bool:
    """Whether a line gives a value another name, which the lines that follow bind anew before they read it."""
    if line.kind != "assign" or line.unpacks or not isinstance(line.expression, Text):
        return False
    (name,) = line.targets
    for other in following:
        if any(node == Text(name) for node in other.walk()):
            return False
        if name in other.targets:
            return True
    return True
