"""Which steps of a forward are written: what is needed for its result, from the last step to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn.from_torch.operations.converters import augmented_sign
from trtnn.from_torch.recording.lengths import Real, Whole, plain
from trtnn.from_torch.recording.steps import (
    Guard,
    Scope,
    Step,
    Value,
    calls_of,
    numbers_in,
    storage_of,
    tensors_of,
    values_in,
    with_operands,
)


class Plan:
    """What is written of a forward.

    Args:
        scope: the forward.
        guards: its comparisons of lengths.
        is_folded: whether a value becomes a Buffer, so that what made it is not needed.

    Attributes:
        needed: the positions of the steps.
        changes: of each ``x[i] += y``, by the number of the step that puts the part back, the step that changed it.
        names: at which positions lengths get a name of the author's.
    """

    def __init__(self, scope: Scope, guards: Sequence[Guard], is_folded: Callable[[Value], bool]) -> None:
        self._scope, self._guards, self._is_folded = scope, guards, is_folded
        self.needed = self._needed()
        self.changes: dict[int, Step] = {}
        self._absorbed: set[int] = set()  # the numbers of the steps that are a part of such a change
        self._find_changes()
        self.names: dict[int, list[tuple[Whole | Real, str]]] = {}
        self._find_names()

    def writes(self, position: int) -> bool:
        """Whether the step at a position is written."""
        return position in self.needed and self._scope.steps[position].number not in self._absorbed

    def _needed(self) -> set[int]:
        steps, result = self._scope.steps, self._scope.result
        wanted = {id(value) for value in values_in(result)}
        memory = {storage_of(value.tensor) for value in values_in(result)}  # that is read later
        compared = [number for guard in self._guards for number in (guard.left, guard.right)]
        wanted |= {id(value) for number in (*numbers_in(result), *compared) for value in tensors_of(number)}
        needed: set[int] = set()
        calls = calls_of(result)  # whose results hold numbers that are used later
        for i in range(len(steps) - 1, -1, -1):
            step = steps[i]
            arguments = (step.args, step.kwargs)
            makes = any(id(value) in wanted and not self._is_folded(value) for value in values_in(step.result))
            makes = makes or step.number in calls
            calls |= calls_of(arguments)
            writes = step.writes is not None and storage_of(step.writes.tensor) in memory
            if not makes and not writes:
                continue
            if step.writes is not None and not step.writes.depends and self._is_folded(step.writes):
                continue
            needed.add(i)
            for value in values_in(arguments):
                wanted.add(id(value))
                memory.add(storage_of(value.tensor))
            wanted |= {id(value) for number in numbers_in(arguments) for value in tensors_of(number)}
        return needed

    def _find_changes(self) -> None:
        """Find each ``x[i] += y``, which is recorded as a part taken, changed, and put back."""
        for i, step in enumerate(self._scope.steps):
            if step.name != "__setitem__" or i < 2 or not isinstance(step.args[2], Value):
                continue
            changed, taken = self._scope.steps[i - 1], step.args[2].step
            if augmented_sign(changed) is None or changed.writes is not step.args[2] or taken is None:
                continue
            if taken.name == "__getitem__" and _same_items(taken.args, step.args):
                self._absorbed |= {taken.number, changed.number}
                self.changes[step.number] = changed

    def _find_names(self) -> None:
        """Find where to write ``name = length``, for lengths with a name of the author's."""
        steps = self._scope.steps
        read: list[Any] = [(steps[i].args, steps[i].kwargs) for i in self.needed] + [self._scope.result]
        read += [(guard.left, guard.right) for guard in self._guards]
        wanted = {id(inner): inner for part in read for number in numbers_in(part) for inner in with_operands(number)}
        done: set[int] = set()
        for i, step in enumerate(steps):
            if step.kind == "lengths":
                if any(id(number) in wanted for number in step.result) and len(step.stored) == len(step.result):
                    self.needed.add(i)
                    done.update(map(id, step.result))
                continue
            for identity, names in step.names.items() if step.own else ():
                if identity in wanted and identity not in done:
                    done.add(identity)
                    self.names.setdefault(i, []).append((wanted[identity], names[0]))


def _same_items(first: Any, second: Any) -> bool:
    """Whether two calls are of the same part of the same tensor."""
    return first[0] is second[0] and (first[1] is second[1] or _frozen(first[1]) == _frozen(second[1]))


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, slice):
        return ("slice", *map(_frozen, (value.start, value.stop, value.step)))
    return ("value", id(value)) if isinstance(value, Value) else (type(value).__name__, plain(value))
