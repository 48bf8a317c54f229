"""What a call changes in the module itself: an engine stays as it is, so that a module which counts is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_MOST_KEPT = 100  # items of a dict or a list that a module keeps, and that are looked at


class State:
    """What a module is made of besides the numbers of its weights, to see whether a call changes it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = self._read()

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
        kept = {name: (self.before[name], value) for name, value in now.items() if name in self.before}
        changed = [name for name, (a, b) in kept.items() if type(a) is not type(b) or (a is not b and a != b)]
        added = [name for name in now if name not in self.before]
        lines = [
            f"{name} was {self.before[name]!r:.60} and is {now[name]!r:.60}"
            for name in changed
            if not self._is_aside(name, now, read)
        ]
        return lines + [f"{name} was not there, and is {now[name]!r:.60}" for name in added]

    def _is_aside(self, name: str, now: dict[str, Any], read: Callable[[torch.Tensor], bool]) -> bool:
        before, after = self.before[name], now[name]
        both = isinstance(before, _Same) and isinstance(after, _Same)
        return both and not before.is_held and not read(before.tensor)


def _note(state: dict[str, Any], name: str, value: Any) -> None:
    """Note a plain value, a tensor, or what a dict or a list holds of such."""
    if isinstance(value, torch.Tensor):
        state[name] = _Same(value, isinstance(value, nn.Parameter))
    elif type(value) in (int, float, bool, str, torch.Size) or value is None:
        state[name] = value
    elif type(value) in (dict, list) and len(value) <= _MOST_KEPT:
        for key, item in value.items() if type(value) is dict else enumerate(value):
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
