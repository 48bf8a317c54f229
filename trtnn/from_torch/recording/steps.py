"""What a recording is made of: steps, with the tensors and numbers that they took and gave, and walks over those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import nn

from trtnn.from_torch.recording.frames import Place
from trtnn.from_torch.recording.lengths import Real, Whole


class Value:
    """A tensor of the recorded call. In-place operations change it, and it stays the same one.

    Attributes:
        tensor: torch's.
        depends: whether its numbers depend on the model's inputs.
        step: what made it, or None where it was there before.
        last_write: the number of the last step that wrote to it.
        cast_of: the same numbers before a cast that does nothing in the recorded call, see :mod:`.casts`, or None.
    """

    __slots__ = ("cast_of", "depends", "last_write", "step", "tensor")

    def __init__(self, tensor: torch.Tensor, depends: bool = False, step: Step | None = None) -> None:
        self.tensor, self.depends, self.step, self.last_write = tensor, depends, step, -1
        self.cast_of: Value | None = None

    @property
    def uncast(self) -> Value:
        """What was cast, or itself."""
        return self if self.cast_of is None else self.cast_of


class Listed(tuple):
    """The items that a list held when it was passed, with the list itself."""

    source: list[Any]


class Fields(dict):
    """The fields of a dataclass, or the items of an own kind of dict, by name."""


class Callee(NamedTuple):
    """What a step called; see :class:`Step`."""

    kind: str
    function: Any
    name: str
    owner: str


class Step:
    """One operation, or one call of a module, as it was recorded.

    Attributes:
        number: its place among all.
        kind: ``"function"``, ``"module"`` for one that is not looked into, or ``"scope"``.
        function: what was called.
        name: its last name, such as ``relu``; ``get:T`` of an attribute.
        owner: what it is a function of, such as ``torch.Tensor``.
        args, kwargs, result: what was passed and returned, with Values for tensors.
        writes: the Value that it changed in place, or None.
        scope: of a module call what happened within.
        stored: the variables that the result went to.
        names: by which names the caller knew values then, by the id of a Value or number.
        reads, attributes, literals: the variables, attributes of ``self`` and numbers that the line reads.
        own: whether the line is of the user's, and not of torch's.
        place: the user's line.
        path: the module whose forward it is in.
    """

    __slots__ = (
        "args", "attributes", "function", "kind", "kwargs", "literals", "name", "names", "number", "own", "owner",
        "path", "place", "reads", "result", "scope", "stored", "writes",
    )  # fmt: skip


class Scope:
    """A module's forward: what it was called with, what it did, and what it returned.

    Of a module with several paths ``path`` is the one that it was called by, and ``home`` its first. ``widened`` is
    what it last cast to float32, and ``brought`` what its source takes besides, see :mod:`.bypasses`.
    """

    def __init__(self, module: nn.Module, path: str, home: str, arguments: Mapping[str, Any]) -> None:
        self.module, self.path, self.home, self.arguments = module, path, home, arguments
        self.steps: list[Step] = []
        self.result: Any = None
        self.place: Place | None = None
        self.widened: Value | None = None
        self.brought: dict[str, Value] = {}


class Guard(NamedTuple):
    """A comparison of lengths that decided something.

    Attributes:
        sign, left, right, outcome: what was compared, and what came of it.
        scope: the module's forward that compared.
        place: the user's line.
        position: how many steps of the scope came before.
        attributes, literals: the attributes of ``self``, and the numbers, that the line reads.
        required: whether the source is wrong without it.
    """

    sign: str
    left: Any
    right: Any
    outcome: bool
    scope: Scope
    place: Place
    position: int
    attributes: tuple[str, ...] = ()
    literals: frozenset[Any] = frozenset()
    required: bool = False


class Refusal:
    """Why a call cannot be converted: what, where and how to go on; and the code of the user's function."""

    def __init__(self, what: str, path: str, place: Place, why: str, code: CodeType | None = None) -> None:
        self.what, self.path, self.place, self.why, self.code = what, path, place, why, code


# -- what structures hold ---------------------------------------------------------------------------------------------


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name, None))


def parts_in(value: Any) -> Iterator[Any]:
    """Yield what was recorded, and all that it holds."""
    yield value
    inside = value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else ()
    for item in (value.start, value.stop, value.step) if isinstance(value, slice) else inside:
        yield from parts_in(item)


def values_in(value: Any) -> Iterator[Value]:
    """Yield the Values in what was recorded."""
    return (part for part in parts_in(value) if isinstance(part, Value))


def lists_in(value: Any) -> Iterator[Listed]:
    """Yield the lists in what was recorded."""
    return (part for part in parts_in(value) if isinstance(part, Listed))


def numbers_in(value: Any) -> Iterator[Whole | Real]:
    """Yield the numbers with an origin in what was recorded."""
    return (part for part in parts_in(value) if isinstance(part, (Whole, Real)))


def with_operands(number: Any) -> Iterator[Whole | Real]:
    """Yield the numbers that a number is computed of, and it last."""
    if isinstance(number, (Whole, Real)):
        if number.origin.sign != "argument":
            for operand in number.origin.operands:
                yield from with_operands(operand)
        yield number


def tensors_of(number: Any) -> Iterator[Value]:
    """Yield the tensors whose lengths or numbers a number is computed of."""
    for inner in with_operands(number):
        yield from (operand for operand in inner.origin.operands if isinstance(operand, Value))


def calls_of(value: Any) -> set[int]:
    """Return the numbers of the calls whose results hold numbers that are in what was recorded."""
    origins = (inner.origin for number in numbers_in(value) for inner in with_operands(number))
    roots = (origin.operands[0] for origin in origins if origin.sign == "argument")
    return {root.number for root in roots if isinstance(root, Step)}


def steps_within(scope: Scope) -> Iterator[Step]:
    """Yield the steps of a scope, each followed by those of the scope that it called."""
    for step in scope.steps:
        yield step
        if step.scope is not None:
            yield from steps_within(step.scope)


def version_of(value: Any) -> int:
    """Return what counts the writes to a tensor; the same of all that has no count."""
    return value._version if isinstance(value, torch.Tensor) and not value.is_inference() else -1


def same_numbers(tensor: torch.Tensor) -> Any:
    """Return what two tensors have in common that are the same numbers of the same memory.

    That is more than where they lie: a view may have another type, or the other sign.
    """
    place = tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
    return *place, tensor.dtype, tensor.is_neg(), tensor.is_conj()


def storage_of(tensor: torch.Tensor) -> Any:
    """Return what tells the memory of one tensor from another's; of one without memory the tensor itself."""
    try:
        with torch._C.DisableTorchFunction():
            return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(tensor)
