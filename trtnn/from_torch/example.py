"""The example that a module is called with: which of its tensors the inputs are, and which shapes they may have."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError
from trtnn.from_torch.recording.steps import Scope, values_in
from trtnn.from_torch.source.expressions import quoted
from trtnn.from_torch.verify import mapped
from trtnn.shapes.spec import Input
from trtnn.shapes.symbolic import Dim


class Example:
    """The arguments of a call.

    Args:
        args, kwargs: the arguments.
        called: what errors call it.
        dynamic: which lengths are known only when the network runs: as :func:`trtnn.from_torch` takes it, or a function
            that returns that for the names of the inputs.
    """

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Any = None, called: str = "the example"
    ) -> None:
        self.args, self.kwargs, self.dynamic, self._called = args, kwargs, dynamic, called
        self._tensors: list[torch.Tensor] = []  # in the order of the arguments
        self._copies: list[torch.Tensor] = []
        self._places: list[int] = []  # of each input its place among them

    def __str__(self) -> str:
        return self._called

    def copied(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for a module to keep or change: a forward may write into its inputs.

        Each place gets a copy of its own: a network's inputs are not the same tensor.
        """
        self._tensors, self._copies = [], []

        def copied(tensor: torch.Tensor) -> torch.Tensor:
            self._tensors.append(tensor)
            self._copies.append(tensor.detach().clone())
            return self._copies[-1]

        return mapped((self.args, self.kwargs), copied)

    def objects_with_tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield the objects in the arguments that hold tensors, which are no inputs, with the arguments' names."""

        def walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
            if isinstance(value, torch.Tensor):
                return
            if isinstance(value, (tuple, list)):
                inner: Iterable[Any] = value
            elif isinstance(value, Mapping):
                inner = value.values()
            elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
                inner = [getattr(value, field, None) for field in value.__dataclass_fields__]
            else:
                inner = ()
                if _holds_tensors(value, set()):
                    yield name, value
            for item in inner:
                yield from walk(item, name)

        for name, value in (*((f"argument {i}", value) for i, value in enumerate(self.args)), *self.kwargs.items()):
            yield from walk(value, name)

    def find_inputs(self, root: Scope) -> None:
        """Find which tensors of the copied arguments are the inputs of a model, and in which order it takes them."""
        places = {id(copy): place for place, copy in enumerate(self._copies)}
        self._places = [places[id(value.tensor)] for value in values_in(root.arguments)]

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors in the order of the inputs."""
        return [self._tensors[place] for place in self._places]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with copies of others, in the order of the inputs, in the places of its tensors."""
        by_place = dict(zip(self._places, tensors, strict=True))
        places = itertools.count()
        return mapped((self.args, self.kwargs), lambda tensor: by_place[next(places)].clone())

    def shapes(self, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the inputs' shapes, with Dims for what is dynamic.

        Args:
            names: of the inputs.

        Raises:
            ArgumentError: ``dynamic`` is of another form, or names what is no input, or the example is not among the
                lengths that a shape allows.
        """
        named = list(zip(names, self.tensors(), strict=True))
        dynamic = self.dynamic(list(names)) if callable(self.dynamic) else self.dynamic
        if isinstance(dynamic, Dim):
            dynamic = {name: (dynamic, *tensor.shape[1:]) for name, tensor in named if tensor.ndim}
        if not isinstance(dynamic, Mapping | None):
            raise ArgumentError(f"dynamic is a Dim or shapes by the names of the inputs, not {dynamic!r:.80}")
        dynamic = dict(dynamic or {})
        unknown = [name for name in dynamic if name not in names]
        if unknown:
            raise ArgumentError(f"dynamic names {unknown[0]!r}, which is no input", f"the inputs: {', '.join(names)}")
        shapes = [_shape(tensor, dynamic.get(name)) for name, tensor in named]
        lengths: dict[str, int] = {}
        for (_, tensor), shape in zip(named, shapes, strict=True):
            for wanted, now in zip(shape, tensor.shape, strict=False):
                if isinstance(wanted, Dim):
                    lengths.setdefault(wanted.name, now)
        for (name, tensor), shape in zip(named, shapes, strict=True):
            _check_shape(name, tensor, shape, lengths)
        return shapes

    def declarations(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the inputs by name, as source; arguments and errors are those of :meth:`shapes`."""
        declared = []
        for name, tensor, shape in zip(names, self.tensors(), self.shapes(names), strict=True):
            dtype = _dtype_name(tensor.dtype)
            lengths = ", ".join(map(_length, shape)) + ("," if len(shape) == 1 else "")
            declared.append((name, f"Input(({lengths}){'' if dtype == 'float32' else f', {quoted(dtype)}'})"))
        return declared


def _length(length: Any) -> str:
    if isinstance(length, Dim):
        more = f", multiple_of={length.multiple_of}" if length.multiple_of > 1 else ""
        return f"Dim({quoted(length.name)}, {length.min}, {length.opt}, {length.max}{more})"
    return str(length)


def _shape(tensor: torch.Tensor, shape: Any) -> tuple[Any, ...]:
    if shape is None:
        return tuple(map(int, tensor.shape))
    return tuple(shape.shape) if isinstance(shape, Input) else tuple(shape)


def _check_shape(name: str, tensor: torch.Tensor, shape: tuple[Any, ...], lengths: Mapping[str, int]) -> None:
    """Hold the shape of an example's tensor against the one that it may have.

    Args:
        lengths: of each Dim what it is in the example where it stands first.

    Raises:
        ArgumentError: it has another, or the shape holds what is no length.
    """
    fits = len(shape) == tensor.ndim and all(
        wanted.holds(now) and lengths[wanted.name] == now if isinstance(wanted, Dim) else wanted == now
        for wanted, now in zip(shape, tensor.shape, strict=True)
    )
    if not fits or not all(isinstance(length, (int, Dim)) for length in shape):
        others = [length.name for length in shape if isinstance(length, Dim)]
        raise ArgumentError(
            f"the example of {name} has shape {tuple(tensor.shape)}, which is none of {shape}",
            *(f"{axis} is {lengths[axis]} in the example" for axis in dict.fromkeys(others)),
            "dynamic shapes hold ints and Dims; the example is one of those that they allow",
        )


def _dtype_name(dtype: torch.dtype) -> str:
    return {torch.float64: "float32", torch.int16: "int32"}.get(dtype, str(dtype).removeprefix("torch."))


def _holds_tensors(value: Any, seen: set[int]) -> bool:
    """Whether an object, or what its attributes hold, holds tensors; modules are no such objects."""
    if isinstance(value, torch.Tensor):
        return True
    if id(value) in seen or isinstance(value, (nn.Module, type, ModuleType)) or callable(value):
        return False
    seen.add(id(value))
    held = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list, set)) else ()
    return any(_holds_tensors(item, seen) for item in (*held, *getattr(value, "__dict__", {}).values()))
