"""Which classes the source has: module instances grouped by what they are, and what tells one from another.

Instances of one torch class with the same text but for numbers are one class; the numbers that differ are arguments of
its constructor. A child that some have and some have not is an argument as well, None where there is none.
"""

from __future__ import annotations

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
    Attribute,
    Binary,
    Call,
    Comprehension,
    Dictionary,
    Expression,
    Member,
    New,
    Number,
    Sequence,
    Starred,
    Text,
    quoted,
    text_of,
    without_defaults,
)
from trtnn.from_torch.record import Recorder, Scope, Step, Value, name_of, values_in

_COUNTER = "num_batches_tracked"
_WIDTHS = ("channels", "features", "dim", "size", "width", "planes", "shape", "embed", "hidden", "d_model")
_VAGUE = ("dim", "value", "size", "depth")  # names that say nothing of what a number is for
_DEFAULTS = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "bias": True}
_IMPORTED = frozenset(("Parameter", "Buffer", "Input", "Dim", "F", "trtnn", "math", "Module", "Identity", "LayerNorm",
                       "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"))  # fmt: skip
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
        step: what it was recorded as.
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
    step: Step | None = field(default=None, compare=False)

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
        self.problems: list[tuple[str, Step]] = []
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
        depends = {
            identity: {any(value.depends for value in values_in(scope.result)) for scope in scopes}
            for identity, scopes in self.recorder.scopes.items()
        }
        self._mixed = frozenset(identity for identity, outcomes in depends.items() if len(outcomes) == 2)
        self._make_bodies(root)
        if self.problems:
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
                self._make_bodies(step.scope)
        guards = [guard for guard in self.recorder.guards if guard[4] is scope]
        root = scope is self.recorder.root
        body = Body(scope, self.recorder.held, self.constants, guards, root, self._mixed)
        body.build({id(step.scope): self.bodies[id(step.scope)] for step in scope.steps if step.scope is not None})
        self.bodies[id(scope)] = body
        if self.kind(scope.module) == "class":
            self.problems += [(problem.what, problem.step) for problem in body.problems]

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
        init = self._init(module, path, base, bodies)
        if not bodies or (base == "Sequential" and type(module).forward is nn.Sequential.forward):
            return Draft(module, path, base, init, [], None, {}, _shapes(scopes))
        several = [_lines(body) for body in bodies]
        if any(lines != several[0] for lines in several):
            step = bodies[0].scope.steps[0]
            self.problems.append(
                (f"{type(module).__name__}, which is called {len(several)} times, in different ways", step)
            )
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
            if argument.default is not ... and type(value) is type(argument.default) and value == argument.default:
                continue
            if value is None and argument.default is None:
                continue
            args.append((argument.name, value if isinstance(value, Expression) else Number(value, argument.name)))
        return New(group, tuple(args))

    # -- groups -------------------------------------------------------------------------------------------------------

    def _place(self, drafts: list[Draft]) -> None:
        """Make classes of the instances of one torch class."""
        kinds: dict[Any, list[Draft]] = {}
        for draft in drafts:
            kinds.setdefault(draft.key(), []).append(draft)
        variants = sorted(kinds.values(), key=lambda those: -len(those[0].lines or ()))
        while variants:
            first, *others = variants
            model, kept = first[0], []
            lacking: dict[int, frozenset[str]] = {id(draft): frozenset() for draft in first}
            for those in others:
                merged, swapped = _merged(model, those[0]), False
                if merged is None:
                    merged, swapped = _merged(those[0], model), True
                if merged is None:
                    kept.append(those)
                    continue
                lines, children = merged
                if swapped:
                    lacking = {draft: names | children for draft, names in lacking.items()}
                lacking.update({id(draft): frozenset() if swapped else children for draft in those})
                model = replace(those[0] if swapped else model, lines=lines)
                first = [*first, *those]
            self._finish(model, first, lacking)
            variants = kept

    def _finish(self, model: Draft, drafts: list[Draft], lacking: dict[int, frozenset[str]]) -> None:
        order = {path: i for i, (path, _) in enumerate(self.model.named_modules())}
        drafts = sorted(drafts, key=lambda draft: order[draft.path])
        group = Group(self._class_name(model.module), drafts)
        self.groups.append(group)
        for number, draft in enumerate(drafts):
            self._placed[id(draft.module)] = (group, number)
        _fill(group, model, lacking)

    def _class_name(self, module: nn.Module) -> str:
        wanted = self.name if module is self.model else class_name(module).rpartition(".")[2]
        wanted = wanted if wanted.isidentifier() and not keyword.iskeyword(wanted) else f"{wanted}_"
        taken = {group.name for group in self.groups}
        name, i = wanted, 2
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
    found: list[Expression] = []
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
            found.append(Starred(Comprehension(item, variable, count)))
            i += best
        else:
            found.append(items[i])
            i += 1
    return found


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
            step=_step_of(statement, body),
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


def _step_of(statement: Statement, body: Body) -> Step | None:
    """Return what a line came of; a return holds no less than the last step."""
    if statement.kind == "return" and body.scope.steps:
        return body.scope.steps[-1]
    return statement.step


def _rolled(lines: list[Line]) -> list[Line]:
    """Return the lines with repeats over a container's modules as loops."""
    members = [_members(line) for line in lines]
    found: list[Line] = []
    i = 0
    while i < len(lines):
        periods = range(1, _LONGEST_LOOP + 1) if members[i] else ()
        loop = next((made for period in periods if (made := _loop(lines, members, i, period)) is not None), None)
        if loop is None:
            found.append(lines[i])
            i += 1
        else:
            line, length = loop
            found.append(line)
            i += length
    return found


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
    return Line("for", tuple(variables), containers=tuple(sources), body=body, step=block[0].step), count * period


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


# -- optional children ------------------------------------------------------------------------------------------------


def _merged(whole: Draft, part: Draft) -> tuple[list[Line], frozenset[str]] | None:
    """Return lines that serve two instances, and the children that the second has not; None where that is not all.

    What the first does more is to call such children, each under a condition. What the second does more is to give a
    value another name, which the first has another value for before it is read.
    """
    if whole.lines is None or part.lines is None or whole.base != "Module" or whole.parameters != part.parameters:
        return None
    lacking: set[str] = set()
    lines: list[Line] = []
    mine = [_without_numbers(line) for line in part.lines]
    k = 0
    for i, line in enumerate(whole.lines):
        while k < len(mine) and _without_numbers(line) != mine[k] and _is_alias(part.lines[k], whole.lines[i:]):
            lines.append(part.lines[k])
            k += 1
        if k < len(mine) and _without_numbers(line) == mine[k]:
            lines.append(line)
            k += 1
            continue
        child = _called_child(line)
        if child is None or any(isinstance(node, Number) for node in line.walk()):
            return None
        lacking.add(child)
        lines.append(line)
    if k < len(mine) or not lacking:
        return None
    own = [_without_numbers(line) for line in whole.init if _child_of(line) not in lacking]
    others = [_without_numbers(line) for line in part.init if _child_of(line) not in lacking]
    there = {_child_of(line) for line in part.init} & lacking
    return (lines, frozenset(lacking)) if own == others and not there else None


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
    return line.map(
        lambda node: Number(type(node.value).__name__, "", node.attribute) if isinstance(node, Number) else None
    )


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


def _fill(group: Group, first: Draft, lacking: dict[int, frozenset[str]]) -> None:
    """Find the arguments of a class, and write its lines with them: those of the instance that has every child."""
    optional = frozenset().union(*lacking.values())
    children: dict[str, list[Any]] = {name: [] for name in optional}
    columns: list[list[Number]] = []
    for draft in group.drafts:
        without = lacking[id(draft)]
        for name in optional:
            line = next((line for line in draft.init if _child_of(line) == name), None)
            children[name].append(None if name in without or line is None else line.expression)
        kept = [line for line in draft.init if _child_of(line) not in optional]
        columns.append([n for line in (*kept, *(draft.lines or ())) for n in line.walk() if isinstance(n, Number)])
    # Lines of optional children hold no numbers, so that the columns of all instances are of one length.
    resolved: list[Expression] = []
    in_init = sum(
        isinstance(node, Number) for line in first.init if _child_of(line) not in optional for node in line.walk()
    )
    modules_ = [draft.module for draft in group.drafts]
    for position, column in enumerate(zip(*columns, strict=True)):
        in_forward = position >= in_init
        resolved.append(_resolve(group, list(column), modules_, in_forward))
    for name, trees in children.items():
        group.arguments.append(Argument(name, trees, None))
    it = iter(resolved)

    def fill(line: Line) -> Line:
        filled = line.map(lambda node: next(it) if isinstance(node, Number) else None)
        return filled.map(without_defaults)

    group.init = []
    for line in first.init:
        name = _child_of(line)
        group.init.append(Line("set", (), Text(name), line.place) if name in optional else fill(line))
    group.lines = None if first.lines is None else []
    for line in first.lines or ():
        filled = fill(line)
        child = _called_child(line)
        group.lines.append(replace(filled, optional=child) if child in optional else filled)  # type: ignore[union-attr,arg-type]
    for argument in group.arguments:
        usual = _DEFAULTS.get(argument.name.rstrip("0123456789").rpartition("_")[2] or argument.name, ...)
        if argument.default is ... and usual is not ... and any(value == usual for value in argument.values):
            argument.default = usual
    group.arguments.sort(key=lambda argument: argument.default is not ...)


def _resolve(group: Group, column: list[Number], instances: list[nn.Module], in_forward: bool) -> Expression:
    """Return what stands for a number: a literal where all instances have one, else an argument."""
    values = [number.value for number in column]
    first = column[0]
    if all(type(value) is type(values[0]) and value == values[0] for value in values):
        if in_forward and first.attribute:
            known = group.stored.get(first.attribute)
            if known is None or known == Number(values[0]):
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
    if not all(type(value) is int and value > 0 for value in values) or not _is_width(number.hint):
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
    given = [value.tensor if isinstance(value, Value) else value for value in scope.arguments.values()]
    mode = _FirstCall()
    try:
        with mode:
            kind.forward(twin, *given)
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
