"""Docstrings as Markdown: roles become links, examples become blocks of code, and what is a formula stays one."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ROLE = re.compile(r":\w+:`(~?)([\w.]+)`")
_CODE = re.compile(r"(``.*?``|`[^`]*`)", re.DOTALL)
_EXAMPLE = re.compile(r"((?:^[ ]*(?:>>>|\.\.\.)(?: .*)?\n?)+)", re.MULTILINE)
_PLACES = ("", "trtnn.", "trtnn.functional.", "trtnn.modules.", "trtnn.vision.", "trtnn.errors.")


def as_markdown(text: str, entries: Mapping[str, str]) -> str:
    """Return a docstring as Markdown.

    Args:
        text: a docstring.
        entries: the names of the site's entries by the paths that docstrings use.
    """

    def link(match: re.Match[str]) -> str:
        shown = match[2].rpartition(".")[2] if match[1] else match[2]
        targets = [entries[prefix + match[2]] for prefix in _PLACES if prefix + match[2] in entries]
        return f"[`{shown}`][{targets[0]}]" if targets else f"`{shown}`"

    def plain(part: str) -> str:
        return re.sub(r"(?<=\w)\*(?=\w)", r"\\*", part.replace("[", r"\[").replace("]", r"\]"))

    pieces = []
    for is_example, part in _alternating(_EXAMPLE, text):
        if is_example:
            indent = part[: len(part) - len(part.lstrip())]
            pieces.append(f"{indent}```pycon\n{part.rstrip()}\n{indent}```\n")
            continue
        for is_role, words in _alternating(re.compile(f"({_ROLE.pattern.replace('(', '(?:')})"), part):
            if is_role:
                pieces.append(_ROLE.sub(link, words))
            else:
                pieces += [code if is_code else plain(code) for is_code, code in _alternating(_CODE, words)]
    return "".join(pieces)


def _alternating(pattern: re.Pattern[str], text: str) -> list[tuple[bool, str]]:
    """Return what lies between the matches of a pattern with one group, and the matches, and which is which."""
    return [(index % 2 == 1, part) for index, part in enumerate(pattern.split(text))]
