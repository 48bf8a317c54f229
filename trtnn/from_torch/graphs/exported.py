"""Exported programs: ``torch.export.unflatten`` puts their modules together again, recorded as others are."""

from __future__ import annotations

import copy
import inspect
import operator
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError
from trtnn.from_torch.graphs.recurrent import call_of, of_exported
from trtnn.from_torch.recording.replacing import replaced
from trtnn.from_torch.recording.steps import same_numbers

# What a program checks as it runs, and what holds for lengths that are known then.
_CHECKS = tuple(
    getattr(torch.ops.aten, name)
    for name in (
        "_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range",
        "sym_constrain_range_for_size",
    )
)  # fmt: skip


def as_module(program: Any) -> nn.Module:
    """Return the modules of an exported program, those of torch.nn's own that graphs hold otherwise among them.

    Raises:
        ArgumentError: torch cannot put them together.
    """
    if _writes_through_views(program.graph_module):
        program = program.run_decompositions({})  # no operation is another then, but each gives a tensor of its own
    module = unflattened(program)
    for inner in module.modules():
        _leave_checks_out(inner)
    _put_recurrent_modules(module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _is_sequential(child):
                setattr(parent, name, nn.Sequential(OrderedDict(child.named_children())))
    for inner in module.modules():
        inner.training = False  # it was exported as it is, and has no switch
    return module


def _tell_modules(graph: torch.fx.Graph) -> None:
    """Say of operations that decompositions added, and did not say it of, that they are the model's own."""
    stacks = [node.meta.get("nn_module_stack") for node in graph.nodes if node.op == "call_function"]
    root = next((dict([next(iter(stack.items()))]) for stack in stacks if stack), None)
    for node in graph.nodes:
        if root and node.op == "call_function" and not node.meta.get("nn_module_stack"):
            node.meta["nn_module_stack"] = dict(root)


def _leave_checks_out(module: Any) -> None:
    """Remove the checks of a module's graph, and what is computed for these alone, such as how much a mask picks."""
    graph = getattr(module, "graph", None)
    if not isinstance(graph, torch.fx.Graph):
        return
    checks = [node for node in graph.nodes if getattr(node.target, "overloadpacket", None) in _CHECKS]
    if not checks:
        return
    for node in checks:
        graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile() if isinstance(module, torch.fx.GraphModule) else module.finalize()


def _writes_through_views(program: torch.fx.GraphModule) -> bool:
    """Whether a part of a tensor is taken and written to, as ``x[:, 0] += 1`` is exported."""
    return any(_writes_to(node.target) and _is_view(node.args[0]) for node in program.graph.nodes)


def _writes_to(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _is_view(node: Any) -> bool:
    """Whether a node gives a part of what it takes, or all of it otherwise, and not a copy."""
    target = getattr(node, "target", None)
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    return any(returned.alias_info is not None for returned in target._schema.returns)


def unflattened(program: Any) -> nn.Module:
    """Return the modules that torch puts together of an exported program.

    Raises:
        ArgumentError: it cannot.
    """
    _tell_modules(program.graph)
    try:
        with _calls_told_apart():
            return torch.export.unflatten(_with_memory_of_their_own(program))
    except Exception as error:
        raise ArgumentError(
            f"torch cannot put the modules of this exported program together: {error}".partition("\n")[0],
            "convert the module that it was exported of",
        ) from error


def _with_memory_of_their_own(program: Any) -> Any:
    """Return a program in which no tensor is the memory of another in another type, or with the other sign.

    ``torch.export.unflatten`` takes tensors for one that lie in the same place, whatever else they are.
    """
    first: dict[Any, Any] = {}  # of each place, all but that what the tensor there is

    def apart(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: copy.deepcopy(tensor.detach()) if is_another(tensor) else tensor for name, tensor in tensors.items()
        }

    def is_another(tensor: Any) -> bool:
        if not isinstance(tensor, torch.Tensor) or not tensor.numel():
            return False
        numbers = same_numbers(tensor)
        return first.setdefault(numbers[:4], numbers) != numbers

    state_dict, constants = apart(program.state_dict), apart(program.constants)
    held = (*program.state_dict.values(), *program.constants.values())
    if all(map(operator.is_, (*state_dict.values(), *constants.values()), held)):
        return program
    program = copy.copy(program)
    program._state_dict, program._constants = state_dict, constants
    return program


@contextmanager
def _calls_told_apart() -> Iterator[None]:
    """Let torch take two calls of a module for the same only where the modules that they call do the same as well.

    It looks at what each calls itself: of ``block(x, 2.0) + block(x, 3.0)`` whose ``block`` has a part do it, one would
    stand for both.
    """
    module: Any = sys.modules["torch.export.unflatten"]  # torch.export.unflatten is the function
    original = getattr(module, "_check_graph_equivalence", None)
    if original is None:
        yield
        return

    def do_the_same(one: Any, other: Any) -> bool:
        if one is other:
            return True
        if not original(one, other):
            return False
        calls = [[node.target for node in each.graph.nodes if node.op == "call_module"] for each in (one, other)]
        return all(
            do_the_same(one.get_submodule(mine), other.get_submodule(yours)) for mine, yours in zip(*calls, strict=True)
        )

    with replaced(module, "_check_graph_equivalence", do_the_same):
        yield


def as_it_was(program: Any) -> nn.Module:
    """Return what runs an exported program as torch does, without its checks: no modules are put together."""
    takes_guards = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(check_guards=False) if takes_guards else program.module()
    _leave_checks_out(module)
    return module


def _put_recurrent_modules(module: nn.Module) -> None:
    """Put torch.nn's recurrent modules where graphs hold their operations, and have the graphs around call them.

    What torch puts beside a module that is called several times, ``cell@1``, is that module again.
    """
    found = {id(inner): of_exported(inner, _kind(inner)) for inner in module.modules() if inner is not module}
    made = {key: pair for key, pair in found.items() if pair is not None}
    again: dict[Any, nn.Module] = {}
    stands_for = {key: again.setdefault(_identity(inner), inner) for key, (inner, _) in made.items()}
    for parent in module.modules() if made else ():
        graph = getattr(parent, "graph", None)
        for node in list(graph.nodes) if graph is not None else ():
            called = id(parent.get_submodule(node.target)) if node.op == "call_module" else 0
            if called in made:
                node.op, node.target = "call_function", call_of(stands_for[called], made[called][1])
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                parent._modules[name] = stands_for[id(child)]
                if parent._modules.get(name.partition("@")[0]) is parent._modules[name] and "@" in name:
                    del parent._modules[name]


def _identity(module: nn.Module) -> Any:
    """Return what is the same of two modules that do the same with the same weights."""
    return repr(module), *map(id, module.parameters())


def _kind(module: Any) -> str:
    """Return the full name of the class that a module was exported of."""
    kind = getattr(module, "type_name", lambda: "")()
    return kind if isinstance(kind, str) else ""


def _is_sequential(module: Any) -> bool:
    """Whether a module is a Sequential that calls what it holds one after another, each once."""
    if not _kind(module).endswith(".Sequential"):
        return False
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    names = [node.target for node in nodes]
    return names == list(module._modules) and all(len(node.all_input_nodes) == 1 for node in nodes)
