"""What README.md shows is run as it stands there; stand-ins are only for files and for the reader's own model."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from benchmarks.twins import yolov5 as twin
from tests import ROOT
from tests.cli.parsing import check_parses
from tests.helpers import ONE_TARGET, RUNS_HERE, assert_close, load_random
from trtnn.errors import EngineError
from trtnn.examples.digits import PICTURE, WEIGHTS

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
COMMANDS = re.findall(r"^    (trtnn .*)$|`(trtnn [a-z][^`]*)`", README, re.MULTILINE)

no_targets = pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds for its own GPU alone")


def run_block(first_line, **names):
    """Execute the block that begins so, and return its names."""
    (code,) = (block for block in BLOCKS if block.startswith(first_line))
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_every_block_is_run_here():
    assert len(BLOCKS) == 2


@no_targets
def test_the_first_block(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.no_grad():
        torch.save(twin.YOLOv5("yolov5s").state_dict(), "yolov5s.pt")
    images = np.zeros((1, 3, 640, 640), np.float32)
    names = {"images": images}
    code = "import trtnn\nfrom trtnn.models.yolov5 import YOLOv5\n"
    if RUNS_HERE:
        run_block(code, **names)
        return
    with pytest.raises(EngineError, match="no GPU was found") as caught:
        run_block(code, **names)
    frame = next(entry for entry in caught.traceback if str(entry.path).endswith("README.md"))
    assert isinstance(frame.locals["engine"], trtnn.Engine)  # all but the call was run
    assert frame.locals["engine"].description["precision"] == "float16"


@no_targets
def test_a_model_of_your_own(tmp_path, monkeypatch):
    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            )  # fmt: skip
            self.head = nn.Linear(32 * 8 * 8, 10)

        def forward(self, images):
            return self.head(self.features(images / 255).flatten(1)).softmax(1)

    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        torch_model = load_random(Twin())
        expected = torch_model(torch.from_numpy(images))
        inner = torch_model.features[:3](torch.from_numpy(images) / 255)
    names = run_block("import trtnn\nfrom trtnn import functional", torch_model=torch_model, images=images)
    assert_close(names["scores"], expected, 2e-3)
    assert names["inner"]["features.2"].dtype == np.float16
    assert_close(names["inner"]["features.2"].astype(np.float32), inner, 2e-3)
    assert trtnn.Engine.load("net.engine").targets == ("sm86", "sm89", "sm120")


def test_every_command_line_parses():
    lines = [block or inline for block, inline in COMMANDS]
    assert {line.split()[1] for line in lines} >= {"build", "detect", "convert", "inspect"}
    for line in lines:
        if len(line.split()) > 2:  # others name a command in the text
            check_parses(line)


def test_files_that_are_named_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    assert PICTURE.is_file()
    assert WEIGHTS.is_file()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", *PAGES])
def test_paths_that_pages_name_exist(page):
    """In backticks, from the root, from the page's folder or from the package; and what links lead to."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`([\w./*-]+/[\w./*-]*?(?:\.py|\.pyi|\.md|\.h|\.cu|\.cpp|/))`", text)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # code has brackets of its own
    named += [link for link in re.findall(r"\]\(([^)#]+)", prose) if "://" not in link]
    places = ROOT, path.parent, ROOT / "trtnn"
    assert [
        name
        for name in named
        if not any(list(p.glob(name.rstrip("/"))) for p in places if ".." not in name)
        and not (path.parent / name).exists()
    ] == []
