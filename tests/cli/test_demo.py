"""``trtnn demo``, as a person sees it."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def read_all(terminal):
    """Return all that is written to a terminal until the last process that writes there ends."""
    written = b""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 65536):
            written += data
    return written.decode()


def test_the_demonstration_in_80_columns(tmp_path):
    terminal, stderr = os.openpty()
    script = Path(sys.executable).with_name("trtnn")
    command = [script, "demo", "--output", "a demo/of mine"]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    with open(tmp_path / "out", "w+", encoding="utf-8") as out:
        child = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=stderr)
        os.close(stderr)
        told = read_all(terminal)
        assert child.wait() == 0, told
        out.seek(0)
        text = out.read()
    for step in ("loading torch", "building yolov5n for", "detecting digits on the CPU", "comparing with torch"):
        assert step in told
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    found = [line for line in lines if "picture.jpg" in line]
    assert len(found) == 11
    folder = tmp_path / "a demo" / "of mine"
    assert sorted(path.name for path in folder.iterdir()) == ["digits.png", "yolov5n-digits.engine"]
    assert "picture  a demo/of mine/digits.png" in lines
    assert re.search(r"engine   a demo/of mine/yolov5n-digits\.engine, \d\.\d MB\n", text)
    assert re.search(r"^fp32     \S+ px in boxes, \S+ in scores$", text, re.MULTILINE)
    assert re.search(r"^fp16     \S+ px in boxes, \S+ in scores$", text, re.MULTILINE)


@pytest.mark.usefixtures("no_build")
def test_a_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("demo", "-o", tmp_path / "file")
    assert (result.code, result.out) == (1, "")
    assert f"cannot keep files in {tmp_path / 'file'}: it is a file" in result.err
