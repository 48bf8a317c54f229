"""Traced modules: what TorchScript holds of each, put together again; its graphs are functions, recorded as others are.

A trace keeps the modules with their classes, the author's variables, and his lines. So each method's graph becomes a
function with those variables, whose lines stand for the author's.
"""

from __future__ import annotations

import copy
import functools
import linecache
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError
from trtnn.from_torch.graphs.recurrent import of_traced
from trtnn.from_torch.graphs.torchscript import CALLINGS, Method
from trtnn.from_torch.recording.frames import Place, stands_for
from trtnn.from_torch.recording.steps import same_numbers

_CONTAINERS = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList, "ModuleDict": nn.ModuleDict}


class Traced(nn.Module):
    """A module of a trace; ``forward`` is a function written of its graph."""

    def type_name(self) -> str:
        """Return the full name of the class that was traced."""
        raise NotImplementedError


def as_module(traced: Any) -> nn.Module:
    """Return the modules of a trace, or of a function that was traced.

    Raises:
        ArgumentError: it holds control flow, which torch.jit.script leaves in.
    """
    if not isinstance(traced, torch.jit.ScriptFunction):
        return _made(traced, "", {})
    module = _class_of(traced.qualified_name.removeprefix("__torch__."))()
    module.training = False
    module.forward = _forward(module, {"forward": Method(None, module, "", traced.graph)})  # type: ignore[method-assign]
    return module


def with_modules_of_traces(model: nn.Module) -> nn.Module:
    """Return a model in which the modules of a trace stand for each trace within, or itself where it holds none.

    What holds a trace is copied, with the same parameters and buffers, and the model stays as it is. One that holds
    control flow, which torch.jit.script leaves in, raises an ArgumentError when it is called.
    """
    around = {
        id(module)
        for module in model.modules()
        if any(isinstance(inner, torch.jit.ScriptModule) for inner in module.modules())
    }
    made: dict[int, nn.Module] = {}
    shared: dict[Any, Any] = {}

    def replaced(module: nn.Module, path: str) -> nn.Module:
        if id(module) not in around:
            return module
        if id(module) not in made:
            if isinstance(module, torch.jit.ScriptModule):
                made[id(module)] = _made(module, path, shared, is_part=True)
            else:
                new = made[id(module)] = copy.copy(module)
                new.__dict__["_modules"] = {
                    name: child if child is None else replaced(child, f"{path}.{name}".lstrip("."))
                    for name, child in module._modules.items()
                }
        return made[id(module)]

    return replaced(model, "")


@functools.cache
def _class_of(kind: str) -> type[Traced]:
    """Return a class of the name that was traced."""
    return type(kind.rpartition(".")[2], (Traced,), {"type_name": lambda self: kind})


def _kind(script: Any) -> str:
    """Return the full name of a traced module's class, without what TorchScript puts in it."""
    name = script._c._type().qualified_name()
    return re.sub(r"___torch_mangle_\d+\.", "", name.removeprefix("__torch__."))


def _made(script: Any, path: str, shared: dict[Any, Any], is_part: bool = False) -> nn.Module:
    """Return the module of a trace; of a model's part, which may never be called, control flow is told by a call."""
    children: dict[str, nn.Module | None] = {
        name: _made(child, f"{path}.{name}" if path else name, shared, is_part)
        for name, child in script.named_children()
    }
    kind = _kind(script)
    container = _CONTAINERS.get(kind.removeprefix("torch.nn.modules.container."))
    called = "forward" in script._c._method_names()
    if container is nn.Sequential and (not called or _calls_in_a_row(script, children)):
        made = _in_evaluation(nn.Sequential(), children)
        for name in script._c._method_names():
            _repeat(made, name)
        return made
    if container in (nn.ModuleList, nn.ModuleDict):
        if container is nn.ModuleList:  # of a None in it a trace holds the place alone
            last = max((int(name) for name in children if name.isdecimal()), default=-1)
            children = {**{str(i): None for i in range(last + 1)}, **children}
        return _in_evaluation(container(), children)
    if kind == "torch.nn.modules.linear.Identity":  # whose graph holds nothing
        return nn.Identity().train(script.training)
    parameters = _parameters(script, shared)
    if (recurrent := _recurrent(script, kind, parameters)) is not None:
        return recurrent
    module = _class_of(kind)()
    module.training = script.training
    for name, parameter in parameters.items():
        module.register_parameter(name, parameter)
    for name, tensor in script.named_buffers(recurse=False):
        module.register_buffer(name, shared.setdefault(same_numbers(tensor), tensor))
    for name, child in children.items():
        module.add_module(name, child)
    try:
        methods = {
            name: Method(script, module, path, script._c._get_method(name).graph) for name in script._c._method_names()
        }
    except ArgumentError as error:
        if not is_part:
            raise
        module.forward = _raising(error)  # type: ignore[method-assign]
        return module
    if methods:
        module.forward = _forward(module, methods)  # type: ignore[method-assign]
    return module


def _parameters(script: Any, shared: dict[Any, Any]) -> dict[str, nn.Parameter]:
    """Return the parameters of a traced module itself by name; of the same numbers in one memory there is one."""
    held = {}
    for name, tensor in script.named_parameters(recurse=False):
        parameter = nn.Parameter(tensor.detach(), requires_grad=False)
        held[name] = shared.setdefault(same_numbers(tensor), parameter)
    return held


def _recurrent(script: Any, kind: str, parameters: Mapping[str, nn.Parameter]) -> nn.Module | None:
    """Return torch.nn's recurrent module of a traced one, with how each of its calls is made; None of others."""
    graphs = {name: script._c._get_method(name).graph for name in script._c._method_names()}
    found = {
        name: of_traced(kind, graph, parameters)
        for name, graph in graphs.items()
        if any(str(value.type()) != "NoneType" for value in graph.outputs())  # else nothing takes what it gives
    }
    if not found or not all(found.values()):
        return None
    made = {name: module for name, (module, _) in found.items()}  # type: ignore[misc]
    callings = {name: calling for name, (_, calling) in found.items()}  # type: ignore[misc]
    told = [made[name] for name, calling in callings.items() if not calling.is_packed]  # where the batch stands
    if len({module.extra_repr() for module in told}) > 1:
        return None
    module = (told or [*made.values()])[0]
    vars(module)[CALLINGS] = callings
    return module.train(script.training)


def _raising(error: ArgumentError) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise error

    return forward


def _in_evaluation(container: Any, children: Mapping[str, nn.Module | None]) -> nn.Module:
    for name, child in children.items():
        container.add_module(name, child)
    container.training = False
    return container


def _calls_in_a_row(script: Any, children: Mapping[str, nn.Module | None]) -> bool:
    """Whether all that a module does, each time that it is called, is to call what it holds one after another."""
    for name in script._c._method_names():
        nodes = [node for node in script._c._get_method(name).graph.nodes() if node.kind() != "prim::GetAttr"]
        if [node.kind() for node in nodes] != ["prim::CallMethod"] * len(children):
            return False
        called = [node.s("name") for node in nodes]
        if any(other != "forward" and not _repeats(child, other) for child in children.values() for other in called):
            return False
    return True


def _repeat(module: nn.Module, name: str) -> None:
    """Let what a trace has a method of its own for, another call of a module, be such a call."""
    if name != "forward":
        vars(module)[f"_{name}"] = _Again(module)


def _repeats(module: nn.Module | None, name: str) -> bool:
    """Whether another call of a module does what the first one does."""
    return isinstance(vars(module).get(f"_{name}"), _Again) or isinstance(module, nn.Identity)


class _Again:
    """Calls a module."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, *args: Any) -> Any:
        return self._module(*args)


def _is_forward(module: nn.Module, method: Method, forward: Method) -> bool:
    """Whether a method has the lines of ``forward``, and what it calls does what it did then."""
    texts, first = ("\n".join(text for text, _ in each.lines) for each in (method, forward))
    names = {*re.findall(r"\._(forward\d+)\(", texts)}
    children = [child for child in module.children() if any(f"_{name}" in vars(child) for name in names)]
    if any(not _repeats(child, name) for child in children for name in names if f"_{name}" in vars(child)):
        return False
    return method.parameters == forward.parameters and re.sub(r"\._forward\d+\(", "(", texts) == first


def _forward(module: Traced, methods: dict[str, Method]) -> Any:
    """Return a module's forward: a function of all methods, of which a second call of the module has another."""
    file = f"traced {module.type_name()} {id(module)}"
    lines: list[str] = []
    places: dict[int, Place] = {}
    for name, method in methods.items():
        lines.append(f"def {name}({', '.join(method.parameters)}):")
        for text, place in method.lines:
            lines.append(f"    {text}")
            if place is not None:
                places[len(lines)] = place
    source = "\n".join(lines) + "\n"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    stands_for(file, places)
    namespace = {"torch": torch, "math": math, "self": module}
    exec(compile(source, file, "exec"), namespace)
    for name, method in methods.items():
        if name != "forward" and _is_forward(module, method, methods["forward"]):
            _repeat(module, name)
        elif name != "forward":
            vars(module)[f"_{name}"] = namespace[name]
    return namespace["forward"]
