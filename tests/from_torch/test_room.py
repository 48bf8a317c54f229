"""Imports within trtnn.from_torch run upwards in the table of docs/from_torch.md, and never in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests import ROOT

FOLDER = ROOT / "trtnn" / "from_torch"
PACKAGE = "trtnn.from_torch."


def parts() -> dict[str, int]:
    """Return the parts of the table by their rows; several parts of one row do not import one another."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .+ \|$", (ROOT / "docs" / "from_torch.md").read_text("utf-8"), re.M)
    return {name.strip("`"): row for row, names in enumerate(rows) for name in names.split(", ")}


def files() -> dict[str, Path]:
    """Return the files of the room by their names in it, but for the one that is the public function."""
    named = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in FOLDER.rglob("*.py")}
    return {name: path for name, path in named.items() if not name.endswith("__init__")}


def imports(name: str, path: Path) -> Iterator[str]:
    """Yield the names of the files of the room that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Import) or not any(alias.name.startswith(PACKAGE) for alias in node.names), name
        if not isinstance(node, ast.ImportFrom) or not f"{node.module}.".startswith(PACKAGE):
            continue
        inside = f"{node.module}.".removeprefix(PACKAGE).rstrip(".")
        for alias in node.names:
            whole = f"{inside}.{alias.name}".lstrip(".")
            yield whole if whole in files() else inside


def test_every_file_is_of_a_part_of_the_table():
    assert {name.partition(".")[0] for name in files()} == set(parts())


def test_imports_run_upwards():
    rows = parts()
    for name, path in files().items():
        for other in imports(name, path):
            mine, theirs = name.partition(".")[0], other.partition(".")[0]
            assert theirs == mine or rows[theirs] < rows[mine], f"{name} imports {other}"


def test_there_is_no_circle():
    TopologicalSorter({name: set(imports(name, path)) for name, path in files().items()}).prepare()  # raises CycleError
