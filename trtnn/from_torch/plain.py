"""A model without what rounds in it: other modules, with the same parameters and buffers."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import nn

from trtnn.from_torch.recording.observers import NVIDIA, is_observing
from trtnn.from_torch.roundings import WEIGHTS, is_rounding

TRANSPOSED: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
RESULT = "activation_post_process"
INPUTS = ("input_quantizer", "_input_quantizer")


def plain(model: nn.Module, noted: Collection[str] = ()) -> nn.Module:
    """Return a model without what rounds in it; where that is a module between others, it is an Identity.

    Args:
        model: stays as it is.
        noted: the paths of what rounds between modules and is to be a module of the source, which leaves out others.
    """
    kept = {id(model.get_submodule(path)) for path in noted}

    def children(module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
        is_replaced = plain_class(module) is not type(module)
        for name, child in module._modules.items():
            own = name in WEIGHTS or is_replaced or (name == RESULT and is_hooked(module))
            if child is None or not is_rounding(child):
                yield name, child
            elif id(child) in kept:
                yield name, _Noted().eval()
            elif not own:
                yield name, nn.Identity().eval()

    def kind(module: nn.Module) -> type[nn.Module]:
        base = plain_class(module)
        noted = [name for name in INPUTS if id(module._modules.get(name)) in kept]
        return base if base is type(module) or not noted else _behind(base, noted[0])

    return _copied(model, children, kind, is_observing)


def _behind(base: type[nn.Module], name: str) -> type[nn.Module]:
    """Return a class like another whose forward calls a module of its own first, as NVIDIA's classes do."""

    def forward(self: Any, input: torch.Tensor) -> Any:
        return base.forward(self, self._modules[name](input))

    return type(f"Quant{base.__name__}", (base,), {"forward": forward, "__module__": NVIDIA[0]})


def _copy_of(self: nn.Module, input: torch.Tensor) -> torch.Tensor:
    return input.clone()  # what gives its own input back is left out of the source


_Noted = type("Identity", (nn.Identity,), {"forward": _copy_of, "__module__": nn.Identity.__module__})


def unshared(model: nn.Module) -> nn.Module:
    """Return a model in which no two places share what rounds them, so that each has its own path."""

    def children(module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
        for name, child in module._modules.items():
            yield name, copy.copy(child) if child is not None and is_rounding(child) else child

    return _copied(model, children, type, lambda hook: False)


def _copied(
    model: nn.Module,
    children: Callable[[nn.Module], Iterator[tuple[str, nn.Module | None]]],
    kind: Callable[[nn.Module], type],
    drops: Callable[[Callable[..., Any]], bool],
) -> nn.Module:
    """Return modules like a model's with the same parameters and buffers.

    Args:
        model: stays as it is.
        children: says what a module holds, by name.
        kind: says of which class the copy of a module is.
        drops: says which hooks are left out.
    """
    done: dict[int, nn.Module] = {}

    def copied(module: nn.Module) -> nn.Module:
        if id(module) not in done:
            new = done[id(module)] = object.__new__(kind(module))
            new.__dict__.update((name, value) for name, value in vars(module).items() if name != "qconfig")
            for hooks in ("_forward_hooks", "_forward_pre_hooks"):
                kept = ((key, hook) for key, hook in vars(module)[hooks].items() if not drops(hook))
                new.__dict__[hooks] = OrderedDict(kept)
            held = list(children(module))
            kept_alive.append(held)
            new.__dict__["_modules"] = {name: None if child is None else copied(child) for name, child in held}
        return done[id(module)]

    kept_alive: list[Any] = []  # so that no other takes an id
    return copied(model)


def is_hooked(module: nn.Module) -> bool:
    """Whether torch.ao put what rounds a module's result behind it."""
    return any(map(is_observing, module._forward_hooks.values()))


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module without its rounding: another one of torch.ao's and NVIDIA's own."""
    kind = type(module)
    if kind.__module__.startswith(NVIDIA) and not is_rounding(module):
        return _plain_of_nvidia(kind)
    base = next((layer for layer in LAYERS if isinstance(module, layer)), None)
    if base is None or not kind.__module__.startswith("torch.ao.nn."):
        return kind
    with_norm, with_relu = "bn" in module._modules, "ReLU" in kind.__name__
    if not with_norm and not with_relu:
        return base

    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        x = base.forward(self, input)
        x = self.bn(x) if with_norm else x
        return nn.functional.relu(x) if with_relu else x

    return type(kind.__name__, (base,), {"forward": forward, "__module__": kind.__module__})


def _plain_of_nvidia(kind: type[nn.Module]) -> type[nn.Module]:
    """Return what NVIDIA's class rounds: the class that it derives from, or the one of torch.nn that it stands for.

    ModelOpt's derive from the class that they were made of. pytorch-quantization's QuantConv2d derives from the base of
    torch's convolutions alone.
    """
    base = next(one for one in kind.__mro__ if not one.__module__.startswith(NVIDIA))
    named = getattr(nn, kind.__name__.removeprefix("Quant"), None)
    if isinstance(named, type) and issubclass(named, base):
        return named
    return kind if base is nn.Module else base
