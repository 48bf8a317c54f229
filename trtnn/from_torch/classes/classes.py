"""Which classes the source has: module instances grouped by what they are.

Instances of one torch class with the same text but for numbers are one class; the numbers that differ are arguments of
its constructor. A child that some have and some have not is an argument as well, None where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from trtnn.from_torch.classes.arguments import write_with_arguments
from trtnn.from_torch.classes.groups import Draft, Group, Way, class_name
from trtnn.from_torch.classes.kinds import CONTAINERS, COUNTER, Kinds, base_of
from trtnn.from_torch.classes.merging import Variant, alike, merged, of_instance
from trtnn.from_torch.classes.ties import ties_of
from trtnn.from_torch.classes.twins import ACTIVATIONS
from trtnn.from_torch.forward.attributes import SELF, path_expression
from trtnn.from_torch.forward.body import Body
from trtnn.from_torch.forward.constants import Constants
from trtnn.from_torch.operations.constructors import constructor, is_leaf
from trtnn.from_torch.recording.bypasses import hand_on_what_is_read
from trtnn.from_torch.recording.hooks import norm_of
from trtnn.from_torch.recording.observers import is_observed
from trtnn.from_torch.recording.steps import Refusal, Scope, Value
from trtnn.from_torch.recording.tape import Tape
from trtnn.from_torch.source.comprehensions import contents
from trtnn.from_torch.source.expressions import (
    NOTHING,
    Attribute,
    Call,
    Dictionary,
    Expression,
    New,
    Number,
    Passed,
    Passing,
    Sequence,
    Text,
    literal,
    quoted,
    text_of,
)
from trtnn.from_torch.source.lines import THERE, Line
from trtnn.from_torch.source.names import free_name, is_name

_MISSING = "trtnn has not, and no converter is for it"
_IMPORTED = frozenset(("Parameter", "Buffer", "Input", "Dim", "F", "trtnn", "math", "Module", "Identity", "LayerNorm",
                       "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"))  # fmt: skip


class Classes:
    """The classes of a recorded model, the innermost first.

    Args:
        tape: the recorded call.
        constants: takes the numbers of what becomes a Buffer.
        name: the name of the model's own class.

    Attributes:
        groups: the classes.
        bodies: the forward of each scope, by the scope's id.
        refusals: why there are none, where the source would call what is not there.
        several: the ids of modules whose calls one forward cannot hold; where there are some, nothing else is right.
    """

    def __init__(self, tape: Tape, constants: Constants, name: str) -> None:
        self.tape, self.constants, self.name = tape, constants, name
        self.model = tape.model
        self.groups: list[Group] = []
        self.bodies: dict[int, Body] = {}
        self.refusals: list[Refusal] = []
        self.several: set[int] = set()
        self._kinds = Kinds(tape)
        self._placed: dict[int, tuple[Group, int]] = {}  # of each instance its class, and its number there
        self._instances: dict[Any, list[nn.Module]] = {}  # of each torch class
        self._under_way: set[Any] = set()  # the torch classes whose instances are being drafted
        self._ties: dict[str, list[tuple[str, str]]] = {}
        leaves = [module for module in self.model.modules() if is_leaf(module)]
        self._imported = {*_IMPORTED, *(kind.__name__ for kind in (*map(type, leaves), *ACTIVATIONS.values()))}

    def build(self) -> Classes:
        """Make the classes of all modules that are needed."""
        assert self.tape.root is not None
        self._kinds.with_more = hand_on_what_is_read(self.tape)
        self._make_bodies(self.tape.root)
        if self.refusals:
            return self
        self._kinds.find_twins()
        for made in self._kinds.twins.values():
            self._imported.update(node.text for node in made.walk() if isinstance(node, Text))
        for module in self.model.modules():
            if self._kinds.kind(module) == "class":
                self._instances.setdefault(_torch_class(module), []).append(module)
        self._ties = ties_of(self.tape, self._kinds)
        self._group_of(self.model)
        return self

    @property
    def compute_constants(self) -> bool:
        """Whether a forward computes something of constants alone."""
        return any(body.computes_constants for body in self.bodies.values())

    def _make_bodies(self, scope: Scope) -> None:
        """Write the forward of a scope, after those of the scopes within."""
        children: dict[int, Body] = {}
        for step in scope.steps:
            if step.scope is not None:
                self._make_bodies(step.scope)
                children[id(step.scope)] = self.bodies[id(step.scope)]
        guards = [guard for guard in self.tape.guards if guard.scope is scope]
        body = Body(scope, self.tape.held, self.constants, guards, children, scope is self.tape.root)
        self.bodies[id(scope)] = body
        if self._kinds.kind(scope.module) == "class":
            self.refusals += [
                Refusal(problem.what, problem.step.path, problem.step.place, _MISSING) for problem in body.problems
            ]

    # -- drafts -------------------------------------------------------------------------------------------------------

    def _group_of(self, module: nn.Module) -> tuple[Group, int]:
        """Return the class of a module, and the module's number there."""
        if id(module) in self._placed:
            return self._placed[id(module)]
        torch_class = _torch_class(module)
        if torch_class in self._under_way:  # a class within itself: each such instance is a class by itself
            self._place([self._draft(module)])
            return self._placed[id(module)]
        self._under_way.add(torch_class)
        drafts = []
        for instance in self._instances.get(torch_class, [module]):
            if id(instance) not in self._placed:
                draft = self._draft(instance)
                if id(instance) not in self._placed:  # as one within another of its class
                    drafts.append(draft)
        self._place(drafts)
        self._under_way.discard(torch_class)
        return self._placed[id(module)]

    def _draft(self, module: nn.Module) -> Draft:
        path = self.tape.paths[id(module)][0]
        scopes = self.tape.scopes.get(id(module), [])
        bodies = [self.bodies[id(scope)] for scope in scopes]
        base = base_of(module)
        if is_leaf(module):
            made = constructor(module)
            base = text_of(made.function)
            init = [Line("run", (), Call(Text("super().__init__"), made.args, made.kwargs))]
        else:
            init = self._init(module, path, base)
        in_a_row = base == "Sequential" and type(module).forward is nn.Sequential.forward
        if not bodies or (in_a_row and id(module) not in self._kinds.with_more):
            return Draft(module, path, base, init, [], _shapes(scopes))
        return Draft(module, path, base, init, _ways(bodies, self._called), _shapes(scopes))

    def _called(self, passing: Passing) -> Expression:
        """Return a call of a module as its class takes it: what may be left out stands by name."""
        given, literals = dict(passing.args), dict(passing.literals)
        group = self._group_of(passing.module)[0] if self._kinds.kind(passing.module) == "class" else None
        if group is None or group.lines is None:
            return Call(passing.function, tuple(given.values()))
        args, kwargs = [], []
        for name, default in group.parameters:
            node = given.get(name)
            if node is None:
                node = literals.get(name, NOTHING)
                is_number = isinstance(node, Number)
                node = replace(node, default=default) if is_number else Passed(text_of(node), literal(default))  # type: ignore[type-var]
            if default is ...:
                args.append(node)
            else:
                kwargs.append((name, node))
        return Call(passing.function, tuple(args), tuple(kwargs))

    def _init(self, module: nn.Module, path: str, base: str) -> list[Line]:
        """Return the lines of a constructor: parameters, buffers, constants, children, and what is tied."""
        lines = []
        transient = module._non_persistent_buffers_set
        prefix = f"{path}." if path else ""
        used = {name for body in self.bodies.values() for name in body.used_state} if transient else set()
        tied = {second for _, second in self._ties.get(path, ())}
        for name, parameter in module._parameters.items():
            if parameter is not None and name not in tied:
                lines.append(_assigned(name, Call(Text("Parameter"), _sizes(parameter))))
        for name, buffer in module._buffers.items():
            if buffer is None or name == COUNTER or name in tied:
                continue
            if name not in transient or prefix + name in used:
                lines.append(_assigned(name, _buffer(buffer, name in transient)))
        for name, tensor in self.constants.tensors.get(path, {}).items():
            lines.append(_assigned(name, _buffer(tensor, (path, name) not in self.constants.of_parameters)))
        if base == "Module":
            for name, child in module._modules.items():
                if child is not None and name not in tied and self._kinds.is_wanted(child):
                    lines.append(_assigned(name, self._construct(child, f"{prefix}{name}")))
        else:
            items = contents(base, self._items(module, path))
            lines.insert(0, Line("run", (), Call(Text("super().__init__"), items)))
        for first, second in self._ties.get(path, ()):
            lines.append(_put(path_expression(module, second), path_expression(module, first)))
        return lines

    def _items(self, module: nn.Module, path: str) -> dict[str, Expression]:
        """Return what makes the modules that a container holds; a None in a row keeps its place."""
        prefix = f"{path}." if path else ""
        empty = {} if isinstance(module, nn.ModuleDict) else {None: Call(Text("Identity"), ())}
        return {
            name: self._construct(child, f"{prefix}{name}") if child is not None else empty[child]
            for name, child in module._modules.items()
            if child is not None or child in empty
        }

    def _construct(self, module: nn.Module, path: str) -> Expression:
        """Return the expression that makes a module."""
        paths = self.tape.paths[id(module)]
        if paths[0] != path and path in paths:
            return Call(Text("Identity"), ())  # another name of a module: it is assigned behind
        kind = self._kinds.kind(module)
        if kind == "twin":
            return self._kinds.twins[id(module)]
        if kind == "nothing":
            return Call(Text("Identity"), ())
        if kind == "leaf":
            return constructor(module)
        if kind in CONTAINERS:
            return Call(Text(kind), contents(kind, self._items(module, path)))
        if kind == "ParameterList":
            nodes = tuple(self._item(item, f"{path}.{i}") for i, item in enumerate(module))  # type: ignore[arg-type]
            holder = "ModuleList" if any(isinstance(item, nn.Module) for item in module) else kind  # type: ignore[attr-defined]
            return Call(Text(holder), (Sequence(nodes, "[]"),))
        if kind == "ParameterDict":
            pairs = tuple((key, self._item(item, f"{path}.{key}")) for key, item in module.items())  # type: ignore[operator]
            return Call(Text(kind), (Dictionary(pairs),))
        group, number = self._group_of(module)
        args = []
        for argument in group.arguments:
            value = argument.values[number]
            node = value if isinstance(value, Expression) else Number(value, argument.name, default=argument.default)
            args.append((argument.name, node))
        return New(group, tuple(args))

    def _item(self, item: Any, path: str) -> Expression:
        """Return what makes an item of a list of parameters: a list of its own, or a parameter."""
        return self._construct(item, path) if isinstance(item, nn.Module) else Call(Text("Parameter"), _sizes(item))

    # -- groups -------------------------------------------------------------------------------------------------------

    def _place(self, drafts: list[Draft]) -> None:
        """Make classes of the instances of one torch class."""
        same: dict[Any, list[Draft]] = {}
        variants: list[Variant] = []
        for draft in drafts:
            if len(draft.ways) < 2:
                same.setdefault(draft.key(), []).append(draft)
            else:
                variants.append(of_instance(draft) or self._of_several(draft))
        variants += map(alike, same.values())
        variants.sort(key=lambda variant: -variant.length)
        while variants:
            whole, *others = variants
            variants = []
            for part in others:
                both = merged(whole, part) or merged(part, whole)
                if both is None:
                    variants.append(part)
                else:
                    whole = both
            self._finish(whole)

    def _of_several(self, draft: Draft) -> Variant:
        """Note an instance whose calls differ by what source cannot say; return it with one of them."""
        self.several.add(id(draft.module))
        return alike([replace(draft, ways=draft.ways[:1])])  # so that others are found as well

    def _finish(self, variant: Variant) -> None:
        """Make one class of drafts."""
        order = {path: i for i, (path, _) in enumerate(self.model.named_modules())}
        drafts = sorted(variant.drafts, key=lambda draft: order[draft.path])
        group = Group(self._class_name(variant.drafts[0].module), drafts)
        self.groups.append(group)
        for number, draft in enumerate(drafts):
            self._placed[id(draft.module)] = (group, number)
        write_with_arguments(group, variant)

    def _class_name(self, module: nn.Module) -> str:
        wanted = self.name if module is self.model else class_name(module).rpartition(".")[2]
        if type(module) is nn.Sequential and module is not self.model:  # one that returns more, named by its place
            parts = [part for part in self.tape.paths[id(module)][0].split(".") if not part.isdigit()]
            wanted = "".join(part[:1].upper() + part[1:] for part in parts[-1].split("_")) if parts else wanted
        elif type(module).__module__.startswith("torch.nn."):
            wanted = f"{'FakeQuantized' if is_observed(module) else norm_of(module)}{wanted}"
        wanted = wanted if is_name(wanted) else f"{wanted}_"
        if is_leaf(module):  # the model itself, of a module that trtnn has
            wanted = f"{wanted}Net"
        taken = self._imported | {group.name for group in self.groups}
        return free_name(wanted, taken.__contains__)


def _ways(bodies: list[Body], called: Callable[[Passing], Expression]) -> list[Way]:
    """Return the ways in which a module was called; of what literals matter not calls of one way may have several."""
    ways: list[Way] = []
    for i, body in enumerate(bodies):
        names = [parameter.name for parameter in body.parameters]
        lines = body.lines(called)
        passed = {name: frozenset((literal(value),)) for name, value in body.literals.items()}
        passed |= dict.fromkeys(body.unknown, frozenset()) | dict.fromkeys(names, frozenset((THERE,)))
        same = next((way for way in ways if way.parameters == names and way.lines == lines), None)
        if same is None:
            ways.append(Way(names, lines, passed, i))
        else:
            for name in dict.fromkeys((*same.passed, *passed)):
                before, now = same.argument(name), passed.get(name, frozenset(("None",)))
                same.passed[name] = before | now if before and now else frozenset()
    return ways


def _torch_class(module: nn.Module) -> Any:
    """Return what instances of one torch class have in common; torch makes a class of each that is parametrised."""
    kind = type(module)
    return kind.__mro__[1] if is_parametrized(module) else kind, class_name(module)


def _assigned(name: str, node: Expression) -> Line:
    """Return the line that gives ``self`` an attribute; one whose name is none in Python is registered."""
    if is_name(name):
        return Line("set", (), node, Attribute(SELF, name))
    made = text_of(node.function) if isinstance(node, Call) else ""
    register = {"Parameter": "register_parameter", "Buffer": "register_buffer"}.get(made, "add_module")
    return Line("run", (), Call(Attribute(SELF, register), (Text(quoted(name)), node)))


def _put(place: Expression, node: Expression) -> Line:
    """Return the line that puts something in a place; one whose name is none in Python is ``getattr`` of its owner."""
    if isinstance(place, Call):
        return Line("run", (), Call(Text("setattr"), (*place.args, node)))
    return Line("set", (), node, place)


def _buffer(tensor: torch.Tensor, optional: bool) -> Call:
    return Call(Text("Buffer"), _sizes(tensor), (("optional", Text("True")),) if optional else ())


def _sizes(tensor: torch.Tensor) -> tuple[Expression, ...]:
    return tuple(Number(int(n), "dim") for n in tensor.shape)


def _shapes(scopes: list[Scope]) -> tuple[str, str]:
    """Return the shapes that a module takes and gives, of its first call, as text."""

    def shown(value: Any) -> str:
        if isinstance(value, Value):
            return str(tuple(value.tensor.shape))
        if isinstance(value, dict):
            return ", ".join(f"{key} {text}" for key, item in value.items() if (text := shown(item)))
        if isinstance(value, tuple):
            return ", ".join(text for item in value if (text := shown(item)))
        return ""

    return (shown(scopes[0].arguments), shown(scopes[0].result)) if scopes else ("", "")
