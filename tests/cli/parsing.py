"""Whether a command line that is shown somewhere is one."""

import shlex

import typer

from trtnn.cli import app


def check_parses(line: str) -> None:
    """Parse a ``trtnn ...`` line without running it; unknown options and missing arguments raise."""
    _, name, *args = shlex.split(line, comments=True)
    typer.main.get_command(app).commands[name].make_context(name, args)
