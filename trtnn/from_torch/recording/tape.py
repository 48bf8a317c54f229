"""The tape of a call: what the watchers of functions and of modules note as it runs, each tensor as one Value.

It holds no way to record. :mod:`~trtnn.from_torch.recording.functions` and
:mod:`~trtnn.from_torch.recording.module_calls` write on it, and what they saw is read from it afterwards.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from trtnn.from_torch.recording.builtin_calls import caches, forget_lengths
from trtnn.from_torch.recording.frames import (
    OURS,
    TORCH,
    Place,
    caller,
    place_of,
    read_names,
    stored_names,
    user_frame,
)
from trtnn.from_torch.recording.lengths import Real, Whole, are_same, with_origin
from trtnn.from_torch.recording.memory import (
    bytes_of,
    have_same_bits,
    is_of_its_value_alone,
    is_of_these_alone,
    is_others,
    memory_of_these_alone,
)
from trtnn.from_torch.recording.steps import (
    Callee,
    Fields,
    Guard,
    Listed,
    Refusal,
    Scope,
    Step,
    Value,
    storage_of,
    tensors_of,
    values_in,
)

# What takes the shape of a tensor, and none of its numbers.
_OF_ITS_SHAPE = frozenset((
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor",
))  # fmt: skip
# What takes the numbers of its first argument, and of others no more than the type.
_OF_THE_FIRST = frozenset(("type_as", "to"))
_REFILLED = "other numbers are put there meanwhile: torch.tensor(array) copies it, from_numpy and as_tensor do not"
_MUCH_BYTES = 1 << 20  # of tensors that are let go of as soon as nobody has them


class Tape:
    """What was recorded of one call of a module.

    Args:
        model: the module.
        is_dynamic: whether lengths of the inputs are known only when the network runs.

    Attributes:
        root: the scope of the model itself, once it was called.
        refusals: what cannot be converted.
        guards: the comparisons of lengths that decided something.
        escapes: where Python took a length without a trace: the path of the module, and the line.
        taken: of each line at which Python took numbers of parameters and buffers, the names of these.
        has_hashed: whether a length was a key, such as of a cache.
        scopes: of each module, by id, its calls.
        plain_callers: the code that called Python's own ``int`` or ``float`` with a length, or ``len`` with a tensor,
            and its global variables.
        askers: the code of functions under way as one asked whether a graph is made of it, and was not told so.
        called_leaves: the ids of the modules that were called and are not looked into.
        paths: of each module, by id, its paths, the first first.
        held: of each parameter and buffer, by id, its names.
        values: the Value of each tensor, by id.
        packed: the ids of the tensors that packed sequences are made of.
        known_lengths: of each tensor of lengths that was packed by, whether it holds the same in each call.
        padded: the steps that give as many steps as were packed of, where torch gives those of the longest sequence.
        count: how many steps there were.
        depth: how many recorded calls are under way: what runs within one is no step of its own.
        failed: the path of the module in whose forward torch raised an error.
    """

    def __init__(self, model: nn.Module, is_dynamic: bool = False) -> None:
        self.model, self.is_dynamic = model, is_dynamic
        self.paths: dict[int, list[str]] = defaultdict(list)
        for path, module in model.named_modules(remove_duplicate=False):
            self.paths[id(module)].append(path)
        self.held: dict[int, list[str]] = defaultdict(list)
        for named in (model.named_parameters, model.named_buffers):
            for name, tensor in named(remove_duplicate=False):
                self.held[id(tensor)].append(name)
        self._storages = {storage_of(t) for named in (model.parameters, model.buffers) for t in named()}
        self.values: dict[int, Value] = {}
        self.packed: set[int] = set()
        self.known_lengths: list[bool] = []
        self.padded: list[Step] = []
        self.scopes: dict[int, list[Scope]] = defaultdict(list)
        self.refusals: list[Refusal] = []
        self.guards: list[Guard] = []
        self.escapes: list[tuple[str, Place]] = []
        self.taken: dict[Place, dict[str, None]] = {}
        self.has_hashed = False
        self._caches: list[Any] = []
        self.called_leaves: set[int] = set()
        self.root: Scope | None = None
        self.count = 0
        self.depth = 0
        self.failed = ""
        self._others: list[tuple[torch.Tensor, torch.Tensor, str, Place]] = []  # in others' memory, and as they were
        self._numbers: list[Whole | Real] = []  # kept, so that no other takes their id
        self._large: dict[Any, list[Value]] = defaultdict(list)  # by their memory, what holds much of it
        self._lists: dict[int, list[Listed]] = defaultdict(list)  # by the list
        self._under_way: list[Scope] = []
        self.plain_callers: dict[CodeType, dict[str, Any]] = {}
        self.askers: set[CodeType] = set()

    @property
    def scope(self) -> Scope | None:
        """The module's forward that runs now."""
        return self._under_way[-1] if self._under_way else None

    @property
    def path(self) -> str:
        """The path of the module whose forward runs now."""
        return self._under_way[-1].path if self._under_way else ""

    def depends(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor's numbers depend on the inputs."""
        value = self.values.get(id(tensor))
        return value is not None and value.depends

    def is_saved(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor has the memory of a parameter or buffer that a state dict has."""
        storage = storage_of(tensor)
        return storage in self._storages and any(
            held is not None and storage_of(held) == storage and name not in module._non_persistent_buffers_set
            for module in self.model.modules()
            for name, held in (*module._parameters.items(), *module._buffers.items())
        )

    def has_read(self, tensor: torch.Tensor) -> bool:
        """Whether an operation took a tensor."""
        return id(tensor) in self.values

    # -- what is noted ------------------------------------------------------------------------------------------------

    def refuse(self, what: str, why: str, path: str | None = None) -> None:
        """Note what cannot be converted, in the module at hand or at a path; the call runs on, so that all are told."""
        frame = user_frame(2)
        code = frame.f_code if frame is not None else None
        self.refusals.append(Refusal(what, self.path if path is None else path, place_of(frame), why, code))

    def take_back(self, refusals: Collection[Refusal]) -> None:
        """Take back what was noted against operations that are done otherwise."""
        self.refusals[:] = [refusal for refusal in self.refusals if refusal not in refusals]

    def compared(self, sign: str, a: Any, b: Any, outcome: bool) -> None:
        """Note that a comparison of lengths decided something."""
        scope = self.scope
        if scope is None or self.depth or are_same(a, b):
            return
        frame = user_frame(2)
        attributes, literals = (), frozenset()
        if frame is not None and frame.f_locals.get("self") is scope.module:
            _, attributes, literals = read_names(frame)
        place = place_of(frame)
        self.guards.append(Guard(sign, a, b, outcome, scope, place, len(scope.steps), attributes, literals))

    def requires(self, tensor: torch.Tensor, dim: int, sign: str, number: int) -> None:
        """Note that a length of a tensor is as a comparison says, or the source is wrong."""
        scope = self.scope
        if scope is not None:
            length = with_origin(tensor.shape[dim], "shape", self.value(tensor), dim, watcher=self)
            self.keep(length)
            place = place_of(user_frame(2))
            self.guards.append(Guard(sign, length, number, True, scope, place, len(scope.steps), required=True))

    def hashed(self) -> None:
        """Note that a length is about to be looked up, and let no cache answer with one of another tensor."""
        if not self.has_hashed:
            self.has_hashed, self._caches = True, caches()
        forget_lengths(self._caches)

    def took_number(self) -> None:
        """Note that a plain number is taken where one that knows its lengths would be wanted."""
        self.escapes.append((self.path, place_of(user_frame(2))))

    def took_weights(self, values: Any) -> None:
        """Note that Python took numbers of parameters or buffers, or of what is computed of them alone."""
        if self.scope is None or caller(2) is None:  # torch's own code, such as an observer's
            return
        names = self._weights_of(values)
        if names:
            self.taken.setdefault(place_of(user_frame(2)), {}).update(names)

    def is_of_weights(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer, or computed of some."""
        return bool(self._weights_of(self.value(tensor)))

    def _weights_of(self, values: Any) -> dict[str, None]:
        """Return the names of the parameters and buffers that what was recorded is computed of."""
        names: dict[str, None] = {}
        seen: set[int] = set()
        pending = [*values_in(values)]
        while pending:
            value = pending.pop()
            if id(value) not in seen:
                seen.add(id(value))
                names |= dict.fromkeys(self.held.get(id(value.tensor), ())[:1])
                pending += () if value.step is None else values_in((value.step.args, value.step.kwargs))
        return names

    def escaped(self, number: Whole | Real, by_type: bool = False) -> None:
        """Note that Python took a length as a plain number, by ``int``, ``float`` or in another way."""
        if not self._under_way or self.depth:
            return
        self.took_number()
        if by_type:
            self._note_caller(sys._getframe(2))

    def took_len(self) -> None:
        """Note that Python took the first length of a tensor as a plain number."""
        if self.scope is not None:
            self.took_number()
            frame = caller(2)
            if frame is not None and "len" in frame.f_code.co_names:  # list(x) asks for it as well
                self._note_caller(frame)

    def _note_caller(self, frame: FrameType) -> None:
        if not frame.f_code.co_filename.startswith((TORCH, OURS)):
            self.plain_callers[frame.f_code] = frame.f_globals

    def add(
        self, callee: Callee, before: Any, result: Any, writes: Value | None = None, scope: Scope | None = None
    ) -> Step:
        """Note a step of the module at hand.

        Args:
            callee: what was called.
            before: its arguments by position and by name, as :meth:`snapshot` took them before the call.
            result: what it returned.
            writes: the Value that it changed in place.
            scope: of a module's call what happened within.
        """
        step = Step()
        step.number, self.count = self.count, self.count + 1
        step.kind, step.function, step.name, step.owner = callee
        step.scope, step.writes = scope, writes
        step.args, step.kwargs = before
        frame, around = caller(2), self.scope
        step.own = frame is not None
        if frame is None:
            step.stored, step.reads, step.attributes, step.literals = None, frozenset(), (), frozenset()
            step.names = {}
        else:
            step.stored = stored_names(frame)
            step.reads, step.attributes, step.literals = read_names(frame)
            step.names = self._names(frame)
            if around is None or frame.f_locals.get("self") is not around.module:
                step.attributes = ()
        step.place = place_of(user_frame(2))
        step.path = self.path
        step.result = self._results(step, result, before)
        if around is not None:
            around.steps.append(step)
        self.free_memory()
        return step

    def _names(self, frame: FrameType) -> dict[int, list[str]]:
        """Return by which names a frame has recorded values, numbers and lists, by their ids."""
        names: dict[int, list[str]] = {}
        for name, value in frame.f_locals.items():
            if isinstance(value, torch.Tensor):
                recorded = self.values.get(id(value))
                if recorded is not None:
                    names.setdefault(id(recorded), []).append(name)
            elif isinstance(value, (Whole, Real)):
                self.keep(value)
                names.setdefault(id(value), []).append(name)
            elif type(value) is list:
                names.setdefault(id(value), []).append(name)
        return names

    def _results(self, step: Step, result: Any, before: Any) -> Any:
        """Return what a step gave, with the step as what made those tensors that are new.

        Of a module that is looked into, steps within made them; what none made was there before, in a cache.
        """
        snapshot = self.snapshot(result)
        if step.kind == "scope":
            return snapshot
        read = before[0][:1] if step.name in _OF_THE_FIRST else before
        depends = step.name not in _OF_ITS_SHAPE and any(value.depends for value in values_in(read))
        for value in values_in(snapshot):
            if value.step is None and id(value.tensor) not in self.held and not value.depends:
                value.step = step
                value.depends = depends
                if depends and bytes_of(value.tensor) >= _MUCH_BYTES:
                    self._large[storage_of(value.tensor)].append(value)
        return snapshot

    def written(self, tensor: torch.Tensor, depends: bool, name: str) -> Value:
        """Note that an operation changed a tensor in place, and with it all that shares its memory; return its Value.

        Args:
            tensor: what was changed.
            depends: whether by what depends on the inputs.
            name: the operation.
        """
        value = self.value(tensor)
        storage = storage_of(tensor)
        if storage in self._storages:
            model = self.model
            names = self.held.get(id(tensor)) or [
                name
                for named in (model.named_parameters, model.named_buffers)
                for name, held in named(remove_duplicate=False)
                if storage_of(held) == storage
            ]
            changed = names[0] if names else "a parameter"
            self.refuse(name, f"it changes {changed} in place, and weights stay as they are")
        elif value.step is None and not value.depends:
            self.refuse(name, "it changes in place a tensor that was made before the call")
        for other in list(self.values.values()):
            if storage_of(other.tensor) == storage:
                other.depends = other.depends or depends
                other.last_write = self.count
        return value

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Note what runs as steps of a module's forward."""
        self._under_way.append(scope)
        try:
            yield
        except Exception:
            self.failed = max(self.failed, scope.path, key=len)
            raise
        finally:
            self._under_way.pop()

    # -- what is kept of it -------------------------------------------------------------------------------------------

    def value(self, tensor: torch.Tensor) -> Value:
        """Return the Value that stands for a tensor."""
        value = self.values.get(id(tensor))
        if value is None:
            value = self.values[id(tensor)] = Value(tensor)  # which keeps the tensor, and so its id
            if is_others(tensor) and id(tensor) not in self.held and storage_of(tensor) not in self._storages:
                with torch._C.DisableTorchFunction():
                    self._others.append((tensor, tensor.clone(), self.path, place_of(user_frame(2))))
        return value

    def refuse_refilled(self) -> None:
        """Refuse what was computed of tensors in others' memory that hold other numbers now than they did first.

        What torch's operations write there is noted as that.
        """
        for tensor, before, path, place in self._others:
            if self.value(tensor).last_write < 0 and not have_same_bits(tensor, before):
                self.refusals.append(Refusal("a tensor of a NumPy array's memory", path, place, _REFILLED, None))
        self._others.clear()

    def forget_guards_of(self, tensors: Collection[torch.Tensor]) -> None:
        """Leave out comparisons of lengths of tensors that the module has no more: the source does not hold them."""
        gone = {id(tensor) for tensor in tensors}
        self.guards = [
            guard
            for guard in self.guards
            if not any(id(value.tensor) in gone for side in (guard.left, guard.right) for value in tensors_of(side))
        ]

    def forget_numbers(self) -> None:
        """Let go of what depends on the inputs, all but shapes and types: of a large model that is most memory.

        What is written of the call is written by then.
        """
        for value in self.values.values():
            if value.depends:
                value.tensor = torch.empty_like(value.tensor, device="meta")

    def free_memory(self) -> None:
        """Let go of the memory of tensors that depend on the inputs and that nobody but the tape has any more.

        The tensors stay, and so do their ids and what tells their memory from another's. So do lists, without what they
        held. What lies in a cycle goes when this is called after the garbage collector has found it.
        """
        for number, listed in list(self._lists.items()):
            if is_of_these_alone(listed):
                listed[0].source.clear()
                del self._lists[number]
        with torch._C.DisableTorchFunction():
            for storage, values in list(self._large.items()):
                if all(map(is_of_its_value_alone, values)) and (memory := memory_of_these_alone(values)) is not None:
                    memory.resize_(0)
                    del self._large[storage]

    def keep(self, number: Whole | Real) -> None:
        """Keep a number, so that no other takes its id."""
        self._numbers.append(number)

    def snapshot(self, value: Any) -> Any:
        """Return what a structure holds now, with Values for tensors."""
        if isinstance(value, torch.Tensor):
            return self.value(value)
        if isinstance(value, PackedSequence):  # one value, as a network has it: that of the steps
            parts = [self.value(part) for part in value if part is not None]
            self.packed.update(id(part.tensor) for part in parts)
            return parts[0]
        if isinstance(value, list):
            listed = Listed(map(self.snapshot, value))
            listed.source = value
            if type(value) is list:
                self._lists[id(value)].append(listed)
            return listed
        if isinstance(value, tuple):
            return tuple(map(self.snapshot, value))
        if isinstance(value, Mapping):
            items = {key: self.snapshot(item) for key, item in value.items()}
            return items if type(value) is dict else Fields(items)
        if isinstance(value, slice):
            return slice(*map(self.snapshot, (value.start, value.stop, value.step)))
        if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
            return Fields({name: self.snapshot(getattr(value, name)) for name in value.__dataclass_fields__})
        if isinstance(value, (Whole, Real)):
            self.keep(value)
        return value.item() if isinstance(value, np.generic) else value
