"""One recorded call and the source that is written of it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Set
from types import CodeType
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError, TrtnnError, UnsupportedError, where
from trtnn.from_torch.changes import Numbers, State, forget_lengths
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
from trtnn.from_torch.recording.steps import Guard, Scope, Step, Value, tensors_in, values_in
from trtnn.from_torch.recording.tape import Tape
from trtnn.from_torch.recording.tracing import answered_questions
from trtnn.from_torch.recording.unfolding import unfold
from trtnn.from_torch.write import Source
from trtnn.shapes.symbolic import Size


class Transcript:
    """A torch module, what it did when it was called with an example, and the source of that.

    Args:
        module: the torch module.
        example: what it is called with.
        name: the name of its class in the source.
        folded: the numbers of steps whose results are Buffers, though source could say how they come about.
        first: what the module kept before the first of several transcripts.
        told: is called with each stage as it begins.

    Attributes:
        tape: what was recorded.
        result: what the module returned.
        first: what the module kept before its first call, where what it keeps is computed anew.
        kept: the names of what calls have put into attributes, and the last one reads.
        told_traced: the code of functions that are told that a graph is made of them, which then go another way.
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
        first: State | None = None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.module, self.example, self.name, self._told = module, example, name, told
        self.constants = Constants(forced={*folded})
        self.first = first
        self.told_traced: set[CodeType] = set()
        self._plain_callers: dict[CodeType, dict[str, Any]] = {}
        state, numbers = State(module), Numbers(module)
        try:
            self._record(state)
        except BaseException:
            state.undo()
            numbers.put_back()
            raise
        del numbers  # as many as the buffers have
        self.write()

    def _record(self, first: State) -> None:
        """Call the module, and keep what it does: of several calls the last.

        What the first call makes, such as a cache, is there in the second. Code that calls ``int`` or ``float`` with
        a length, or ``len`` with a tensor, is seen as it does, and keeps the length from the next call on. Where a
        length was the key of a cache, there is another call without what was in it. Functions that did what no network
        can, and asked whether a graph is made of them, are told so from the next call on.

        Args:
            first: what the module kept before.
        """
        self._told("recording one call")
        is_second, has_forgotten, has_kept = False, False, self.first is not None
        while True:
            state = State(self.module)
            self._call()
            changes = state.changes(self.tape.has_read)
            callers, has_hashed = self.tape.plain_callers, self.tape.has_hashed
            has_kept = has_kept or bool(changes)
            go_another_way = self.tape.askers & {refusal.code for refusal in self.tape.refusals}
            is_known = callers.keys() <= self._plain_callers.keys() and not go_another_way
            if is_known and (has_forgotten or not has_hashed):
                if is_second or not changes:
                    break
                is_second = True
            self._plain_callers |= callers
            self.told_traced |= go_another_way
            has_forgotten = has_forgotten or has_hashed
        self.kept = first.names()
        if has_kept and not changes:
            self.first = self._compute_anew(self.first or first, state.read(self.tape.has_read))
        if changes:
            raise UnsupportedError(
                f"{type(self.module).__name__} changes itself in forward, and an engine stays as it is",
                *changes[:10],
                "give what it keeps from call to call as an input and an output",
            )
        if self.tape.refusals:
            raise refused(self.tape, self.tape.refusals, "does what no network can")

    def _call(self) -> None:
        """Call the module once, and record it."""
        self._refuse_objects()
        self.tape = Tape(self.module, is_dynamic=self.example.dynamic is not None)
        args, kwargs = self.example.copied()
        try:
            with watched_builtins(self._plain_callers), answered_questions(self.told_traced, self.tape.askers):
                self.result = record(self.tape, is_leaf, args, kwargs)
        except Exception as error:
            raise self._torch_failed(error) from error
        finally:
            if self.tape.has_hashed:
                forget_results()
            forget_lengths(self.module)
        self._refuse_objects()  # an empty one is full now
        self.tape.free_memory()  # what the forward had until its end
        assert self.tape.root is not None
        self.example.find_inputs(self.tape.root)

    def _refuse_objects(self) -> None:
        """Refuse arguments of which the tensors would be constants, where the next call has others."""
        for name, held in self.example.objects_with_tensors():
            raise UnsupportedError(
                f"{type(self.module).__name__} keeps tensors in an object that it is called with",
                f"{name} is a {type(held).__name__}: its tensors are no inputs, and would be constants",
                "leave it out; tensors in tuples, lists, dicts and dataclasses are inputs",
            )

    def _compute_anew(self, first: State, read: Set[str]) -> State | None:
        """Record a call without what calls before have put into attributes, such as tables for some lengths.

        Where it returns the same, and keeps nothing of the inputs that is read again, that is what the module does:
        what it keeps is computed in the source, of whatever lengths.

        Args:
            first: what the module kept before.
            read: the names of the tensors that the next call reads.

        Returns:
            ``first``, or None where what the module keeps has to stay, and with it the call that was recorded last.
        """
        if not first.may_return():
            return None
        last, tape, result = State(self.module), self.tape, self.result
        first.put_back()
        try:
            self._call()
            kept = [self.tape.depends(tensor) for tensor in first.kept(read)]
            refused = len(self.tape.refusals) > len(tape.refusals)
            if not any(kept) and not refused and _are_same(result, self.result):
                self.tape.forget_guards_of(first.replaced())
                return first
        except ArgumentError:  # torch's own, in making what is there already
            pass
        last.put_back()
        self.tape, self.result = tape, result
        return None

    def _torch_failed(self, error: Exception) -> Exception:
        """Return what to raise for an error of the user's forward; errors of what was refused before come after it."""
        if self.tape.refusals:
            return refused(self.tape, self.tape.refusals, "does what no network can")
        if isinstance(error, TrtnnError):  # a part that nothing can be made of
            return error
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
            *(
                f"{code.co_name} decides by numbers, and was told that a graph is made of it, as torch.export tells"
                for code in self.told_traced
            ),
        )

    def write(self) -> None:
        """Write the source, anew where more is to be folded."""
        self._told("writing the source")
        self._build()
        if self.is_dynamic and self._assert_lengths():
            self._build()
        self.source = Source(self.classes.groups, self.example.declarations(self.input_names()), self.header())

    def _build(self) -> None:
        while True:
            self.constants.tensors.clear()
            self.constants.of_parameters.clear()
            self.classes = Classes(self.tape, self.constants, self.name).build()
            if self.classes.refusals:
                raise refused(self.tape, self.classes.refusals, "takes what is not there")
            if not self.classes.several:
                return
            unfold(self.tape, self.classes.several)

    @property
    def is_dynamic(self) -> bool:
        """Whether any length of the inputs is known only when the network runs."""
        return any(isinstance(length, Size) for shape in self.shapes() for length in shape)

    def _assert_lengths(self) -> bool:
        """Assert the lengths that Buffers are made of and alone are right for; return whether there are new ones."""
        asserted = {id(guard.left) for guard in self.tape.guards if guard.required}
        before = len(asserted)
        for scope in (scope for scopes in self.tape.scopes.values() for scope in scopes):
            body = self.classes.bodies.get(id(scope))
            for step, numbers in body.folding.of_lengths() if body is not None else ():
                position = next(i for i, own in enumerate(scope.steps) if own is step)
                for number in numbers:
                    if id(number) not in asserted:
                        asserted.add(id(number))
                        guard = Guard("==", number, plain(number), True, scope, step.place, position, required=True)
                        self.tape.guards.append(guard)
        return len(asserted) > before

    def may_fold(self, step: Step) -> bool:
        """Whether what a step gives may be a Buffer: it is of constants, and it can be told of which lengths."""
        values = _given(step)
        if not values or any(value.depends for value in values) or step.number in self.constants.forced:
            return False
        folding = self.classes.bodies[id(self._scope_of(step))].folding
        return not self.is_dynamic or not any(map(folding.is_passed, values))

    def fold(self, step: Step) -> None:
        """Let what a step gives be a Buffer, and write the source anew."""
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


def _are_same(result: Any, other: Any) -> bool:
    """Whether two calls gave the same numbers."""
    mine, yours = list(tensors_in(result)), list(tensors_in(other))
    return len(mine) == len(yours) and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, 0, 0, equal_nan=True)
        for a, b in zip(mine, yours, strict=True)
    )


def _given(step: Step) -> list[Value]:
    """Return the tensors that a step gives or changes."""
    return [*values_in(step.result), *([step.writes] if step.writes is not None else [])]
