"""Tensors that leave a module past its result: kept by a hook or an attribute, and read by a module around it.

In source a module returns what others read of it. So each module on the way returns such tensors behind its result.
"""

from __future__ import annotations

from trtnn.from_torch.recording.steps import Scope, Step, Value, values_in
from trtnn.from_torch.recording.tape import Tape


def return_what_is_read(tape: Tape) -> set[int]:
    """Let scopes return what scopes around them read, and steps of theirs give it; return the ids of their modules."""
    bypasses = _Bypasses(tape)
    bypasses.find()
    return {id(scope.module) for scope in bypasses.scopes if id(scope) in bypasses.returned}


class _Bypasses:
    def __init__(self, tape: Tape) -> None:
        self.held = tape.held
        self.calls: dict[int, Step] = {}  # of each scope the step that called it
        self.owners: dict[int, Scope] = {}  # of each step the scope that it is in
        self.scopes: list[Scope] = []
        self.there: dict[int, set[int]] = {}  # of each scope the values that its source can name
        self.returned: set[int] = set()  # the scopes that return more than their result
        assert tape.root is not None
        self._walk(tape.root)

    def _walk(self, scope: Scope) -> None:
        self.scopes.append(scope)
        self.there[id(scope)] = {id(v) for v in values_in(scope.arguments)}
        for step in scope.steps:
            self.owners[id(step)] = scope
            self.there[id(scope)] |= {id(v) for v in values_in(step.result)}
            if step.scope is not None:
                self.calls[id(step.scope)] = step
                self._walk(step.scope)

    def find(self) -> None:
        for scope in self.scopes:
            read = [v for step in scope.steps for v in values_in((step.args, step.kwargs))]
            for value in dict.fromkeys([*read, *values_in(scope.result)]):
                self._bring(scope, value)

    def _bring(self, scope: Scope, value: Value) -> None:
        """Make a value one that a scope can name, if a scope within it made it."""
        made_in = self.owners.get(id(value.step)) if value.step is not None else None
        if id(value) in self.there[id(scope)] or id(value.tensor) in self.held or made_in is None:
            return
        inner: Scope | None = made_in
        while inner is not None:
            step = self.calls.get(id(inner))
            if step is None:
                return
            if self.owners[id(step)] is scope:
                break
            inner = self.owners[id(step)]
        else:
            return
        self._bring(inner, value)
        if id(value) not in self.there[id(inner)]:
            return
        if id(inner) in self.returned:
            inner.result, step.result = (*inner.result, value), (*step.result, value)
            step.stored = [*step.stored, None] if isinstance(step.stored, list) else step.stored
        else:
            inner.result, step.result = (inner.result, value), (step.result, value)
            step.stored = [step.stored, None] if isinstance(step.stored, str) else None
            self.returned.add(id(inner))
        self.there[id(scope)].add(id(value))
