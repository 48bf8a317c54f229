"""The page of every error: what each ``raise`` in the code says, read from its syntax tree, with what it says to do."""

from __future__ import annotations

import ast
import builtins
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trtnn import errors as public

ROOT = Path(__file__).parents[1]  # of the repository
FOLDERS = {"trtnn": "trtnn", "models": "trtnn.models", "plugins": "trtnn.plugins", "examples": "trtnn.examples"}
GAP = "…"  # what the message fills in
_MOST = 6  # of the ways in which one text may read
_ROW = re.compile(r"^\| \d+ \| `(\w+)` \| (.+) \|$", re.MULTILINE)

Texts = list[str]
Names = Mapping[str, list[Texts]]  # what a name may stand for: of a text its readings, of a list those of each part
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Raised(NamedTuple):
    """One place where the code makes an error.

    Attributes:
        module: where it stands, such as ``trtnn.checkpoint.npz``.
        line: of the file.
        kind: the error's class.
        summaries: how its first line may read, with :data:`GAP` for what is filled in.
        details: the lines below.
    """

    module: str
    line: int
    kind: str
    summaries: tuple[str, ...]
    details: tuple[str, ...]


@dataclass
class _Source:
    """A file: its tree, its constants, and the functions in it by name."""

    module: str
    tree: ast.Module
    nodes: list[ast.AST]
    constants: dict[str, list[Texts]]
    functions: dict[str, list[Function]]


def _sources() -> list[_Source]:
    sources = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [part for part in path.relative_to(ROOT / folder).with_suffix("").parts if part != "__init__"]
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions: dict[str, list[Function]] = {}
            nodes = list(ast.walk(tree))
            for node in nodes:
                if isinstance(node, Function):
                    functions.setdefault(node.name, []).append(node)
            constants = _assigned([node for node in tree.body if not isinstance(node, (Function, ast.ClassDef))], {})
            constants |= _returned(functions, constants)
            sources.append(_Source(".".join([package, *parts]), tree, nodes, constants, functions))
    for room in {_room(source) for source in sources}:
        within = [source for source in sources if _room(source) == room]
        kept = _kept([node for source in within for node in source.nodes])
        for source in within:
            source.constants |= kept
    return sources


def _room(source: _Source) -> str:
    return ".".join(source.module.split(".")[:2])


def _kept(nodes: Iterable[ast.AST]) -> dict[str, list[Texts]]:
    """Return what attributes may read as that objects keep texts in, by ``.name``."""
    kept: dict[str, list[Texts]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            texts = [text for text in _texts(node.value, {}) if _says_something(text)]
            whole = kept.setdefault(f".{node.targets[0].attr}", [[]])
            whole[0] = list(dict.fromkeys([*whole[0], *texts]))[:_MOST]
    return {name: whole for name, whole in kept.items() if whole[0]}


def _returned(functions: Mapping[str, list[Function]], constants: Names) -> dict[str, list[Texts]]:
    """Return what calls of functions may read as that return texts, by ``name()``."""
    returned: dict[str, list[Texts]] = {}
    for name, defined in functions.items():
        values = [node.value for f in defined for node in ast.walk(f) if isinstance(node, ast.Return) and node.value]
        texts = [text for value in values for text in _texts(value, constants) if _says_something(text)]
        if texts:
            returned[f"{name}()"] = [texts[:_MOST]]
    return returned


# -- what an expression may read as -----------------------------------------------------------------------------------


def _texts(node: ast.expr, names: Names) -> Texts:
    """Return how an expression may read as text."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return _joined([_texts(part, names) for part in node.values])
    if isinstance(node, ast.FormattedValue):
        value = node.value
        if isinstance(value, ast.Call) and _called(value) in ("harmless_text", "escape_controls"):
            value = value.args[0]
        told = isinstance(value, (ast.IfExp, ast.JoinedStr, ast.Name, ast.BinOp)) and node.conversion == -1
        return _texts(value, names) if told else [GAP]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([_texts(node.left, names), _texts(node.right, names)])
    if isinstance(node, ast.IfExp):
        return (_texts(node.body, names) + _texts(node.orelse, names))[:_MOST]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _texts(value, names)][:_MOST]
    if isinstance(node, ast.Name) and len(names.get(node.id, ())) == 1:
        return names[node.id][0]
    if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("self.") and f".{node.attr}" in names:
        return names[f".{node.attr}"][0]
    if isinstance(node, ast.Call) and f"{_called(node)}()" in names:
        return names[f"{_called(node)}()"][0]
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):  # "...".partition("\n")[0]
        called = node.value.func
        return _texts(called.value, names) if isinstance(called, ast.Attribute) else [GAP]
    return [GAP]


def _joined(parts: Sequence[Texts]) -> Texts:
    return ["".join(way) for way in itertools.islice(itertools.product(*parts), _MOST)]


def _lines(arguments: Iterable[ast.expr], names: Names) -> list[Texts]:
    """Return the readings of each argument; a starred list gives its parts."""
    lines: list[Texts] = []
    for argument in arguments:
        if not isinstance(argument, ast.Starred):
            lines.append(_texts(argument, names))
        elif isinstance(argument.value, (ast.List, ast.Tuple)):
            lines += _lines(argument.value.elts, names)
        elif isinstance(argument.value, ast.IfExp):
            for way in (argument.value.body, argument.value.orelse):
                if isinstance(way, (ast.List, ast.Tuple)):
                    lines += _lines(way.elts, names)
        elif isinstance(argument.value, (ast.GeneratorExp, ast.ListComp)):
            lines.append(_texts(argument.value.elt, names))
        elif isinstance(argument.value, ast.Name):
            lines += names.get(argument.value.id, [])
    return lines


def _assigned(body: Iterable[ast.stmt], outer: Names) -> dict[str, list[Texts]]:
    """Return what names stand for that statements assign texts, or lists of texts, to."""
    names = dict(outer)
    own: set[str] = set()

    def own_list(name: str, begin: list[Texts]) -> list[Texts]:
        if name not in own:
            own.add(name)
            names[name] = begin
        return names[name]

    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            (target, *_) = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = node.value
        elif isinstance(node, ast.AugAssign):
            target, value = node.target, node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            target, value = node.func.value, ast.List(elts=node.args)
        else:
            continue
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        for to, what in pairs:
            if not isinstance(to, ast.Name):
                continue
            if isinstance(what, (ast.List, ast.Tuple)):
                lines = _lines(what.elts, names)
                own_list(to.id, []).extend(lines)
            elif any(map(_says_something, texts := _texts(what, names))):
                whole = own_list(to.id, [[]])
                whole[0] = list(dict.fromkeys([*whole[0], *texts]))[:_MOST]
    return names


def _says_something(text: str, words: int = 2) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", text.replace(GAP, " "))) >= words


# -- what is raised ---------------------------------------------------------------------------------------------------


def _exceptions(sources: Iterable[_Source]) -> set[str]:
    """Return the names of the classes of errors: Python's, and the package's own."""
    kinds = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    classes = [node for source in sources for node in source.nodes if isinstance(node, ast.ClassDef)]
    for _ in range(3):  # heirs of heirs
        kinds |= {node.name for node in classes if kinds & {ast.unparse(base) for base in node.bases}}
    return kinds | {"typer.BadParameter"}


def _called(node: ast.Call) -> str:
    """Return the name that is called, with the one before its last dot."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return f"{owner.id if isinstance(owner, ast.Name) else ''}.{node.func.attr}"
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _helpers(source: _Source, sources: Iterable[_Source], called: str) -> list[tuple[_Source, Function]]:
    """Return the functions that ``raise called(...)`` may mean: of the file itself, or of what it imports."""
    owner, _, name = called.rpartition(".")
    if name in source.functions:
        homes = [source]
    elif owner and owner != "self":
        homes = [home for home in sources if name in home.functions]
    else:
        imports = [node for node in source.nodes if isinstance(node, ast.ImportFrom)]
        from_where = {node.module for node in imports if any(alias.name == name for alias in node.names)}
        homes = [home for home in sources if home.module in from_where and name in home.functions]
    return [(home, function) for home in homes for function in home.functions[name]]


def _bound(function: Function, call: ast.Call, names: Names) -> dict[str, list[Texts]]:
    """Return what the parameters of a function stand for in a call."""
    parameters = [a.arg for a in function.args.args if a.arg not in ("self", "cls")]
    bound = {name: [_texts(value, names)] for name, value in zip(parameters, call.args, strict=False)}
    bound |= {keyword.arg: [_texts(keyword.value, names)] for keyword in call.keywords if keyword.arg}
    if function.args.vararg:
        bound[function.args.vararg.arg] = _lines(call.args[len(parameters) :], names)
    return bound


@functools.cache
def errors() -> list[Raised]:
    """Return what the code raises, in the order of its files."""
    sources = _sources()
    kinds = _exceptions(sources)
    raised: list[Raised] = []

    def add(source: _Source, line: int, call: ast.Call, names: Names) -> None:
        summaries, *details = _lines(call.args, names) or [[]]
        summaries = [text for text in summaries if _says_something(text)]
        if summaries:
            below = dict.fromkeys(text for texts in details for text in texts if _says_something(text, words=1))
            kind = _called(call).rpartition(".")[2]
            raised.append(Raised(source.module, line, kind, tuple(summaries), tuple(below)))

    helpers: dict[int, list[tuple[_Source, Function]]] = {}

    def follow(source: _Source, call: ast.expr | None, depth: int = 3) -> None:
        """Find the functions that make what is raised, and those that these ask."""
        if not isinstance(call, ast.Call) or _called(call) in kinds or not depth:
            return
        helpers[id(call)] = _helpers(source, sources, _called(call))
        for home, helper in helpers[id(call)]:
            for node in ast.walk(helper):
                if isinstance(node, ast.Return):
                    follow(home, node.value, depth - 1)

    def make(call: ast.Call, names: Names) -> Iterator[tuple[ast.Call, Names]]:
        """Yield the calls of errors' classes that a helper's call comes to, with what names stand for there."""
        for home, helper in helpers.get(id(call), ()):
            inner = _assigned(helper.body, home.constants | _bound(helper, call, names))
            for node in ast.walk(helper):
                if isinstance(node, ast.Call) and _called(node) in kinds:
                    yield node, inner
                elif isinstance(node, ast.Call):
                    yield from make(node, inner)

    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.Raise):
                follow(source, node.exc)
    made_for = {id(function) for meant in helpers.values() for _, function in meant}
    for source in sources:
        for scope, names in _scopes(source):
            for node in _own_nodes(scope):
                if not isinstance(node, ast.Call):
                    continue
                if _called(node) in kinds and id(scope) not in made_for:
                    add(source, node.lineno, node, names)
                for made, inner in make(node, names):
                    add(source, node.lineno, made, inner)
    return sorted(raised, key=lambda error: (error.module, error.line))


def _scopes(source: _Source) -> Iterator[tuple[ast.Module | Function, Names]]:
    """Yield the module and each function in it, with what names stand for there."""
    yield source.tree, source.constants
    for functions in source.functions.values():
        for function in functions:
            yield function, _assigned(function.body, source.constants)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, those of functions within it apart."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Function):
            yield child
            yield from _own_nodes(child)


# -- the page ---------------------------------------------------------------------------------------------------------


def page() -> str:
    """Return the page's Markdown."""
    rooms = dict(_ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")))
    lines = [
        "# Every error",
        "",
        "What trtnn says where something is wrong, by the room of [its design](architecture.md) that says it."
        f" `{GAP}` is what the message fills in: a name, a shape, a file. Below it is what may stand there: what was"
        " expected, and what to do. Search this site for words of a message to come here.",
        "",
    ]
    by_room: dict[str, dict[str, list[Raised]]] = {}
    for error in errors():
        room = error.module.split(".")[1] if "." in error.module else "trtnn"
        by_room.setdefault(room, {}).setdefault(error.module, []).append(error)
    for room in (room for room in rooms if room in by_room):
        lines += [f"## {room}: {rooms[room]}", ""]
        for module, raised in by_room[room].items():
            lines += [f"### {module}", ""]
            for error in {(e.kind, e.summaries, e.details): e for e in raised}.values():
                lines += [f"#### {' or '.join(map(_code, error.summaries))}", "", _kind(error), ""]
                lines += [f"- {_code(detail)}" for detail in error.details]
                lines += [""] if error.details else []
    return "\n".join(lines)


def _kind(error: Raised) -> str:
    if error.kind in vars(public) and error.kind != "Any":
        return f"[{error.kind}][trtnn.errors.{error.kind}]"
    return error.kind if error.kind in vars(builtins) else "a part of another message"


def _code(text: str) -> str:
    text = " ".join(text.split())
    fence = "``" if "`" in text else "`"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
