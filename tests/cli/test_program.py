"""What holds for every command: help, errors, exit codes."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer

import trtnn
from tests.cli.parsing import check_parses
from trtnn.cli import app
from trtnn.errors import ArgumentError
from trtnn.examples.digits import PICTURE, WEIGHTS

COMMANDS = ("bench", "build", "compare", "convert", "demo", "detect", "fp16", "inspect", "models", "profile")


def test_every_command_is_listed(run):
    result = run("--help")
    assert result.code == 0
    assert tuple(typer.main.get_command(app).commands) == COMMANDS
    for name in COMMANDS:
        assert f" {name} " in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_that_parse(run, name):
    result = run(name, "--help")
    assert result.code == 0
    _, *examples = typer.main.get_command(app).commands[name].epilog.split("\n\n")
    assert examples
    for example in examples:
        line = example.removeprefix("  $ ")
        check_parses(line)
        assert len(line) <= 74, "wraps on a terminal of 80 columns"
        assert line in result.out


def test_a_wrong_command_or_option_shows_the_usage(run):
    result = run("bild")
    assert result.code == 2
    assert "No such command 'bild'" in result.err
    result = run("build", WEIGHTS, "--fp61")
    assert result.code == 2
    assert "No such option: --fp61" in result.err


def test_a_process_ends_with_the_code_and_a_message_on_stderr(tmp_path):
    script = Path(sys.executable).with_name("trtnn")
    done = subprocess.run([script, "build", "missing.pt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: cannot read missing.pt: No such file or directory\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["detect", PICTURE, "--weights", WEIGHTS, "--reference", "--size", "64"],
            "error: the CPU reference needs torch\n  pip install torch\n",
        ),
        (
            ["demo"],
            "error: the demonstration runs the network on the CPU and compares it with torch: it needs torch\n"
            "  pip install torch\n",
        ),
    ],
)
def test_without_torch_it_says_how_to_get_it(tmp_path, args, message):
    code = "import sys; sys.modules['torch'] = None; from trtnn.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


def test_the_demonstration_needs_nothing_but_torch():
    code = "import sys; sys.modules['skimage'] = sys.modules['sklearn'] = None; import trtnn.examples.digits.predictors"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_brackets_and_colons_are_printed_as_they_are(run, monkeypatch):
    error = ArgumentError("shapes [1, 3] and [bold]", "in [/red] :smile:")
    monkeypatch.setattr("trtnn.load", lambda path: (_ for _ in ()).throw(error))
    assert run("inspect", WEIGHTS) == (1, "", "error: shapes [1, 3] and [bold]\n  in [/red] :smile:\n")


def test_paths_may_hold_spaces_and_brackets(run, tmp_path):
    folder = tmp_path / "my [bold]weights :car:"
    folder.mkdir()
    trtnn.save({"layer.[red]weight": np.zeros((2, 3), np.float32)}, folder / "a b.npz")
    result = run("convert", folder / "a b.npz", folder / "c d.safetensors")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{folder / 'c d.safetensors'}, 0.0 MB")
    assert "layer.[red]weight  float32  2×3\n" in run("inspect", folder / "c d.safetensors").out


def test_python_without_docstrings_runs_it(tmp_path):
    code = "from trtnn.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code, "inspect", WEIGHTS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "model.0.conv" in done.stdout


def test_long_lists_are_cut(run, monkeypatch):
    error = ArgumentError("much", *map(str, range(100)))
    monkeypatch.setattr("trtnn.load", lambda path: (_ for _ in ()).throw(error))
    lines = run("inspect", WEIGHTS).err.splitlines()
    assert lines == ["error: much", *(f"  {i}" for i in range(16)), "  ... and 84 more"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.npz"), "error: x.npz: No space left on device\n"),
        (OSError("the disk is gone"), "error: the disk is gone\n"),
    ],
)
def test_what_the_system_refuses_is_told_without_a_traceback(run, monkeypatch, tmp_path, error, message):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    assert run("convert", WEIGHTS, tmp_path / "x.npz") == (1, "", message)
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("inspect", WEIGHTS)


def test_a_warning_is_a_line(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: warnings.warn("slow [disk]", stacklevel=1) or {})
    assert run("inspect", WEIGHTS).err == "warning: slow [disk]\n"
