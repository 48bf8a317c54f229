"""Fewer statements: what nobody reads is left out, and what is used once is put where it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trtnn.from_torch.forward.statements import Statement, Variable
from trtnn.from_torch.recording.steps import Step, storage_of, values_in
from trtnn.from_torch.source.expressions import Expression, Number, Ref, Text, text_of

_LONGEST = 92  # characters of a statement that takes in what another one computes


def without_unread(statements: list[Statement]) -> list[Statement]:
    """Return the statements without those that nobody reads; of what changes a tensor in place the call alone stays."""
    read: set[Variable] = set()
    kept = []
    for statement in reversed(statements):
        if statement.kind == "assign" and not any(target in read for target in statement.targets):
            if statement.step is None or statement.step.writes is None:
                continue
            statement.kind = "run"
        read.update(statement.reads())
        kept.append(statement)
    return kept[::-1]


def inlined(statements: list[Statement]) -> list[Statement]:
    """Return the statements with what is used once, and has no name of the author's, put where it is used."""
    statements = _without_numbers(statements)
    uses = Counter(variable for statement in statements for variable in statement.reads())
    changing = [
        i for i, statement in enumerate(statements)
        if statement.kind in ("augment", "set") or (statement.step is not None and statement.step.writes is not None)
    ]  # fmt: skip
    pending: dict[Variable, int] = {}  # what may be put into a later statement
    gone: set[int] = set()
    for i, statement in enumerate(statements):
        for variable in [v for v in dict.fromkeys(statement.reads()) if v in pending]:
            at = pending.pop(variable)
            if any(at < k < i for k in changing) or _changes_what_is_read(statements[at], statements[at + 1 : i]):
                continue
            if _takes_in(statement, variable, statements[at]):
                gone.add(at)
        if statement.kind == "assign" and not statement.unpacks and statement.targets[0] is not None:
            target = statement.targets[0]
            if not target.authors and uses[target] == 1:
                pending[target] = i
    return [statement for i, statement in enumerate(statements) if i not in gone]


def _without_numbers(statements: list[Statement]) -> list[Statement]:
    """Return the statements with numbers where they are used: graphs pass constant tensors on, which are such here."""
    numbers: dict[Variable, Expression] = {}

    def number(node: Expression) -> Expression | None:
        return numbers.get(node.value) if isinstance(node, Ref) else None

    kept = []
    for statement in statements:
        statement.expression = statement.expression.map(number)
        statement.place = None if statement.place is None else statement.place.map(number)
        target = statement.targets[0] if statement.kind == "assign" and len(statement.targets) == 1 else None
        writes = statement.step is not None and statement.step.writes is not None
        if target is None or target.authors or writes or not isinstance(statement.expression, Number):
            kept.append(statement)
        else:
            numbers[target] = statement.expression
    return kept


def _changes_what_is_read(statement: Statement, between: Sequence[Statement]) -> bool:
    """Whether a statement changes memory in place that others read, which it would come behind."""
    changed = {storage_of(step.writes.tensor) for step in _steps_of(statement) if step.writes is not None}
    read = (value for other in between for step in _steps_of(other) for value in values_in((step.args, step.kwargs)))
    return bool(changed) and any(storage_of(value.tensor) in changed for value in read)


def _steps_of(statement: Statement) -> list[Step]:
    return statement.inlined if statement.step is None else [*statement.inlined, statement.step]


def _takes_in(statement: Statement, variable: Variable, source: Statement) -> bool:
    """Put what another statement computes in the place of a variable, and return whether there is room."""
    length = len(_rough(statement)) + len(_rough(source)) - 8
    if length > _LONGEST or (statement.place is not None and _reads(statement.place, variable)):
        return False
    tree = source.expression
    statement.expression = statement.expression.map(
        lambda node: tree if isinstance(node, Ref) and node.value is variable else None
    )
    statement.inlined += _steps_of(source)
    return True


def _reads(tree: Expression, variable: Variable) -> bool:
    return any(isinstance(node, Ref) and node.value is variable for node in tree.walk())


def _rough(statement: Statement) -> str:
    tree = statement.expression.map(lambda node: Text(node.value.preferred or "x") if isinstance(node, Ref) else None)
    names = ", ".join((t.preferred or "x") if t else "_" for t in statement.targets)
    return f"{names} = {text_of(tree)}"
