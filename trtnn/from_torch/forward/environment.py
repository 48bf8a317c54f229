"""What a forward can name at a point: how each tensor, length and list that was recorded is reached there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.from_torch.forward.attributes import OF_MODULES, SELF, Weights
from trtnn.from_torch.forward.constants import Constants, Folding
from trtnn.from_torch.forward.statements import Statement, Variable
from trtnn.from_torch.forward.structures import structure
from trtnn.from_torch.operations.converters import Missing
from trtnn.from_torch.recording.lengths import Real, Whole, plain
from trtnn.from_torch.recording.steps import Listed, Scope, Step, Value
from trtnn.from_torch.source.expressions import (
    Attribute,
    Binary,
    Call,
    Expression,
    Item,
    Negative,
    Number,
    Ref,
    Text,
    quoted,
)
from trtnn.from_torch.source.expressions import Sequence as Items

# Functions of numbers. Python's min and max compare, which ranges of dynamic lengths may leave open.
_FUNCTIONS = {
    **{sign: Attribute(Text("math"), sign) for sign in ("floor", "ceil", "trunc")},
    **{sign: Text(sign) for sign in ("round", "abs")},
    **{sign: Attribute(Text("trtnn"), f"sym_{sign}") for sign in ("min", "max")},
}


class Environment:
    """How one forward reaches what was recorded, as its statements are made.

    Args:
        scope: the forward.
        held: of each parameter and buffer of the model, by id, its names.
        constants: takes the numbers of what becomes a Buffer.

    Attributes:
        statements: those so far. A list of the author's is bound and appended to where it is first used as it then is.
        step: the step that is being written; what it reads of ``self`` is where its numbers come from.
        nodes: how values are reached, by id.
        identities: of each Variable the id of its value.
        numbers: how lengths are reached, by id, or by the tensor's id and the dimension.
        listed: how often a list is passed or returned, by id.
        used_state: the names of the parameters and buffers that are read.
    """

    def __init__(self, scope: Scope, held: Mapping[int, Sequence[str]], constants: Constants) -> None:
        self.module = scope.module
        self.weights = Weights(scope, held)
        self.statements: list[Statement] = []
        self.step: Step | None = None
        self.nodes: dict[int, Expression] = {}
        self.identities: dict[Variable, int] = {}
        self.numbers: dict[int | tuple[int, int], Expression] = {}
        self.listed: Counter[int] = Counter()
        self.used_state: set[str] = set()
        self.folding = Folding(scope, self.weights, constants, self.nodes)
        self._arguments: dict[Any, Expression] = {}  # numbers of arguments and results, by root and path
        self._lists: dict[int, tuple[Expression, list[Any]]] = {}  # the author's, with what they are known to hold

    # -- what becomes known -------------------------------------------------------------------------------------------

    def know(self, value: Value, node: Expression) -> None:
        """Reach a tensor by an expression."""
        self.nodes[id(value)] = node
        if isinstance(node, Ref):
            self.identities[node.value] = id(value)

    def bind(self, node: Expression, value: Any, root: Any, path: tuple[Any, ...] = ()) -> None:
        """Reach what lies in a structure by an expression of the structure.

        Args:
            node: how the structure is reached.
            value: the structure.
            root: the argument's name, or the step, that it is of.
            path: where in that it lies.
        """
        if isinstance(value, Value):
            if self.weights.name(value) is None and id(value) not in self.nodes:
                self.know(value, node)
        elif isinstance(value, (Whole, Real)):
            self.bind_number(node, root, path)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.bind(Item(node, (Text(quoted(str(key))),)), item, root, (*path, key))
        elif isinstance(value, tuple):
            if isinstance(value, Listed):
                self._lists[id(value.source)] = (node, list(map(_key, value)))
            for i, item in enumerate(value):
                self.bind(Item(node, (Text(str(i)),)), item, root, (*path, i))

    def bind_number(self, node: Expression, root: Any, path: tuple[Any, ...]) -> None:
        """Reach a number of an argument or of a call's result by an expression."""
        self._arguments[id(root) if isinstance(root, Step) else root, path] = node

    # -- how it is reached --------------------------------------------------------------------------------------------

    def express(self, value: Any, hint: str = "value") -> Expression:
        """Return the expression of whatever was recorded.

        Args:
            value: a tensor, a length, a literal, or a structure of such.
            hint: what an argument of it would be called.

        Raises:
            Missing: the forward cannot reach it, or source has none.
        """
        if isinstance(value, Value):
            return self.value(value)
        if isinstance(value, (Whole, Real)):
            try:
                return self.number(value)
            except Missing:
                return self.literal(plain(value), hint)
        if isinstance(value, Listed) and (node := self._list(value)) is not None:
            return node
        return structure(value, hint, self.express, self.literal)

    def value(self, value: Value) -> Expression:
        """Return the expression of a tensor: a variable, a parameter, or a constant."""
        node = self.nodes.get(id(value))
        if node is not None:
            return node
        if value.tensor.is_complex() and not value.depends:
            if self.weights.is_saved(value):
                raise Missing("a complex weight (hold torch.view_as_real of it, and view_as_complex it in forward)")
            parts = Attribute(SELF, self.folding.fold(value))
            return Call(Attribute(Text("F"), "view_as_complex"), (parts,))
        name = self.weights.name(value)
        if name is not None:
            self.used_state.add(name)
            return self.weights.expression(name)
        if value.depends:
            raise Missing("a tensor of another module's forward, which was not passed")
        if value.tensor.ndim == 0 and not self.weights.holds(value) and not self.folding.is_of_parameters(value):
            return self.literal(value.tensor.item(), "value")
        return Attribute(SELF, self.folding.fold(value))

    def number(self, number: Whole | Real) -> Expression:
        """Return the expression of a length, or of what was computed of lengths."""
        node = self.numbers.get(id(number))
        if node is not None:
            return node
        sign, operands = number.origin.sign, number.origin.operands
        if sign == "shape":
            value, dim = operands
            bound = self.numbers.get((id(value), dim))
            return bound if bound is not None else Item(Attribute(self.value(value), "shape"), (Text(str(dim)),))
        if sign in ("numel", "item"):
            return Call(Attribute(self.value(operands[0]), sign), ())
        if sign == "argument":
            root, path = operands
            node = self._arguments.get((id(root) if isinstance(root, Step) else root, path))
            if node is None:
                raise Missing("a length from another module")
            return node
        if sign == "neg":
            return Negative(self.operand(operands[0]))
        if sign in _FUNCTIONS:
            return Call(_FUNCTIONS[sign], tuple(map(self.operand, operands)))
        left, right = operands
        return Binary(self.operand(left), sign, self.operand(right))

    def operand(self, value: Any) -> Expression:
        """Return the expression of a number, with an origin or without."""
        return self.number(value) if isinstance(value, (Whole, Real)) else self.literal(value, "value")

    def literal(self, value: Any, hint: str) -> Expression:
        """Return a number, with the attribute of ``self`` that the step's line reads and that has its value.

        One below zero may be the negative of an attribute.
        """
        attribute = self._attribute(value)
        if not attribute and type(value) in (int, float) and value < 0 and not self._is_literal(value):
            opposite = self._attribute(-value)
            return Negative(Number(-value, hint, opposite)) if opposite else Number(value, hint)
        return Number(value, hint, attribute)

    def _is_literal(self, value: Any) -> bool:
        """Whether the step's line has a number itself."""
        return self.step is not None and value in self.step.literals

    def _attribute(self, value: Any) -> str:
        """Return the one attribute of ``self`` that the step's line reads and that has a value, or ""."""
        step = self.step
        if step is None or isinstance(value, (bool, tuple, list)) or self._is_literal(value):
            return ""
        read = [
            name
            for name in dict.fromkeys(step.attributes)
            if type(held := vars(self.module).get(name)) is type(value) and held == value and name not in OF_MODULES
        ]
        return read[0] if len(read) == 1 else ""

    def _list(self, value: Listed) -> Expression | None:
        """Return the author's list, where what it holds now is what the source has put there.

        Of a list that is passed several times what was added since is appended first.
        """
        identity, items = id(value.source), list(map(_key, value))
        step = self.step
        listed = self._lists.get(identity)
        if listed is None:
            if step is None or not step.own or identity not in step.names or self.listed[identity] < 2:
                return None
            tree = Items(tuple(map(self.express, value)), "[]")
            variable = Variable(step.names[identity][0], True)
            self.statements.append(Statement("assign", [variable], tree, step))
            self._lists[identity] = (Ref(variable), items)
            return Ref(variable)
        node, before = listed
        if before != items[: len(before)] or (len(items) > len(before) and not isinstance(node, Ref)):
            return None
        for item in value[len(before) :]:
            self.statements.append(Statement("append", [], self.express(item), step, node))
        self._lists[identity] = (node, items)
        return node


def _key(value: Any) -> Any:
    return id(value) if isinstance(value, (Value, Whole, Real)) else value
