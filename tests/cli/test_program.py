"""What holds for every command: help, errors, exit codes."""

import errno
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer

import trtnn
from tests import ROOT
from tests.cli.parsing import check_parses
from trtnn.cli import app
from trtnn.digest import own_version
from trtnn.errors import ArgumentError
from trtnn.examples.digits import PICTURE, WEIGHTS

COMMANDS = (
    *("bench", "build", "classify", "compare", "convert", "demo", "detect", "export", "fp16", "from-torch"),
    *("inspect", "models", "profile", "quantize", "val", "view"),
)


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


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_two_names(run, option):
    assert run(option).code == run("build", option).code == 0


def test_the_version(run):
    assert run("--version") == (0, f"trtnn {trtnn.__version__}\n", "")
    assert trtnn.__version__ == importlib.metadata.version("trtnn")


def test_a_clone_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert own_version.__wrapped__() == "unknown"


def test_without_a_command_there_is_help(run):
    result = run()
    assert result.code == 2
    assert "Usage: trtnn [OPTIONS] COMMAND" in result.out + result.err


@pytest.mark.parametrize("option", ["--confidence", "--iou"])
@pytest.mark.parametrize(
    ("text", "words"),
    [("25", "'25' is no number from 0 to 1; 25 % is 0.25"), ("-1", "'-1' is no"), ("nan", "'nan' is no")],
)
def test_a_share_is_not_a_percentage(run, option, text, words):
    result = run("detect", PICTURE, "--weights", WEIGHTS, f"{option}={text}")
    assert result.code == 2
    assert words in result.err
    assert f"'{option}'" in result.err


# -- what a terminal would act on -------------------------------------------------------------------------------------

HARMFUL = "\x1b[31mred\x1b]0;title\x07\x9b5m\u202eback\u2066\x08\r"


def is_shown_safely(text):
    return all(c.isprintable() or c == "\n" for c in text)


def test_names_in_files_and_file_names_cannot_steer_a_terminal(run, tmp_path):
    path = tmp_path / f"a{HARMFUL}.npz"
    trtnn.save({"weight": np.zeros(2, np.float32)}, path)
    text = json.dumps({"task": "detect", HARMFUL: HARMFUL, "names": {"0": HARMFUL}}).encode()
    engine = tmp_path / f"b{HARMFUL}.engine"
    engine.write_bytes(len(text).to_bytes(4, "little") + text + b"ftrt" + bytes(1000))
    picture = tmp_path / f"c{HARMFUL}.jpg"
    picture.write_bytes(b"none")
    out = tmp_path / "out"
    results = [
        run("inspect", path),
        run("inspect", engine),
        run("convert", path, path.with_suffix(".safetensors")),
        run("convert", path.with_suffix(".gone"), path),
        run("detect", picture, "--weights", WEIGHTS, "--reference", "--size", 32, "-o", out),
        run(
            "detect",
            PICTURE,
            "--weights",
            WEIGHTS,
            "--reference",
            "--size",
            64,
            "-o",
            out,
            "--names",
            f"{HARMFUL}," * 10,
        ),
        run("bild", HARMFUL),
        run("build", WEIGHTS, HARMFUL),
        run(HARMFUL),
    ]
    for result in results:
        assert is_shown_safely(result.out + result.err), result.out + result.err
    assert [result.code for result in results] == [0, 0, 0, 1, 1, 0, 2, 2, 2]
    assert "\\x1b" in results[1].out
    assert "\\x1b" in results[4].err


@pytest.mark.filterwarnings("default")
def test_a_warning_cannot_steer_a_terminal_either(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: warnings.warn(HARMFUL, stacklevel=1) or {})
    assert is_shown_safely(run("inspect", WEIGHTS).err)


@pytest.mark.parametrize("name", ["caf\udce9.npz", "\udcff.engine"])
def test_a_file_name_that_is_no_text_is_shown(run, name):
    result = run("inspect", name)
    assert result.code == 1
    assert "\\ud" in result.err


# -- what needs no OpenCV ---------------------------------------------------------------------------------------------


RUN_EACH = """
import json, sys
from trtnn.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        print(end.code, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "lines", ["raise ImportError('libGL.so.1: cannot open shared object file')", "raise AttributeError('no CV_8U')"]
)
def test_without_opencv_all_that_needs_no_picture_runs(tmp_path, lines):
    (tmp_path / "cv2.py").write_text(lines)
    linear = tmp_path / "linear.npz"
    trtnn.save({"weight": np.zeros((2, 2), np.float32)}, linear)
    (tmp_path / "a.jpg").write_bytes(PICTURE.read_bytes())
    works = [["--help"], ["detect", "--help"], ["inspect", linear], ["convert", linear, "a.safetensors"]]
    fails = ["detect", "a.jpg", "--weights", WEIGHTS, "--reference", "--size", 32]
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH, json.dumps([[str(word) for word in line] for line in [*works, fails]])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *lines = done.stderr.splitlines()
    assert first.startswith("error: pictures need OpenCV, which cannot be imported: ")
    assert lines == [
        "  pip install opencv-python-headless",
        "  beside opencv-python it breaks: pip uninstall opencv-python opencv-contrib-python first",
        "1",
    ]
    assert "Usage: trtnn detect" in done.stdout
    assert "2×2" in done.stdout
    assert (tmp_path / "a.safetensors").is_file()


def test_ctrl_c_is_told_in_a_line(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("inspect", WEIGHTS) == (130, "", "error: interrupted\n")


def test_ctrl_c_while_the_package_is_imported_is_told_in_a_line(tmp_path):
    (tmp_path / "fractions.py").write_text("raise KeyboardInterrupt")  # which comes before the standard one
    done = subprocess.run(
        [sys.executable, "-c", "from trtnn_start import main; main()", "--version"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_a_process_ends_with_the_code_and_a_message_on_stderr(tmp_path):
    script = Path(sys.executable).with_name("trtnn")
    done = subprocess.run([script, "build", "missing.pt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: cannot read missing.pt: No such file or directory\n"


def test_it_runs_as_a_module_too(tmp_path):
    command = [sys.executable, "-m", "trtnn", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"trtnn {trtnn.__version__}\n", "")


def test_a_terminal_without_the_characters_is_told_which_they_are(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trtnn", "models", "yolov5n"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        encoding="ascii",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1\\xd73\\xd7640\\xd7640" in done.stdout


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("detect", "", "--weights", WEIGHTS), "{sources}"),
        (("detect", PICTURE, "", "--weights", WEIGHTS), "{sources}"),
        (("detect", PICTURE, "--weights="), "--weights"),
        (("detect", PICTURE, "--weights", WEIGHTS, "-o", ""), "--output"),
        (("detect", PICTURE, "--weights", WEIGHTS, "--names", ""), "--names"),
        (("val", WEIGHTS, "--data", ""), "--data"),
        (("val", WEIGHTS, "--data", "pets", "--json="), "--json"),
        (("view", ""), "{what}"),
        (("profile", ""), "{engine}"),
        (("export", "triton", "a.engine", ""), "{repository}"),
        (("export", "triton", "a.engine", "models", "--name", ""), "--name"),
        (("build", WEIGHTS, "--fp32-module", ""), "--fp32-module"),
    ],
)
def test_empty_text_is_no_path(run, no_build, tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    is_place = name not in ("--names", "--name", "--output", "--fp32-module")
    here = "; . is this folder" if is_place else ""
    message = f"error: {name} is empty text\n  a variable of the shell that is not set?{here}\n"
    assert run(*arguments) == (1, "", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("detect", PICTURE, "--weights", WEIGHTS, "--reference", "-o", "-"), "--output"),
        (("val", WEIGHTS, "--data", "pets", "--json", "-"), "--json"),
        (("val", "-", "--data", "pets"), "{what}"),
        (("view", WEIGHTS, "-o", "-"), "--output"),
        (("profile", "a.engine", "--times=-"), "--times"),
        (("export", "triton", "a.engine", "-"), "{repository}"),
    ],
)
def test_a_dash_is_no_path(run, no_build, tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"error: {name} takes a path, not -: ")
    assert result.err.endswith("\n  what is called so is ./-\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_written_where_a_folder_is_named(run, no_build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_build = (("build", WEIGHTS, "-o"), ("build", WEIGHTS, "--lock"))
    of_profile = (("profile", "a.engine", "--times"), ("profile", "a.engine", "--layer-info"))
    for arguments in (("view", WEIGHTS, "-o"), *of_build, *of_profile, ("val", WEIGHTS, "--data", "a", "--json")):
        option = {"-o": "--output"}.get(arguments[-1], arguments[-1])
        message = f"error: {option} pages ö/ names a folder, and is to be a file\n  give the path of a file\n"
        assert run(*arguments, "pages ö/") == (1, "", message)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_begins_with_a_dash(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-a b.jpg").write_bytes(PICTURE.read_bytes())
    options = ("--weights", WEIGHTS, "--reference", "--size", 64)
    result = run("detect", "-a b.jpg", *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("error: No such option: -a\n  the file of this name is given as ./-a b.jpg\n")
    for number, places in enumerate((("./-a b.jpg", *options), (*options, "--", "-a b.jpg"))):
        assert run("detect", "-o", f"out {number}/", *places).code == 0
        assert (tmp_path / f"out {number}" / "-a b.jpg").exists()
    assert "the file of this name" not in run("detect", "-b.jpg", *options).err


def test_standard_input_stays_so_beside_a_folder_of_this_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-").mkdir()
    Path("-", "a.jpg").write_bytes(PICTURE.read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    options = ("--weights", WEIGHTS, "--reference", "--size", 64)
    assert "skipped: cannot read the picture on standard input: the file is empty" in run("detect", "-", *options).err
    assert run("detect", "./-", *options).code == 0
    assert Path("detections", "a.jpg").exists()


def test_python_without_docstrings_runs_it(tmp_path):
    code = "from trtnn.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code, "inspect", WEIGHTS],
        cwd=ROOT,
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


@pytest.mark.parametrize(("words", "told"), [((), ""), (("Unable to allocate 2 EiB",), ": Unable to allocate 2 EiB")])
def test_no_memory_is_told_without_a_traceback(run, monkeypatch, words, told):
    monkeypatch.setattr("trtnn.load", lambda path: (_ for _ in ()).throw(MemoryError(*words)))
    assert run("inspect", WEIGHTS) == (1, "", f"error: there is not enough memory{told}\n")


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("inspect", WEIGHTS)


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line(run, monkeypatch):
    monkeypatch.setattr("trtnn.load", lambda path: warnings.warn("slow [disk]", stacklevel=1) or {})
    assert run("inspect", WEIGHTS).err == "warning: slow [disk]\n"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["inspect", WEIGHTS, "--json"], "file of JSON"),
        (["models", "yolo11n", "--json"], "file of JSON"),
        (["profile", "a.engine", "--layer-info"], "file of JSON"),
        (["view", "yolo11n", "--output"], "page of HTML"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_no_file_of_another_kind_is_replaced(run, tmp_path, monkeypatch, arguments, kind):
    """``trtnn inspect --json weights.pt`` reads as if --json were a flag, and cost the weights."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04 of a checkpoint")
    done = run(*arguments, path)
    assert done.code != 0
    words = " ".join(done.err.split())
    assert f"{path} is there, and is no {kind}: it would be lost" in words
    assert path.read_bytes() == b"PK\x03\x04 of a checkpoint"

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("trtnn.cli.options.open_regular", refused)
    assert "would be lost: Permission denied" in " ".join(run(*arguments, path).err.split())


def test_a_file_of_the_same_kind_is_replaced(run, tmp_path):
    for before in (b"", b" [1]", b'{"a": 1}'):
        path = tmp_path / "out.json"
        path.write_bytes(before)
        assert run("inspect", WEIGHTS, "--json", path).code == 0
        assert "model.0.conv.weight" in path.read_text()
    page = tmp_path / "page.html"
    for _ in range(2):
        assert run("view", WEIGHTS, "--size", 64, "-o", page).code == 0
