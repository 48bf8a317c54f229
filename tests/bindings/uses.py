"""What trtnn's source uses of TensorRT, found in its syntax tree.

A use is a path that begins at ``trt``, at an instance of a class that the source calls by a name of its own
(``INSTANCES``), or at a layer of a known type; it goes on by attributes, and by calls as ``()``. Types are followed
through local variables, through arguments within a file, and by the return types that TensorRT's docstrings show.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The names that trtnn gives to TensorRT's objects where they come from another function.
INSTANCES = {
    "definition": "INetworkDefinition",
    "builder": "Builder",
    "settings": "IBuilderConfig",
    "layer": "ILayer",
    "raw": "ITensor",
    "_runtime": "Runtime",
    "_context": "IExecutionContext",
}
INSTANCES_OF_FILE = {
    "build.py": {"plan": "IHostMemory"},
    "session.py": {"engine": "ICudaEngine"},
    "profiling.py": {"engine": "ICudaEngine"},
    "plan.py": {"engine": "ICudaEngine", "runtime": "Runtime"},
    "refitting.py": {"refitter": "Refitter", "_refitter": "Refitter", "engine": "ICudaEngine"},
    "inspector.py": {"engine": "ICudaEngine", "inspector": "EngineInspector"},
}

OF_EMIT = ("loop", "out_shape", "set_inputs", "traced_as")  # emit's own arguments, which set no property of a layer

_Function = ast.FunctionDef | ast.Lambda
Steps = tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """One use.

    Attributes:
        where: file and line.
        path: what is used.
        arguments: of a call, the path of each positional argument, None where it has none.
        keywords: of a call.
        is_set: it is assigned to.
        overrides: of a base class, the methods of the class that derives from it, with how many arguments each takes.
    """

    where: str
    path: Steps
    arguments: tuple[Steps | None, ...] = ()
    keywords: tuple[str, ...] = ()
    is_set: bool = False
    overrides: tuple[tuple[str, int], ...] | None = None

    @property
    def text(self) -> str:
        return ".".join(self.path).replace(".()", "()")


class Unclear(Exception):
    """The source says something that cannot be followed here."""


def uses_of_package(folder: Path) -> list[Use]:
    """Return every use in the package's files."""
    return [use for file in sorted(folder.rglob("*.py")) for use in uses_of_source(file.read_text("utf-8"), file.name)]


def uses_of_source(source: str, file: str) -> list[Use]:
    """Return every use in one file.

    Raises:
        Unclear: what is used cannot be told; with the line.
    """
    return [use for use in dict.fromkeys(_File(source, file).uses()) if len(use.path) > 1]


class _File:
    def __init__(self, source: str, file: str) -> None:
        self.name = file
        self.tree = ast.parse(source)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.nodes = list(ast.walk(self.tree))
        self.instances = {**INSTANCES, **INSTANCES_OF_FILE.get(file, {})}
        for name in self._own_names():
            self.instances.pop(name, None)
        self.busy: set[Any] = set()  # names that are being followed: x = f(x), and functions that call themselves

    def _own_names(self) -> Iterator[str]:
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield node.name
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from (alias.asname or alias.name for alias in node.names)

    # -- uses ---------------------------------------------------------------------------------------------------------

    def uses(self) -> Iterator[Use]:
        for node in self.nodes:
            if isinstance(node, ast.Attribute):
                for path in self.paths(node):
                    if not self._is_tested(node):
                        yield Use(self.where(node), path, is_set=isinstance(node.ctx, ast.Store))
            elif isinstance(node, ast.Call):
                yield from self._uses_of_call(node)
            elif isinstance(node, ast.Compare):
                yield from self._uses_of_comparison(node)
            elif isinstance(node, ast.Dict):
                yield from self._uses_of_table(node)
            elif isinstance(node, ast.ClassDef):
                methods = tuple(
                    (method.name, len(method.args.args) - 1)
                    for method in node.body
                    if isinstance(method, ast.FunctionDef)
                )
                for path in (path for base in node.bases for path in self.paths(base)):
                    yield Use(self.where(node), path, overrides=methods)

    def _uses_of_call(self, node: ast.Call) -> Iterator[Use]:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
            yield from self._uses_of_emit(node)
        elif isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) == 2:
            for path in self.paths(node):
                yield Use(self.where(node), path)
        elif isinstance(node.func, ast.Name) and node.func.id == "by_member":  # by the names of an enum's members
            _, member, tables = node.args
            for table in self._dicts(tables):
                for path in self.paths(member):
                    yield from (Use(self.where(node), (*path, name)) for name in self._keys(table))
        else:
            for path in self.paths(node.func):
                yield self._call((*path, "()"), node, node.args, tuple(self._keywords(node)))

    def _uses_of_emit(self, node: ast.Call) -> Iterator[Use]:
        kinds = self.constants(node.args[0])
        if not kinds and self._is_emitted_anew(node):
            return
        if not kinds:
            raise self._unclear(node, "which layer is emitted")
        for kind in kinds:
            path = ("ILoop" if "loop" in self._keywords(node) else "INetworkDefinition", f"add_{kind}")
            yield Use(self.where(node), path)
            yield self._call((*path, "()"), node, node.args[1:], ())
            for name in self._keywords(node):
                if name not in OF_EMIT:
                    yield Use(self.where(node), (*path, "()", name), is_set=True)

    def _is_emitted_anew(self, node: ast.Call) -> bool:
        """Whether a function passes on what it was called with; whoever called it says which layer, and with what."""
        function, kind = next(self._functions(node), None), node.args[0]
        if function is None or not isinstance(kind, ast.Name):
            return False
        passed_on = any(isinstance(argument, ast.Starred) for argument in node.args)
        return passed_on and kind.id in {argument.arg for argument in function.args.args}

    def _call(self, path: Steps, node: ast.Call, arguments: list[ast.expr], keywords: tuple[str, ...]) -> Use:
        if any(isinstance(argument, ast.Starred) for argument in arguments):
            raise self._unclear(node, "how many arguments there are")
        first = [next(iter(sorted(self.paths(argument))), None) for argument in arguments]
        return Use(self.where(node), path, tuple(first), keywords)

    def _uses_of_comparison(self, node: ast.Compare) -> Iterator[Use]:
        """Of an enum's member by its name: ``x.name == "A"``, ``x.name in ("A", "B")``, and tuples of such."""
        left, right = node.left, node.comparators[0]
        pairs = [(left, right)]
        if isinstance(right, ast.Tuple):
            sides = left.elts if isinstance(left, ast.Tuple) else [left] * len(right.elts)
            pairs = list(zip(sides, right.elts, strict=True))
        for value, constant in pairs:
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                for path in self.paths(value):
                    if path[-1] == "name" and len(path) > 2:
                        yield Use(self.where(node), (*path[:-1], constant.value))

    def _uses_of_table(self, node: ast.Dict) -> Iterator[Use]:
        """Of layers' attributes by layer type: ``{"CONVOLUTION": ("kernel", "bias"), ...}``."""
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and str(key.value).isupper() and isinstance(value, ast.Tuple):
                for name in value.elts:
                    if isinstance(name, ast.Constant) and isinstance(name.value, str):
                        yield Use(self.where(name), (f"LayerType.{key.value}", name.value))

    def _is_tested(self, node: ast.Attribute) -> bool:
        """Whether the function asks ``hasattr`` about it."""
        function = next(self._functions(node), None)
        return function is not None and any(
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "hasattr"
            and ast.dump(call.args[0]) == ast.dump(node.value)
            and self.constants(call.args[1]) == {node.attr}
            for call in ast.walk(function)
        )

    def where(self, node: ast.AST) -> str:
        return f"{self.name}:{node.lineno}"

    def _unclear(self, node: ast.AST, what: str) -> Unclear:
        return Unclear(f"{self.where(node)}: cannot tell {what}: {ast.unparse(node)}")

    # -- what an expression is ----------------------------------------------------------------------------------------

    def paths(self, node: ast.expr) -> set[Steps]:
        """Return the paths that an expression may be; none where it is nothing of TensorRT's."""
        if isinstance(node, ast.Name):
            return self._paths_of_name(node)
        if isinstance(node, ast.Attribute):
            if node.attr == "trt":
                return {("trt",)}
            found = {(*path, node.attr) for path in self.paths(node.value)}
            known = node.attr in self.instances
            return found or ({(self.instances[node.attr],)} if known else set())
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "getattr":
                return self._paths_of_getattr(node)
            return {(*path, "()") for path in self.paths(node.func)}
        if isinstance(node, ast.IfExp):
            return self.paths(node.body) | self.paths(node.orelse)
        if isinstance(node, ast.BoolOp):
            return {path for value in node.values for path in self.paths(value)}
        return set()

    def _paths_of_getattr(self, node: ast.Call) -> set[Steps]:
        owners = self.paths(node.args[0])
        names = self.constants(node.args[1])
        of_module = any(path[0] == "trt" for path in owners)  # of instances only those of definition.py and emit
        if not names and of_module and len(node.args) == 2:
            names = {"*"}
        return {(*path, name) for path in owners for name in names}

    def _paths_of_name(self, node: ast.Name) -> set[Steps]:
        if node.id == "trt":
            return {("trt",)}
        if node.id == "layer" and (kind := self._kind_of_branch(node)):
            return {(f"LayerType.{kind}",)}
        found = self._follow(node, self.paths)
        for function in self._functions(node):
            found |= {(f"LayerType.{kind}",) for kind in self._decorated_kinds(function, node.id)}
        known = node.id in self.instances
        return found or ({(self.instances[node.id],)} if known else set())

    def _kind_of_branch(self, node: ast.AST) -> str | None:
        """Return KIND within ``if kind == "KIND":``."""
        while (parent := self.parents.get(node)) is not None:
            if isinstance(parent, ast.If) and node in parent.body and isinstance(parent.test, ast.Compare):
                left, right = parent.test.left, parent.test.comparators[0]
                if isinstance(left, ast.Name) and left.id == "kind" and isinstance(right, ast.Constant):
                    return right.value
            node = parent
        return None

    def _decorated_kinds(self, function: _Function, name: str) -> Iterator[str]:
        """Yield KIND of ``@layer("KIND") def f(layer)``."""
        if isinstance(function, ast.FunctionDef) and name in [argument.arg for argument in function.args.args]:
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "layer":
                    yield from self.constants(decorator.args[0])

    def constants(self, node: ast.expr) -> set[str]:
        """Return the strings that an expression may be; none where they cannot be told."""
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) else set()
        if isinstance(node, ast.IfExp):
            branches = self.constants(node.body), self.constants(node.orelse)
            return branches[0] | branches[1] if all(branches) else set()
        if isinstance(node, ast.Name):
            return self._follow(node, self.constants)
        return set()

    def _follow(self, node: ast.Name, what: Callable[[ast.expr], set[Any]]) -> set[Any]:
        """Return what all that a name may have been given is."""
        function, values = self._values(node)
        key = function, node.id, what
        if key in self.busy:
            return set()
        self.busy.add(key)
        try:
            return {found for value in values for found in what(value)}
        finally:
            self.busy.discard(key)

    def _functions(self, node: ast.AST) -> Iterator[_Function]:
        """Yield the functions that a node stands in, the innermost first."""
        while (parent := self.parents.get(node)) is not None:
            if isinstance(parent, ast.Lambda) or (
                isinstance(parent, ast.FunctionDef) and node not in parent.decorator_list
            ):
                yield parent
            node = parent

    def _values(self, node: ast.Name) -> tuple[_Function | None, list[ast.expr]]:
        """Return what a name may have been given, by assignment or as an argument by calls in this file, and where."""
        for function in self._functions(node):
            if found := [*self._assigned(function, node.id), *self._passed(function, node.id)]:
                return function, found
        return None, []

    def _assigned(self, function: _Function, name: str) -> Iterator[ast.expr]:
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        yield node.value
                    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = zip(target.elts, node.value.elts, strict=True)
                        yield from (value for part, value in pairs if getattr(part, "id", None) == name)

    def _passed(self, function: _Function, name: str) -> Iterator[ast.expr]:
        names = [argument.arg for argument in function.args.args]
        if isinstance(function, ast.Lambda) or name not in names:
            return
        position = names.index(name) - (names[0] == "self")
        for call in self._calls_of(function):
            yield from call.args[position : position + 1]
            yield from (keyword.value for keyword in call.keywords if keyword.arg == name)

    def _calls_of(self, function: ast.FunctionDef) -> Iterator[ast.Call]:
        for node in self.nodes:
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
                if called == function.name:
                    yield node

    # -- keywords and tables ------------------------------------------------------------------------------------------

    def _keywords(self, call: ast.Call) -> Iterator[str]:
        """Yield the names of a call's keyword arguments, those of ``**`` as well."""
        for keyword in call.keywords:
            if keyword.arg is not None:
                yield keyword.arg
            else:
                yield from self._keywords_behind(call, keyword.value)

    def _keywords_behind(self, call: ast.Call, stars: ast.expr) -> Iterator[str]:
        function = next(self._functions(call), None)
        name = getattr(stars, "id", None)
        if isinstance(function, ast.FunctionDef) and function.args.kwarg and function.args.kwarg.arg == name:
            own = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
            if (function, "**") not in self.busy:
                self.busy.add((function, "**"))
                for caller in self._calls_of(function):
                    yield from (keyword for keyword in self._keywords(caller) if keyword not in own)
                self.busy.discard((function, "**"))
            return
        tables = self._dicts(stars)
        if not tables:
            raise self._unclear(call, f"what **{ast.unparse(stars)} holds")
        for table in tables:
            yield from self._keys(table)
        for node in ast.walk(function):  # name["key"] = value
            stores = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
            if stores and getattr(node.value, "id", None) == name:
                yield from self.constants(node.slice)

    def _dicts(self, node: ast.expr) -> list[ast.Dict]:
        if isinstance(node, ast.Dict):
            return [node]
        return [v for v in self._values(node)[1] if isinstance(v, ast.Dict)] if isinstance(node, ast.Name) else []

    def _keys(self, table: ast.Dict) -> list[str]:
        return [ast.literal_eval(key) for key in table.keys if key is not None]
