"""The command line, called in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from trtnn.cli import main


class Result(NamedTuple):
    """What a command leaves behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Return a function that runs ``trtnn`` with arguments."""

    def run(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["trtnn", *map(str, args)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a build is started."""
    module = importlib.import_module("trtnn.build.build")  # by a text the old name would be asked for
    monkeypatch.setattr(module, "build", lambda *args: pytest.fail("a build was started"))
