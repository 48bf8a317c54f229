"""A type checker tells mistakes in what a user writes; ``make test`` sees that it finds none in ``tests/typing``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright")
ROOT = Path(__file__).parents[1]
WRONG = """
import trtnn
from trtnn import functional as F
from trtnn.modules import Conv2d, LayerNorm, Sequential


def forward(x: trtnn.Tensor) -> trtnn.Tensor:
    x.permutee(0, 1)  # error: reportAttributeAccessIssue
    x.softmax(dimension=1)  # error: reportCallIssue
    F.softmax(x, dims=1)  # error: reportCallIssue
    trtnn.Parameter(3).veiw(1)  # error: reportAttributeAccessIssue
    return x.relu().sum((2, 3))


Conv2d("3", 4, 1)  # error: reportArgumentType
LayerNorm(3, epsilon=1e-3)  # error: reportCallIssue
Sequential(3)  # error: reportArgumentType
"""


def test_mistakes_are_told(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    settings = {"include": ["wrong.py"], "extraPaths": [str(ROOT)], "typeCheckingMode": "basic"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    told = {(one["range"]["start"]["line"], one["rule"]) for one in json.loads(done.stdout)["generalDiagnostics"]}
    expected = {
        (number, line.rpartition("# error: ")[2])
        for number, line in enumerate(WRONG.splitlines())
        if "# error: " in line
    }
    assert told == expected
    assert len(expected) == 7
