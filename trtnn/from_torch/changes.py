"""What a call changes in the module itself: an engine stays as it is, so that a module which counts is refused."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from typing import Any

import torch
from torch import nn

from trtnn.from_torch.recording.lengths import without_origins
from trtnn.from_torch.recording.steps import version_of

_MOST_KEPT = 100  # items of a dict, a list or a tuple that a module keeps, and that are looked at


class State:
    """What a module is made of besides the numbers of its weights, to see what a call changes, and to undo it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = self._read()
        self._held = [(holder, holder.copy()) for holder in _holders(model)]
        self._parts = _parts(model)

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for path, module in self.model.named_modules():
            for name, value in (*vars(module).items(), *module._parameters.items(), *module._buffers.items()):
                if name not in ("_parameters", "_buffers", "_modules"):
                    _note(state, f"{path}.{name}".lstrip("."), value)
        return state

    def changes(self, read: Callable[[torch.Tensor], bool]) -> list[str]:
        """Return what is another now, a line each.

        A tensor that is kept aside is another after each call; that matters where the call had read the one before.

        Args:
            read: whether the call read a tensor.
        """
        now = self._read()
        names = [name for name in self._changed(now) if not self._is_aside(name, now, read)]
        return [
            _change(name, self.before[name], now[name])
            if name in self.before
            else f"{name} was not there, and is {now[name]!r:.60}"
            for name in names
        ]

    def names(self) -> list[str]:
        """Return the names of what is another now, or was not there."""
        return self._changed(self._read())

    def _changed(self, now: dict[str, Any]) -> list[str]:
        pairs = [(name, self.before[name], value) for name, value in now.items() if name in self.before]
        changed = [name for name, a, b in pairs if type(a) is not type(b) or (a is not b and a != b)]
        return changed + [name for name in now if name not in self.before]

    def may_return(self) -> bool:
        """Whether what calls have changed are attributes alone, and no modules and weights."""
        return _parts(self.model) == self._parts

    def undo(self) -> None:
        """Let attributes hold what they held, unless calls have made modules or weights, which they may tell of."""
        if self.may_return():
            self.put_back()

    def put_back(self) -> None:
        """Let attributes, and the dicts and lists in them, hold what they held."""
        for holder, before in self._held:
            _fill(holder, before)

    def read(self, read: Callable[[torch.Tensor], bool]) -> set[str]:
        """Return the names of the tensors that a call read, of those that were there before it."""
        return {name for name, held in self.before.items() if isinstance(held, _Same) and read(held.tensor)}

    def replaced(self) -> list[torch.Tensor]:
        """Return the tensors that attributes held then, and in whose place they hold others now."""
        held = (self.before[name] for name in self.names() if name in self.before)
        return [one.tensor for one in held if isinstance(one, _Same)]

    def kept(self, names: Set[str]) -> list[torch.Tensor]:
        """Return the tensors that attributes hold now and did not hold then, of some names."""
        now = self._read()
        changed = (now[name] for name in self._changed(now) if name in names)
        return [held.tensor for held in changed if isinstance(held, _Same)]

    def _is_aside(self, name: str, now: dict[str, Any], read: Callable[[torch.Tensor], bool]) -> bool:
        before, after = self.before.get(name), now[name]
        if not (isinstance(before, _Same) and isinstance(after, _Same)):
            return False
        return not before.is_held and not read(before.tensor)


class Numbers:
    """The numbers of a module's buffers, to undo what a call changes in place."""

    def __init__(self, model: nn.Module) -> None:
        self._held = [(buffer, version_of(buffer), buffer.detach().clone()) for buffer in model.buffers()]

    def put_back(self) -> None:
        """Let buffers that were written to hold the numbers that they held."""
        with torch.no_grad():
            for buffer, version, before in self._held:
                if version_of(buffer) != version:
                    buffer.copy_(before)


def forget_lengths(model: nn.Module) -> None:
    """Make plain numbers of the lengths of a recorded call that attributes keep."""
    for holder in _holders(model):
        if type(holder) is list:
            plain: Any = [without_origins(item) for item in holder]
            is_same = all(map(operator.is_, plain, holder))
        else:
            plain = {without_origins(key): without_origins(item) for key, item in holder.items()}
            is_same = all(map(operator.is_, (*plain, *plain.values()), (*holder, *holder.values())))
        if not is_same:
            _fill(holder, plain)


def _holders(model: nn.Module) -> Iterator[Any]:
    """Yield the dicts and lists that hold what modules keep: attributes, buffers, and what lies in those."""
    for module in model.modules():
        attributes = vars(module)
        yield attributes
        yield from (value for name, value in attributes.items() if _keeps(name, value))


def _keeps(name: str, value: Any) -> bool:
    # Hooks among them: a module that hooks itself at its first call keeps in an attribute that it has.
    return type(value) in (dict, list, OrderedDict) and name not in ("_parameters", "_modules")


def _fill(holder: Any, items: Any) -> None:
    """Let a dict or a list hold other items, and stay itself."""
    if type(holder) is list:
        holder[:] = items
        return
    for key in [key for key in holder if key not in items]:
        del holder[key]
    holder.update(items)


def _parts(model: nn.Module) -> list[Any]:
    """Return what tells the modules and parameters of a model from others."""
    parts = (model.named_modules(), model.named_parameters())
    return [(name, id(part), type(part)) for named in parts for name, part in named]


def _note(state: dict[str, Any], name: str, value: Any) -> None:
    """Note a plain value, a tensor, or what a dict, a list or a tuple holds of such."""
    if isinstance(value, torch.Tensor):
        state[name] = _Same(value, isinstance(value, nn.Parameter))
    elif type(value) in (int, float, bool, str, torch.Size) or value is None:
        state[name] = value
    elif isinstance(value, (dict, list, tuple)) and len(value) <= _MOST_KEPT:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _note(state, f"{name}[{key!r}]", item)


class _Same:
    """A tensor, equal to itself alone."""

    def __init__(self, tensor: torch.Tensor, is_held: bool) -> None:
        self.tensor, self.is_held = tensor, is_held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.tensor is self.tensor

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "a tensor"


def _change(name: str, before: Any, after: Any) -> str:
    """Return how what a module keeps has changed."""
    both = isinstance(before, _Same) and isinstance(after, _Same)
    return f"{name} was {before!r:.60} and is {'another one' if both else f'{after!r:.60}'}"
