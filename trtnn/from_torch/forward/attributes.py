"""How a forward names what lies in its module: parameters, buffers, and the modules within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trtnn.from_torch.recording.steps import Scope, Value
from trtnn.from_torch.source.expressions import Attribute, Call, Expression, Item, Member, Text, quoted
from trtnn.from_torch.source.names import is_name
from trtnn.modules.module import Module

SELF = Text("self")
OF_MODULES = frozenset((*dir(Module), "inputs", "metadata", "source", "training"))


def path_expression(module: nn.Module, relative: str) -> Expression:
    """Return how a module's forward names what lies at a path within it, such as ``self.layers[0].weight``."""
    node: Expression = SELF
    inner: Any = module
    for part in relative.split("."):
        own = inner is module and isinstance(module, nn.Sequential) and not part[-1].isdigit()
        own = own or (isinstance(inner, nn.ModuleList) and not is_row(inner))
        if isinstance(inner, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) and part in inner._modules and not own:
            position = list(inner._modules).index(part)
            key = quoted(part) if isinstance(inner, nn.ModuleDict) else str(position)
            node = Member(node, key, position, len(inner._modules))
        elif isinstance(inner, (nn.ParameterList, nn.ParameterDict)):
            node = Item(node, (Text(part if isinstance(inner, nn.ParameterList) else quoted(part)),))
        elif is_name(part):
            node = Attribute(node, part)
        else:
            node = Call(Text("getattr"), (node, Text(quoted(part))))
        inner = getattr(inner, part, None)
    return node


def is_row(modules: nn.ModuleList) -> bool:
    """Whether all that a ModuleList holds are its items; a class that derives from it may have others by name."""
    return all(name.isdigit() for name in modules._modules)


def names_in(module: nn.Module) -> set[str]:
    """Return the names that an attribute of the source's class cannot have: its members', and those of every Module."""
    return {*module._parameters, *module._buffers, *module._modules, *OF_MODULES}


class Weights:
    """The parameters and buffers of the model, as the forward of one of its modules sees them.

    Args:
        scope: the forward.
        held: of each parameter and buffer of the model, by id, its names.
    """

    def __init__(self, scope: Scope, held: Mapping[int, Sequence[str]]) -> None:
        self._held = held
        self._prefix = f"{scope.path}." if scope.path else ""
        self._module = scope.module

    def holds(self, value: Value) -> bool:
        """Whether a value is one, in whatever module."""
        return bool(self._held.get(id(value.tensor)))

    def is_saved(self, value: Value) -> bool:
        """Whether a value is one that torch's state dict has; of another module's that is not asked."""
        name = self.name(value)
        if name is None:
            return self.holds(value)
        owner, _, own = name[len(self._prefix) :].rpartition(".")
        return own not in self._module.get_submodule(owner)._non_persistent_buffers_set

    def name(self, value: Value) -> str | None:
        """Return the model's name of one that lies within the module; None for any other value."""
        return next((name for name in self._held.get(id(value.tensor), ()) if name.startswith(self._prefix)), None)

    def expression(self, name: str) -> Expression:
        """Return how the forward reaches what has a name of the model's."""
        return path_expression(self._module, name[len(self._prefix) :])
