"""The text of a file: imports, classes, and lines of at most 120 columns as a formatter would break them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from trtnn import modules
from trtnn.from_torch.classes import Group, Line, class_name
from trtnn.from_torch.expressions import (
    WIDTH,
    Attribute,
    Binary,
    Call,
    Comprehension,
    Dictionary,
    Expression,
    Member,
    New,
    Starred,
    Text,
    as_call,
    literal,
    quoted,
    text_of,
)
from trtnn.from_torch.expressions import Sequence as Items
from trtnn.from_torch.record import Step


class Source:
    """The source of a model.

    Attributes:
        text: the file.
        places: of each line number of the text the recorded steps that it came of.
        classes: the names of the classes.
    """

    def __init__(self, groups: Sequence[Group], inputs: Sequence[tuple[str, str]], header: str) -> None:
        self.classes = [group.name for group in groups]
        self.places: dict[int, tuple[Step, ...]] = {}
        self._inputs = inputs
        self._root = groups[-1]
        lines: list[tuple[str, tuple[Step, ...]]] = []
        for group in groups:
            lines += [("", ()), ("", ()), *self._class(group)]
        body = "\n".join(line for line, _ in lines)
        head = [f'"""{header}"""', "", *_imports(body, self.classes)]
        for number, (_, steps) in enumerate(lines, len(head) + 1):
            if steps:
                self.places[number] = steps
        self.text = "\n".join([*head, body]) + "\n"

    def _class(self, group: Group) -> Iterator[tuple[str, tuple[Step, ...]]]:
        arguments = [
            argument.name if argument.default is ... else f"{argument.name}={_default(argument.default)}"
            for argument in group.arguments
        ]
        yield f"class {group.name}({group.base}):", ()
        for line in _docstring(group):
            yield line, ()
        yield "", ()
        for line in _signature("__init__", arguments):
            yield line, ()
        if group.base == "Module":
            yield "        super().__init__()", ()
            init = group.init
        else:
            for line in self._lines(group.init[:1], 8):
                yield line
            init = group.init[1:]
        for name, node in group.stored.items():
            yield f"        self.{name} = {text_of(node)}", ()
        yield from self._lines(init, 8)
        if group is self._root:
            items = ", ".join(f"{quoted(name)}: {spec}" for name, spec in self._inputs)
            one = f"        self.inputs = {{{items}}}"
            if len(one) <= WIDTH:
                yield one, ()
            else:
                yield "        self.inputs = {", ()
                for name, spec in self._inputs:
                    yield f"            {quoted(name)}: {spec},", ()
                yield "        }", ()
        if group.lines is None:
            return
        yield "", ()
        for line in _signature("forward", group.drafts[0].parameters):
            yield line, ()
        yield from self._lines(group.lines, 8)

    def _lines(self, lines: Sequence[Line], indent: int) -> Iterator[tuple[str, tuple[Step, ...]]]:
        before = ""
        for line in lines:
            condition = f"self.{line.optional} is not None" if line.optional else line.flag and f"self.{line.flag}"
            if condition and condition != before:
                yield f"{' ' * indent}if {condition}:", line.steps
            inner = indent + 4 if condition else indent
            before = condition
            if line.kind == "for":
                sources = [text_of(container) for container in line.containers]
                source = sources[0] if len(sources) == 1 else f"zip({', '.join(sources)}, strict=True)"
                yield f"{' ' * inner}for {', '.join(line.targets)} in {source}:", line.steps
                yield from self._lines(line.body, inner + 4)
                continue
            for text in _statement(line, inner):
                yield text, line.steps


def _statement(line: Line, indent: int) -> list[str]:
    node, place = line.expression, line.place
    assert node is not None
    if line.kind == "assign":
        names = ", ".join(line.targets)
        return _broken(f"{names}{',' if line.unpacks and len(line.targets) == 1 else ''} = ", node, "", indent)
    if line.kind == "set" and place is not None:
        return _broken(f"{text_of(place)} = ", node, "", indent)
    if line.kind == "augment" and place is not None:
        return _broken(f"{text_of(place)} {line.sign}= ", node, "", indent)
    if line.kind == "append" and place is not None:
        return _broken("", Call(Attribute(place, "append"), (node,)), "", indent)
    if line.kind in ("return", "assert"):
        if isinstance(node, Items) and node.brackets == "()" and len(node.items) > 1:
            one = f"{' ' * indent}return {', '.join(map(text_of, node.items))}"
            if len(one) <= WIDTH:
                return [one]
        return _broken(f"{line.kind} ", node, "", indent)
    return _broken("", node, "", indent)


def _broken(before: str, node: Expression, after: str, indent: int) -> list[str]:
    """Return a line, or several where one is too long: the outermost brackets are opened first."""
    one = f"{' ' * indent}{before}{text_of(node)}{after}"
    if len(one) <= WIDTH:
        return [one]
    node = as_call(node) if isinstance(node, New) else node
    if isinstance(node, Comprehension):
        source = f"for {node.variable} in {text_of(node.source)}"
        if node.key:
            inner = [*_broken(f"{node.key}: ", node.item, "", indent + 4), f"{' ' * (indent + 4)}{source}"]
            return [f"{' ' * indent}{before}{{", *inner, f"{' ' * indent}}}{after}"]
        return [*_broken(before, node.item, "", indent), f"{' ' * indent}{source}{after}"]
    opened = None if _is_chain(node) else _brackets(node)
    if opened is None:
        if isinstance(node, (Attribute, Text, Member)):
            return [one]
        inner = f"{' ' * (indent + 4)}{text_of(node)}"
        inside = [inner] if len(inner) <= WIDTH else _at_operators(node, indent + 4)
        return [f"{' ' * indent}{before}(", *inside, f"{' ' * indent}){after}"]
    head, items, tail = opened
    lines = [f"{' ' * indent}{before}{head}"]
    together = f"{' ' * (indent + 4)}{', '.join(key + text_of(item) for key, item in items)}"
    if isinstance(node, (Call, Starred)) and len(together) <= WIDTH:
        lines.append(together)
    else:
        for key, item in items:
            comma = "" if len(items) == 1 and isinstance(item, Comprehension) else ","
            lines += _broken(key, item, comma, indent + 4)
    return [*lines, f"{' ' * indent}{tail}{after}"]


def _is_chain(node: Expression) -> bool:
    """Whether a call is of a method of what a call gave."""
    calls = 0
    while isinstance(node, (Call, Attribute, Member)):
        calls += isinstance(node, Call)
        node = node.function if isinstance(node, Call) else node.base
    return calls > 1


def _at_operators(node: Expression, indent: int) -> list[str]:
    if not isinstance(node, Binary):
        return [f"{' ' * indent}{text_of(node)}"]
    parts: list[tuple[str, Expression]] = []
    left: Expression = node
    while isinstance(left, Binary) and left.sign in "+-":
        parts.append((f"{left.sign} ", left.right))
        left = left.left
    if not parts:
        return [f"{' ' * indent}{text_of(node)}"]
    lines = _broken("", left, "", indent)
    for sign, part in reversed(parts):
        lines += _broken(sign, part, "", indent)
    return lines


def _brackets(node: Expression) -> tuple[str, list[tuple[str, Expression]], str] | None:
    """Return what stands before the items of the outermost brackets, the items with their keys, and what is behind."""
    if isinstance(node, Call) and (node.args or node.kwargs):
        items = [("", arg) for arg in node.args] + [(f"{name}=", value) for name, value in node.kwargs]
        return f"{text_of(node.function, 14)}(", items, ")"
    if isinstance(node, Items) and node.items:
        return node.brackets[0], [("", item) for item in node.items], node.brackets[1]
    if isinstance(node, Dictionary) and node.items:
        return "{", [(f"{quoted(key)}: ", item) for key, item in node.items], "}"
    if isinstance(node, Starred) and isinstance(node.operand, Comprehension):
        return "*(", [("", node.operand)], ")"
    return None


def _signature(name: str, arguments: Sequence[str]) -> list[str]:
    one = f"    def {name}({', '.join(['self', *arguments])}):"
    if len(one) <= WIDTH:
        return [one]
    inner = f"        {', '.join(['self', *arguments])}"
    if len(inner) <= WIDTH:
        return [f"    def {name}(", inner, "    ):"]
    return [f"    def {name}(", "        self,", *(f"        {item}," for item in arguments), "    ):"]


def _default(value: Any) -> str:
    return "None" if value is None else literal(value)


def _docstring(group: Group) -> Iterator[str]:
    draft = group.drafts[0]
    paths = [other.path or "the model" for other in group.drafts]
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    first = f'    """{class_name(draft.module)}: {shown}.'
    if len(first) > WIDTH - 3:
        first = f"{first[: WIDTH - 7]}..."
    before, after = draft.shapes
    if not before and not after:
        yield f'{first}"""'
        return
    where = f" at {draft.path}" if len(group.drafts) > 1 else ""
    yield first
    yield ""
    text = f"    Shape: {before or 'nothing'} to {after or 'nothing'}{where}."
    while text:
        if len(text) <= WIDTH:
            yield text
            break
        cut = text.rfind(" ", 0, WIDTH)
        yield text[:cut]
        text = " " * 8 + text[cut + 1 :]
    yield '    """'


def _imports(body: str, own: Sequence[str]) -> Iterator[str]:
    called = set(re.findall(r"(?<![\w.])([A-Za-z_]\w*)", body))
    if "math" in called and "math." in body:
        yield "import math"
        yield ""
    if "trtnn." in body:
        yield "import trtnn"
    names = [name for name in ("Buffer", "Dim", "Input", "Parameter") if name in called]
    if names:
        yield f"from trtnn import {', '.join(names)}"
    if re.search(r"(?<![\w.])F\.", body):
        yield "from trtnn import functional as F"
    names = sorted((name for name in called if name in modules.__all__ and name not in own), key=_isort_key)
    one = f"from trtnn.modules import {', '.join(names)}"
    if len(one) <= WIDTH:
        yield one
    else:
        yield "from trtnn.modules import ("
        yield from (f"    {name}," for name in names)
        yield ")"


def _isort_key(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1, name.lower())
