"""The page of every option of the command line, read from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from trtnn.cli import app


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with all that is typed for it, such as ``trtnn export triton``."""
    for name, command in sorted(typer.main.get_command(app).commands.items()):
        inner = getattr(command, "commands", None)
        for below, nested in sorted(inner.items()) if inner else [("", command)]:
            yield f"trtnn {name} {below}".strip(), nested


def page() -> str:
    """Return the page's Markdown."""
    lines = ["# Every option", "", "What `trtnn COMMAND --help` shows. [Commands](commands.md) has examples.", ""]
    for typed, command in commands():
        lines += [f"## {typed}", "", _plain(command.help or ""), "", "| | |", "|---|---|"]
        lines += [f"| {_names(parameter)} | {_plain(_told(parameter))} |" for parameter in command.params]
        lines.append("")
    return "\n".join(lines)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _told(parameter: Any) -> str:
    told = (getattr(parameter, "help", None) or "").rstrip(".")
    shown = getattr(parameter, "show_default", None)
    default = shown if isinstance(shown, str) else parameter.default
    if default in (None, False, True, "", ()) or callable(default):
        return f"{told}."
    return f"{told}; by default {default}."


def _plain(text: str) -> str:
    """Return text in one line in which nothing is a mark of Markdown's."""
    line = " ".join(text.replace("\b", "").split())
    for mark in "\\`*_[]<>|":
        line = line.replace(mark, f"\\{mark}")
    return line
