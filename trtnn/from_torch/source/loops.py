"""What repeats in a forward: lines that do the same for one module of a container after another are a loop."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from trtnn.from_torch.source.expressions import Attribute, Call, Expression, Member, Text, text_of
from trtnn.from_torch.source.lines import Line

_LONGEST = 12  # lines of a loop


def rolled(lines: list[Line]) -> list[Line]:
    """Return the lines with repeats over a container's modules as loops."""
    members = [[node for node in line.walk() if isinstance(node, Member)] for line in lines]
    written: list[Line] = []
    i = 0
    while i < len(lines):
        line, length = _loop_at(lines, members, i) or (lines[i], 1)
        written.append(line)
        i += length
    return written


def _loop_at(lines: list[Line], members: list[list[Member]], start: int) -> tuple[Line, int] | None:
    """Return the shortest loop that begins at a line, and how many lines it stands for; None where none does.

    Args:
        lines: those of a forward.
        members: of each line the modules of containers that it uses.
        start: the place of the line.
    """
    for period in range(1, _LONGEST + 1) if members[start] else ():
        block = _Block.of(lines[start : start + period], members[start : start + period], period)
        count = block.count(lines, start) if block is not None else 1
        loop = block.loop(count) if block is not None and count > 1 else None
        if loop is not None:
            return loop, count * period
    return None


class _Block:
    """Lines that use modules of containers, each container once: what a loop may do for one place after another.

    Attributes:
        lines: those for the first place.
        members: the modules that they use.
    """

    def __init__(self, lines: list[Line], members: list[Member]) -> None:
        self.lines, self.members = lines, members

    @classmethod
    def of(cls, lines: list[Line], members: Iterable[list[Member]], period: int) -> _Block | None:
        """Return a block of as many lines as a period, or None where they are too few or can be no loop."""
        if len(lines) < period or any(line.kind in ("return", "for") for line in lines):
            return None
        used = list(dict.fromkeys(member for inside in members for member in inside))
        containers = {member.base for member in used}
        within = any(isinstance(part, Member) for container in containers for part in container.walk())
        return None if len(containers) != len(used) or within else cls(lines, used)

    def count(self, lines: list[Line], start: int) -> int:
        """Return how often the block stands one behind another, each time for the next modules."""
        count, period = 1, len(self.lines)
        while True:
            following = lines[start + count * period : start + (count + 1) * period]
            if len(following) < period or self._moved(count) != following:
                return count
            count += 1

    def _moved(self, by: int) -> list[Line] | None:
        """Return the lines for the modules ``by`` places further, or None where there are none."""
        if any(member.position + by >= member.total for member in self.members):
            return None

        def change(node: Expression) -> Expression | None:
            if not isinstance(node, Member) or node not in self.members:
                return None
            key = str(node.position + by)
            if node.key[0] == '"':
                stem = node.key[1:-1].rstrip("0123456789")
                digits = node.key[1 + len(stem) : -1]
                key = f'"{stem}{int(digits) + by}"' if digits else node.key
            return Member(node.base, key, node.position + by, node.total)

        return [line.map(change) for line in self.lines]

    def loop(self, count: int) -> Line | None:
        """Return the block as a loop over so many places, or None where the containers are not gone through alike."""
        first, total = self.members[0].position, self.members[0].total
        if any(member.position != first or member.total != total for member in self.members):
            return None
        whole = first == 0 and count == total
        if not whole and any(member.key[0] == '"' for member in self.members):
            return None  # a dict has no slices
        end = "" if first + count == total else str(first + count)
        sources: list[Expression] = []
        for member in self.members:
            if member.key[0] == '"':
                sources.append(Call(Attribute(member.base, "values"), ()))
            else:
                sources.append(member.base if whole else Text(f"{text_of(member.base)}[{first or ''}:{end}]"))
        variables = self._variables()
        names = {member: Text(variable) for member, variable in zip(self.members, variables, strict=True)}

        def variable(node: Expression) -> Expression | None:
            return names.get(node) if isinstance(node, Member) else None

        body = tuple(line.map(variable) for line in self.lines)
        return Line("for", tuple(variables), containers=tuple(sources), body=body, steps=self.lines[0].steps)

    def _variables(self) -> list[str]:
        """Return a name for the module of each container: the container's in the singular."""
        taken = {target for line in self.lines for target in line.targets}
        taken |= {node.text for line in self.lines for node in line.walk() if isinstance(node, Text)}
        names: list[str] = []
        for member in self.members:
            base = member.base
            plural = base.name if isinstance(base, Attribute) else "layers"
            name = plural[:-1] if plural.endswith("s") and len(plural) > 2 else "layer"
            while name in taken or name in names or keyword.iskeyword(name):
                name += "_"
            names.append(name)
        return names
