"""What from_torch takes: a module, a function, a trace or an exported program, each as a module that is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from trtnn.errors import ArgumentError, UnsupportedError, listed, where
from trtnn.from_torch.graphs import exported, traced
from trtnn.from_torch.recording.steps import tensors_in
from trtnn.modules.module import OF_THE_TRACED, Module

# What trtnn's modules have and torch's have not; of these what is asked of the model alone.
_OF_THE_ROOT = OF_THE_TRACED | {"source"}
_OWN = ({*dir(Module), *vars(Module())} - {*dir(nn.Module), *vars(nn.Module())}) | _OF_THE_ROOT


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function  # type: ignore[method-assign]

    def type_name(self) -> str:
        """Return the function's full name."""
        return f"{self.forward.__module__}.{getattr(self.forward, '__qualname__', type(self).__name__)}"


def as_module(module: Any) -> nn.Module:
    """Return what was given as a module.

    Raises:
        ArgumentError: it is none, and none can be made of it.
    """
    if isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        return traced.as_module(module)
    if isinstance(module, nn.Module):
        return traced.with_modules_of_traces(_without_wrappers(module))
    if type(module).__name__ == "ExportedProgram":
        return exported.as_module(module)
    if isinstance(module, type) or not callable(module):
        raise ArgumentError(
            f"from_torch takes a torch module or a function, not {module!r:.80}",
            *(["make one: from_torch(Net(), x)"] if isinstance(module, type) else []),
        )
    return type(name_of_class(module), (_Function,), {})(module).eval()


def _without_wrappers(module: nn.Module) -> nn.Module:
    """Return what torch has put around a module to train or compile it, without that."""
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif type(module).__name__ == "OptimizedModule":  # of torch.compile, whose class takes seconds to import
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def name_of_class(module: Any) -> str:
    """Return what the source's class of something that was given is called."""
    if isinstance(module, nn.Module):
        return (
            module.original_name
            if isinstance(module, torch.jit.ScriptModule)
            else type(_without_wrappers(module)).__name__
        )
    if type(module).__name__ == "ExportedProgram":
        return "Exported"
    own = "name" if isinstance(module, torch.jit.ScriptFunction) else "__name__"
    name = str(getattr(module, own, "Function"))
    return "".join(part.capitalize() for part in name.strip("<>_").split("_")) or "Function"


def _holds_packed(value: Any) -> bool:
    """Whether a value is a packed sequence, or a structure that holds one."""
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return isinstance(value, PackedSequence) or any(map(_holds_packed, inside))


def check(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Check that a module and an example hold numbers, and that the module is in evaluation.

    Raises:
        ArgumentError: a tensor is on torch's meta device, or has no shape yet, or there is no example, or a member has
            the name of what the source's module needs itself.
        UnsupportedError: a module is in training mode, or the example holds a packed sequence or a tensor without
            elements.
    """
    for path, inner in module.named_modules():
        for name in (*inner._parameters, *inner._buffers, *inner._modules):
            if name in _OWN and (not path or name not in _OF_THE_ROOT):
                raise ArgumentError(
                    f"{path or 'the model'} has a member named {name!r}, which trtnn's modules have for something else",
                    "rename it, and in checkpoints"
                    + (", or convert a module that holds this one" if name in _OF_THE_ROOT else ""),
                )
    lazy = [name for named in (module.named_parameters, module.named_buffers) for name, t in named() if is_lazy(t)]
    if lazy:
        raise ArgumentError(
            f"{type(module).__name__}'s {listed(lazy, 3)} {'have' if len(lazy) > 1 else 'has'} no shape yet",
            "lazy modules take theirs from their first input: call it once",
        )
    held = [name for named in (module.named_parameters, module.named_buffers) for name, t in named() if t.is_meta]
    if held or any(tensor.is_meta for tensor in tensors_in((args, dict(kwargs)))):
        what = f"{type(module).__name__}'s {listed(held, 3)}" if held else "the example"
        raise ArgumentError(
            f"{what} {'are' if len(held) > 1 else 'is'} on torch's meta device, which holds no numbers",
            "model.to_empty(device='cpu') and load_state_dict give it weights" if held else "give tensors with numbers",
        )
    if any(map(_holds_packed, (*args, *kwargs.values()))):
        raise UnsupportedError(
            f"{type(module).__name__} is called with a packed sequence, whose tensors say nothing by themselves",
            "give it the padded batch and the lengths, and pack_padded_sequence in forward",
        )
    if not any(True for _ in tensors_in((args, dict(kwargs)))):
        names = list(inspect.signature(module.forward).parameters)
        raise ArgumentError(
            "from_torch needs an example of each input",
            f"forward takes: {', '.join(names) or 'nothing'}",
            "such as from_torch(model, torch.rand(1, 3, 224, 224))",
        )
    empty = [tuple(tensor.shape) for tensor in tensors_in((args, dict(kwargs))) if not tensor.numel()]
    if empty:
        raise UnsupportedError(
            f"an input of the example has no elements: it is of shape {empty[0]}",
            "TensorRT has no tensors without elements",
        )
    training = [path for path, inner in module.named_modules() if inner.training]
    if training:
        raise UnsupportedError(
            f"{type(module).__name__} is in training mode: {listed([*map(where, training)], 5)}",
            "an engine does not train: model.eval()",
        )
