"""Modules whose calls no one forward can hold: what they did stands in the forward around each call."""

from __future__ import annotations

from collections.abc import Collection

from trtnn.from_torch.recording.steps import Guard, Scope, Step, Value, numbers_in
from trtnn.from_torch.recording.tape import Tape


def unfold(tape: Tape, modules: Collection[int]) -> None:
    """Put the steps of all calls of some modules in the places of these calls.

    Args:
        tape: the recorded call, of which no source is kept.
        modules: the ids of the modules, of which the model is none.
    """
    assert tape.root is not None
    guards: dict[int, list[Guard]] = {}
    for guard in tape.guards:
        guards.setdefault(id(guard.scope), []).append(guard)
    _unfold(tape.root, modules, guards)
    tape.guards = [guard for those in guards.values() for guard in those]
    for identity in modules:
        del tape.scopes[identity]


def _unfold(scope: Scope, modules: Collection[int], guards: dict[int, list[Guard]]) -> None:
    steps: list[Step] = []
    places: list[int] = []  # where each of the steps that were is now
    taken: list[Guard] = []
    for step in scope.steps:
        places.append(len(steps))
        inner = step.scope
        if inner is None:
            steps.append(step)
            continue
        _unfold(inner, modules, guards)
        if id(inner.module) not in modules:
            steps.append(step)
            continue
        for number in numbers_in((inner.arguments, step.result)):
            if number.origin.outside is not None:
                number.origin = number.origin.outside.origin
        for guard in guards.pop(id(inner), ()):
            taken.append(guard._replace(scope=scope, position=len(steps) + guard.position, attributes=()))
        for own in inner.steps:
            own.attributes = ()  # of another self
        if isinstance(step.stored, str) and inner.steps and isinstance(step.result, Value):
            last = inner.steps[-1]
            if last.result is step.result:
                last.stored = step.stored
        steps += inner.steps
    places.append(len(steps))
    kept = [guard._replace(position=places[guard.position]) for guard in guards.get(id(scope), ())]
    if kept or taken:
        guards[id(scope)] = sorted([*kept, *taken], key=lambda guard: guard.position)
    scope.steps = steps
