"""The parameters of a forward: of a module its author's own, of the model one for each tensor."""

from __future__ import annotations

import inspect
import keyword
from typing import Any, NamedTuple

from trtnn.from_torch.forward.environment import Environment
from trtnn.from_torch.forward.statements import Statement, Variable
from trtnn.from_torch.recording.steps import Listed, Scope, Value, numbers_in, values_in
from trtnn.from_torch.source.expressions import Dictionary, Expression, Ref, Sequence


class Parameter(NamedTuple):
    """A parameter of a forward.

    Attributes:
        name: what it is called.
        variable: the value that it binds.
        source: the argument of torch's forward that it stands for, and which item of ``*args`` or ``**kwargs``.
    """

    name: str
    variable: Variable
    source: tuple[Any, ...]


class Parameters:
    """What a forward is called with; an environment is let know what is reached by it.

    Attributes:
        written: what holds tensors or lengths.
        literals: what else an argument is, or would be if it were not left out, by its name.
        unknown: the names of arguments that are neither.
    """

    def __init__(self, scope: Scope, environment: Environment, is_model: bool) -> None:
        self.module, self.environment, self.is_model = scope.module, environment, is_model
        self.written: list[Parameter] = []
        self.literals: dict[str, Any] = {}
        self.unknown: set[str] = set()
        declared = declared_by(self.module)
        for name, value in scope.arguments.items():
            kind = declared[name].kind if name in declared else None
            if kind is inspect.Parameter.VAR_POSITIONAL:
                for i, (item, own) in enumerate(zip(value, self._names(name, len(value)), strict=True)):
                    self._take(own, item, (name, i))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                for key, item in value.items():
                    self._take(key, item, (name, key))
            else:
                self._take(str(name) if isinstance(name, str) else f"x{name}", value, (name,))
        for name, parameter in declared.items():
            if name not in scope.arguments:
                self._hold(name, parameter.default)
        for name, value in scope.brought.items():
            self._take(name, value, (name,))

    def _names(self, name: str, count: int) -> list[str]:
        """Return names for what ``*args`` holds."""
        graph = getattr(self.module, "graph", None)  # of an exported program, which knows the names
        if graph is not None and self.is_model:
            names = [node.name for node in graph.nodes if node.op == "placeholder"]
        else:
            names = ["x"] if graph is not None and count == 1 else []
        names = names or ([name.removesuffix("s")] if count == 1 else [])
        return [names[i] if i < len(names) else f"{name}_{i}" for i in range(count)]

    def _take(self, name: str, value: Any, source: tuple[Any, ...]) -> None:
        """Make a parameter of what holds a tensor or a length; what is none is written where it is used."""
        name = name if not keyword.iskeyword(name) else f"{name}_"
        passed = any(self.environment.weights.name(inner) is None for inner in values_in(value))
        if not passed and not any(True for _ in numbers_in(value)):
            self._hold(name, value)
            return
        if not self.is_model or isinstance(value, Value):
            node = self._parameter(name, source)
        else:  # an input for each tensor, and the argument put together again
            tree = self._inputs(name, value, source)
            variable = Variable(name, True)
            self.environment.statements.append(Statement("assign", [variable], tree, None))
            node = Ref(variable)
        self.environment.bind(node, value, source[0])

    def _hold(self, name: str, value: Any) -> None:
        """Keep what an argument is that holds neither tensors nor lengths."""
        if is_plain(value):
            self.literals[name] = value
        elif value is not inspect.Parameter.empty:
            self.unknown.add(name)

    def _parameter(self, name: str, source: tuple[Any, ...]) -> Ref:
        variable = Variable(name, True)
        self.written.append(Parameter(name, variable, source))
        return Ref(variable)

    def _inputs(self, name: str, value: Any, source: tuple[Any, ...]) -> Expression:
        """Make an input of each tensor of a structure, and return the structure of them."""
        if isinstance(value, Value):
            return self._parameter(name, source)
        if isinstance(value, dict):
            items = ((key, self._inputs(f"{name}_{key}", item, source)) for key, item in value.items())
            return Dictionary(tuple(items))
        if isinstance(value, tuple):
            nodes = tuple(self._inputs(f"{name}_{i}", item, source) for i, item in enumerate(value))
            return Sequence(nodes, "[]" if isinstance(value, Listed) else "()")
        return self.environment.express(value)


def declared_by(module: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a torch module's forward by their names; none where Python cannot tell."""
    try:
        return dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return {}


def is_plain(value: Any) -> bool:
    """Whether a literal says all of a value."""
    if type(value) in (tuple, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
