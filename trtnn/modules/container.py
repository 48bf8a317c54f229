"""Containers of modules, and of parameters."""

from __future__ import annotations

import itertools
import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar, overload

from trtnn.errors import ArgumentError, named
from trtnn.modules.module import Module
from trtnn.parameter import Parameter

Several = TypeVar("Several", bound="_Sequence")


def _position(container: Any, index: int, what: str = "modules") -> int:
    """Return where a member is, counted from the front.

    Raises:
        IndexError: there is none.
    """
    index, count = operator.index(index), len(container)
    if not -count <= index < count:
        raise IndexError(f"{type(container).__name__} holds {count} {what}, there is no {index}")
    return index % count


def _pairs(members: Any, what: str) -> Iterable[tuple[str, Any]]:
    """Return the names and members of a mapping, of a container like one, or of pairs."""
    if not hasattr(members, "items"):
        members = [tuple(pair) if isinstance(pair, Iterable) else pair for pair in _all(members, what)]
        if wrong := [pair for pair in members if not isinstance(pair, tuple) or len(pair) != 2]:
            raise ArgumentError(f"{what} takes names with members, a dict or pairs, not {wrong[0]!r}")
        return members
    return members.items()


def _all(members: Any, what: str) -> list[Any]:
    if not isinstance(members, Iterable) or isinstance(members, Parameter):
        raise ArgumentError(f"{what} takes several members, not one {named(members)}")
    return list(members)


class _Sequence(Module):
    """What Sequential and ModuleList share: modules under the names "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self: Several, index: slice) -> Several: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(dict(list(self._modules.items())[index]))
        return list(self._modules.values())[_position(self, index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[_position(self, index)], module)

    def __delitem__(self, index: int | slice) -> None:
        kept = list(self)
        del kept[index if isinstance(index, slice) else _position(self, index)]
        self._renumber(kept)

    def __iadd__(self: Several, other: Any) -> Several:
        return self.extend(other)

    def _of(self, modules: Mapping[str, Module]) -> _Sequence:
        raise NotImplementedError

    def _renumber(self, modules: list[Module]) -> None:
        """Hold these modules alone, under the names "0", "1", ..."""
        for name in list(self._modules):
            delattr(self, name)
        self.extend(modules)

    def insert(self: Several, index: int, module: Module) -> Several:
        """Add a module before position ``index`` and return self; names become positions, as in torch."""
        index = operator.index(index)
        if not -len(self) <= index <= len(self):
            raise IndexError(f"{type(self).__name__} holds {len(self)} modules, none can be added at {index}")
        if not isinstance(module, Module):
            raise ArgumentError(f"{type(self).__name__} takes a Module, not {named(module)}")
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    @overload
    def pop(self, key: int) -> Module: ...
    @overload
    def pop(self: Several, key: slice) -> Several: ...
    def pop(self, key: int | slice) -> Any:
        """Take the module at a position, or those of a slice, out and return it, or them."""
        taken = self[key]
        del self[key]
        return taken

    def append(self: Several, module: Module) -> Several:
        """Add a module at the end and return self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: Several, modules: Iterable[Module]) -> Several:
        """Add modules at the end and return self."""
        for module in _all(modules, type(self).__name__):
            self.append(module)
        return self


class Sequential(_Sequence):
    """Modules called one after another, as torch.nn.Sequential.

    Args:
        *modules: the modules, or one dict of them by name.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            if len(modules) == 1 and isinstance(module, Mapping):
                for name, named_module in module.items():
                    self.add_module(name, named_module)
            else:
                self.add_module(str(i), module)  # pyright: ignore[reportArgumentType]  it raises for a dict among several

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def _of(self, modules: Mapping[str, Module]) -> Sequential:
        return Sequential(modules)  # each keeps its name, as in torch

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self).extend(self._checked(other))

    def __iadd__(self, other: Sequential) -> Sequential:
        return self.extend(self._checked(other))

    def _checked(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ArgumentError(f"what is added to a Sequential is one, not {named(other)}", "extend takes any modules")
        return other

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*self).__imul__(other)

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Sequential:
        """Extend it by the same modules, so many times in all: their parameters are shared."""
        if not isinstance(other, int) or other < 1:
            raise ArgumentError(f"a Sequential is multiplied by a positive int, not {other!r}")
        return self.extend(list(self) * (other - 1))


class ModuleList(_Sequence):
    """A list of modules, as torch.nn.ModuleList; it has no forward of its own.

    Args:
        modules: any iterable of them; none where None.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(self).extend(other)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Raise an error: a list calls nothing; ``Sequential(*modules)`` calls one after another."""
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
        members = self._members_by_name
        if name not in members:
            raise ArgumentError(f"{type(self).__name__} holds no {name!r}", f"it holds: {', '.join(members)}")
        return members[name]

    def __setitem__(self, name: str, member: Any) -> None:
        register = self.add_module if self.table == "_modules" else self.register_parameter
        register(name, member)

    def __delitem__(self, name: str) -> None:
        self[name]  # it raises where there is none
        delattr(self, name)

    def _update(self, pairs: Iterable[tuple[str, Any]]) -> None:
        for name, member in pairs:
            self[name] = member

    def pop(self, key: str) -> Any:
        """Take a member out and return it."""
        member = self[key]
        del self[key]
        return member

    def clear(self) -> None:
        """Take all members out."""
        for name in list(self):
            del self[name]

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._members_by_name.keys()

    def values(self) -> ValuesView[Any]:
        """Return the members."""
        return self._members_by_name.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the names and the members."""
        return self._members_by_name.items()


Named = Mapping[str, Any] | _Mapping | Iterable[tuple[str, Any]]


class ModuleDict(_Mapping):
    """Modules by name, as torch.nn.ModuleDict; it has no forward of its own.

    Args:
        modules: a dict, a ModuleDict or pairs; none where None.
    """

    table = "_modules"

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update({} if modules is None else modules)

    def update(self, modules: Named) -> None:
        """Add or replace modules by name, those of a dict, a ModuleDict or pairs."""
        self._update(_pairs(modules, "ModuleDict"))


class ParameterDict(_Mapping):
    """Parameters by name, as torch.nn.ParameterDict; it has no forward of its own.

    Args:
        parameters: a dict, a ParameterDict or pairs; none where None.
    """

    table = "_parameters"

    def __init__(self, parameters: Mapping[str, Parameter] | None = None) -> None:
        super().__init__()
        self.update({} if parameters is None else parameters)

    def update(self, parameters: Named) -> None:
        """Add or replace parameters by name; those of a dict that is no OrderedDict by the alphabet, as in torch."""
        by_alphabet = isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict)
        pairs = _pairs(parameters, "ParameterDict")
        self._update(sorted(pairs) if by_alphabet else pairs)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._members_by_name)

    def __or__(self, other: Mapping[str, Parameter] | ParameterDict) -> ParameterDict:
        return self.copy().__ior__(other)

    def __ror__(self, other: dict[str, Parameter]) -> dict[str, Parameter]:
        return {**other, **dict(self.items())}  # a dict, as in torch

    def __ior__(self, other: Mapping[str, Parameter] | ParameterDict) -> ParameterDict:
        self.update(other)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return a parameter, or ``default`` where there is none."""
        return self._members_by_name.get(key, default)

    def setdefault(self, key: str, default: Parameter | None = None) -> Any:
        """Return a parameter, which is ``default`` where there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Take the last parameter out and return it with its name."""
        if not len(self):
            raise ArgumentError("the ParameterDict is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def copy(self) -> ParameterDict:
        """Return another ParameterDict of the same parameters."""
        return self.fromkeys(()).__ior__(self)

    def fromkeys(self, keys: Iterable[str], default: Parameter | None = None) -> ParameterDict:
        """Return a ParameterDict that holds ``default`` under each name."""
        made = ParameterDict()
        made.update([(name, default) for name in keys])
        return made


class ParameterList(Module):
    """A list of parameters, as torch.nn.ParameterList; it has no forward of its own.

    Args:
        values: the parameters; none where None.
    """

    def __init__(self, values: Iterable[Parameter] | None = None) -> None:
        super().__init__()
        self.extend(() if values is None else values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    @overload
    def __getitem__(self, index: int) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Parameter | ParameterList:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return list(self)[_position(self, index, "parameters")]

    def __setitem__(self, index: int, value: Parameter) -> None:
        self.register_parameter(str(_position(self, index, "parameters")), value)

    def __iadd__(self, values: Iterable[Parameter]) -> ParameterList:
        return self.extend(values)

    def append(self, value: Parameter) -> ParameterList:
        """Add a parameter at the end and return self."""
        self.register_parameter(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Parameter]) -> ParameterList:
        """Add parameters at the end and return self."""
        for value in _all(values, "ParameterList"):
            self.append(value)
        return self
