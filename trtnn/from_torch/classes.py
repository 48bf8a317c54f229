"""Which classes the source has: module instances grouped by what they are, and what tells one from another.

Instances of one torch class with the same text but for numbers are one class; the numbers that differ are arguments of
its constructor. A child that some have and some have not is an argument as well, None where there is none.
"""

from __future__ import annotations

import itertools
import keyword
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trtnn import modules
from trtnn.from_torch.bodies import SELF, Body, Constants, Statement, names_in, path_expression
from trtnn.from_torch.bypasses import return_what_is_read
from trtnn.from_torch.converters import Missing, constructor, convert, is_leaf, is_registered
from trtnn.from_torch.expressions import (
    NOTHING,
    Attribute,
    Binary,
    Call,
    Comprehension,
    Dictionary,
    Expression,
    IfThere,
    Member,
    New,
    Number,
    Sequence,
    Slot,
    Starred,
    Text,
    quoted,
    text_of,
    without_defaults,
)
from trtnn.from_torch.quantised import is_observed
from trtnn.from_torch.record import Recorder, Refusal, Scope, Step, Value, name_of

_MISSING = "trtnn has not, and no converter is for it"
_SEVERAL = "what it is called with decides what it does, and source has one forward: give each way a module of its own"
_COUNTER = "num_batches_tracked"
_WIDTHS = ("channels", "features", "dim", "size", "width", "planes", "shape", "embed", "hidden", "d_model")
_VAGUE = ("dim", "value", "size", "depth")  # names that say nothing of what a number is for
_DEFAULTS = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "bias": True}
_IMPORTED = frozenset(("Parameter", "Buffer", "Input", "Dim", "F", "trtnn", "math", "Module", "Identity", "LayerNorm",
                       "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"))  # fmt: skip
# Modules that hold no weights and take few words, so that a constructor may be given one, and two children be one.
_LIGHT = frozenset(("Identity", "Dropout", "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish",
                    "Hardswish", "Hardsigmoid", "Hardtanh", "Sigmoid", "Tanh", "Softplus", "Softmax"))  # fmt: skip
_LONGEST_LOOP = 12  # lines
_CONTAINERS = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList, "ModuleDict": nn.ModuleDict}


@dataclass(frozen=True)
class Line:
    """A statement whose values have names.

    Attributes:
        kind: as of a :class:`~trtnn.from_torch.bodies.Statement`, or ``"for"``.
        targets: the names that it binds; of a loop its variables.
        body: the lines of a loop, or those under a condition.
        containers: what a loop runs over.
        optional: the child that has to be there, where it may be None.
        flag: the attribute that has to be true.
        steps: what it was recorded as: what is computed within the line first.
    """

    kind: str
    targets: tuple[str, ...] = ()
    expression: Expression | None = None
    place: Expression | None = None
    sign: str = ""
    unpacks: bool = False
    body: tuple[Line, ...] = ()
    containers: tuple[Expression, ...] = ()
    optional: str = ""
    flag: str = ""
    steps: tuple[Step, ...] = field(default=(), compare=False)

    def map(self, change: Callable[[Expression], Expression | None]) -> Line:
        """Return the line with its expressions changed."""
        place = self.place and self.place.map(change)  # in the order of walk
        expression = self.expression and self.expression.map(change)
        containers = tuple(container.map(change) for container in self.containers)
        body = tuple(line.map(change) for line in self.body)
        return replace(self, expression=expression, place=place, body=body, containers=containers)

    def walk(self) -> Iterator[Expression]:
        """Yield the nodes of its expressions in order."""
        for tree in (self.place, self.expression, *self.containers):
            if tree is not None:
                yield from tree.walk()
        for line in self.body:
            yield from line.walk()


@dataclass
class Draft:
    """One instance: the lines of its constructor and of its forward."""

    module: nn.Module
    path: str
    base: str
    init: list[Line]
    parameters: list[str]
    lines: list[Line] | None
    attributes: dict[str, Any]
    shapes: tuple[str, str] = ("", "")

    def numbers(self) -> list[Number]:
        """Return its numbers in the order of the text."""
        lines = [*self.init, *(self.lines or ())]
        return [node for line in lines for node in line.walk() if isinstance(node, Number)]

    def key(self) -> Any:
        """Return what two instances of one class have in common."""
        return (
            class_name(self.module),
            self.base,
            tuple(map(_without_numbers, self.init)),
            tuple(self.parameters),
            None if self.lines is None else tuple(map(_without_numbers, self.lines)),
        )


@dataclass
class Argument:
    """An argument of a class's constructor.

    Attributes:
        name: what it is called.
        values: of each instance, a number or an expression.
        default: what it is where it is left out; ``...`` where it cannot be.
    """

    name: str
    values: list[Any]
    default: Any = ...


@dataclass(eq=False)
class Group:
    """A class of the source.

    Attributes:
        name: what it is called.
        drafts: its instances, the first of which its text is made of.
        arguments: of its constructor.
        stored: the attributes that forward reads, with their expressions.
        init, lines: the text's lines, where numbers are literals or arguments.
    """

    name: str
    drafts: list[Draft]
    arguments: list[Argument] = field(default_factory=list)
    stored: dict[str, Expression] = field(default_factory=dict)
    init: list[Line] = field(default_factory=list)
    lines: list[Line] | None = None

    @property
    def positional(self) -> set[str]:
        """The names of the arguments that stand by position."""
        return {argument.name for argument in self.arguments if argument.default is ...}

    @property
    def base(self) -> str:
        return self.drafts[0].base


class Classes:
    """The classes of a recorded model, the innermost first.

    Args:
        recorder: the recorded call.
        constants: what becomes of tensors that are computed of constants.
        name: the name of the model's own class.

    Attributes:
        groups: the classes.
        bodies: the forward of each scope, by the scope's id.
        unused: the paths of parameters and buffers that the source has not.
    """

    def __init__(self, recorder: Recorder, constants: Constants, name: str) -> None:
        self.recorder, self.constants, self.name = recorder, constants, name
        self.model = recorder.model
        self.groups: list[Group] = []
        self.bodies: dict[int, Body] = {}
        self.refusals: list[Refusal] = []
        self.summary = "takes what is not there"
        self._calls: dict[int, Step] = {}  # of each scope within another
        self._called: set[int] = set(recorder.leaf_calls)
        self._placed: dict[int, tuple[Group, int]] = {}  # of each instance its class, and its number there
        self._collapsed: dict[int, Expression] = {}
        self._class_of: dict[Any, list[nn.Module]] = {}
        self._ties: dict[str, list[tuple[str, str]]] = {}
        self._doing: set[Any] = set()
        leaves = [module for module in self.model.modules() if is_leaf(module)]
        self._imported = {type(module).__name__ for module in leaves} | {
            kind.__name__ for kind in _ACTIVATIONS.values()
        }

    def build(self) -> Classes:
        """Make the classes of all modules that are needed."""
        root = self.recorder.root
        assert root is not None
        return_what_is_read(self.recorder)
        self._make_bodies(root)
        if self.refusals:
            return self
        self._collapse()
        for module in self.model.modules():
            if self.kind(module) == "class":
                self._class_of.setdefault(self._class_key(module), []).append(module)
        self._find_ties()
        self._group_of(self.model)
        return self

    @property
    def compute_constants(self) -> bool:
        """Whether a forward computes something of constants alone."""
        return any(body.computes_constants for body in self.bodies.values())

    def path_of(self, module: nn.Module) -> str:
        return self.recorder.paths[id(module)][0]

    def _make_bodies(self, scope: Scope) -> None:
        for step in scope.steps:
            if step.scope is not None:
                self._calls[id(step.scope)] = step
                self._make_bodies(step.scope)
        guards = [guard for guard in self.recorder.guards if guard[4] is scope]
        root = scope is self.recorder.root
        body = Body(scope, self.recorder.held, self.constants, guards, root)
        body.build({id(step.scope): self.bodies[id(step.scope)] for step in scope.steps if step.scope is not None})
        self.bodies[id(scope)] = body
        if self.kind(scope.module) == "class":
            self.refusals += [
                Refusal(problem.what, problem.step.path, problem.step.place, _MISSING) for problem in body.problems
            ]

    # -- kinds --------------------------------------------------------------------------------------------------------

    def kind(self, module: nn.Module) -> str:
        """Return what a module is in the source: a ``"leaf"``, a container, a ``"class"``, or ``"nothing"``."""
        if id(module) in self._collapsed:
            return "collapsed"
        if module is self.model:
            return "class"
        for name, container in _CONTAINERS.items():
            if type(module) is container:
                return name
        if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
            return "ParameterList" if isinstance(module, nn.ParameterList) else "ParameterDict"
        if is_leaf(module):
            return "leaf"
        if id(module) not in self.recorder.scopes and not _has_state(module):
            return "nothing"
        return "class"

    def _class_key(self, module: nn.Module) -> Any:
        return type(module), class_name(module)

    # -- wrappers -----------------------------------------------------------------------------------------------------

    def _collapse(self) -> None:
        """Find the modules that are one of torch's under another name: a subclass, or an activation's wrapper."""
        for identity, scopes in self.recorder.scopes.items():
            module = scopes[0].module
            if self.kind(module) != "class" or module is self.model or module._modules:
                continue
            twin = _twin(scopes)
            if twin is not None:
                self._collapsed[identity] = twin
                self._imported.update(node.text for node in twin.walk() if isinstance(node, Text))

    # -- ties ---------------------------------------------------------------------------------------------------------

    def _find_ties(self) -> None:
        """Note parameters and modules of several names, at the innermost module that holds them all."""
        several = [paths for paths in self.recorder.paths.values() if len(paths) > 1]
        several = [paths for paths in several if self._is_wanted(self.model.get_submodule(paths[0]))]
        shared = {path for paths in several for path in paths[1:]}
        for names in (*several, *self.recorder.held.values()):
            for name in names[1:]:
                if not any(name.startswith(f"{path}.") for path in shared):
                    self._tie(names[0], name)

    def _tie(self, first: str, second: str) -> None:
        parts = []
        for a, b in zip(first.split("."), second.split("."), strict=False):
            if a != b:
                break
            parts.append(a)
        while parts and self.kind(self.model.get_submodule(".".join(parts))) not in ("class",):
            parts.pop()
        owner = ".".join(parts)
        skip = len(owner) + 1 if owner else 0
        self._ties.setdefault(owner, []).append((first[skip:], second[skip:]))

    # -- drafts -------------------------------------------------------------------------------------------------------

    def _group_of(self, module: nn.Module) -> tuple[Group, int]:
        if id(module) in self._placed:
            return self._placed[id(module)]
        key = self._class_key(module)
        if key in self._doing:  # a class within itself: each such instance is a class by itself
            self._place([self._draft(module)])
            return self._placed[id(module)]
        self._doing.add(key)
        instances = [m for m in self._class_of.get(key, [module]) if id(m) not in self._placed]
        drafts = []
        for instance in instances:
            if id(instance) not in self._placed:
                draft = self._draft(instance)
                if id(instance) not in self._placed:
                    drafts.append(draft)
        self._place(drafts)
        self._doing.discard(key)
        return self._placed[id(module)]

    def _draft(self, module: nn.Module) -> Draft:
        path = self.path_of(module)
        scopes = self.recorder.scopes.get(id(module), [])
        bodies = [self.bodies[id(scope)] for scope in scopes]
        base = next((name for name, container in _CONTAINERS.items() if isinstance(module, container)), "Module")
        if is_leaf(module):
            made = constructor(module)
            base = text_of(made.function)
            init = [Line("run", (), replace(made, function=Text("super().__init__")))]
        else:
            init = self._init(module, path, base, bodies)
        if not bodies or (base == "Sequential" and type(module).forward is nn.Sequential.forward):
            return Draft(module, path, base, init, [], None, {}, _shapes(scopes))
        several = [_lines(body) for body in bodies]
        if any(lines != several[0] for lines in several):
            self.summary = "calls a module in several ways"
            ways = [several.index(lines) for lines in several]
            for way in dict.fromkeys(ways):
                call = self._calls[id(scopes[way])]
                self.refusals.append(Refusal(f"a call of {type(module).__name__}", path, call.place, _SEVERAL))
        names = [name for name, _, _ in bodies[0].parameters]
        return Draft(module, path, base, init, names, several[0], bodies[0].attributes, _shapes(scopes))

    def _init(self, module: nn.Module, path: str, base: str, bodies: list[Body]) -> list[Line]:
        lines = []
        transient = module._non_persistent_buffers_set
        prefix = f"{path}." if path else ""
        used = {name for body in self.bodies.values() for name in body.used_state} if transient else set()
        for name, parameter in module._parameters.items():
            if parameter is not None:
                lines.append(_assigned(name, Call(Text("Parameter"), _sizes(parameter))))
        for name, buffer in module._buffers.items():
            if buffer is None or name == _COUNTER or (name in transient and prefix + name not in used):
                continue
            optional = (("optional", Text("True")),) if name in transient else ()
            lines.append(_assigned(name, Call(Text("Buffer"), _sizes(buffer), optional)))
        for name, tensor in self.constants.tensors.get(path, {}).items():
            optional = () if (path, name) in self.constants.of_parameters else (("optional", Text("True")),)
            lines.append(_assigned(name, Call(Text("Buffer"), _sizes(tensor), optional)))
        if base == "Module":
            for name, child in module._modules.items():
                if child is not None and (self._is_wanted(child)):
                    lines.append(_assigned(name, self.construct(child, f"{prefix}{name}")))
        else:
            items = {
                name: self.construct(child, f"{prefix}{name}")
                for name, child in module._modules.items()
                if child is not None
            }
            lines.insert(0, Line("run", (), Call(Text("super().__init__"), _contents(base, items))))
        for first, second in self._ties.get(path, ()):
            place = path_expression(module, second)
            lines.append(Line("set", (), path_expression(module, first), place))
        return lines

    def _is_wanted(self, module: nn.Module) -> bool:
        return _has_state(module) or any(
            id(inner) in self._called or id(inner) in self.recorder.scopes for inner in module.modules()
        )

    def construct(self, module: nn.Module, path: str) -> Expression:
        """Return the expression that makes a module."""
        if self.recorder.paths[id(module)][0] != path and path in self.recorder.paths[id(module)]:
            return Call(Text("Identity"), ())  # another name of a module: it is assigned behind
        if id(module) in self._collapsed:
            return self._collapsed[id(module)]
        kind = self.kind(module)
        if kind == "nothing":
            return Call(Text("Identity"), ())
        if kind == "leaf":
            return constructor(module)
        if kind in _CONTAINERS:
            items = {
                name: self.construct(child, f"{path}.{name}")
                for name, child in module._modules.items()
                if child is not None
            }
            return Call(Text(kind), _contents(kind, items))
        if kind == "ParameterList":
            nodes = tuple(Call(Text("Parameter"), _sizes(p)) for p in module)  # type: ignore[attr-defined]
            return Call(Text(kind), (Sequence(nodes, "[]"),))
        if kind == "ParameterDict":
            pairs = tuple((key, Call(Text("Parameter"), _sizes(p))) for key, p in module.items())  # type: ignore[operator]
            return Call(Text(kind), (Dictionary(pairs),))
        group, number = self._group_of(module)
        args = []
        for argument in group.arguments:
            value = argument.values[number]
            node = value if isinstance(value, Expression) else Number(value, argument.name, default=argument.default)
            args.append((argument.name, node))
        return New(group, tuple(args))

    # -- groups -------------------------------------------------------------------------------------------------------

    def _place(self, drafts: list[Draft]) -> None:
        """Make classes of the instances of one torch class."""
        kinds: dict[Any, list[Draft]] = {}
        for draft in drafts:
            kinds.setdefault(draft.key(), []).append(draft)
        variants = sorted(kinds.values(), key=lambda those: -len(those[0].lines or ()))
        while variants:
            members, *others = variants
            model, kept = members[0], []
            for those in others:
                merged = _merged(model, those[0], members, those) or _merged(those[0], model, those, members)
                if merged is None:
                    kept.append(those)
                else:
                    model, members = merged, [*members, *those]
            self._finish(model, members)
            variants = kept

    def _finish(self, model: Draft, drafts: list[Draft]) -> None:
        order = {path: i for i, (path, _) in enumerate(self.model.named_modules())}
        drafts = sorted(drafts, key=lambda draft: order[draft.path])
        group = Group(self._class_name(model.module), drafts)
        self.groups.append(group)
        for number, draft in enumerate(drafts):
            self._placed[id(draft.module)] = (group, number)
        _fill(group, model)

    def _class_name(self, module: nn.Module) -> str:
        wanted = self.name if module is self.model else class_name(module).rpartition(".")[2]
        if is_observed(module) and type(module).__module__.startswith("torch.nn."):
            wanted = f"FakeQuantized{wanted}"
        wanted = wanted if wanted.isidentifier() and not keyword.iskeyword(wanted) else f"{wanted}_"
        taken = {group.name for group in self.groups}
        name, i = wanted, 2
        if is_leaf(module):  # the model itself, of a module that trtnn has
            name = wanted = f"{wanted}Net"
        while name in taken or name in self._imported or name in _IMPORTED:
            name, i = f"{wanted}{i}", i + 1
        return name


def class_name(module: nn.Module) -> str:
    """Return the full name of a module's class; of a module of an exported program, of what it was exported of."""
    name = getattr(module, "type_name", None)
    exported = name() if callable(name) else None
    return exported if isinstance(exported, str) else f"{type(module).__module__}.{type(module).__qualname__}"


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(
        not name.endswith(_COUNTER) for name, _ in module.named_buffers()
    )


def _assigned(name: str, node: Expression) -> Line:
    if name.isidentifier() and not keyword.iskeyword(name):
        return Line("set", (), node, Attribute(SELF, name))
    register = (
        "add_module"
        if not (isinstance(node, Call) and node.function in (Text("Parameter"), Text("Buffer")))
        else ("register_parameter" if node.function == Text("Parameter") else "register_buffer")
    )
    return Line("run", (), Call(Attribute(SELF, register), (Text(quoted(name)), node)))


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


# -- containers -------------------------------------------------------------------------------------------------------


def _contents(kind: str, items: dict[str, Expression]) -> tuple[Expression, ...]:
    """Return what a container's constructor takes; what repeats is a comprehension."""
    counted = all(name == str(i) for i, name in enumerate(items))
    if kind == "ModuleDict" or not counted:
        return (_named_items(items),) if items else ()
    parts = _repeated(list(items.values()))
    if kind == "Sequential":
        return tuple(parts)
    if len(parts) == 1 and isinstance(parts[0], Starred):
        return (parts[0].operand,)
    return (Sequence(tuple(parts), "[]"),)


def _named_items(items: dict[str, Expression]) -> Expression:
    names = list(items)
    stem = names[0].rstrip("0123456789")
    first = names[0][len(stem) :]
    if len(names) > 2 and first and names == [f"{stem}{int(first) + i}" for i in range(len(names))]:
        item = _progression(list(items.values()))
        if item is not None:
            start = int(first)
            number = f"i + {start}" if start else "i"
            count = Call(Text("range"), (Number(len(names), "depth"),))
            stem = stem.replace("{", "{{").replace("}", "}}")
            return Comprehension(item, "i", count, f'f"{stem}{{{number}}}"')
    return Dictionary(tuple(items.items()))


def _repeated(items: list[Expression]) -> list[Expression]:
    """Return the items with runs of three or more, or two long ones, as comprehensions."""
    written: list[Expression] = []
    i = 0
    while i < len(items):
        best = 1
        for j in range(len(items), i + 1, -1):
            if j - i >= 2 and _progression(items[i:j]) is not None:
                best = j - i
                break
        same = best > 1 and all(item == items[i] for item in items[i : i + best])
        if best >= 3 or (best == 2 and same and isinstance(items[i], New)):
            item = _progression(items[i : i + best])
            assert item is not None
            variable = "_" if same else "i"
            count = Call(Text("range"), (Number(best, "depth"),))
            written.append(Starred(Comprehension(item, variable, count)))
            i += best
        else:
            written.append(items[i])
            i += 1
    return written


def _progression(items: list[Expression]) -> Expression | None:
    """Return the item that all are at ``i`` = 0, 1, 2, ..., or None."""
    numbers = [[node for node in item.walk() if isinstance(node, Number)] for item in items]
    blank = [
        item.map(lambda node: Number(type(node.value).__name__) if isinstance(node, Number) else None) for item in items
    ]
    if any(other != blank[0] for other in blank[1:]):
        return None
    trees: list[Expression] = []
    for column in zip(*numbers, strict=True):
        values = [node.value for node in column]
        if all(value == values[0] for value in values):
            trees.append(column[0])
            continue
        if len(values) < 3 or any(type(value) is not int for value in values):
            return None
        step = values[1] - values[0]
        if any(value != values[0] + i * step for i, value in enumerate(values)):
            return None
        growth: Expression = Text("i") if step == 1 else Binary(Number(step, "growth"), "*", Text("i"))
        trees.append(growth if values[0] == 0 else Binary(Number(values[0], column[0].hint), "+", growth))
    it = iter(trees)
    return items[0].map(lambda node: next(it) if isinstance(node, Number) else None)


# -- lines ------------------------------------------------------------------------------------------------------------


def _lines(body: Body) -> list[Line]:
    lines = [
        Line(
            statement.kind,
            tuple("_" if target is None else target.name for target in statement.targets),
            body.named(statement.expression),
            None if statement.place is None else body.named(statement.place),
            statement.sign,
            statement.unpacks,
            steps=_steps_of(statement, body),
        )
        for statement in body.statements
    ]
    seen: set[Any] = set()
    kept = []
    for line in lines:
        if line.kind == "assert":
            if line.expression in seen:
                continue
            seen.add(line.expression)
        kept.append(line)
    return _rolled(kept)


def _steps_of(statement: Statement, body: Body) -> tuple[Step, ...]:
    """Return what a line came of; a return holds no less than the last step."""
    steps = statement.inlined if statement.step is None else [*statement.inlined, statement.step]
    return tuple(steps or (body.scope.steps[-1:] if statement.kind == "return" else ()))


def _rolled(lines: list[Line]) -> list[Line]:
    """Return the lines with repeats over a container's modules as loops."""
    members = [_members(line) for line in lines]
    written: list[Line] = []
    i = 0
    while i < len(lines):
        periods = range(1, _LONGEST_LOOP + 1) if members[i] else ()
        loop = next((made for period in periods if (made := _loop(lines, members, i, period)) is not None), None)
        if loop is None:
            written.append(lines[i])
            i += 1
        else:
            line, length = loop
            written.append(line)
            i += length
    return written


def _members(line: Line) -> list[Member]:
    return [node for node in line.walk() if isinstance(node, Member)]


def _loop(lines: list[Line], inside: list[list[Member]], start: int, period: int) -> tuple[Line, int] | None:
    block = lines[start : start + period]
    if len(block) < period or any(line.kind in ("return", "for") for line in block):
        return None
    members = list(dict.fromkeys(member for line in inside[start : start + period] for member in line))
    containers = list(dict.fromkeys(member.base for member in members))
    if len(containers) != len(members):
        return None
    if any(_members_below(member.base) for member in members):
        return None
    count = 1
    while True:
        following = lines[start + count * period : start + (count + 1) * period]
        if len(following) < period or _moved(block, members, count) != following:
            break
        count += 1
    if count < 2:
        return None
    variables = _loop_names(members, block)
    first, total = members[0].position, members[0].total
    if any(member.position != first or member.total != total for member in members):
        return None
    names = {member: Text(variable) for member, variable in zip(members, variables, strict=True)}
    body = tuple(
        line.map(lambda node: names.get(node) if isinstance(node, Member) else None)
        for line in block  # type: ignore[arg-type]
    )
    whole = first == 0 and count == total
    sources = []
    for member in members:
        source: Expression = member.base
        if member.key[0] == '"':
            if not whole:
                return None
            source = Call(Attribute(source, "values"), ())
        elif not whole:
            end = "" if first + count == total else str(first + count)
            source = Text(f"{text_of(source)}[{first or ''}:{end}]")
        sources.append(source)
    return Line("for", tuple(variables), containers=tuple(sources), body=body, steps=block[0].steps), count * period


def _members_below(node: Expression) -> bool:
    return any(isinstance(part, Member) for part in node.walk())


def _moved(block: list[Line], members: list[Member], by: int) -> list[Line] | None:
    """Return a block for the modules ``by`` places further, or None where there are none, or under other names."""
    moved = {}
    for member in members:
        position = member.position + by
        if position >= member.total:
            return None
        moved[member] = position

    def change(node: Expression) -> Expression | None:
        if not isinstance(node, Member) or node not in moved:
            return None
        key = node.key
        if key[0] == '"':
            stem = key[1:-1].rstrip("0123456789")
            digits = key[1 + len(stem) : -1]
            key = f'"{stem}{int(digits) + by}"' if digits else key
        else:
            key = str(moved[node])
        return Member(node.base, key, moved[node], node.total)

    return [line.map(change) for line in block]


def _loop_names(members: list[Member], block: list[Line]) -> list[str]:
    taken = {target for line in block for target in line.targets}
    taken |= {node.text for line in block for node in line.walk() if isinstance(node, Text)}
    names: list[str] = []
    for member in members:
        base = member.base
        plural = base.name if isinstance(base, Attribute) else "layers"
        name = plural[:-1] if plural.endswith("s") and len(plural) > 2 else "layer"
        while name in taken or name in names or keyword.iskeyword(name):
            name += "_"
        names.append(name)
    return names


# -- instances that differ -------------------------------------------------------------------------------------------


def _merged(whole: Draft, part: Draft, with_it: list[Draft], without: list[Draft]) -> Draft | None:
    """Return what two instances have in common, with Slots for the children that differ; None where that is not all.

    What the first does more is to call children that the second has not, or what an attribute of both, a truth, says.
    What the second does more is to give a value another name, which the first has another value for before it is read.

    Args:
        whole, part: the two.
        with_it, without: all that are as the one and as the other.
    """
    called = part.lines is not None
    if whole.base != part.base or (called and whole.parameters != part.parameters) or (called and whole.lines is None):
        return None
    if any(line.optional or line.flag for line in part.lines or ()):
        return None
    lines = whole.lines
    if called:
        lines = _merged_lines(whole, part, with_it, without)
        if lines is None:
            return None
    init = _merged_init(whole, part, {line.optional for line in lines or ()})
    return None if init is None else replace(whole, init=init, lines=lines)


def _merged_lines(whole: Draft, part: Draft, with_it: list[Draft], without: list[Draft]) -> list[Line] | None:
    assert whole.lines is not None
    assert part.lines is not None
    lines: list[Line] = []
    mine = [_without_numbers(line) for line in part.lines]
    there = {*map(_child_of, part.init)}
    k = 0
    for i, line in enumerate(whole.lines):
        bare = replace(_without_numbers(line), optional="", flag="")
        while k < len(mine) and bare != mine[k] and _is_alias(part.lines[k], whole.lines[i:]):
            lines.append(part.lines[k])
            k += 1
        if k < len(mine) and bare == mine[k]:
            if (line.flag and not _all_say(line.flag, without, True)) or (line.optional and line.optional not in there):
                return None
            lines.append(line)
            k += 1
            continue
        conditional = _conditional(line, whole, part, with_it, without)
        if conditional is None:
            return None
        lines.append(conditional)
    return None if k < len(mine) else lines


def _conditional(line: Line, whole: Draft, part: Draft, with_it: list[Draft], without: list[Draft]) -> Line | None:
    """Return a line that one of two instances has, with what says so; None where nothing does."""
    there = {*map(_child_of, part.init)}
    if line.flag:
        return line if _all_say(line.flag, without, False) else None
    if line.optional:
        return line if line.optional not in there else None
    if any(isinstance(node, Number) for node in line.walk()):
        return None
    child = _called_child(line)
    if child is not None and child not in there:
        return replace(line, optional=child)
    if line.kind == "assign" and not line.unpacks and isinstance(line.expression, Text):  # a name that it reads nowhere
        texts = {node.text for other in part.lines or () for node in other.walk() if isinstance(node, Text)}
        targets = {target for other in part.lines or () for target in other.targets}
        return line if not {*line.targets} & (texts | targets) else None
    flag = next((name for name in vars(part.module) if _is_flag(name, with_it, without)), None)
    if flag is not None:
        return replace(line, flag=flag)
    child = _deciding_child(line, whole, with_it, without)
    return replace(line, optional=child) if child is not None else None


def _deciding_child(line: Line, whole: Draft, with_it: list[Draft], without: list[Draft]) -> str | None:
    """Return the child that all instances with a line have and none without it: one whose result it reads, or any."""
    inits = [{*map(_child_of, draft.init)} for draft in with_it]
    others = [{*map(_child_of, draft.init)} for draft in without]
    reads = {node.text for node in line.walk() if isinstance(node, Text)}
    chosen = None
    for other in whole.lines or ():
        child = other.optional or _called_child(other)
        if child is None or any(child in init for init in others) or not all(child in init for init in inits):
            continue
        if reads & {*other.targets}:
            return child
        chosen = chosen or child
    return chosen


def _all_say(flag: str, drafts: list[Draft], truth: bool) -> bool:
    return all(vars(draft.module).get(flag) is truth for draft in drafts)


def _is_flag(name: str, with_it: list[Draft], without: list[Draft]) -> bool:
    named = not name.startswith("_") and name not in names_in(without[0].module)
    return named and _all_say(name, with_it, True) and _all_say(name, without, False)


def _merged_init(whole: Draft, part: Draft, optional: set[str]) -> list[Line] | None:
    theirs = {_child_of(line): line for line in part.init if _child_of(line)}
    others = [line for line in part.init if not _child_of(line)]
    written: list[Line] = []
    used = 0
    for line in whole.init:
        child = _child_of(line)
        if child and child not in theirs:
            if child not in optional or line.kind != "set":
                return None
            written.append(replace(line, expression=Slot(child, True)))
            continue
        if not child and used == len(others):
            return None
        other = theirs[child] if child else others[used]
        used += not child
        if line.kind != other.kind or line.place != other.place or line.expression is None or other.expression is None:
            return None
        node = _in_common(line.expression, other.expression, child)
        if node is None:
            return None
        written.append(replace(line, expression=node))
    there = [_child_of(line) for line in whole.init if _child_of(line)]
    return written if used == len(others) and [name for name in there if name in theirs] == list(theirs) else None


def _in_common(a: Expression, b: Expression, name: str = "") -> Expression | None:
    """Return the tree that two are instances of, or None; ``name`` is the child or argument that they are."""
    if isinstance(a, Slot) or isinstance(b, Slot):
        slot, other = (a, b) if isinstance(a, Slot) else (b, a)
        assert isinstance(slot, Slot)
        return replace(slot, optional=slot.optional or other == NOTHING) if slot.optional or _fits(other) else None
    if isinstance(a, Number) and isinstance(b, Number):
        return a
    merged: Expression | None = None
    if isinstance(a, New) and isinstance(b, New) and a.group is b.group:
        pairs = zip(a.args, b.args, strict=True)
        args = [(key, _in_common(value, other, key)) for (key, value), (_, other) in pairs]
        if all(node is not None for _, node in args):
            merged = New(a.group, tuple(args))  # type: ignore[arg-type]
    elif isinstance(a, Call) and isinstance(b, Call) and a.function == b.function and _are_as_long(a, b):
        nodes = [_item_in_common(x, y) for x, y in itertools.zip_longest(a.args, b.args, fillvalue=NOTHING)]
        if [key for key, _ in a.kwargs] == [key for key, _ in b.kwargs]:
            pairs = zip(a.kwargs, b.kwargs, strict=True)
            kwargs = [(key, _in_common(value, other)) for (key, value), (_, other) in pairs]
            if all(node is not None for node in (*nodes, *(node for _, node in kwargs))):
                merged = Call(a.function, tuple(nodes), tuple(kwargs))  # type: ignore[arg-type]
    elif _blank(a) == _blank(b):
        merged = a
    if merged is None and name and (NOTHING in (a, b) or (_fits(a) and _fits(b))):
        return Slot(name, NOTHING in (a, b))
    return merged


def _are_as_long(a: Call, b: Call) -> bool:
    """Whether two calls have as many items, but for an activation at the end of one."""
    longer, shorter = sorted((a.args, b.args), key=len, reverse=True)
    if len(longer) == len(shorter):
        return True
    last = longer[-1]
    return (
        len(longer) == len(shorter) + 1 and len(shorter) > 0 and (isinstance(last, (IfThere, Slot)) or _is_light(last))
    )


def _item_in_common(a: Expression, b: Expression) -> Expression | None:
    """Return what two items of a Sequential are instances of: of two activations, or of one and none, a Slot."""
    if isinstance(a, IfThere) or isinstance(b, IfThere):
        one, other = (a, b) if isinstance(a, IfThere) else (b, a)
        return one if isinstance(other, IfThere) or _is_light(other) else None
    if NOTHING in (a, b):
        return IfThere(Slot("activation"))
    if isinstance(a, Slot) or isinstance(b, Slot):
        return _in_common(a, b)
    return Slot("activation") if a != b and _is_light(a) and _is_light(b) else _in_common(a, b)


def _blank(node: Expression) -> Expression:
    return node.map(lambda part: Number(type(part.value).__name__) if isinstance(part, Number) else None)


def _fits(node: Expression) -> bool:
    """Whether a module is made in so few words that a constructor may be given it."""
    if isinstance(node, New):
        return all(_is_light(value) or not isinstance(value, (New, Call)) for _, value in node.args)
    made = isinstance(node, Call) and isinstance(node.function, Text) and node.function.text in _LIGHT
    return made or node == NOTHING


def _captured(template: Expression, tree: Expression) -> Iterator[Expression]:
    """Yield what stands in a tree where what it is an instance of has a Number or a Slot."""
    if isinstance(template, (Number, Slot)):
        yield tree
        return
    if isinstance(template, IfThere) and not isinstance(tree, IfThere):
        yield tree
        return
    own = list(tree.parts())
    if isinstance(template, Call) and isinstance(tree, Call) and len(tree.args) < len(template.args):
        own.insert(1 + len(tree.args), NOTHING)  # behind the function
    for part, mine in zip(template.parts(), own, strict=True):
        yield from _captured(part, mine)


def _is_alias(line: Line, following: list[Line]) -> bool:
    """Whether a line gives a value another name, which the lines that follow bind anew before they read it."""
    if line.kind != "assign" or line.unpacks or not isinstance(line.expression, Text):
        return False
    (name,) = line.targets
    for other in following:
        if any(node == Text(name) for node in other.walk()):
            return False
        if name in other.targets:
            return True
    return True


def _without_numbers(line: Line) -> Line:
    return line.map(lambda node: Number(type(node.value).__name__, "") if isinstance(node, Number) else None)


def _called_child(line: Line) -> str | None:
    """Return the child that a line does nothing but call, or None."""
    if line.kind != "assign" or not isinstance(line.expression, Call):
        return None
    function = line.expression.function
    return function.name if isinstance(function, Attribute) and function.base == SELF else None


def _child_of(line: Line) -> str:
    return (
        line.place.name if line.kind == "set" and isinstance(line.place, Attribute) and line.place.base == SELF else ""
    )


# -- arguments --------------------------------------------------------------------------------------------------------


def _fill(group: Group, model: Draft) -> None:
    """Find the arguments of a class, and write its lines with them.

    Args:
        model: what its instances have in common.
    """
    nodes = [node for line in (*model.init, *(model.lines or ())) for node in line.walk() if isinstance(node, _VARYING)]
    in_init = sum(isinstance(node, _VARYING) for line in model.init for node in line.walk())
    columns = zip(*(_values_of(draft, model) for draft in group.drafts), strict=True)
    instances = [draft.module for draft in group.drafts]
    resolved: list[Expression] = []
    for position, (node, column) in enumerate(zip(nodes, columns, strict=True)):
        if isinstance(node, Slot):
            resolved.append(_resolve_child(group, node, list(column)))
        else:
            resolved.append(_resolve(group, list(column), instances, position >= in_init))  # type: ignore[arg-type]
    for flag in dict.fromkeys(line.flag for line in model.lines or () if line.flag):
        values = [vars(module)[flag] for module in instances]
        group.arguments.append(Argument(flag, values, False))
        group.stored[flag] = Text(flag)
    resolved = _named_by_place(group, resolved)
    it = iter(resolved)

    def fill(line: Line) -> Line:
        return line.map(lambda node: next(it) if isinstance(node, _VARYING) else None).map(without_defaults)

    group.init = [fill(line) for line in model.init]
    group.lines = None if model.lines is None else [fill(line) for line in model.lines]
    for argument in group.arguments:
        usual = _DEFAULTS.get(argument.name.rstrip("0123456789").rpartition("_")[2] or argument.name, ...)
        if argument.default is ... and usual is not ... and any(value == usual for value in argument.values):
            argument.default = usual
    group.arguments.sort(key=lambda argument: argument.default is not ...)


_VARYING = (Number, Slot)


def _values_of(draft: Draft, model: Draft) -> list[Expression]:
    """Return what an instance has where its class has a Number or a Slot, in the order of the text."""
    own = {_child_of(line): line for line in draft.init if _child_of(line)}
    others = iter([line for line in draft.init if not _child_of(line)])
    nodes: list[Expression] = []
    for line in model.init:
        assert line.expression is not None
        child = _child_of(line)
        mine = own.get(child) if child else next(others)
        if mine is None:
            nodes.append(NOTHING)
        else:
            assert mine.expression is not None
            nodes += _captured(line.expression, mine.expression)
    lines = model.lines if draft.lines is None else draft.lines  # of one that is not called, as of the others
    return nodes + [node for line in lines or () for node in line.walk() if isinstance(node, Number)]


def _resolve_child(group: Group, slot: Slot, column: list[Expression]) -> Expression:
    """Return what stands for a child: an argument; one that other children are as well where it holds no weights."""
    if all(_is_light(node) for node in column):
        for argument in group.arguments:
            if argument.values == column:
                return Text(argument.name)
    taken = {argument.name for argument in group.arguments}
    name, i = slot.name, 2
    while name in taken:
        name, i = f"{slot.name}{i}", i + 1
    group.arguments.append(Argument(name, column, None if NOTHING in column else ...))
    return Text(name)


def _is_light(node: Expression) -> bool:
    return node == NOTHING or (
        isinstance(node, Call) and isinstance(node.function, Text) and node.function.text in _LIGHT
    )


def _named_by_place(group: Group, resolved: list[Expression]) -> list[Expression]:
    """Return expressions in which, of two widths that a class goes through, the last is ``out_channels``."""
    for kind in ("channels", "features"):
        first, last, middle = f"out_{kind}", f"out_{kind}2", f"mid_{kind}"
        names = {argument.name: argument for argument in group.arguments}
        if last not in names or f"out_{kind}3" in names or middle in names or {first, last} & {*group.stored}:
            continue
        names[first].name, names[last].name = middle, first
        new = {first: Text(middle), last: Text(first)}
        resolved = [
            node.map(lambda part, new=new: new.get(part.text) if isinstance(part, Text) else None) for node in resolved
        ]
    return resolved


def _resolve(group: Group, column: list[Number], instances: list[nn.Module], in_forward: bool) -> Expression:
    """Return what stands for a number: a literal where all instances have one, else an argument."""
    values = [number.value for number in column]
    first = replace(column[0], attribute=_attribute(column, values, instances))
    if all(type(value) is type(values[0]) and value == values[0] for value in values):
        if in_forward and first.attribute:
            stored = group.stored.get(first.attribute)
            if stored is None or stored == Number(values[0]):
                group.stored[first.attribute] = Number(values[0])
                return Attribute(SELF, first.attribute)
        return Number(values[0], default=first.default)
    node = _of_argument(group, first, values)
    if node is None:
        argument = Argument(_argument_name(group, first, values, instances), values)
        group.arguments.append(argument)
        node = Text(argument.name)
    if not in_forward:
        return node
    names = [part.text for part in node.walk() if isinstance(part, Text)]
    for name in names:
        group.stored.setdefault(name, Text(name))
    return node.map(lambda part: Attribute(SELF, part.text) if isinstance(part, Text) else None)


def _attribute(column: list[Number], values: list[Any], instances: list[nn.Module]) -> str:
    """Return the attribute that a number is read from: where one instance leaves it open, what the others say."""
    names = {number.attribute for number in column} - {""}
    if len(names) != 1:
        return ""
    (name,) = names
    return name if _is_column([vars(module).get(name) for module in instances], values) else ""


def _is_width(name: str) -> bool:
    return any(word in name for word in _WIDTHS) and "kernel" not in name


def _are_alike(argument: str, hint: str) -> bool:
    """Whether a number that was passed for one purpose may stand for one of another."""
    if hint in _VAGUE or argument.rstrip("0123456789") == hint:
        return True
    return _is_width(argument) and (_is_width(hint) or hint == "groups")


def _is_column(values: list[Any], others: list[Any]) -> bool:
    return all(type(a) is type(b) and a == b for a, b in zip(values, others, strict=True))


def _of_argument(group: Group, number: Number, values: list[Any]) -> Expression | None:
    """Return a number as an argument that is there already, or a multiple or a part of one."""
    for argument in group.arguments:
        if _is_column(argument.values, values) and _are_alike(argument.name, number.hint):
            return Text(argument.name)
    if number.hint == "padding":
        for argument in group.arguments:
            if argument.name == "kernel_size" and all(
                type(kernel) is int and kernel // 2 == value
                for kernel, value in zip(argument.values, values, strict=True)
            ):
                return Binary(Text(argument.name), "//", Number(2))
    if all(type(value) is tuple and len(value) == 1 for value in values):
        inner = _of_argument(group, Number(values[0][0], "dim"), [value[0] for value in values])
        return None if inner is None else Sequence((inner,))
    groups = number.hint == "groups" and len(set(values)) > 1
    if not all(type(value) is int and value > 0 for value in values) or not (groups or _is_width(number.hint)):
        return None
    for argument in group.arguments:
        others = argument.values
        if not _is_width(argument.name) or not all(type(other) is int and other > 0 for other in others):
            continue
        ratio = values[0] // others[0]
        if ratio > 1 and all(value == other * ratio for value, other in zip(values, others, strict=True)):
            return Binary(Number(ratio), "*", Text(argument.name))
        ratio = others[0] // values[0]
        if ratio > 1 and all(other == value * ratio for value, other in zip(values, others, strict=True)):
            return Binary(Text(argument.name), "//", Number(ratio))
    return None


def _argument_name(group: Group, number: Number, values: list[Any], instances: list[nn.Module]) -> str:
    """Return what to call an argument: as an attribute that has its value in all instances, or what it is for."""
    wanted = number.attribute
    if not wanted:
        named = [
            name
            for name in vars(instances[0])
            if not name.startswith("_") and name != "training" and _are_alike(name, number.hint)
            and _is_column([vars(module).get(name) for module in instances], values)
        ]  # fmt: skip
        wanted = named[0] if named else "dim" if number.hint == "normalized_shape" else number.hint
    wanted = wanted if wanted.isidentifier() and not keyword.iskeyword(wanted) else "value"
    taken = {argument.name for argument in group.arguments} | names_in(instances[0])
    name, i = wanted, 2
    while name in taken:
        name, i = f"{wanted}{i}", i + 1
    return name


# -- twins ------------------------------------------------------------------------------------------------------------

_ACTIVATIONS = {
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


def _twin(scopes: list[Scope]) -> Expression | None:
    """Return the constructor of torch's module that does what these calls did, or None.

    It is the same where its forward makes the very call that was recorded: the same function of the same tensors and
    numbers.
    """
    module = scopes[0].module
    candidates: list[Any] = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules")]
    steps = scopes[0].steps
    if len(steps) != 1 or steps[0].kind != "function" or is_registered(module):
        return None
    step = steps[0]
    if class_name(module).startswith("torch.nn.modules.") and scopes[0].result is step.result:
        from trtnn.from_torch.exported import constructor as exported_constructor

        return exported_constructor(class_name(module).rpartition(".")[2], step)
    twins = [kind for kind in candidates if kind is not nn.Module and kind.__name__ in modules.__all__]
    if step.name in _ACTIVATIONS and not module._parameters:
        twins.append(_ACTIVATIONS[step.name])
    for kind in twins:
        twin = module if isinstance(module, kind) else kind()
        if not all(_makes_the_call(kind, twin, scope) for scope in scopes):
            continue
        stand_in = object.__new__(kind)
        stand_in.__dict__ = twin.__dict__
        return constructor(stand_in) if is_leaf(stand_in) else None
    return None


def _makes_the_call(kind: Any, twin: nn.Module, scope: Scope) -> bool:
    if len(scope.steps) != 1 or scope.result is not scope.steps[0].result:
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
    recorded, step = scope.steps[0], Step()
    (step.name, step.owner), step.function, step.writes = name_of(func), func, recorded.writes
    step.args, step.kwargs, step.result = args, kwargs, recorded.result
    try:
        return convert(step, _by_identity) == convert(recorded, _by_identity)
    except Missing:
        return False


def _by_identity(value: Any, hint: str = "") -> Expression:
    """Return an expression that is equal for the same tensor, and for equal values."""
    if isinstance(value, Value):
        value = value.tensor
    if isinstance(value, (tuple, list)):
        return Sequence(tuple(map(_by_identity, value)))
    return Text(f"tensor {id(value)}" if isinstance(value, torch.Tensor) else f"{type(value).__name__} {value!r}")
