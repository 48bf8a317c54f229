"""Containers of modules, and of parameters."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trtnn.errors import ArgumentError
from trtnn.modules.module import Module
from trtnn.parameter import Parameter


class _Sequence(Module):
    """What Sequential and ModuleList share: modules under the names "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(dict(list(self._modules.items())[index]))
        return list(self._modules.values())[self._position(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[self._position(index)], module)

    def _position(self, index: int) -> int:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__} holds {len(self)} modules, there is no {index}")
        return index

    def _of(self, modules: Mapping[str, Module]) -> _Sequence:
        raise NotImplementedError

    def append(self, module: Module) -> Any:
        """Add a module at the end and return self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end and return self."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Sequence):
    """Modules called one after another, as torch.nn.Sequential.

    Args:
        *modules: the modules, or one dict of them by name.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: Iterable = modules[0].items()
        else:
            named = ((str(i), module) for i, module in enumerate(modules))
        for name, module in named:
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def _of(self, modules: Mapping[str, Module]) -> Sequential:
        return Sequential(modules)  # each keeps its name, as in torch


class ModuleList(_Sequence):
    """A list of modules, as torch.nn.ModuleList; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A list calls nothing; ``Sequential(*modules)`` calls one after another."""
        raise NotImplementedError(
            "ModuleList defines no forward: it holds modules, and the model that has it calls them; "
            "where each takes what the one before it gives, Sequential(*modules) is a model"
        )

    def _of(self, modules: Mapping[str, Module]) -> ModuleList:
        return ModuleList(modules.values())

    def _shown(self) -> Iterator[tuple[str, str]]:
        """As torch does: neighbours that look the same are shown once, with their number."""
        for text, same in itertools.groupby(enumerate(map(repr, self)), key=operator.itemgetter(1)):
            positions = [position for position, _ in same]
            first, last = positions[0], positions[-1]
            yield (f"{first}-{last}", f"{len(positions)} x {text}") if last > first else (str(first), text)


class _Mapping(Module):
    """What ModuleDict and ParameterDict share: members by name, in one of the module's tables."""

    table: str

    @property
    def _members_by_name(self) -> dict[str, Any]:
        return self.__dict__[self.table]

    def __len__(self) -> int:
        return len(self._members_by_name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members_by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._members_by_name

    def __getitem__(self, name: str) -> Any:
        known = self._members_by_name
        if name not in known:
            raise ArgumentError(f"{type(self).__name__} holds no {name!r}", f"it holds: {', '.join(known)}")
        return known[name]

    def __setitem__(self, name: str, member: Any) -> None:
        register = self.add_module if self.table == "_modules" else self.register_parameter
        register(name, member)

    def update(self, members: Mapping[str, Any]) -> None:
        """Add or replace members by name."""
        for name, member in members.items():
            self[name] = member

    def keys(self) -> Iterable[str]:
        return self._members_by_name.keys()

    def values(self) -> Iterable[Any]:
        return self._members_by_name.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._members_by_name.items()


class ModuleDict(_Mapping):
    """Modules by name, as torch.nn.ModuleDict; it has no forward of its own."""

    table = "_modules"

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})


class ParameterDict(_Mapping):
    """Parameters by name, as torch.nn.ParameterDict; it has no forward of its own."""

    table = "_parameters"

    def __init__(self, parameters: Mapping[str, Parameter] | None = None) -> None:
        super().__init__()
        self.update(parameters or {})


class ParameterList(Module):
    """A list of parameters, as torch.nn.ParameterList; it has no forward of its own."""

    def __init__(self, values: Iterable[Parameter] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self)[index]
        return ParameterList(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, value: Parameter) -> None:
        self.register_parameter(list(self._parameters)[index], value)

    def append(self, value: Parameter) -> ParameterList:
        """Add a parameter at the end and return self."""
        self.register_parameter(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Parameter]) -> ParameterList:
        """Add parameters at the end and return self."""
        for value in values:
            self.append(value)
        return self
