"""Tensors that leave or reach a module past its result and its arguments, by a hook or an attribute.

In source a module returns what others read of it, and is passed what it reads of others: also their weights, such as
those of a module that is an argument. So each module on the way returns such tensors behind its result, and takes them
as further arguments.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Sequence

from trtnn.from_torch.recording.steps import Scope, Step, Value, values_in
from trtnn.from_torch.recording.tape import Tape


def hand_on_what_is_read(tape: Tape) -> set[int]:
    """Let scopes return what others read of them, and take what they read of others.

    Returns:
        The ids of the modules that give or take more than their forward says.
    """
    bypasses = _Bypasses(tape)
    bypasses.find()
    return {id(scope.module) for scope in bypasses.scopes if id(scope) in bypasses.returned or scope.brought}


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
        self.there[id(scope)] = {id(v) for v in values_in((scope.arguments, scope.brought))}
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
                self._reach(scope, value)

    def _reach(self, scope: Scope, value: Value) -> None:
        """Make a value one that a scope can name, if another scope made it, or holds it among its weights."""
        held = self.held.get(id(value.tensor))
        made_in = self.owners.get(id(value.step)) if value.step is not None else None
        if self._can_name(scope, value) or (made_in is None and not held):
            return
        inward: list[Step] = []  # the calls on the way from the scope that both are in
        around: Scope | None = scope
        while around is not None:
            if made_in is not None and not held:
                self._bring(around, value, made_in)
            if self._can_name(around, value):
                break
            step = self.calls.get(id(around))
            if step is None:
                return
            inward.append(step)
            around = self.owners[id(step)]
        for step in reversed(inward):
            self._pass(step, value, held)

    def _can_name(self, scope: Scope, value: Value) -> bool:
        if id(value) in self.there[id(scope)]:
            return True
        prefix = f"{scope.path}." if scope.path else ""
        return any(name.startswith(prefix) for name in self.held.get(id(value.tensor), ()))

    def _bring(self, scope: Scope, value: Value, made_in: Scope) -> None:
        """Let the scopes between return a value, if one of those within a scope made it."""
        if id(value) in self.there[id(scope)]:
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
        self._bring(inner, value, made_in)
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

    def _pass(self, step: Step, value: Value, held: Sequence[str] | None) -> None:
        """Let a call take a value as a further argument."""
        scope = step.scope
        assert scope is not None
        try:
            declared = set(inspect.signature(scope.module.forward).parameters)
        except (TypeError, ValueError):
            declared = set()
        taken = declared | {str(name) for name in scope.arguments} | scope.brought.keys() | step.kwargs.keys()
        name = _wanted_name(scope, value, held)
        while name in taken:
            name = f"{name}_"
        scope.brought[name] = value
        step.kwargs = {**step.kwargs, name: value}
        self.there[id(scope)].add(id(value))


def _wanted_name(scope: Scope, value: Value, held: Sequence[str] | None) -> str:
    """Return what to call a tensor that is passed: by its place in its module, or as its author does."""
    if held:
        names = ["_".join(held[0].split(".")[-2:])]
    else:
        names = [name for step in scope.steps for name in step.names.get(id(value), ())]
        stored = value.step.stored if value.step is not None else None
        names += [stored] if isinstance(stored, str) else []
    return next((name for name in names if name.isidentifier() and not keyword.iskeyword(name)), "given")
