"""One recorded call and the source that is written of it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Set
from types import CodeType
from typing import Any

from torch import nn

from trtnn.errors import ArgumentError, UnsupportedError, where
from trtnn.from_torch.changes import State
from trtnn.from_torch.classes.classes import Classes
from trtnn.from_torch.classes.groups import class_name
from trtnn.from_torch.example import Example
from trtnn.from_torch.forward.constants import Constants
from trtnn.from_torch.operations.constructors import is_leaf
from trtnn.from_torch.recording.builtin_calls import forget_results, watched_builtins
from trtnn.from_torch.recording.frames import is_users
from trtnn.from_torch.recording.lengths import plain
from trtnn.from_torch.recording.record import record
from trtnn.from_torch.recording.refusals import refused
from trtnn.from_torch.recording.steps import Guard, Scope, Step, Value, values_in
from trtnn.from_torch.recording.tape import Tape
from trtnn.from_torch.write import Source


class Transcript:
    """A torch module, what it did when it was called with an example, and the source of that.

    Args:
        module: the torch module.
        example: what it is called with.
        name: the name of its class in the source.
        folded: the numbers of steps whose results are Buffers, though source could say how they come about.
        told: is called with each stage as it begins.

    Attributes:
        tape: what was recorded.
        result: what the module returned.
        classes: the classes that are written.
        constants: the numbers of Buffers that torch's module has not.
        source: the text.

    Raises:
        ArgumentError: torch's own forward raised an error.
        UnsupportedError: the module does what no network can, or what trtnn has not.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Example,
        name: str,
        folded: Set[int] = frozenset(),
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.module, self.example, self.name, self._told = module, example, name, told
        self.constants = Constants(forced={*folded})
        self._record()
        self.write()

    def _record(self) -> None:
        """Call the module, and keep what it does: of several calls the last.

        What the first call makes, such as a cache, is there in the second. Code that calls ``int`` or ``float`` with
        a length is seen as it does, and keeps the length from the next call on. Where a length was the key of a
        cache, there is another call without what was in it.
        """
        self._told("recording one call")
        type_callers: dict[CodeType, dict[str, Any]] = {}
        changes, is_second, has_forgotten = [], False, False
        while True:
            state, self.tape = State(self.module), Tape(self.module)
            args, kwargs = self.example.copied()
            try:
                with watched_builtins(type_callers):
                    self.result = record(self.tape, is_leaf, args, kwargs)
            except Exception as error:
                raise self._torch_failed(error) from error
            finally:
                if self.tape.has_hashed:
                    forget_results()
            changes = state.changes(self.tape.has_read)
            callers, has_hashed = self.tape.type_callers, self.tape.has_hashed
            if callers.keys() <= type_callers.keys() and (has_forgotten or not has_hashed):
                if is_second or not changes:
                    break
                is_second = True
            type_callers |= callers
            has_forgotten = has_forgotten or has_hashed
        if changes:
            raise UnsupportedError(
                f"{type(self.module).__name__} changes itself in forward, and an engine stays as it is",
                *changes[:10],
                "give what it keeps from call to call as an input and an output",
            )
        if self.tape.refusals:
            raise refused(self.tape, self.tape.refusals, "does what no network can")
        assert self.tape.root is not None
        self.example.find_inputs(self.tape.root)

    def _torch_failed(self, error: Exception) -> Exception:
        """Return what to raise for an error of the user's forward; errors of what was refused before come after it."""
        if self.tape.refusals:
            return refused(self.tape, self.tape.refusals, "does what no network can")
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
        lines = [f"  {frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-1:]]
        branches = re.search(r"no rule registered for HigherOrderOperator (\w+)", str(error))
        if branches:
            return UnsupportedError(
                f"{type(self.module).__name__} does what no network can",
                f"torch.{branches[1]}: in {where(self.tape.failed)}: which way it goes is known only when it runs",
                *lines,
            )
        return ArgumentError(
            f"torch's own forward raised {type(error).__name__}: {error}",
            f"in {where(self.tape.failed)}, with {self.example}",
            *lines,
        )

    def write(self) -> None:
        """Write the source, anew where more is to be folded."""
        self._told("writing the source")
        self.constants.tensors.clear()
        self.constants.of_parameters.clear()
        self.classes = Classes(self.tape, self.constants, self.name).build()
        if self.classes.refusals:
            raise refused(self.tape, self.classes.refusals, self.classes.summary)
        self.source = Source(self.classes.groups, self.example.declarations(self.input_names()), self.header())

    def may_fold(self, step: Step, dynamic: bool) -> bool:
        """Whether what a step gives may be a Buffer: it is of constants, and it can be told of which lengths.

        Args:
            step: it was refused as it is.
            dynamic: whether lengths of the inputs are known only when the network runs.
        """
        values = _given(step)
        if not values or any(value.depends for value in values) or step.number in self.constants.forced:
            return False
        folding = self.classes.bodies[id(self._scope_of(step))].folding
        return not dynamic or not any(map(folding.is_passed, values))

    def fold(self, step: Step, dynamic: bool) -> None:
        """Let what a step gives be a Buffer, and write the source anew.

        The Buffer is right for these lengths alone, which are asserted where those of the inputs are dynamic.
        """
        scope = self._scope_of(step)
        if dynamic:
            folding = self.classes.bodies[id(scope)].folding
            position = next(i for i, own in enumerate(scope.steps) if own is step)
            for number in {id(n): n for value in _given(step) for n in folding.lengths_of(value)}.values():
                guard = Guard("==", number, plain(number), True, scope, step.place, position, required=True)
                self.tape.guards.append(guard)
        self.constants.forced.add(step.number)
        self.write()

    def _scope_of(self, step: Step) -> Scope:
        """Return the forward that a step is of."""
        scopes = (scope for those in self.tape.scopes.values() for scope in those)
        return next(scope for scope in (self.tape.root, *scopes) if scope and any(step is own for own in scope.steps))

    def header(self) -> str:
        """Return the first line of the source."""
        return f"{self.name}, converted from {class_name(self.module)}."

    def input_names(self) -> list[str]:
        """Return the names of the inputs."""
        return [parameter.name for parameter in self.classes.bodies[id(self.tape.root)].parameters]

    def shapes(self) -> list[tuple[Any, ...]]:
        """Return the inputs' shapes, with Dims for what is dynamic."""
        return self.example.shapes(self.input_names())


def _given(step: Step) -> list[Value]:
    """Return the tensors that a step gives or changes."""
    return [*values_in(step.result), *([step.writes] if step.writes is not None else [])]
