"""What each torch module is in the source: one operation, a container, a class, or nothing at all."""

from __future__ import annotations

from torch import nn

from trtnn.from_torch.classes.twins import twin
from trtnn.from_torch.forward.attributes import is_row
from trtnn.from_torch.operations.constructors import is_leaf
from trtnn.from_torch.recording.tape import Tape
from trtnn.from_torch.source.expressions import Expression

CONTAINERS = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList, "ModuleDict": nn.ModuleDict}
COUNTER = "num_batches_tracked"  # of BatchNorms: a buffer that says nothing in evaluation


def base_of(module: nn.Module) -> str:
    """Return the class of trtnn's that a module's class derives from: that of its container, else Module.

    One that derives from a ModuleList and has children with names of their own is no row of modules.
    """
    if isinstance(module, nn.ModuleList) and not is_row(module):
        return "Module"
    return next((name for name, container in CONTAINERS.items() if isinstance(module, container)), "Module")


class Kinds:
    """The kinds of the modules of a recorded model.

    Attributes:
        with_more: the ids of those that give or take more than their forward says, see
            :mod:`trtnn.from_torch.recording.bypasses`.
        twins: of those that were found to be torch's own under another name, by id, the constructors.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.with_more: set[int] = set()
        self.twins: dict[int, Expression] = {}

    def find_twins(self) -> None:
        """Look for modules that are torch's own under another name."""
        for identity, scopes in self._tape.scopes.items():
            module = scopes[0].module
            if self.kind(module) != "class" or module is self._tape.model or module._modules:
                continue
            made = twin(scopes)
            if made is not None:
                self.twins[identity] = made

    def kind(self, module: nn.Module) -> str:
        """Return ``"twin"``, ``"class"``, the name of a container, ``"leaf"``, or ``"nothing"``."""
        if id(module) in self.twins:
            return "twin"
        if module is self._tape.model or id(module) in self.with_more:
            return "class"
        for name, container in CONTAINERS.items():
            if type(module) is container:
                return name
        if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
            return "ParameterList" if isinstance(module, nn.ParameterList) else "ParameterDict"
        if is_leaf(module):
            return "leaf"
        if id(module) not in self._tape.scopes and not _has_state(module):
            return "nothing"
        return "class"

    def is_wanted(self, module: nn.Module) -> bool:
        """Whether the source has a module: it holds weights, or is called, itself or within."""
        return _has_state(module) or any(
            id(inner) in self._tape.called_leaves or id(inner) in self._tape.scopes for inner in module.modules()
        )


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(
        not name.endswith(COUNTER) for name, _ in module.named_buffers()
    )
