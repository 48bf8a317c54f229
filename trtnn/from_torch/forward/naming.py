"""The names of variables: the author's, so that none is bound anew while it is still read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from trtnn.from_torch.forward.parameters import Parameter
from trtnn.from_torch.forward.statements import Statement, Variable
from trtnn.from_torch.recording.steps import Step
from trtnn.from_torch.source.expressions import Expression, Ref
from trtnn.from_torch.source.names import free_name, is_name

_AMBIGUOUS = ("l", "I", "O")  # which look like 1 and 0: linters refuse them
_RESERVED = frozenset(("self", "F", "trtnn", "_", "super", "range"))


def with_aliases(statements: list[Statement], identities: Mapping[Variable, int]) -> list[Statement]:
    """Return the statements with ``identity = x`` where the author has two names for one value and reads the second.

    A second name that the next statement alone reads, such as that of a function's argument, is not worth a line.

    Args:
        statements: those of a forward.
        identities: of each Variable the id of its value.
    """
    return _Aliases(statements, identities).written


class _Aliases:
    def __init__(self, statements: list[Statement], identities: Mapping[Variable, int]) -> None:
        self.identities = identities
        self.named_at: dict[tuple[int, str], int] = {}  # where the author first had a name for a value
        self.made_at: dict[Variable, int] = {}
        for i, statement in enumerate(statements):
            self.made_at.update({target: i for target in statement.targets if target is not None})
            if statement.step is not None and statement.step.own:
                for identity, names in statement.step.names.items():
                    for name in names:
                        self.named_at.setdefault((identity, name), i)
        self.copies: dict[tuple[Variable, str], Variable] = {}
        self.added: dict[int, list[Statement]] = {}
        for i, statement in enumerate(statements):
            step = statement.step
            if step is not None and step.own and statement.kind in ("assign", "augment", "set"):
                statement.expression = statement.expression.map(
                    lambda node, i=i, step=step: self._alias(node, step, i)  # type: ignore[misc]
                )
        self._drop_passing(statements)
        self.written = [s for i, statement in enumerate(statements) for s in (*self.added.get(i, ()), statement)]

    def _alias(self, node: Expression, step: Step, i: int) -> Expression | None:
        """Return the variable of another name that a line reads instead of one, or None."""
        identity = self.identities.get(node.value) if isinstance(node, Ref) else None
        if identity is None or not isinstance(node, Ref):
            return None
        variable: Variable = node.value
        read = [name for name in step.names.get(identity, ()) if name in step.reads and name != "self"]
        if variable.preferred in read or len(read) != 1 or not variable.authors:
            return None
        (name,) = read
        if (variable, name) not in self.copies:
            copy = self.copies[variable, name] = Variable(name, True)
            at = max(self.named_at.get((identity, name), i), self.made_at.get(variable, -1) + 1)
            self.added.setdefault(at, []).append(Statement("assign", [copy], Ref(variable), None))
        return Ref(self.copies[variable, name])

    def _drop_passing(self, statements: list[Statement]) -> None:
        """Read the first name where a second one would be given for the next statement alone."""
        readers = Counter(variable for statement in statements for variable in set(statement.reads()))
        given = {
            s.targets[0]: statements[at] for at, added in self.added.items() for s in added if at < len(statements)
        }
        passing = {
            copy: variable
            for (variable, _), copy in self.copies.items()
            if readers[copy] == 1 and copy in given and copy in set(given[copy].reads())
        }

        def first(node: Expression) -> Expression | None:
            return Ref(passing[node.value]) if isinstance(node, Ref) and node.value in passing else None

        for statement in statements if passing else ():
            statement.expression = statement.expression.map(first)
        for added in self.added.values():
            added[:] = [statement for statement in added if statement.targets[0] not in passing]


def name_variables(statements: Sequence[Statement], parameters: Sequence[Parameter]) -> None:
    """Give every Variable of a forward its name; targets that nobody reads become None."""
    last: dict[Variable, int] = {}  # where each is read last
    for i, statement in enumerate(statements):
        for variable in statement.reads():
            last[variable] = i
    bound: dict[str, Variable] = {}
    for parameter in parameters:
        parameter.variable.name = parameter.name
        bound[parameter.name] = parameter.variable

    def is_read_after(name: str, i: int, target: Variable) -> bool:
        return name in bound and last.get(bound[name], -1) > i and bound[name] is not target

    for i, statement in enumerate(statements):
        if statement.kind != "assign":
            continue
        if statement.unpacks:
            statement.targets = [t if t is not None and t in last else None for t in statement.targets]
        for target in statement.targets:
            if target is None:
                continue
            ending = [v for v in statement.reads() if last.get(v) == i and v.name and not v.is_length]
            wanted = _wanted_name(target, ending)
            target.name = free_name(wanted, lambda name, i=i, target=target: is_read_after(name, i, target))
            bound[target.name] = target


def _wanted_name(target: Variable, ending: Sequence[Variable]) -> str:
    """Return the author's name; where there is none, that of the first value which is read here for the last time."""
    wanted = target.preferred
    if wanted is None or not is_name(wanted) or wanted in _RESERVED:
        return ending[0].name if ending else "x"
    return f"{wanted}_" if wanted in _AMBIGUOUS else wanted
