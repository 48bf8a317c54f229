"""Constants of a forward: which are computed where they are used, and which become Buffers.

A Buffer holds what trtnn cannot compute, or only in many lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from trtnn.from_torch.forward.attributes import Weights, names_in
from trtnn.from_torch.forward.structures import structure
from trtnn.from_torch.operations.converters import Missing, convert
from trtnn.from_torch.recording.lengths import Real, Whole
from trtnn.from_torch.recording.memory import is_others
from trtnn.from_torch.recording.steps import Scope, Step, Value, numbers_in, storage_of, values_in, with_operands
from trtnn.from_torch.source.expressions import Expression, Number, Text
from trtnn.from_torch.source.names import free_name

_FEW = 4  # steps that make a constant and are written out


@dataclass
class Constants:
    """Tensors that are computed once and held in Buffers, by the module's path and the name there.

    Attributes:
        tensors: the numbers.
        of_parameters: those that depend on parameters, so that another checkpoint needs others.
        forced: the numbers of the steps that trtnn cannot run on constants, found by a trace.
    """

    tensors: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    of_parameters: set[tuple[str, str]] = field(default_factory=set)
    forced: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Making:
    """How a constant comes about: by which steps, of what, and whether source can say so."""

    steps: frozenset[int]
    of_parameters: bool
    of_lengths: bool  # or of constants that the forward was passed, which may be of lengths
    written: bool  # of what is of lengths also where parts, which are of none, are Buffers
    passed: bool = False


class Folding:
    """What of one forward becomes a Buffer.

    Args:
        scope: the forward.
        weights: the model's parameters and buffers.
        constants: takes the numbers of what is folded.
        nodes: how values are reached, by id: those that have a way are not looked into. It grows meanwhile.
    """

    def __init__(self, scope: Scope, weights: Weights, constants: Constants, nodes: dict[int, Expression]) -> None:
        self._scope, self._weights, self._constants, self._nodes = scope, weights, constants, nodes
        self._names: dict[int, str] = {}
        self._makings: dict[int, _Making] = {}
        self._asked: set[int] = set()  # the values that were asked for again
        self._held: list[Value] = []
        self._made: dict[int, Step] = {}  # of a value the step that first gave it: of what a module made, its call
        self._writes: dict[Any, list[Step]] = {}  # of each memory the steps that wrote there
        self._written: dict[Any, int] = {}  # the memories whose writes are looked into, and the values that began it
        for step in scope.steps:
            for value in values_in(step.result):
                self._made.setdefault(id(value), step)
            if step.writes is not None:
                self._writes.setdefault(storage_of(step.writes.tensor), []).append(step)

    def is_of_parameters(self, value: Value) -> bool:
        """Whether a constant depends on parameters."""
        return self._making(value).of_parameters

    def is_passed(self, value: Value) -> bool:
        """Whether a constant is made of others that the forward was passed: it cannot tell what those are of."""
        return self._making(value).passed

    def lengths_of(self, value: Value) -> list[Whole | Real]:
        """Return the numbers that a constant is made of and that may be others where the inputs' lengths are."""
        steps = self._making(value).steps
        made_by = [step for step in self._scope.steps if step.number in steps]
        numbers = {id(n): n for step in made_by for n in numbers_in((step.args, step.kwargs))}
        return [n for n in numbers.values() if any(self._may_vary(inner) for inner in with_operands(n))]

    @staticmethod
    def _may_vary(number: Whole | Real) -> bool:
        origin = number.origin
        return origin.sign == "argument" or any(isinstance(o, Value) and o.depends for o in origin.operands)

    def of_lengths(self) -> list[tuple[Step, list[Whole | Real]]]:
        """Return of each Buffer that is made of lengths the step that gave it, and these."""
        found = [(self._made.get(id(value)), self.lengths_of(value)) for value in self._held]
        return [(step, lengths) for step, lengths in found if step is not None and lengths]

    def is_folded(self, value: Value) -> bool:
        """Whether a value becomes a Buffer: a constant that cannot be written, or only at length."""
        if value.depends or self._weights.holds(value) or id(value) in self._nodes:
            return False
        making = self._making(value)
        long = len(making.steps) > _FEW and not value.tensor.is_complex()  # no Buffer holds complex numbers
        return not making.written or (long and not making.of_parameters and not making.of_lengths)

    def _making(self, value: Value) -> _Making:
        """Return how a value that depends on no input comes about."""
        earlier = self._makings.get(id(value))
        if earlier is not None:
            self._asked.add(id(value))
            return earlier
        for one in self._unknown(value):
            if id(one) not in self._makings:
                self._makings[id(one)] = self._made_of(one)
        return self._makings[id(value)]

    def _unknown(self, value: Value) -> list[Value]:
        """Return the values of which it is not known how they come about: what a value is made of, and it last.

        One is looked into after the other, for what makes one may be as long as the forward.
        """
        found: list[Value] = []
        seen: set[int] = set()
        pending = [(value, False)]
        while pending:
            one, is_after_its_parts = pending.pop()
            if is_after_its_parts:
                found.append(one)
            elif id(one) not in seen and id(one) not in self._makings:
                seen.add(id(one))
                pending.append((one, True))
                if not self._is_there(one):
                    step = self._made[id(one)]
                    pending += [(part, False) for part in values_in((step.args, step.kwargs))]
        return found

    def _is_there(self, value: Value) -> bool:
        """Whether a value was there before, or has a way already: what it is made of does not matter."""
        known = id(value) in self._nodes or self._weights.holds(value)
        return known or value.step is None or id(value) not in self._made

    def _made_of(self, value: Value) -> _Making:
        there = id(value) in self._nodes
        if self._weights.holds(value):
            return _Making(frozenset(), True, False, there or self._weights.name(value) is not None)
        if self._is_there(value):
            return _Making(frozenset(), False, there, True, there)  # what was there before is held as it is
        return self._by_steps_of_others(value)

    def _by_steps_of_others(self, value: Value) -> _Making:
        """Return how a value comes about that may be computed of itself, in place; what was said of it is forgotten."""
        self._makings[id(value)] = _Making(frozenset(), False, False, False)  # until it is known
        known = len(self._makings)
        self._asked.discard(id(value))
        making = self._by_steps(value)
        if id(value) in self._asked:
            for other in [*self._makings][known:]:
                del self._makings[other]
        return making

    def _by_steps(self, value: Value) -> _Making:
        memory = storage_of(value.tensor)
        makers = [self._made[id(value)]]
        begins = memory not in self._written
        if begins:
            self._written[memory] = id(value)
            makers += self._writes.get(memory, ())
        else:
            self._asked.add(self._written[memory])  # who began has the writes, and this value not all
        parts = [self._making(v) for s in makers for v in values_in((s.args, s.kwargs)) if v is not value]
        if begins:
            del self._written[memory]
        numbers = any(True for s in makers for _ in numbers_in((s.args, s.kwargs)))
        of_lengths = numbers or any(part.of_lengths for part in parts)
        runs = all(s.number not in self._constants.forced and _is_convertible(s) for s in makers)
        return _Making(
            frozenset(s.number for s in makers).union(*(part.steps for part in parts)),
            any(part.of_parameters for part in parts) or any(s.kind != "function" for s in makers),
            of_lengths,
            runs and all(part.written or (of_lengths and not part.of_lengths) for part in parts),
            any(part.passed for part in parts),
        )

    def fold(self, value: Value) -> str:
        """Hold a value in a Buffer, and return its name."""
        name = self._names.get(id(value))
        if name is None:
            path = self._scope.home
            held = self._constants.tensors.setdefault(path, {})
            tensor = value.tensor  # no Buffer holds complex numbers: their parts are its last dimension
            tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
            if is_others(tensor) and not self._weights.holds(value):  # who may put other numbers there later
                tensor = tensor.clone()
            name = free_name(self._wanted_name(value), lambda name: name in held and not _equal(held[name], tensor))
            held[name] = tensor
            self._held.append(value)
            self._names[id(value)] = name
            is_weight = self._weights.holds(value)  # a complex buffer
            if not is_weight and (self.is_of_parameters(value) or self._is_kept_aside(value)):
                self._constants.of_parameters.add((path, name))
        return name

    def _is_kept_aside(self, value: Value) -> bool:
        """Whether a tensor was there before the call, in no attribute: in a cache, computed of who knows what."""
        return value.step is None and not any(held is value.tensor for held in vars(self._scope.module).values())

    def _wanted_name(self, value: Value) -> str:
        module = self._scope.module
        own = next((key for key, held in module._buffers.items() if held is value.tensor), None)
        if own is not None:  # which stands in its place
            return own
        attributes = [key for key, held in vars(module).items() if held is value.tensor]
        names = [name for step in self._scope.steps for name in step.names.get(id(value), ())]
        stored = value.step.stored if value.step is not None else None
        names = [*attributes, *names, *([stored] if isinstance(stored, str) else [])]
        taken = names_in(module)
        return next((name for name in names if name not in taken and name.isidentifier()), "constant")


def _is_convertible(step: Step) -> bool:
    if step.kind != "function" or step.name == "__setitem__":
        return True
    try:
        convert(step, _any_expression)
    except Missing:
        return False
    return True


def _any_expression(value: Any, hint: str = "") -> Expression:
    """Return an expression of the kind that a value's is, whatever it is of.

    Raises:
        Missing: it has none.
    """
    return Text("x") if isinstance(value, Value) else structure(value, "", _any_expression, Number)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all()))
