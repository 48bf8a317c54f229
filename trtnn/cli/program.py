"""What every command shares: the program, its two consoles, and how it tells of errors."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from trtnn.errors import TrtnnError

MAX_DETAILS = 16

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="TensorRT networks written as PyTorch-like modules: build engines, look into them, run them.",
)
# Paths and names hold brackets and colons of their own, so that nothing of what is printed is markup.
out = Console(markup=False, emoji=False, highlight=False)
log = Console(stderr=True)


def command(*examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command. Its docstring is the help, with the examples below it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        paragraphs = (
            " ".join(paragraph.split()) for paragraph in (function.__doc__ or "").split("\n\n")
        )  # none under -OO
        epilog = "\n\n".join(["[bold]Examples[/bold]", *(f"  $ {line}" for line in examples)])
        return app.command(help="\n\n".join(paragraphs), epilog=epilog)(function)

    return register


def print_line(text: object) -> None:
    """Print to standard output, as it is: a terminal wraps it, a file gets one line."""
    out.print(text, soft_wrap=True)


def print_note(kind: str, style: str, text: object) -> None:
    """Print to standard error, as it is, behind a coloured word that says what it is."""
    log.print(Text.assemble((f"{kind}:", style), f" {text}"), soft_wrap=True)


def main() -> None:
    """Run the command line. What is not a bug, be it ours or the system's to say, is told without a traceback."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app()
        except TrtnnError as error:
            more = len(error.details) - MAX_DETAILS
            details = [*error.details[:MAX_DETAILS], *([f"... and {more} more"] if more > 0 else [])]
            print_note("error", "bold red", TrtnnError(error.summary, *details))
            sys.exit(1)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            print_note("error", "bold red", f"{where}{error.strerror or error}")
            sys.exit(1)
        except Exception as error:
            lines = _lines_behind_ours(error)
            if not lines:
                raise
            print_note("error", "bold red", TrtnnError(f"{type(error).__name__}: {error}", *lines))
            sys.exit(1)


def _lines_behind_ours(error: Exception) -> list[str]:
    """Return the lines by which an error comes behind the last of ours: those of ``FILE.py:CLASS``, or none."""
    own = [module.__file__ for name, module in sys.modules.items() if name.startswith(OWN_FILE)]
    folders = {os.path.dirname(file) for file in own if file}  # it may have others beside it
    lines: list[str] = []
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(_PACKAGE):
            lines.clear()
        elif lines or os.path.dirname(frame.filename) in folders:
            lines.append(f"{os.path.relpath(frame.filename)}:{frame.lineno}: {frame.line}")
    return lines


OWN_FILE = "trtnn_file_"  # what the names of modules that are made of such files begin with
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _show_warning(message: Warning | str, *_: Any) -> None:
    print_note("warning", "yellow", message)
