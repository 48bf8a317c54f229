"""Modules that are one of torch.nn's under another name: a subclass of LayerNorm, a wrapper around GELU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trtnn import modules
from trtnn.from_torch.classes.groups import class_name
from trtnn.from_torch.operations.constructors import constructor, is_leaf
from trtnn.from_torch.operations.converters import Missing, convert, registered
from trtnn.from_torch.operations.told_by_call import told_by_call
from trtnn.from_torch.recording.functions import name_of
from trtnn.from_torch.recording.steps import Scope, Step, Value, values_in
from trtnn.from_torch.source.expressions import Expression, Sequence, Text

ACTIVATIONS = {
    "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid,
    "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "mish": nn.Mish, "elu": nn.ELU, "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU, "softplus": nn.Softplus,
}  # fmt: skip


class _FirstCall(TorchFunctionMode):
    """Catches the first call of a function of torch's, and runs nothing."""

    class Caught(Exception):
        pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.call = (func, args, kwargs or {})
        raise self.Caught


def _told(scope: Scope) -> Expression | None:
    """Return what one call says of a module in a graph, where it is of the module's own weights and one tensor."""
    steps, module = _without_casts(scope), scope.module
    if len(steps) != 1:
        return None
    step = steps[0]
    own = {id(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())}
    passed = {id(value) for value in values_in(scope.arguments)}
    others = [v for v in values_in((step.args, step.kwargs)) if id(v) not in passed and id(v.tensor) not in own]
    return told_by_call(class_name(module).rpartition(".")[2], step) if len(passed) == 1 and not others else None


def twin(scopes: list[Scope]) -> Expression | None:
    """Return the constructor of torch's module that does what these calls did, or None.

    It is the same where its forward makes the very call that was recorded: the same function of the same tensors and
    numbers. Casts to float32 and back around it are left out: trtnn's norms compute in fp32, and give the type that
    they took.
    """
    module = scopes[0].module
    candidates: list[Any] = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules")]
    steps = _without_casts(scopes[0])
    if len(steps) != 1 or steps[0].kind != "function" or registered(type(module)) is not None:
        return None
    step = steps[0]
    if class_name(module).startswith("torch.nn.modules.") and scopes[0].result is step.result:
        told = [_told(scope) for scope in scopes]
        return told[0] if all(one == told[0] for one in told) else None
    twins = [kind for kind in candidates if kind is not nn.Module and kind.__name__ in modules.__all__]
    if step.name in ACTIVATIONS and not module._parameters:
        twins.append(ACTIVATIONS[step.name])
    for kind in twins:
        twin = module if isinstance(module, kind) else kind()
        if not all(_makes_the_call(kind, twin, scope) for scope in scopes):
            continue
        stand_in = object.__new__(kind)
        stand_in.__dict__ = twin.__dict__
        return constructor(stand_in) if is_leaf(stand_in) else None
    return None


def _without_casts(scope: Scope) -> list[Step]:
    """Return the steps of a forward but for casts that did nothing where it was recorded."""
    return [step for step in scope.steps if not (isinstance(step.result, Value) and step.result.cast_of is not None)]


def _makes_the_call(kind: Any, twin: nn.Module, scope: Scope) -> bool:
    steps = _without_casts(scope)
    result = scope.result.uncast if isinstance(scope.result, Value) else scope.result
    if len(steps) != 1 or result is not steps[0].result:
        return False
    arguments = [value.tensor if isinstance(value, Value) else value for value in scope.arguments.values()]
    mode = _FirstCall()
    try:
        with mode:
            kind.forward(twin, *arguments)
    except _FirstCall.Caught:
        func, args, kwargs = mode.call
    except Exception:
        return False
    else:
        return False
    recorded, step = steps[0], Step()
    (step.name, step.owner), step.function, step.writes = name_of(func), func, recorded.writes
    step.args, step.kwargs, step.result = args, kwargs, recorded.result
    try:
        return convert(step, _by_identity) == convert(recorded, _by_identity)
    except Missing:
        return False


def _by_identity(value: Any, hint: str = "") -> Expression:
    """Return an expression that is equal for the same tensor, and for equal values."""
    if isinstance(value, Value):
        value = value.uncast.tensor
    if isinstance(value, (tuple, list)):
        return Sequence(tuple(map(_by_identity, value)))
    return Text(f"tensor {id(value)}" if isinstance(value, torch.Tensor) else f"{type(value).__name__} {value!r}")
