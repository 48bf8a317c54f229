"""Break the code in small ways, one at a time, and see whether a test fails: mutation testing.

>>> python -m tests.mutants record                              # which test runs which line; more is for pytest
>>> python -m tests.mutants record tests/quantization --of trtnn/quantization trtnn/accuracy
>>> python -m tests.mutants run trtnn/ops models/boxes.py --sample 100 --seed 1
>>> python -m tests.mutants run trtnn/ops/norms.py --sample 0   # every mutant of a file

A mutant is one change of the syntax tree: a comparison or an operator becomes another, a number changes, a condition is
turned round, a call of several arguments becomes its first, a statement goes. It is run by the tests that come through
its line, the quickest first, in a fork of a process that holds torch and pytest already. Those that no test sees are
printed; the exit status is their number. tests/README.md says what came of it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.machinery
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests import ROOT

RECORD = ROOT / "build" / "mutants"
TARGETS = ["trtnn/ops", "trtnn/reference", "trtnn/vision", "models/boxes.py"]
TESTS = ["tests/ops", "tests/modules", "tests/vision", "tests/models"]

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
FRACTION = 1 - 2**-9  # of a number that is a fraction: gelu's 0.044715 becomes 0.0446


class Mutant(NamedTuple):
    """One change of one file.

    Attributes:
        at: which node, counted as ``ast.walk`` comes to them.
        lines: of the statement that it stands in.
        change: how it reads before and after.
    """

    path: str
    at: int
    lines: tuple[int, int]
    change: str

    def __str__(self) -> str:
        return f"{self.path}:{self.lines[0]}: {self.change}"


def _changed(node: ast.AST) -> ast.AST | None:
    """Return what stands in a node's place in a mutant, or None where nothing does."""
    match node:
        case ast.Compare(ops=[only]) if type(only) in SWAPPED:
            return ast.Compare(node.left, [SWAPPED[type(only)]()], node.comparators)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED and not isinstance(left, ast.JoinedStr):
            return ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.BoolOp(op=op, values=values):
            return ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            return ast.Constant(not value)
        case ast.Constant(value=int(value)):
            return ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            return ast.Constant(value * FRACTION if value else 1.0)
        case ast.IfExp(body=body):
            return body
        case ast.Call(args=[first, _, *_]) if not isinstance(first, ast.Starred):
            return first
        case ast.If(test=test, body=body, orelse=orelse) if not isinstance(test, ast.Name):
            return ast.If(ast.Constant(False), body, orelse)
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            return ast.Pass()
    return None


def _skipped(tree: ast.Module) -> set[ast.AST]:
    """Return nodes that say nothing of numbers: annotations, messages of errors, names that are exported."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef():
                roots += [node.returns, *(arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg))]
            case ast.AnnAssign():
                roots.append(node.annotation)
            case ast.Raise():
                roots.append(node.exc)
            case ast.JoinedStr():
                roots += node.values
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                roots.append(node)
    return {node for root in roots if root is not None for node in ast.walk(root)}


def _lines(tree: ast.Module) -> dict[ast.AST, tuple[int, int]]:
    """Return the lines of the statement that each node stands in; of one with a body, those of its head."""
    found: dict[ast.AST, tuple[int, int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) else node.end_lineno
            lines = (node.lineno, max(node.lineno, last or 0))
            found[node] = lines
        for child in ast.iter_child_nodes(node):
            found[child] = found.get(node, (1, 1))
    return found


def mutants_of(path: str) -> list[Mutant]:
    """Return the mutants of a file, whose path is from the root."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    skipped, lines = _skipped(tree), _lines(tree)
    found = []
    for at, node in enumerate(ast.walk(tree)):
        changed = None if node in skipped else _changed(node)
        if changed is not None:
            before, after = (ast.unparse(ast.fix_missing_locations(copy.deepcopy(n))) for n in (node, changed))
            short = [" ".join(text.split())[:70] for text in (before, after)]
            place = lines[node] if isinstance(node, ast.stmt) else (node.lineno, node.end_lineno or node.lineno)
            found.append(Mutant(path, at, place, " -> ".join(short)))
    return found


def mutated(mutant: Mutant) -> ast.Module:
    """Return the tree of a mutant's file with its change."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    target = nodes[mutant.at]
    changed = ast.copy_location(_changed(target), target)  # pyright: ignore[reportArgumentType]
    for node in nodes:
        for name, value in ast.iter_fields(node):
            if value is target:
                setattr(node, name, changed)
            elif isinstance(value, list) and any(item is target for item in value):
                value[next(i for i, item in enumerate(value) if item is target)] = changed
    return ast.fix_missing_locations(tree)


# -- which tests see which lines ---------------------------------------------------------------------------------------


class _Recorder:
    """A plugin of pytest: the lines of files and folders that each test comes through, and the time that it takes."""

    def __init__(self, targets: list[str]) -> None:
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None,
            config_file=False,
            include=[f"{ROOT / target}{'' if target.endswith('.py') else '/**'}" for target in targets],
        )
        self.seconds: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        begun = time.process_time()
        yield
        self.seconds[item.nodeid] = time.process_time() - begun
        self.coverage.switch_context("")

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data, found = self.coverage.get_data(), {}
        for file in data.measured_files():
            by_line = data.contexts_by_lineno(file)
            found[os.path.relpath(file, ROOT)] = {line: sorted(filter(None, by)) for line, by in by_line.items()}
        RECORD.mkdir(parents=True, exist_ok=True)
        (RECORD / "lines.json").write_text(json.dumps({"lines": found, "seconds": self.seconds}), encoding="utf-8")


def record(tests: list[str], targets: list[str]) -> int:
    """Run tests, and keep which lines of files and folders each of them comes through."""
    return pytest.main(["-p", "no:xdist", "-q", "--tb=short", *tests], plugins=[_Recorder(targets)])


def tests_of(mutant: Mutant, recorded: dict[str, Any], most: float) -> list[str]:
    """Return the tests that come through a mutant's lines, the quickest first, up to ``most`` seconds in all.

    Of lines that run where the file is imported alone, those are that come through any line of it.
    """
    lines = recorded["lines"].get(mutant.path, {})
    through = {test for line in range(mutant.lines[0], mutant.lines[1] + 1) for test in lines.get(str(line), ())}
    through = through or {test for tests in lines.values() for test in tests}
    seconds, total, chosen = recorded["seconds"], 0.0, []
    for test in sorted(through, key=lambda test: (seconds.get(test, 0.0), test)):
        total += seconds.get(test, 0.0)
        if chosen and total > most:
            break
        chosen.append(test)
    return chosen


# -- running -----------------------------------------------------------------------------------------------------------


def _in_a_fork(mutant: Mutant | None, tests: list[str]) -> None:
    """Run tests on a mutant, or on the code as it is, and leave with pytest's exit code."""
    from hypothesis import Phase, settings

    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate])  # the smallest failure tells no more
    settings.load_profile("mutants")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    path, original = str(ROOT / mutant.path) if mutant else "", importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: Any, name: str) -> Any:
        if mutant is None or os.path.realpath(loader.path) != path:
            return original(loader, name)
        return compile(mutated(mutant), path, "exec", dont_inherit=True)

    importlib.machinery.SourceFileLoader.get_code = get_code  # pyright: ignore[reportAttributeAccessIssue]
    imported = "ignore::pytest.PytestAssertRewriteWarning"  # what is imported here already
    os._exit(int(pytest.main(["-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-W", imported, "--tb=no", *tests])))


def killed(mutant: Mutant | None, tests: list[str], limit: float) -> bool:
    """Tell whether one of the tests fails on a mutant, or has not ended after so many seconds.

    Raises:
        RuntimeError: the tests could not be run.
    """
    child = os.fork()
    if not child:
        try:
            os.setpgid(0, 0)
            _in_a_fork(mutant, tests)
        finally:
            os._exit(99)
    status = None
    for _ in range(int(limit * 10)):
        if (done := os.waitpid(child, os.WNOHANG))[0]:
            status = done[1]
            break
        time.sleep(0.1)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    code = os.waitstatus_to_exitcode(status)
    killing = {1, 2} if mutant is None else {1, 2, 4}  # failed, or not even imported: by a conftest it is 4
    if code > 0 and code not in killing:
        raise RuntimeError(f"pytest ended with {code} on {mutant or 'the code as it is'}: {len(tests)} tests")
    return code != 0


def run(targets: list[str], sample: int, seed: int, most: float, match: str = "") -> int:
    """Run a sample of the mutants of files and folders; print and count those that survive."""
    import numpy  # noqa: F401  what every fork would import anew
    import torch

    torch.set_num_threads(1)
    recorded = json.loads((RECORD / "lines.json").read_text(encoding="utf-8"))
    files = [
        os.path.relpath(file, ROOT)
        for target in targets
        for file in ([ROOT / target] if target.endswith(".py") else sorted((ROOT / target).rglob("*.py")))
    ]
    every = [mutant for file in files for mutant in mutants_of(file) if re.search(match, str(mutant))]
    chosen = every if not sample else sorted(random.Random(seed).sample(every, min(sample, len(every))))
    print(f"{len(chosen)} of {len(every)} mutants", flush=True)
    survivors: list[Mutant] = []
    sound: set[tuple[str, ...]] = set()  # tests that pass without a mutant
    for mutant in chosen:
        tests = tests_of(mutant, recorded, most)
        if tests and tuple(tests) not in sound:
            if killed(None, tests, 60 + 10 * most):
                raise RuntimeError(f"of {len(tests)} tests of {mutant.path} one fails on the code as it is")
            sound.add(tuple(tests))
        if not tests or not killed(mutant, tests, 60 + 10 * most):
            survivors.append(mutant)
            print(f"{mutant}   [{len(tests)} tests]", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    return len(survivors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "run"])
    parser.add_argument("paths", nargs="*", help="tests to record, or files and folders to break")
    parser.add_argument("--of", nargs="+", default=TARGETS, help="files and folders whose lines are recorded")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=float, default=20, help="seconds of tests that a mutant is given")
    parser.add_argument("--match", default="", help="a regular expression that a mutant's line has to hold")
    given, more = parser.parse_known_args()
    if given.what == "record":
        return record([*(given.paths or TESTS), *more], given.of)
    return run(given.paths or TARGETS, given.sample, given.seed, given.most, given.match)


if __name__ == "__main__":
    sys.exit(main())
