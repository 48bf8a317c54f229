"""Imports run downwards, by the table of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PAGE = ROOT / "docs" / "architecture.md"
EXCEPTIONS = {("trtnn.checkpoint", "trtnn.models")}  # convert asks which model flat arrays are of
PLACES = {"trtnn": "trtnn", "models": "trtnn.models", "plugins": "trtnn.plugins", "examples": "trtnn.examples"}


def rooms() -> list[str]:
    """Return the rooms of the table, the lowest first."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(floor) for floor, _ in rows] == sorted(int(floor) for floor, _ in rows)
    return [room for _, room in rows]


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module of the package by its name."""
    for folder, package in PLACES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [part for part in path.relative_to(ROOT / folder).with_suffix("").parts if part != "__init__"]
            yield ".".join([package, *parts]), path


def room_of(module: str) -> str:
    """Return the first part of a module's name within the package; the package itself is ``trtnn``."""
    return module.partition(".")[2].partition(".")[0] or "trtnn"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the module of each import of the package's own, those for type checkers alone apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    known = dict(modules())
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "trtnn":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.partition(".")[0] == "trtnn")


def test_the_table_has_every_room_once():
    found = {room_of(module) for module, _ in modules()}
    assert sorted(rooms()) == sorted(found)


@pytest.mark.parametrize(("module", "path"), [pytest.param(*item, id=item[0]) for item in modules()])
def test_no_import_runs_upwards(module, path):
    order = {room: floor for floor, room in enumerate(rooms())}
    mine = order[room_of(module)]
    upwards = [(line, name) for line, name in imported(path) if order[room_of(name)] > mine]
    assert not [f"{path.name}:{line} imports {name}" for line, name in upwards if (module, name) not in EXCEPTIONS]


def test_an_upward_import_is_seen(tmp_path):
    file = tmp_path / "shapes.py"
    file.write_text("from trtnn.graph.graph import Graph\nif TYPE_CHECKING:\n    from trtnn.cli import main\n")
    assert list(imported(file)) == [(1, "trtnn.graph.graph")]
    assert rooms().index("graph") > rooms().index("shapes")


def test_the_package_is_found_whole_from_a_clone():
    """Python started in a clone finds its folder ``trtnn`` before an installed one, and what stands beside it."""
    without_installed = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    code = f"{without_installed}import trtnn.models, trtnn.plugins, trtnn.examples; print(trtnn.models.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == ROOT / "models" / "__init__.py"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_take_nothing_from_the_tests(path):
    """They run where the tests are not, and what both need stands in ``benchmarks``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [name for name in named if name == "tests" or name.startswith("tests.")] == []
