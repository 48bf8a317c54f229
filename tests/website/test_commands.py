"""The page of every option has all commands with their options."""

import re

import typer

from tests import ROOT
from tests.website.blocks import pages
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


def test_every_command_and_option_is_on_a_page_that_is_written():
    """Who reads of a task meets what the command line has for it, and not in the list of all options alone."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in pages() if page.startswith("docs/")}
    whole = "\n".join(texts.values())
    for name, command in commands.commands():
        assert re.search(rf"^{name}\b", texts["docs/commands.md"], re.MULTILINE), name
        for parameter in command.params:
            is_so_anyway = parameter.default is True
            ways = [parameter.secondary_opts, [] if is_so_anyway else parameter.opts]
            for way in ways:
                found = [re.search(rf"(?<![\w-]){option}(?![\w-])", whole) for option in way if option[0] == "-"]
                assert any(found) or not found or "--help" in way, f"{name} {way}"
