"""The pages that people read, and the blocks of code on them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests import ROOT

_FENCE = re.compile(
    r"^(?:<!-- needs (?P<needs>.+) -->\n)?(?P<indent> *)```(?P<language>\w*).*\n(?P<code>(?:.*\n)*?)(?P=indent)```$",
    re.MULTILINE,
)
_INDENTED = re.compile(r"(?:^|(?<=\n\n))((?:    .*\n|\n(?=    ))+)", re.MULTILINE)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: its path from the root.
        line: of the page that it begins at, counted from 1.
        language: what stands behind the fence; nothing where it is indented in place of fenced.
        code: its text.
        needs: what it cannot run without, by the comment ``<!-- needs a server -->`` above it; nothing by default.
    """

    page: str
    line: int
    language: str
    code: str
    needs: str = ""

    def run(self, names: dict[str, Any]) -> None:
        """Execute it, so that a traceback shows the page's own lines."""
        code = "\n" * (self.line - 1) + self.code
        exec(compile(code, str(ROOT / self.page), "exec"), names)


def pages() -> list[str]:
    """Return the paths of the pages, from the root."""
    rooted = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "benchmarks/RESULTS.md"]
    return rooted + sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return sorted([*_fenced(page, text), *_indented(page, text)], key=lambda block: block.line)


def _fenced(page: str, text: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(page, line, match["language"], textwrap.dedent(match["code"]), match["needs"] or "")


def _indented(page: str, text: str) -> Iterator[Block]:
    without_fences = _FENCE.sub(lambda match: re.sub(r".+", ".", match[0]), text)
    for match in _INDENTED.finditer(without_fences):
        line = without_fences.count("\n", 0, match.start()) + 1
        code = textwrap.dedent(match[0]).lstrip("\n")
        if not re.match(r"[-*] |\d\. |[A-Z.]|$", code):  # text within a list or a tab is no code
            yield Block(page, line, "", code)


def prose(page: str) -> str:
    """Return the text of a page without its blocks."""
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def folder_of(page: str) -> Path:
    """Return the folder that a page lies in."""
    return (ROOT / page).parent
