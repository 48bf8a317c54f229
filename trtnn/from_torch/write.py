"""The text of a file: imports and classes, and of which recorded steps each line came."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from trtnn import modules
from trtnn.errors import listed
from trtnn.from_torch.classes.groups import Group, class_name
from trtnn.from_torch.forward.attributes import SELF
from trtnn.from_torch.recording.steps import Step
from trtnn.from_torch.source.expressions import WIDTH, Attribute, Dictionary, literal, text_of
from trtnn.from_torch.source.layout import signature, statement
from trtnn.from_torch.source.lines import Blocks, Line
from trtnn.from_torch.source.parsing import parse


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
        for line in signature("__init__", arguments):
            yield line, ()
        if group.base == "Module":
            yield "        super().__init__()", ()
            init = group.init
        else:
            yield from self._lines(group.init[:1], 8)
            init = group.init[1:]
        for name, node in group.stored.items():
            yield f"        self.{name} = {text_of(node)}", ()
        yield from self._lines(init, 8)
        if group is self._root:
            for line in self._declaration():
                yield line, ()
        if group.lines is None:
            return
        yield "", ()
        arguments = [p.name if p.default is ... else f"{p.name}={_default(p.default)}" for p in group.parameters]
        for line in signature("forward", arguments):
            yield line, ()
        yield from self._lines(group.lines, 8)

    def _declaration(self) -> list[str]:
        """Return the lines that declare the inputs."""
        items = Dictionary(tuple((name, parse(spec, {})) for name, spec in self._inputs))
        return statement(Line("set", (), items, Attribute(SELF, "inputs")), 8)

    def _lines(self, lines: Sequence[Line], indent: int) -> Iterator[tuple[str, tuple[Step, ...]]]:
        blocks = Blocks()
        for line in lines:
            opening = blocks.opening(line.condition, line)
            if line.condition is not None and opening:
                condition = "" if opening == "else" else f" {line.condition.text}"
                yield f"{' ' * indent}{opening}{condition}:", line.steps
            inner = indent if line.condition is None else indent + 4
            if line.kind == "for":
                sources = [text_of(container) for container in line.containers]
                source = sources[0] if len(sources) == 1 else f"zip({', '.join(sources)}, strict=True)"
                yield f"{' ' * inner}for {', '.join(line.targets)} in {source}:", line.steps
                yield from self._lines(line.body, inner + 4)
                continue
            for text in statement(line, inner):
                yield text, line.steps


def _default(value: Any) -> str:
    return "None" if value is None else literal(value)


def _docstring(group: Group) -> Iterator[str]:
    draft = group.drafts[0]
    paths = [other.path or "the model" for other in group.drafts]
    first = f'    """{class_name(draft.module)}: {listed(paths, 3)}.'
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
