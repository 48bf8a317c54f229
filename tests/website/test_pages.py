"""Every block of code on every page runs as it stands; stand-ins are only for files, the reader's model and the GPU."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import typer

from tests import ROOT
from tests.bindings.test_bindings import CAPABILITIES
from tests.cli.parsing import check_parses
from tests.helpers import ONE_TARGET
from tests.website.blocks import Block, blocks, folder_of, pages, prose
from tests.website.readers import AFTER, BEFORE, desk  # noqa: F401  (a fixture)
from trtnn import get_backend, models
from trtnn.cli import app
from website.public import public_names

PAGES = pages()

# Sources that are written, and compared with what is written now, line by line.
HELD_ELSEWHERE = {
    "docs/from_torch_example.md": "tests/from_torch/test_example.py",
    "docs/from_torch_side_by_side.md": "tests/from_torch/test_side_by_side.py",
}
DIAGRAMS = "docs/architecture.md"  # whose indented blocks are pictures
MODULES = {f"trtnn.{name}" for name in ("functional", "models", "modules", "vision")}
TEXTS = {"text", "diff"}  # what is shown, not run

no_targets = pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds for its own GPU alone")


def in_python(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def command_lines() -> list[tuple[str, str]]:
    """Return each line of a shell that a page shows, with the page."""
    lines = [
        (block.page, line)
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh" or (not block.language and page != DIAGRAMS)
        for line in block.code.splitlines()
    ]
    inline = [(page, line) for page in PAGES for line in re.findall(r"`((?:trtnn|pip install) [^`]*)`", prose(page))]
    return [(page, line) for page, line in lines + inline if line.strip()]


@pytest.mark.parametrize("page", [page for page in PAGES if in_python(page) and page not in HELD_ELSEWHERE])
@no_targets
def test_its_blocks_run(page, desk, capsys):  # noqa: F811
    names = {"__name__": "page", **BEFORE.get(page, dict)()}
    printed = ""
    for block in blocks(page):
        if block.language == "text":  # what the block before prints
            assert [line.rstrip() for line in block.code.splitlines()] == [
                line.rstrip() for line in printed.splitlines()
            ]
        elif block.language == "python" and block.needs:
            assert_imports_are_there(block)
        elif block.language == "python":
            block.run(names)
            printed = capsys.readouterr().out
    AFTER.get(page, lambda names: None)(names)


def assert_imports_are_there(block: Block) -> None:
    """Check what can be checked of a block that needs what is not here: it is Python, and trtnn has what it imports."""
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trtnn"):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_what_blocks_import_of_trtnn_has_an_entry():
    public = {name.path for names in public_names().values() for name in names}
    for page in set(PAGES) - {*HELD_ELSEWHERE}:
        for node in (node for block in in_python(page) for node in ast.walk(ast.parse(block.code))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "trtnn":
                family = re.sub(r"^trtnn\.models\..*", "trtnn.models", node.module or "")
                for alias in node.names:
                    path = f"{family}.{alias.name}"
                    assert path in public or path in MODULES, f"{page} imports {path}"


@pytest.mark.parametrize(("page", "test"), HELD_ELSEWHERE.items())
def test_what_is_not_run_here_is_held_there(page, test):
    assert Path(page).stem in (ROOT / test).read_text(encoding="utf-8")
    assert {block.language for block in blocks(page)} <= {"python", "", *TEXTS}


def test_every_block_says_what_it_is():
    for page in PAGES:
        for block in blocks(page):
            known = {"python", "sh", "", *TEXTS}
            assert block.language in known, f"{page}:{block.line}"
            assert page == DIAGRAMS or block.language or not re.search(r"^\w+ = |^import ", block.code, re.MULTILINE)


def test_every_page_before_which_something_lies_is_there():
    assert {*BEFORE, *AFTER, *HELD_ELSEWHERE} <= {*PAGES}


@pytest.mark.parametrize("page", sorted({page for page, _ in command_lines()}))
def test_its_command_lines_are_right(page):
    """Commands of trtnn's parse; what pip, make and python are told to take is there."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = re.findall(r"^([\w-]+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in (line for of, line in command_lines() if of == page):
        command = line.split("#")[0].strip().removeprefix(".venv/bin/")
        words = command.split()
        if words[0] == "trtnn" and re.fullmatch(r"[a-z -]+", command):  # what a command is called
            assert words[1] in typer.main.get_command(app).commands, command
        elif words[0] == "trtnn" and not set(words) & {"IN", "COMMAND"}:
            check_parses(command.replace("SOURCE...", "SOURCE"))
        elif words[0] == "pip":
            for extras in re.findall(r"\[([\w,-]+)\]", command):
                assert {*extras.split(",")} <= {*known}, command
        elif words[0] == "make":
            assert words[1] in targets, command
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]), command


# What each row of the page's table is, of the capabilities that the tests of bindings have found in each version.
CAN = {
    "build without a GPU, one engine for several": ("targets",),
    "networks that carry their types": ("strongly_typed",),
    "int64 and bfloat16": ("int64",),
    "int8 by declared scales": ("int8",),
    "fp8": ("fp8",),
    "plugins": ("plugin_v2", "plugin_v3"),
    "Ctrl-C ends a build": ("progress",),
}


def test_what_each_tensorrt_can_do_is_what_its_bindings_show():
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    table = text.partition("## What each can do\n\n")[2].partition("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [row[0] for row in rows] == list(CAN)
    for what, *cells in rows:
        for head, cell in zip(heads[1:], cells, strict=True):
            if head.startswith("RTX"):
                if get_backend().name != "tensorrt_rtx":
                    continue
                has = {name for name, value in vars(get_backend().capabilities).items() if value}
            else:
                (version,) = (key for key in CAPABILITIES if key.startswith(head))
                has = CAPABILITIES[version]
            assert cell == ("no" if has.isdisjoint(CAN[what]) else "yes"), (what, head)


def test_every_family_of_models_is_on_its_page():
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {kind.__name__ for kind in models.families()} <= named


def test_files_that_the_readme_names_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_pages_name_exist(page):
    """In backticks, from the root, from the page's folder or from the package; and what links lead to."""
    made = re.compile(
        r"^(?:\.\./)?(?:api/\w+|every_error|every_option|benchmarks|contributing|changelog|security)\.md$"
    )
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`([\w./*-]+/[\w./*-]*?(?:\.py|\.pyi|\.md|\.h|\.cu|\.cpp|/))`", text)
    named += [link for link in re.findall(r"\]\(([^)#\s]+)", prose(page)) if "://" not in link]
    places = ROOT, folder_of(page), ROOT / "trtnn"
    assert [
        name
        for name in named
        if not any(list(p.glob(name.rstrip("/"))) for p in places if ".." not in name)
        and not (folder_of(page) / name).exists()
        and not (page.startswith("docs/") and made.match(name))
    ] == []
