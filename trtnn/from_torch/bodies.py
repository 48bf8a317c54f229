"""The forward of one module as statements: what was recorded, under the author's names."""

from __future__ import annotations

import copy
import inspect
import keyword
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from trtnn.from_torch.converters import Missing, augmented_sign, convert, dtype_text
from trtnn.from_torch.expressions import (
    Attribute,
    Binary,
    Call,
    Dictionary,
    Expression,
    Item,
    Member,
    Negative,
    Number,
    Ref,
    Sequence,
    Slice,
    Text,
    literal,
    quoted,
    text_of,
)
from trtnn.from_torch.lengths import Real, Whole, plain
from trtnn.from_torch.record import Fields, Listed, Scope, Step, Value, parts_in, storage_of, values_in
from trtnn.modules.module import Module

SELF = Text("self")
_LONGEST_INLINE = 92  # characters of a statement that takes in what another one computes
# What a Parameter can do as it stands.
_ON_PARAMETERS = frozenset((
    "expand", "unsqueeze", "squeeze", "reshape", "view", "permute", "transpose", "flatten", "repeat", "clone", "add",
    "mul",
))  # fmt: skip
_FEW = 4  # steps that make a constant and are written out
_RESERVED = frozenset(("self", "F", "trtnn", "_", "super", "range"))
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class Variable:
    """A value that a statement binds, and the name that it gets."""

    __slots__ = ("authors", "name", "preferred")

    def __init__(self, preferred: str | None, authors: bool = False) -> None:
        self.preferred, self.authors = preferred, authors
        self.name = ""


@dataclass
class Statement:
    """One line of a forward.

    Attributes:
        kind: ``"assign"``, ``"augment"``, ``"set"``, ``"run"``, ``"append"``, ``"assert"`` or ``"return"``.
        targets: what it binds: one Variable, or one for each part with None for what nobody reads.
        place: of ``"augment"`` and ``"set"`` and ``"append"`` what is changed.
        expression: what it computes.
        step: what it was recorded as.
        unpacks: whether the targets are the parts of what is computed.
        sign: of ``"augment"`` the operator.
    """

    kind: str
    targets: list[Variable | None]
    expression: Expression
    step: Step | None
    place: Expression | None = None
    unpacks: bool = False
    sign: str = ""
    inlined: list[Step] = field(default_factory=list)  # of what is computed within the line

    def reads(self) -> Iterator[Variable]:
        """Yield the Variables that it reads."""
        for tree in (self.place, self.expression):
            if tree is not None:
                yield from (node.value for node in tree.walk() if isinstance(node, Ref))


@dataclass
class Constants:
    """Tensors that are computed once and held in Buffers, by the module's path and the name there.

    Attributes:
        tensors: the numbers.
        of_parameters: those that depend on parameters, so that another checkpoint needs others.
        forced: the numbers of the steps that trtnn cannot run on constants, found by a trace.
    """

    tensors: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    of_parameters: set[tuple[str, str]] = field(default_factory=set)
    forced: set[int] = field(default_factory=set)


@dataclass
class Problem:
    """An operation that has no counterpart."""

    what: str
    step: Step


def path_expression(module: nn.Module, relative: str) -> Expression:
    """Return how a module's forward names what lies at a path within it, such as ``self.layers[0].weight``."""
    node: Expression = SELF
    inner: Any = module
    for part in relative.split("."):
        own = (
            inner is module and isinstance(module, nn.Sequential) and not part[-1].isdigit()
        )  # it is no place in a row
        if isinstance(inner, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) and part in inner._modules and not own:
            position = list(inner._modules).index(part)
            key = quoted(part) if isinstance(inner, nn.ModuleDict) else str(position)
            node = Member(node, key, position, len(inner._modules))
        elif isinstance(inner, (nn.ParameterList, nn.ParameterDict)):
            node = Item(node, (Text(part if isinstance(inner, nn.ParameterList) else quoted(part)),))
        elif part.isidentifier() and not keyword.iskeyword(part):
            node = Attribute(node, part)
        else:
            node = Call(Text("getattr"), (node, Text(quoted(part))))
        inner = getattr(inner, part, None)
    return node


def names_in(module: nn.Module) -> set[str]:
    """Return the names that an attribute of the source's class cannot have: its members', and those of every Module."""
    return {*module._parameters, *module._buffers, *module._modules, *_OF_MODULES}


_OF_MODULES = frozenset((*dir(Module), "inputs", "metadata", "source", "training"))


class Body:
    """The statements of one call of a module's forward.

    Args:
        scope, held, constants, guards: the call, and what was recorded beside it.
        root: whether the module is the model itself.

    Attributes:
        parameters: the arguments of forward: the name, and what was passed.
        statements: what it does.
        problems: the operations without a counterpart.
    """

    def __init__(
        self,
        scope: Scope,
        held: dict[int, list[str]],
        constants: Constants,
        guards: list[Any],
        root: bool,
    ) -> None:
        self.scope, self.module, self.path = scope, scope.module, scope.path
        self.prefix = f"{self.path}." if self.path else ""
        self.held, self.constants = held, constants
        self.children: dict[int, Body] = {}  # of the scopes within, by id
        self.parameters: list[tuple[str, Variable, Any]] = []
        self.statements: list[Statement] = []
        self.problems: list[Problem] = []
        self.used_state: set[str] = set()
        self.used_modules: set[str] = set()
        self.attributes: dict[str, Any] = {}
        self.computes_constants = False
        self._nodes: dict[int, Expression] = {}  # by the id of a Value
        self._values: dict[Variable, int] = {}  # of each Variable the id of its Value
        self._numbers: dict[int, Expression] = {}
        self._arguments: dict[Any, Expression] = {}  # numbers of arguments and results, by root and path
        self._lists: dict[int, tuple[Expression, list[Any]]] = {}
        self._wholes: list[tuple[Any, Expression]] = []  # what calls returned that was not unpacked, and its variable
        self._listed: Counter[int] = Counter()  # how often a list is passed or returned
        self._changes: dict[int, Step] = {}  # of x[i] += y, by the number of the step that puts the part back
        self._folded: dict[int, str] = {}
        self._infos: dict[int, _Info] = {}
        self._step: Step | None = None
        self._guards = guards
        self._own = {step.number: i for i, step in enumerate(scope.steps)}
        self._made: dict[int, Step] = {}  # of a value the step that first gave it: of what a module made, its call
        for step in scope.steps:
            for value in values_in(step.result):
                self._made.setdefault(id(value), step)
        self.is_root = root

    # -- what is needed -----------------------------------------------------------------------------------------------

    def build(self, children: dict[int, Body]) -> Body:
        """Make the statements; ``children`` are the bodies of the scopes within."""
        self.children = children
        self._take_arguments()
        needed = self._needed()
        absorbed = self._parts_changed()
        for i in needed:
            step = self.scope.steps[i]
            self._listed.update({id(listed.source) for listed in _lists_in((step.args, step.kwargs))})
        self._listed.update({id(listed.source) for listed in _lists_in(self.scope.result)})
        defined_at = self._numbers_to_name(needed)
        guards: dict[int, list[Any]] = {}
        for guard in self._guards:
            guards.setdefault(guard[-1], []).append(guard)
        for i, step in enumerate(self.scope.steps):
            self._step = step
            for guard in guards.get(i, ()):
                self._assert(guard)
            for number, name in defined_at.get(i, ()):
                self._name_number(number, name)
            if i in needed and step.number not in absorbed:
                self._emit(step)
        for guard in guards.get(len(self.scope.steps), ()):
            self._assert(guard)
        self._step = None
        self._return()
        self._alias()
        self._drop_unread()
        self._inline()
        self._name()
        return self

    def _return(self) -> None:
        try:
            node = self._result(self.scope.result)
        except Missing as missing:
            if not self.scope.steps:
                raise
            self.problems.append(Problem(str(missing), self.scope.steps[-1]))
            node = Text("None")
        self.statements.append(Statement("return", [], node, None))

    def _take_arguments(self) -> None:
        try:
            parameters = inspect.signature(self.module.forward).parameters
        except (TypeError, ValueError):
            parameters = {}  # type: ignore[assignment]
        for name, value in self.scope.arguments.items():
            kind = parameters[name].kind if name in parameters else None
            if kind is inspect.Parameter.VAR_POSITIONAL:
                graph = getattr(self.module, "graph", None)  # of an exported program, which knows the names
                inputs = [node.name for node in graph.nodes if node.op == "placeholder"] if graph is not None else []
                names = inputs if self.is_root else ["x"] if graph is not None and len(value) == 1 else []
                names = names or ([name.removesuffix("s")] if len(value) == 1 else [])
                for i, item in enumerate(value):
                    self._take(names[i] if i < len(names) else f"{name}_{i}", item, (name, i))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                for key, item in value.items():
                    self._take(key, item, (name, key))
            else:
                self._take(str(name) if isinstance(name, str) else f"x{name}", value, (name,))

    def _take(self, name: str, value: Any, source: tuple[Any, ...]) -> None:
        """Make an argument of what holds a tensor or a length; what is none is written where it is used."""
        values = [v for v in values_in(value) if not self._is_held_here(v)]
        numbers = list(_numbers_in(value))
        if not values and not numbers:
            return
        name = name if not keyword.iskeyword(name) else f"{name}_"
        if self.is_root and not isinstance(value, Value):
            self._take_apart(name, value, source)
            return
        variable = Variable(name, True)
        self.parameters.append((name, variable, source))
        self._bind(Ref(variable), value, source[0], ())

    def _take_apart(self, name: str, value: Any, source: tuple[Any, ...]) -> None:
        """Make an input of each tensor of an argument that holds several, and put the argument together again."""

        def inputs(item: Any, name: str) -> Expression:
            if isinstance(item, Value):
                variable = Variable(name, True)
                self.parameters.append((name, variable, source))
                return Ref(variable)
            if isinstance(item, dict):
                return Dictionary(tuple((key, inputs(inner, f"{name}_{key}")) for key, inner in item.items()))
            if isinstance(item, tuple):
                nodes = tuple(inputs(inner, f"{name}_{i}") for i, inner in enumerate(item))
                return Sequence(nodes, "[]" if isinstance(item, Listed) else "()")
            return self._express(item)

        tree = inputs(value, name)
        variable = Variable(name, True)
        self.statements.append(Statement("assign", [variable], tree, None))
        self._bind(Ref(variable), value, source[0], ())

    def _bind(self, node: Expression, value: Any, root: Any, path: tuple[Any, ...]) -> None:
        """Know what lies in a structure by how it is reached."""
        if isinstance(value, Value):
            if not self._is_held_here(value) and id(value) not in self._nodes:
                self._know(value, node)
        elif isinstance(value, (Whole, Real)):
            self._arguments[(id(root) if isinstance(root, Step) else root, path)] = node
        elif isinstance(value, dict):
            for key, item in value.items():
                self._bind(Item(node, (Text(quoted(str(key))),)), item, root, (*path, key))
        elif isinstance(value, tuple):
            if isinstance(value, Listed):
                self._lists[id(value.source)] = (node, list(map(_key, value)))
            for i, item in enumerate(value):
                self._bind(Item(node, (Text(str(i)),)), item, root, (*path, i))

    def _know(self, value: Value, node: Expression) -> None:
        self._nodes[id(value)] = node
        if isinstance(node, Ref):
            self._values[node.value] = id(value)

    def _is_held_here(self, value: Value) -> bool:
        names = self.held.get(id(value.tensor), ())
        return any(name.startswith(self.prefix) for name in names)

    def _needed(self) -> set[int]:
        """Return which steps are, from the last to the first, for what is returned."""
        steps = self.scope.steps
        wanted = {id(value) for value in values_in(self.scope.result)}
        memory = {storage_of(value.tensor) for value in values_in(self.scope.result)}  # that is read later
        wanted |= {id(value) for number in _numbers_in(self.scope.result) for value in _tensors_of(number)}
        for guard in self._guards:
            wanted |= {id(value) for number in guard[1:3] for value in _tensors_of(number)}
        needed: set[int] = set()
        calls = _calls_of(self.scope.result)  # whose results hold numbers that are used later
        for i in range(len(steps) - 1, -1, -1):
            step = steps[i]
            makes = any(id(value) in wanted and not self._is_folded(value) for value in values_in(step.result))
            makes = makes or step.number in calls
            calls |= _calls_of((step.args, step.kwargs))
            writes = step.writes is not None and storage_of(step.writes.tensor) in memory
            if not makes and not writes:
                continue
            if step.writes is not None and not step.writes.depends and self._is_folded(step.writes):
                continue
            needed.add(i)
            for value in values_in((step.args, step.kwargs)):
                wanted.add(id(value))
                memory.add(storage_of(value.tensor))
            for number in _numbers_in((step.args, step.kwargs)):
                wanted |= {id(value) for value in _tensors_of(number)}
        return needed

    def _parts_changed(self) -> set[int]:
        """Find each ``x[i] += y``, which is recorded as a part taken, changed, and put back; return the first two."""
        absorbed: set[int] = set()
        for i, step in enumerate(self.scope.steps):
            if step.name != "__setitem__" or i < 2 or not isinstance(step.args[2], Value):
                continue
            changed, taken = self.scope.steps[i - 1], step.args[2].step
            if augmented_sign(changed) is None or changed.writes is not step.args[2] or taken is None:
                continue
            if taken.name == "__getitem__" and _same_items(taken.args, step.args):
                absorbed |= {taken.number, changed.number}
                self._changes[step.number] = changed
        return absorbed

    # -- constants ----------------------------------------------------------------------------------------------------

    def _info(self, value: Value) -> _Info:
        """Return how a value that depends on no input comes about."""
        earlier = self._infos.get(id(value))
        if earlier is not None:
            return earlier
        names = self.held.get(id(value.tensor))
        if names:
            inside = id(value) in self._nodes or any(name.startswith(self.prefix) for name in names)
            info = _Info(frozenset(), True, False, inside)
        elif value.step is None or id(value) not in self._made or id(value) in self._nodes:
            inside = id(value) in self._nodes
            info = _Info(frozenset(), False, inside, inside)
        else:
            self._infos[id(value)] = _Info(frozenset(), False, False, False)  # until it is known
            step = self._made[id(value)]
            memory = storage_of(value.tensor)
            written = [s for s in self.scope.steps if s.writes is not None and storage_of(s.writes.tensor) == memory]
            makers = [step, *written]
            parts = [self._info(v) for s in makers for v in values_in((s.args, s.kwargs)) if v is not value]
            numbers = any(True for s in makers for _ in _numbers_in((s.args, s.kwargs)))
            runs = all(s.number not in self.constants.forced and self._is_convertible(s) for s in makers)
            info = _Info(
                frozenset(s.number for s in makers).union(*(part.steps for part in parts)),
                any(part.of_parameters for part in parts) or any(s.kind != "function" for s in makers),
                numbers or any(part.of_lengths for part in parts),
                runs and all(part.written for part in parts),
            )
        self._infos[id(value)] = info
        return info

    def _is_folded(self, value: Value) -> bool:
        """Whether a value becomes a Buffer: a constant that cannot be written, or only at length."""
        if value.depends or self.held.get(id(value.tensor)) or id(value) in self._nodes:
            return False
        info = self._info(value)
        long = len(info.steps) > _FEW and not value.tensor.is_complex()  # no Buffer holds complex numbers
        return not info.written or (long and not info.of_parameters and not info.of_lengths)

    def _is_convertible(self, step: Step) -> bool:
        if step.kind != "function":
            return True
        if step.name == "__setitem__":
            return True
        try:
            convert(step, lambda value, hint="": self._checked(value))
        except Missing:
            return False
        return True

    def _checked(self, value: Any) -> Expression:
        if isinstance(value, Value):
            return Text("x")
        return self._structure(value, "", lambda item, hint: self._checked(item))

    def _fold(self, value: Value) -> Expression:
        name = self._folded.get(id(value))
        if name is None:
            held = self.constants.tensors.setdefault(self.path, {})
            wanted = self._constant_name(value)
            name, i = wanted, 2
            while name in held and not _equal(held[name], value.tensor):
                name, i = f"{wanted}{i}", i + 1
            held[name] = value.tensor
            self._folded[id(value)] = name
            if self._info(value).of_parameters or self._is_kept_aside(value):
                self.constants.of_parameters.add((self.path, name))
        return Attribute(SELF, name)

    def _is_kept_aside(self, value: Value) -> bool:
        """Whether a tensor was there before the call, in no attribute: in a cache, computed of who knows what."""
        return value.step is None and not any(held is value.tensor for held in vars(self.module).values())

    def _constant_name(self, value: Value) -> str:
        attributes = [key for key, held in vars(self.module).items() if held is value.tensor]
        names = [name for step in self.scope.steps for name in step.names.get(id(value), ())]
        stored = value.step.stored if value.step is not None else None
        names = [*attributes, *names, *([stored] if isinstance(stored, str) else [])]
        taken = names_in(self.module)
        return next((name for name in names if name not in taken and name.isidentifier()), "constant")

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _numbers_to_name(self, needed: set[int]) -> dict[int, list[tuple[Any, str]]]:
        """Return where to write ``name = length``, for lengths with a name of the author's."""
        steps = self.scope.steps
        read = [(steps[i].args, steps[i].kwargs) for i in needed] + [self.scope.result]
        read += [guard[1:3] for guard in self._guards]
        wanted = {id(inner): inner for part in read for n in _numbers_in(part) for inner in _with_operands(n)}
        named: dict[int, list[tuple[Any, str]]] = {}
        done: set[int] = set()
        for i, step in enumerate(steps):
            if step.kind == "lengths":
                if any(id(number) in wanted for number in step.result) and len(step.stored) == len(step.result):
                    needed.add(i)
                    done.update(map(id, step.result))
                continue
            for identity, names in step.names.items() if step.own else ():
                if identity in wanted and identity not in done:
                    done.add(identity)
                    named.setdefault(i, []).append((wanted[identity], names[0]))
        return named

    def _name_number(self, number: Any, name: str) -> None:
        if id(number) in self._numbers:
            return
        try:
            node = self._number(number)
        except Missing:
            return
        if isinstance(node, Ref):
            return
        variable = Variable(name, True)
        self.statements.append(Statement("assign", [variable], node, self._step))
        self._numbers[id(number)] = Ref(variable)

    def _number(self, number: Any) -> Expression:
        node = self._numbers.get(id(number))
        if node is not None:
            return node
        origin = number.origin
        if origin.sign == "shape":
            value, dim = origin.operands
            bound = self._numbers.get((id(value), dim))  # type: ignore[arg-type]
            if bound is not None:
                return bound
            return Item(Attribute(self._value(value), "shape"), (Text(str(dim)),))
        if origin.sign == "numel":
            return Call(Attribute(self._value(origin.operands[0]), "numel"), ())
        if origin.sign == "item":
            return Call(Attribute(self._value(origin.operands[0]), "item"), ())
        if origin.sign == "argument":
            root, path = origin.operands
            node = self._arguments.get((id(root) if isinstance(root, Step) else root, path))
            if node is None:
                raise Missing("a length from another module")
            return node
        if origin.sign == "neg":
            return Negative(self._operand(origin.operands[0]))
        if origin.sign in ("floor", "ceil"):
            return Call(Attribute(Text("math"), origin.sign), (self._operand(origin.operands[0]),))
        left, right = origin.operands
        return Binary(self._operand(left), origin.sign, self._operand(right))

    def _operand(self, value: Any) -> Expression:
        return self._number(value) if isinstance(value, (Whole, Real)) else self._literal(value, "value")

    def _assert(self, guard: Any) -> None:
        sign, a, b, outcome = guard[:4]
        before = len(self.statements)
        try:
            node = Binary(self._operand(a), sign if outcome else _NEGATED[sign], self._operand(b))
        except Missing:
            del self.statements[before:]
            return
        step = Step()
        step.name, step.own, step.result, step.writes, step.names = "comparison of lengths", False, None, None, {}
        step.number, step.path, step.place = -1, self.path, guard[5]
        self.statements.append(Statement("assert", [], node, step))

    # -- statements ---------------------------------------------------------------------------------------------------

    def _emit(self, step: Step) -> None:
        if step.kind == "lengths":
            value = next(values_in(step.args))
            targets: list[Variable | None] = [Variable(name, True) for name in step.stored or ()]
            self.statements.append(
                Statement("assign", targets, Attribute(self._value(value), "shape"), step, unpacks=True)
            )
            for i, (number, variable) in enumerate(zip(step.result, targets, strict=True)):
                self._numbers[id(number)] = self._numbers[(id(value), i)] = Ref(variable)  # type: ignore[index]
            return
        self.computes_constants |= step.name not in _ON_PARAMETERS and any(
            not v.depends for v in values_in(step.result)
        )
        try:
            if step.name == "__setitem__":
                target, index, value = step.args
                items = index if type(index) is tuple else (index,)
                place = Item(self._value(target), tuple(self._express(item) for item in items))
                if (changed := self._changes.get(step.number)) is not None:
                    node = Binary(place, str(augmented_sign(changed)), self._express(changed.args[1]))
                    self.statements.append(Statement("set", [], node, step, place))
                    return
                self.statements.append(Statement("set", [], self._express(value), step, place))
                return
            if self._writes_a_part(step):
                return
            sign = augmented_sign(step)
            if sign is not None and isinstance(self._value(step.args[0]), Ref):
                right = self._express(step.args[1])
                self.statements.append(Statement("augment", [], right, step, self._value(step.args[0]), sign=sign))
                return
            node = self._call(step)
        except Missing as missing:
            self.problems.append(Problem(str(missing), step))
            node = Text("None")
        self._assign(step, node)

    def _writes_a_part(self, step: Step) -> bool:
        """Write what changes ``x[i]`` in place as ``x[i] = ...``; return whether it is such a step.

        A part shares its memory with the whole in torch, and in a network there is no memory.
        """
        part = step.writes
        taken = part.step if part is not None else None
        if part is None or taken is None or taken.number not in self._own:
            return False
        if step.kind != "function" or taken.name != "__getitem__":
            return False
        whole, index = taken.args
        if not isinstance(whole, Value) or storage_of(whole.tensor) != storage_of(part.tensor):
            return False
        items = index if type(index) is tuple else (index,)
        place = Item(self._value(whole), tuple(self._express(item) for item in items))
        self._nodes[id(part)] = place
        sign = augmented_sign(step)
        if sign is not None:
            node: Expression = Binary(place, sign, self._express(step.args[1]))
        elif step.name in ("zero_", "fill_", "copy_"):
            node = Number(0) if step.name == "zero_" else self._express(step.args[1])
        else:
            node = self._without_writing(step)
        self.statements.append(Statement("set", [], node, step, place))
        return True

    def _without_writing(self, step: Step) -> Expression:
        """Return a call that is made in place as one that is not."""
        if not step.name.endswith("_") or step.name.endswith("__"):
            raise Missing(f"{step.owner}.{step.name} of a part of a tensor, in place")
        other = copy.copy(step)
        other.name, other.function, other.writes = step.name[:-1], None, None
        return convert(other, self._express)

    def _call(self, step: Step) -> Expression:
        if step.kind == "function":
            return convert(step, self._express)
        callee = self._callee(step.function)
        if step.kind == "module":
            args = tuple(self._express(value) for value in step.args)
            return Call(callee, args, tuple((key, self._express(value)) for key, value in step.kwargs.items()))
        body = self.children[id(step.scope)]
        bound = inspect.signature(step.function.forward).bind(*step.args, **step.kwargs).arguments
        args = []
        for _, _, source in body.parameters:
            value = bound[source[0]]
            args.append(self._express(value[source[1]] if len(source) > 1 else value))
        return Call(callee, tuple(args))

    def _callee(self, module: nn.Module) -> Expression:
        if module is self.module:  # the model, which is a module that trtnn has
            return Attribute(Call(Text("super"), ()), "forward")
        for path, inner in self.module.named_modules(remove_duplicate=False):
            if inner is module and path:
                self.used_modules.add(self.prefix + path)
                return path_expression(self.module, path)
        raise Missing(f"a call of {type(module).__name__}, which is not within {type(self.module).__name__}")

    def _assign(self, step: Step, node: Expression) -> None:
        """Bind what a step returns."""
        result = step.result
        if isinstance(result, Value):
            if id(result) in self._nodes and (step.writes is result or isinstance(self._nodes[id(result)], Ref)):
                if step.writes is result:  # the same tensor, changed
                    self._changed(step, node, result)
                return
            if isinstance(node, Ref):  # the same tensor, elsewhere in memory
                self._nodes[id(result)] = node
                return
            variable = self._variable(step, result)
            self.statements.append(Statement("assign", [variable], node, step))
            self._know(result, Ref(variable))
            return
        if isinstance(result, tuple) and result and not isinstance(result, torch.Size):
            names = step.stored
            if isinstance(names, list) and len(names) == len(result):
                self._unpack(step, node, result, names)
                return
            values = [v for v in result if isinstance(v, Value)]
            if not isinstance(names, str) and len(values) == len(result) and self._are_named(values, step):
                self._unpack(step, node, result, [None] * len(result))
                return
        preferred = step.stored if isinstance(step.stored, str) else None
        variable = Variable(preferred or "outputs", preferred is not None)
        self.statements.append(Statement("assign", [variable], node, step))
        if isinstance(result, tuple) and all(isinstance(part, (Value, tuple)) for part in parts_in(result)):
            self._wholes.append((result, Ref(variable)))
        self._bind(Ref(variable), result, step, ())

    def _changed(self, step: Step, node: Expression, value: Value) -> None:
        """Write a call that changes a tensor in place and returns it."""
        variable = Variable(step.stored, True) if isinstance(step.stored, str) else Variable(None)
        before = self._nodes[id(value)]
        if isinstance(before, Ref) and not variable.authors:
            variable.preferred = before.value.preferred
        self.statements.append(Statement("assign", [variable], node, step))
        self._know(value, Ref(variable))

    def _are_named(self, values: list[Value], step: Step) -> bool:
        later = [s for s in self.scope.steps if s.number > step.number]
        return all(any(id(value) in s.names for s in later) for value in values)

    def _unpack(self, step: Step, node: Expression, result: Any, names: list[Any]) -> None:
        targets: list[Variable | None] = []
        for value, name in zip(result, names, strict=True):
            if isinstance(value, Value):
                variable = self._variable(step, value, name)
                self._know(value, Ref(variable))
            else:
                variable = Variable(name or "part", True)
                self._bind(Ref(variable), value, step, (result.index(value),) if value in result else ())
            targets.append(variable)
        for i, value in enumerate(result):
            if isinstance(value, (Whole, Real)):
                self._arguments[(id(step), (i,))] = Ref(targets[i])
        if step.name == "__iter__":
            node = node.function.base if isinstance(node, Call) and isinstance(node.function, Attribute) else node
        self.statements.append(Statement("assign", targets, node, step, unpacks=True))

    def _variable(self, step: Step, value: Value, stored: Any = None) -> Variable:
        name = stored if isinstance(stored, str) else step.stored if isinstance(step.stored, str) else None
        if name is None:
            for later in self.scope.steps:
                if later.number > step.number and later.own and id(value) in later.names:
                    name = later.names[id(value)][0]
                if name is not None or (later.number > step.number and later.writes is value):
                    break  # a name that it got once it was another value is not its name
        return Variable(name, name is not None)

    # -- values -------------------------------------------------------------------------------------------------------

    def _value(self, value: Value) -> Expression:
        node = self._nodes.get(id(value))
        if node is not None:
            return node
        if value.tensor.is_complex() and not value.depends:
            raise Missing("a complex constant (hold torch.view_as_real of it, and view_as_complex it in forward)")
        names = self.held.get(id(value.tensor), [])
        for name in names:
            if name.startswith(self.prefix):
                self.used_state.add(name)
                return path_expression(self.module, name[len(self.prefix) :])
        if value.depends:
            raise Missing("a tensor of another module's forward, which was not passed")
        if value.tensor.ndim == 0 and not names and not self._info(value).of_parameters:
            return self._literal(value.tensor.item(), "value")
        return self._fold(value)

    def _express(self, value: Any, hint: str = "value") -> Expression:
        if isinstance(value, Value):
            return self._value(value)
        if isinstance(value, (Whole, Real)):
            try:
                return self._number(value)
            except Missing:
                return self._literal(plain(value), hint)
        if isinstance(value, Listed) and (node := self._list(value)) is not None:
            return node
        return self._structure(value, hint, self._express)

    def _list(self, value: Listed) -> Expression | None:
        """Return the author's list, where what it holds now is what the source has put there.

        Of a list that is passed several times what was added since is appended first.
        """
        identity, items = id(value.source), list(map(_key, value))
        step = self._step
        listed = self._lists.get(identity)
        if listed is None:
            if step is None or not step.own or identity not in step.names or self._listed[identity] < 2:
                return None
            tree = Sequence(tuple(map(self._express, value)), "[]")
            variable = Variable(step.names[identity][0], True)
            self.statements.append(Statement("assign", [variable], tree, step))
            self._lists[identity] = (Ref(variable), items)
            return Ref(variable)
        node, before = listed
        if before != items[: len(before)] or (len(items) > len(before) and not isinstance(node, Ref)):
            return None
        for item in value[len(before) :]:
            self.statements.append(Statement("append", [], self._express(item), step, node))
        self._lists[identity] = (node, items)
        return node

    def _structure(self, value: Any, hint: str, express: Any) -> Expression:
        if value is None or isinstance(value, (bool, str)):
            return Text(literal(value))
        if value is Ellipsis:
            return Text("...")
        if isinstance(value, torch.dtype):
            return dtype_text(value)
        if isinstance(value, (Whole, Real)):
            return self._literal(plain(value), hint)
        if isinstance(value, (int, float)):
            return self._literal(value, hint)
        if isinstance(value, slice):
            ends = [None if end is None else express(end, hint) for end in (value.start, value.stop, value.step)]
            if ends[2] is not None and value.step == 1:
                ends[2] = None
            return Slice(*ends)
        if isinstance(value, tuple):
            brackets = "[]" if isinstance(value, Listed) else "()"
            if value and all(type(item) in (int, float) for item in value):
                return self._literal(list(value) if brackets == "[]" else tuple(value), hint)
            return Sequence(tuple(express(item, hint) for item in value), brackets)
        if isinstance(value, dict):
            return Dictionary(tuple((str(key), express(item, hint)) for key, item in value.items() if item is not None))
        if isinstance(value, range):
            return Call(Text("range"), tuple(map(Number, (value.start, value.stop, value.step))))
        if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
            raise Missing(f"an argument of {value}")
        raise Missing(f"an argument of type {type(value).__name__}")

    def _literal(self, value: Any, hint: str) -> Expression:
        step = self._step
        attribute = ""
        if step is not None and step.own and not isinstance(value, (bool, tuple, list)) and value not in step.literals:
            for name in dict.fromkeys(step.attributes):
                held = vars(self.module).get(name)
                if type(held) is type(value) and held == value and name not in _OF_MODULES:
                    attribute = name if not attribute else ""
                    self.attributes[name] = value
        return Number(value, hint, attribute)

    def _result(self, value: Any) -> Expression:
        if isinstance(value, dict):
            items = {key: item for key, item in value.items() if self._is_result(item, isinstance(value, Fields))}
            return Dictionary(tuple((str(key), self._result(item)) for key, item in items.items()))
        if isinstance(value, tuple):
            whole = next((node for result, node in self._wholes if result == value), None)
            if whole is not None:
                return whole
            brackets = "[]" if isinstance(value, Listed) else "()"
            return Sequence(tuple(self._result(item) for item in value if self._is_result(item)), brackets)
        return self._express(value)

    def _is_result(self, value: Any, in_fields: bool = False) -> bool:
        """Whether a part of what is returned stays: a network returns tensors alone."""
        if self.is_root:
            return isinstance(value, Value) or any(True for _ in values_in(value))
        return value is not None or not in_fields

    # -- names --------------------------------------------------------------------------------------------------------

    def _alias(self) -> None:
        """Write ``identity = x`` where the author has two names for one value and reads it by the second."""
        firsts: dict[tuple[int, str], int] = {}
        made_at: dict[Variable, int] = {}
        for i, statement in enumerate(self.statements):
            made_at.update({target: i for target in statement.targets if target is not None})
            if statement.step is not None and statement.step.own:
                for identity, names in statement.step.names.items():
                    for name in names:
                        firsts.setdefault((identity, name), i)
        copies: dict[tuple[Variable, str], Variable] = {}
        added: dict[int, list[Statement]] = {}
        for i, statement in enumerate(self.statements):
            step = statement.step
            if step is None or not step.own or statement.kind not in ("assign", "augment", "set"):
                continue

            def change(node: Expression, i: int = i, step: Step = step) -> Expression | None:
                identity = self._values.get(node.value) if isinstance(node, Ref) else None
                if identity is None or not isinstance(node, Ref):
                    return None
                variable = node.value
                read = [name for name in step.names.get(identity, ()) if name in step.reads and name != "self"]
                if variable.preferred in read or len(read) != 1 or not variable.authors:
                    return None
                if (variable, read[0]) not in copies:
                    copies[variable, read[0]] = Variable(read[0], True)
                    at = max(firsts.get((identity, read[0]), i), made_at.get(variable, -1) + 1)
                    copy = Statement("assign", [copies[variable, read[0]]], Ref(variable), None)
                    added.setdefault(at, []).append(copy)
                return Ref(copies[variable, read[0]])

            statement.expression = statement.expression.map(change)
        self.statements = [s for i, statement in enumerate(self.statements) for s in (*added.get(i, ()), statement)]

    def _drop_unread(self) -> None:
        """Leave out what nobody reads; of what changes a tensor in place the call alone stays."""
        read: set[Variable] = set()
        kept = []
        for statement in reversed(self.statements):
            if statement.kind == "assign" and not any(target in read for target in statement.targets):
                if statement.step is None or statement.step.writes is None:
                    continue
                statement.kind = "run"
            read.update(statement.reads())
            kept.append(statement)
        self.statements = kept[::-1]

    def _inline(self) -> None:
        """Put what is used once and has no name of the author's where it is used."""
        uses = Counter(variable for statement in self.statements for variable in statement.reads())
        changing = [
            i for i, s in enumerate(self.statements)
            if s.kind in ("augment", "set") or (s.step is not None and s.step.writes is not None)
        ]  # fmt: skip
        pending: dict[Variable, int] = {}
        for i, statement in enumerate(self.statements):
            here = [v for v in dict.fromkeys(statement.reads()) if v in pending]
            for variable in here:
                at = pending.pop(variable)
                source = self.statements[at]
                if any(at < k < i for k in changing):
                    continue
                length = len(_rough(statement)) + len(_rough(source)) - 8
                if length > _LONGEST_INLINE or (statement.place is not None and _holds(statement.place, variable)):
                    continue
                tree = source.expression
                statement.expression = statement.expression.map(
                    lambda node, v=variable, t=tree: t if isinstance(node, Ref) and node.value is v else None
                )
                source.kind = "gone"
                statement.inlined += [*source.inlined, *([source.step] if source.step is not None else [])]
            if statement.kind == "assign" and not statement.unpacks and statement.targets[0] is not None:
                target = statement.targets[0]
                if not target.authors and uses[target] == 1:
                    pending[target] = i
        self.statements = [s for s in self.statements if s.kind != "gone"]

    def _name(self) -> None:
        last: dict[Variable, int] = {}
        for i, statement in enumerate(self.statements):
            for variable in statement.reads():
                last[variable] = i
        bound: dict[str, Variable] = {}
        for name, variable, _ in self.parameters:
            variable.name = name
            bound[name] = variable
        for i, statement in enumerate(self.statements):
            if statement.kind != "assign":
                continue
            if statement.unpacks:
                statement.targets = [t if t is not None and t in last else None for t in statement.targets]
            for target in statement.targets:
                if target is not None:
                    target.name = self._free_name(target, statement, bound, last, i)
                    bound[target.name] = target

    def _free_name(
        self, target: Variable, statement: Statement, bound: dict[str, Variable], last: dict[Variable, int], i: int
    ) -> str:
        wanted = target.preferred
        if wanted is None or not wanted.isidentifier() or keyword.iskeyword(wanted) or wanted in _RESERVED:
            ending = [v for v in statement.reads() if last.get(v) == i and v.name]
            wanted = ending[0].name if ending else "x"
        name, k = wanted, 2
        while name in bound and last.get(bound[name], -1) > i and bound[name] is not target:
            name, k = f"{wanted}{k}", k + 1
        return name

    def named(self, node: Expression) -> Expression:
        """Return a tree with the names that its values got."""
        return node.map(lambda part: Text(part.value.name) if isinstance(part, Ref) else None)


@dataclass(frozen=True)
class _Info:
    """How a constant comes about: by which steps, of what, and whether source can say so."""

    steps: frozenset[int]
    of_parameters: bool
    of_lengths: bool
    written: bool


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all()))


def _same_items(first: Any, second: Any) -> bool:
    """Whether two calls are of the same part of the same tensor."""
    return first[0] is second[0] and (first[1] is second[1] or _frozen(first[1]) == _frozen(second[1]))


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, slice):
        return ("slice", *map(_frozen, (value.start, value.stop, value.step)))
    return ("value", id(value)) if isinstance(value, Value) else (type(value).__name__, plain(value))


def _key(value: Any) -> Any:
    return id(value) if isinstance(value, (Value, Whole, Real)) else value


def _holds(tree: Expression, variable: Variable) -> bool:
    return any(isinstance(node, Ref) and node.value is variable for node in tree.walk())


def _rough(statement: Statement) -> str:
    tree = statement.expression.map(lambda node: Text(node.value.preferred or "x") if isinstance(node, Ref) else None)
    names = ", ".join((t.preferred or "x") if t else "_" for t in statement.targets)
    return f"{names} = {text_of(tree)}"


def _lists_in(value: Any) -> Iterator[Listed]:
    return (part for part in parts_in(value) if isinstance(part, Listed))


def _numbers_in(value: Any) -> Iterator[Any]:
    return (part for part in parts_in(value) if isinstance(part, (Whole, Real)))


def _with_operands(number: Any) -> Iterator[Any]:
    """Yield the numbers that a number is made of, and it last."""
    if isinstance(number, (Whole, Real)):
        if number.origin.sign != "argument":
            for operand in number.origin.operands:
                yield from _with_operands(operand)
        yield number


def _tensors_of(number: Any) -> Iterator[Value]:
    """Yield the tensors whose lengths or numbers a number is made of."""
    for inner in _with_operands(number):
        yield from (operand for operand in inner.origin.operands if isinstance(operand, Value))


def _calls_of(value: Any) -> set[int]:
    """Return the numbers of the calls whose results hold numbers that are in what was recorded."""
    roots = (root for number in _numbers_in(value) for root in _roots_of(number))
    return {root.number for root in roots if isinstance(root, Step)}


def _roots_of(number: Any) -> Iterator[Any]:
    for inner in _with_operands(number):
        if inner.origin.sign == "argument":
            yield inner.origin.operands[0]
