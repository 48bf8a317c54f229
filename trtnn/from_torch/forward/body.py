"""The forward of one module as statements, and as lines of source."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trtnn import modules
from trtnn.from_torch.forward.attributes import path_expression
from trtnn.from_torch.forward.constants import Constants
from trtnn.from_torch.forward.environment import Environment
from trtnn.from_torch.forward.inlining import inlined, without_unread
from trtnn.from_torch.forward.naming import name_variables, with_aliases
from trtnn.from_torch.forward.parameters import Parameters
from trtnn.from_torch.forward.plan import Plan
from trtnn.from_torch.forward.statements import Problem, Statement, Variable
from trtnn.from_torch.forward.structures import is_object
from trtnn.from_torch.operations.converters import Missing, augmented_sign, convert
from trtnn.from_torch.recording.lengths import Real, Whole
from trtnn.from_torch.recording.steps import (
    Fields,
    Guard,
    Listed,
    Scope,
    Step,
    Value,
    lists_in,
    numbers_in,
    parts_in,
    storage_of,
    tensors_of,
    values_in,
)
from trtnn.from_torch.source.expressions import (
    Attribute,
    Binary,
    Call,
    Dictionary,
    Expression,
    Item,
    Number,
    Passing,
    Ref,
    Text,
)
from trtnn.from_torch.source.expressions import Sequence as Items
from trtnn.from_torch.source.lines import Line
from trtnn.from_torch.source.loops import rolled
from trtnn.ops._annotations import as_switch

# What a Parameter can do as it stands.
_ON_PARAMETERS = frozenset((
    "expand", "unsqueeze", "squeeze", "reshape", "view", "permute", "transpose", "flatten", "repeat", "clone", "add",
    "mul",
))  # fmt: skip
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class Body:
    """The statements of one call of a module's forward.

    Args:
        scope: the call.
        held: of each parameter and buffer of the model, by id, its names.
        constants: takes the numbers of what becomes a Buffer.
        guards: the comparisons of lengths in this forward.
        children: the bodies of the calls within, by the id of their scope.
        is_model: whether the module is the model itself.

    Attributes:
        parameters: the arguments of forward.
        literals, unknown: what it was called with besides; see
            :class:`~trtnn.from_torch.forward.parameters.Parameters`.
        statements: what it does.
        problems: the operations without a counterpart.
        used_state: the names of the parameters and buffers that it reads.
        folding: which constants are Buffers.
        computes_constants: whether it computes something of constants alone.
    """

    def __init__(
        self,
        scope: Scope,
        held: Mapping[int, Sequence[str]],
        constants: Constants,
        guards: Sequence[Guard],
        children: Mapping[int, Body],
        is_model: bool,
    ) -> None:
        self.scope, self.module, self.children, self.is_model = scope, scope.module, children, is_model
        self.problems: list[Problem] = []
        self.computes_constants = False
        self._environment = Environment(scope, held, constants)
        self._written = self._environment.statements
        self._wholes: list[tuple[Any, Expression]] = []  # what calls returned that was not unpacked, and its variable
        self._numbers_of_steps = {step.number for step in scope.steps}
        self._read = _values_read(scope, guards)
        arguments = Parameters(scope, self._environment, is_model)
        self.parameters = arguments.written
        self.literals, self.unknown = arguments.literals, arguments.unknown
        self._plan = Plan(scope, guards, self._environment.folding.is_folded)
        self._write(guards)
        self.used_state, self.folding = self._environment.used_state, self._environment.folding
        statements = with_aliases(self._written, self._environment.identities)
        self.statements = inlined(without_unread(statements))
        name_variables(self.statements, self.parameters)

    def lines(self, called: Callable[[Passing], Expression]) -> list[Line]:
        """Return the forward as lines: with names, what repeats as loops, and each assertion once.

        Args:
            called: says how a module's class is called.
        """
        lines = []
        asserted: set[Expression] = set()
        for statement in self.statements:
            expression = _named(statement.expression, called)
            if statement.kind == "assert":
                if expression in asserted:
                    continue
                asserted.add(expression)
            targets = tuple("_" if target is None else target.name for target in statement.targets)
            place = None if statement.place is None else _named(statement.place, called)
            steps = self._steps_of(statement)
            lines.append(
                Line(statement.kind, targets, expression, place, statement.sign, statement.unpacks, steps=steps)
            )
        return rolled(lines)

    def _steps_of(self, statement: Statement) -> tuple[Step, ...]:
        """Return what a line came of; a return holds no less than the last step."""
        steps = statement.inlined if statement.step is None else [*statement.inlined, statement.step]
        return tuple(steps or (self.scope.steps[-1:] if statement.kind == "return" else ()))

    # -- statements ---------------------------------------------------------------------------------------------------

    def _write(self, guards: Sequence[Guard]) -> None:
        env, steps = self._environment, self.scope.steps
        needed = [(steps[i].args, steps[i].kwargs) for i in self._plan.needed]
        for part in (*needed, self.scope.result):
            env.listed.update({id(listed.source) for listed in lists_in(part)})
        guards_at: dict[int, list[Guard]] = {}
        for guard in guards:
            guards_at.setdefault(guard.position, []).append(guard)
        for i, step in enumerate(steps):
            env.step = step
            for guard in guards_at.get(i, ()):
                self._assert(guard)
            for number, name in self._plan.names.get(i, ()):
                self._name_number(number, name)
            if self._plan.writes(i):
                self._emit(step)
        for guard in guards_at.get(len(steps), ()):
            self._assert(guard)
        env.step = None
        self._return()

    def _assert(self, guard: Guard) -> None:
        """Assert that a comparison of lengths comes out as it did; one that source cannot say is left out."""
        env, before = self._environment, len(self._written)
        step = Step()
        step.name, step.own, step.result, step.writes, step.names = "comparison of lengths", False, None, None, {}
        step.args, step.kwargs = (), {}
        step.number, step.path, step.place = -1, self.scope.path, guard.place
        step.attributes, step.literals = guard.attributes, guard.literals
        reading, env.step = env.step, step
        try:
            sign = guard.sign if guard.outcome else _NEGATED[guard.sign]
            node = Binary(env.operand(guard.left), sign, env.operand(guard.right))
        except Missing as missing:
            del self._written[before:]
            if guard.required:
                self.problems.append(Problem(str(missing), step))
            return
        finally:
            env.step = reading
        self._written.append(Statement("assert", [], node, step))

    def _name_number(self, number: Whole | Real, name: str) -> None:
        """Write ``name = length``, unless the length is a variable already."""
        env = self._environment
        if id(number) in env.numbers:
            return
        try:
            node = env.number(number)
        except Missing:
            return
        if isinstance(node, Ref):
            return
        variable = Variable(name, True, is_length=True)
        self._written.append(Statement("assign", [variable], node, env.step))
        env.numbers[id(number)] = Ref(variable)

    def _emit(self, step: Step) -> None:
        """Write a step."""
        if step.kind == "lengths":
            self._unpack_lengths(step)
            return
        self.computes_constants |= step.name not in _ON_PARAMETERS and any(
            not value.depends for value in values_in(step.result)
        )
        env = self._environment
        try:
            if step.name == "__setitem__":
                self._set_item(step)
                return
            if self._writes_a_part(step):
                return
            sign = augmented_sign(step)
            if sign is not None and isinstance(env.value(step.args[0]), Ref):
                right = env.express(step.args[1])
                self._written.append(Statement("augment", [], right, step, env.value(step.args[0]), sign=sign))
                return
            node = self._call(step)
        except Missing as missing:
            self.problems.append(Problem(str(missing), step))
            node = Text("None")
        self._assign(step, node)

    def _unpack_lengths(self, step: Step) -> None:
        """Write ``B, C, H, W = x.shape``."""
        env = self._environment
        value = next(values_in(step.args))
        targets: list[Variable | None] = [Variable(name, True, is_length=True) for name in step.stored or ()]
        shape = Attribute(env.value(value), "shape")
        self._written.append(Statement("assign", targets, shape, step, unpacks=True))
        for i, (number, variable) in enumerate(zip(step.result, targets, strict=True)):
            env.numbers[id(number)] = env.numbers[id(value), i] = Ref(variable)

    # -- changes in place ---------------------------------------------------------------------------------------------

    def _set_item(self, step: Step) -> None:
        """Write ``x[i] = y``, or what ``x[i] += y`` is."""
        env = self._environment
        target, index, value = step.args
        place = self._part(target, index)
        changed = self._plan.changes.get(step.number)
        if changed is None:
            node = env.express(value)
        else:
            node = Binary(place, str(augmented_sign(changed)), env.express(changed.args[1]))
        self._written.append(Statement("set", [], node, step, place))

    def _part(self, whole: Value, index: Any) -> Item:
        """Return ``x[i]``."""
        env = self._environment
        items = index if type(index) is tuple else (index,)
        return Item(env.value(whole), tuple(env.express(item) for item in items))

    def _writes_a_part(self, step: Step) -> bool:
        """Write what changes ``x[i]`` in place as ``x[i] = ...``; return whether it is such a step.

        A part shares its memory with the whole in torch, and in a network there is no memory.
        """
        part = step.writes
        taken = part.step if part is not None else None
        if part is None or taken is None or taken.number not in self._numbers_of_steps:
            return False
        if step.kind != "function" or taken.name != "__getitem__":
            return False
        whole, index = taken.args
        if not isinstance(whole, Value) or storage_of(whole.tensor) != storage_of(part.tensor):
            return False
        env = self._environment
        place = env.nodes[id(part)] = self._part(whole, index)
        sign = augmented_sign(step)
        if sign is not None:
            node: Expression = Binary(place, sign, env.express(step.args[1]))
        elif step.name in ("zero_", "fill_", "copy_"):
            node = Number(0) if step.name == "zero_" else env.express(step.args[1])
        else:
            node = self._without_writing(step)
        self._written.append(Statement("set", [], node, step, place))
        return True

    def _without_writing(self, step: Step) -> Expression:
        """Return a call that is made in place as one that is not."""
        if not step.name.endswith("_") or step.name.endswith("__"):
            raise Missing(f"{step.owner}.{step.name} of a part of a tensor, in place")
        other = copy.copy(step)
        other.name, other.function, other.writes = step.name[:-1], None, None
        return convert(other, self._environment.express)

    # -- calls --------------------------------------------------------------------------------------------------------

    def _call(self, step: Step) -> Expression:
        """Return what a step computes."""
        express = self._environment.express
        if step.kind == "function":
            return convert(step, express)
        callee = self._callee(step.function)
        if step.kind == "module":
            ours = getattr(modules, type(step.function).__name__, None)
            taken = {} if ours is None else inspect.signature(ours.forward).parameters
            kwargs = tuple((key, express(as_switch(taken.get(key), value))) for key, value in step.kwargs.items())
            return Call(callee, tuple(map(express, step.args)), kwargs)
        body = self.children[id(step.scope)]
        brought = body.scope.brought
        kwargs = {name: value for name, value in step.kwargs.items() if name not in brought}
        bound = {**inspect.signature(step.function.forward).bind(*step.args, **kwargs).arguments, **brought}
        args = []
        for parameter in body.parameters:
            name, *item = parameter.source
            args.append((parameter.name, express(bound[name][item[0]] if item else bound[name])))
        literals = tuple((name, express(value, name)) for name, value in body.literals.items())
        return Passing(callee, tuple(args), literals, step.function)

    def _callee(self, module: nn.Module) -> Expression:
        if module is self.module:  # the model, which is a module that trtnn has
            return Attribute(Call(Text("super"), ()), "forward")
        for path, inner in self.module.named_modules(remove_duplicate=False):
            if inner is module and path:
                return path_expression(self.module, path)
        raise Missing(f"a call of {type(module).__name__}, which is not within {type(self.module).__name__}")

    # -- what calls return --------------------------------------------------------------------------------------------

    def _assign(self, step: Step, node: Expression) -> None:
        """Bind what a step returns."""
        env, result = self._environment, step.result
        if isinstance(result, Value):
            self._assign_tensor(step, node, result)
            return
        if isinstance(result, tuple) and result and not isinstance(result, torch.Size):
            names = step.stored
            if isinstance(names, list) and len(names) == len(result):
                self._unpack(step, node, result, names)
                return
            if not isinstance(names, str) and self._assign_parts(step, node, result):
                return
        preferred = step.stored if isinstance(step.stored, str) else None
        variable = Variable(preferred or "outputs", preferred is not None)
        self._written.append(Statement("assign", [variable], node, step))
        if isinstance(result, tuple) and all(isinstance(part, (Value, tuple)) for part in parts_in(result)):
            self._wholes.append((result, Ref(variable)))
        env.bind(Ref(variable), result, step)

    def _assign_parts(self, step: Step, node: Expression, result: tuple[Any, ...]) -> bool:
        """Bind what is read of several tensors that go to no variable together; return whether it can be said so.

        It is ``x = F.max(y, 1)[0]`` of one of them, and ``output, (h, c) = self.lstm(x)`` in two lines.
        """
        if not all(isinstance(part, (Value, tuple)) for part in parts_in(result)):
            return False
        read = [i for i, value in enumerate(result) if any(id(inner) in self._read for inner in values_in(value))]
        if len(read) == 1 and isinstance(result[read[0]], Value):
            value, place = result[read[0]], read[0]
            is_written_out = isinstance(node, Items) and place < len(node.items)
            part = node.items[place] if is_written_out else Item(node, (Text(str(place)),))  # type: ignore[union-attr]
            self._assign_tensor(step, part, value)
            return True
        if not self._are_named([*values_in(result)], step):
            return False
        self._unpack(step, node, result, [None] * len(result))
        return True

    def _assign_tensor(self, step: Step, node: Expression, result: Value) -> None:
        env = self._environment
        earlier = env.nodes.get(id(result))
        if earlier is not None and step.writes is result:  # the same tensor, changed
            variable = Variable(step.stored, True) if isinstance(step.stored, str) else Variable(None)
            if isinstance(earlier, Ref) and not variable.authors:
                variable.preferred = earlier.value.preferred
        elif isinstance(earlier, Ref):
            return
        elif isinstance(node, Ref) or any(node is env.nodes.get(id(v)) for v in values_in(step.args)):
            # The same tensor, elsewhere in memory, which may be what the author has a name for.
            if isinstance(node, Ref) and not node.value.authors and isinstance(step.stored, str):
                node.value.preferred, node.value.authors = step.stored, True
            env.nodes[id(result)] = node
            return
        else:
            variable = self._variable(step, result)
        self._written.append(Statement("assign", [variable], node, step))
        env.know(result, Ref(variable))

    def _are_named(self, values: list[Value], step: Step) -> bool:
        """Whether each of several values has a name of the author's later on."""
        later = [other for other in self.scope.steps if other.number > step.number]
        return all(any(id(value) in other.names for other in later) for value in values)

    def _unpack(self, step: Step, node: Expression, result: Any, names: Sequence[str | None]) -> None:
        """Bind the parts of what a step returns."""
        env = self._environment
        targets: list[Variable | None] = []
        inner: list[tuple[tuple[Any, ...], Variable]] = []
        for value, name in zip(result, names, strict=True):
            if isinstance(value, Value):
                variable = self._variable(step, value, name)
                env.know(value, Ref(variable))
            elif name is None and isinstance(value, tuple):
                variable = Variable("states" if step.kind == "module" else "parts", True)
                inner.append((value, variable))
            else:
                variable = Variable(name or "part", True)
                env.bind(Ref(variable), value, step, (result.index(value),) if value in result else ())
            targets.append(variable)
        for i, value in enumerate(result):
            if isinstance(value, (Whole, Real)):
                env.bind_number(Ref(targets[i]), step, (i,))
        if step.name == "__iter__":
            node = node.function.base if isinstance(node, Call) and isinstance(node.function, Attribute) else node
        self._written.append(Statement("assign", targets, node, step, unpacks=True))
        for values, variable in inner:
            if any(id(value) in self._read for value in values_in(values)):
                self._unpack(step, Ref(variable), values, [None] * len(values))

    def _variable(self, step: Step, value: Value, stored: str | None = None) -> Variable:
        """Return a variable for a tensor, with the name that the author stores it to, or has for it later on."""
        name = stored if isinstance(stored, str) else step.stored if isinstance(step.stored, str) else None
        if name is None:
            for later in self.scope.steps:
                if later.number > step.number and later.own and id(value) in later.names:
                    name = later.names[id(value)][0]
                if name is not None or (later.number > step.number and later.writes is value):
                    break  # a name that it got once it was another value is not its name
        return Variable(name, name is not None)

    # -- the result ---------------------------------------------------------------------------------------------------

    def _return(self) -> None:
        try:
            node = self._result(self.scope.result)
        except Missing as missing:
            if not self.scope.steps:
                raise
            self.problems.append(Problem(str(missing), self.scope.steps[-1]))
            node = Text("None")
        self._written.append(Statement("return", [], node, None))

    def _result(self, value: Any) -> Expression:
        if isinstance(value, dict):
            items = {key: item for key, item in value.items() if self._is_result(item, isinstance(value, Fields))}
            return Dictionary(tuple((str(key), self._result(item)) for key, item in items.items()))
        if isinstance(value, tuple):
            whole = next((node for result, node in self._wholes if result == value), None)
            if whole is not None:
                return whole
            brackets = "[]" if isinstance(value, Listed) else "()"
            return Items(tuple(self._result(item) for item in value if self._is_result(item)), brackets)
        if is_object(value) and not self.is_model:  # which modules around can hand on alone
            return Text("None")
        return self._environment.express(value)

    def _is_result(self, value: Any, in_fields: bool = False) -> bool:
        """Whether a part of what is returned stays: a network returns tensors alone."""
        if self.is_model:
            return isinstance(value, Value) or any(True for _ in values_in(value))
        return not in_fields or (value is not None and not is_object(value))


def _values_read(scope: Scope, guards: Sequence[Guard]) -> set[int]:
    """Return the ids of all tensors of which a forward reads numbers or lengths."""
    taken = [(step.args, step.kwargs) for step in scope.steps]
    taken += [scope.result, *((guard.left, guard.right) for guard in guards)]
    read = {id(value) for part in taken for value in values_in(part)}
    return read | {id(value) for part in taken for number in numbers_in(part) for value in tensors_of(number)}


def _named(node: Expression, called: Callable[[Passing], Expression]) -> Expression:
    """Return a tree with the names that its values got, and with calls of modules as their classes take them."""

    def change(part: Expression) -> Expression | None:
        if isinstance(part, Ref):
            return Text(part.value.name)
        if isinstance(part, Passing):
            return called(replace(part, args=tuple((name, value.map(change)) for name, value in part.args)))
        return None

    return node.map(change)
