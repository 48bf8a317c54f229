"""What every command shares: the program, its two consoles, and how it tells of errors."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
import typer.core
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

import trtnn
from trtnn.errors import ArgumentError, TrtnnError, escape_controls

MAX_DETAILS = 16
_FILES = ("output", "json", "layer_info", "times", "lock")  # options that are files, where they are paths
INTERRUPTED = 130  # the exit code of what Ctrl-C ended

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="TensorRT networks written as PyTorch-like modules: build engines, look into them, run them.",
)
# typer brings its own click, or takes another: what it raises for a wrong command line is found by what it exports.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


class SafeConsole(Console):
    """A console that shows text and acts on none: what files hold, and their names, cannot steer a terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            safe = segment.control or segment.text.isprintable()
            yield segment if safe else Segment(escape_controls(segment.text, keep="\n"), segment.style)


# Paths and names hold brackets and colons of their own, so that nothing of what is printed is markup.
out = SafeConsole(markup=False, emoji=False, highlight=False)
log = SafeConsole(stderr=True)


class _Command(typer.core.TyperCommand):
    """A command that refuses what nobody means by a path, before it is one: Path("") is "."."""

    paths: Set[str]  # the parameters that are paths
    bare: Mapping[str, str]  # what options mean that stand without a value, which typer has not

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = _with_values(args, self.bare)
        given, _, _ = self.make_parser(ctx).parse_args(args=[*args])
        for parameter in self.params:
            values = given.get(parameter.name)
            for value in values if isinstance(values, list | tuple) else [values]:
                if isinstance(value, str):
                    _check_given(parameter, value, parameter.name in self.paths)
        return super().parse_args(ctx, args)


def _with_values(args: Sequence[str], bare: Mapping[str, str]) -> list[str]:
    """Return arguments in which each option that may stand without a value has one."""
    result: list[str] = []
    for index, arg in enumerate(args):
        if arg == "--":
            return [*result, *args[index:]]
        following = args[index + 1] if index + 1 < len(args) else "-"
        result += [arg, bare[arg]] if arg in bare and following.startswith("-") else [arg]
    return result


def _check_given(parameter: Any, value: str, is_path: bool) -> None:
    """Check a text of the command line.

    Raises:
        ArgumentError: it is empty, or no path for this.
    """
    is_option = parameter.opts[0].startswith("-")
    name = parameter.opts[0] if is_option else f"{{{parameter.name}}}"
    if not value:
        here = "; . is this folder" if is_path or not is_option else ""
        raise ArgumentError(f"{name} is empty text", f"a variable of the shell that is not set?{here}")
    if value == "-" and (is_option or is_path):
        raise ArgumentError(
            f"{name} takes a path, not -: only detect reads standard input, and no file goes to standard output",
            "what is called so is ./-",
        )
    if is_path and parameter.name in _FILES and value.endswith(("/", os.sep)):
        raise ArgumentError(f"{name} {value} names a folder, and is to be a file", "give the path of a file")


def command(
    *examples: str, bare: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command. Its docstring is the help, with the examples below it.

    Args:
        bare: what options mean that stand without a value.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        paragraphs = (
            " ".join(paragraph.split()) for paragraph in (function.__doc__ or "").split("\n\n")
        )  # none under -OO
        epilog = "\n\n".join(["[bold]Examples[/bold]", *(f"  $ {line}" for line in examples)])
        paths = {name for name, hint in get_type_hints(function).items() if Path in (hint, *get_args(hint))}
        kind = type("Command", (_Command,), {"paths": paths, "bare": bare or {}})
        return app.command(help="\n\n".join(paragraphs), epilog=epilog, cls=kind)(function)

    return register


def print_line(text: object) -> None:
    """Print to standard output, as it is: a terminal wraps it, a file gets one line."""
    out.print(text, soft_wrap=True)


def print_note(kind: str, style: str, text: object) -> None:
    """Print to standard error, as it is, behind a coloured word that says what it is."""
    log.print(Text.assemble((f"{kind}:", style), f" {text}"), soft_wrap=True)


def print_error(text: object) -> None:
    """Print an error to standard error."""
    print_note("error", "bold red", text)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"trtnn {trtnn.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before the command."""


def main() -> None:
    """Run the command line. What is not a bug, be it ours or the system's to say, is told without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a character that it cannot take is told, as on stderr
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = app(prog_name="trtnn", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except _ClickError as error:
            code = _tell_usage(error)
        except TrtnnError as error:
            code = _tell(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            print_error(f"{where}{error.strerror or error}")
            code = 1
        except MemoryError as error:
            print_error(f"there is not enough memory: {error}" if str(error) else "there is not enough memory")
            code = 1
        except Exception as error:
            lines = _lines_behind_ours(error)
            if not lines:
                raise
            code = _tell(TrtnnError(f"{type(error).__name__}: {error}", *lines))
    if code == INTERRUPTED:
        print_error("interrupted")
    if code:
        sys.exit(code)


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


def _tell(error: TrtnnError) -> int:
    more = len(error.details) - MAX_DETAILS
    details = [*error.details[:MAX_DETAILS], *([f"... and {more} more"] if more > 0 else [])]
    print_error(TrtnnError(error.summary, *details))
    return 1


def _tell_usage(error: Any) -> int:
    """Tell what is wrong with the command line, with the usage; without a command that is the help."""
    context, message = getattr(error, "ctx", None), error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        if message:  # else it was shown already
            print_line(message)
        return error.exit_code
    if "unexpected extra argument" in message and "--size" in sys.argv:
        message += "\n  --size takes height and width as one word, such as 480x640"
    dashed = next((argument for argument in sys.argv[1:] if argument[:1] == "-" and os.path.lexists(argument)), None)
    if dashed is not None and "o such option" in message:
        message += f"\n  the file of this name is given as ./{dashed}"
    if context is not None:
        log.print(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.", markup=False, soft_wrap=True)
    print_error(message)
    return error.exit_code


def _show_warning(message: Warning | str, *_: Any) -> None:
    print_note("warning", "yellow", message)
