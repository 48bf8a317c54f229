"""The page of every option has all commands with their options."""

import typer

from trtnn.cli import app
from website import commands


def test_every_option_of_every_command_is_on_the_page():
    page = commands.page()
    typed = [name for name, _ in commands.commands()]
    for name, command in typer.main.get_command(app).commands.items():
        names = [f"trtnn {name} {inner}" for inner in getattr(command, "commands", {})] or [f"trtnn {name}"]
        assert {*names} <= {*typed}
    for name, command in commands.commands():
        part = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            assert all(f"`{option}`" in part for option in parameter.opts if option.startswith("-")), name
    assert "| `--confidence`" in page


def test_text_is_no_markup():
    assert commands._plain("a *b* of [c] <d>\n e_f") == r"a \*b\* of \[c\] \<d\> e\_f"
