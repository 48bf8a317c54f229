"""Exported programs: ``torch.export.unflatten`` puts their modules together again, recorded as others are."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError


def as_module(program: Any) -> nn.Module:
    """Return the modules of an exported program.

    Raises:
        ArgumentError: torch cannot put them together.
    """
    try:
        module = torch.export.unflatten(program)
    except Exception as error:
        raise ArgumentError(
            f"torch cannot put the modules of this exported program together: {error}".partition("\n")[0],
            "convert the module that it was exported of",
        ) from error
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _is_sequential(child):
                setattr(parent, name, nn.Sequential(OrderedDict(child.named_children())))
    for inner in module.modules():
        inner.training = False  # it was exported as it is, and has no switch
    return module


def _is_sequential(module: Any) -> bool:
    """Whether a module is a Sequential that calls what it holds one after another, each once."""
    kind = getattr(module, "type_name", lambda: "")()
    if not isinstance(kind, str) or not kind.endswith(".Sequential"):
        return False
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    names = [node.target for node in nodes]
    return names == list(module._modules) and all(len(node.all_input_nodes) == 1 for node in nodes)
