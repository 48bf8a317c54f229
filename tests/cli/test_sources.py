"""Where commands take a network from: a name, a class in a file of the user's own, a checkpoint."""

import json
import sys

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET
from trtnn.cli.options import resized_inputs
from trtnn.cli.sources import fill_empty, is_model
from trtnn.errors import ArgumentError
from trtnn.examples.digits import PICTURE, WEIGHTS

TARGET = [word for target in ONE_TARGET.get("targets", ()) for word in ("--target", target)]
MINE = '''"""A detector of nothing, and classes that are none."""
from __future__ import annotations
import numpy as np
import trtnn
from dataclasses import dataclass
from beside import CHANNELS
from trtnn.modules import Conv2d, Module, Sequential

@dataclass
class Options:
    classes: int = 2

class Net(Module):
    def __init__(self, options=Options()):
        super().__init__()
        self.inputs = {"pictures": trtnn.Input((1, 3, 32, 64))}
        self.metadata = {"pipeline": "yolov8", "preprocessing": {"fit": "corner"}, "stride": 8}
        self.conv = Conv2d(CHANNELS, 4 + options.classes, 8, 8)

    def forward(self, pictures):
        return self.conv(pictures).flatten(2) / 200  # so that scores are in 0..1

class Filled(Net):
    def __init__(self):
        super().__init__()
        for parameter in self.parameters():
            parameter.data = np.ones(parameter.shape, np.float32)

class Vector(Module):
    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 5)}

    def forward(self, x):
        return x * 2

class Classifier(Filled):
    def __init__(self):
        super().__init__()
        self.metadata = {"pipeline": "imagenet"}

class Silent(Module):
    def forward(self, images, other=None):
        return images

class Failing(Module):
    def __init__(self):
        super().__init__()
        self.size = 1 / 0

class Wrong(Module):
    def __init__(self):
        super().__init__()
        self.conv = Conv2d(3, 8, 3, groups=2)

class Needy(Module):
    def __init__(self, classes, depth):
        super().__init__()
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of one's own, in the current folder, with another beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "beside.py").write_text("CHANNELS = 3\n")
    yield tmp_path / "mine.py"
    sys.modules.pop("beside", None)


@pytest.fixture
def weights(tmp_path):
    arrays = {"conv.weight": np.ones((6, 3, 8, 8), np.float32), "conv.bias": np.ones(6, np.float32)}
    trtnn.save(arrays, tmp_path / "w.npz")
    return tmp_path / "w.npz"


def test_what_is_a_model_and_what_a_file():
    assert all(map(is_model, ["yolov5s", "a.py:Net", "a/b c.py:", "a.py", "/x:y/a.py:N"]))
    assert not any(map(is_model, ["yolov5s.pt", "yolo", "a.pt:Net", "a.engine", ""]))


def test_what_is_not_given_stays_as_declared():
    model = trtnn.Module()
    model.inputs = {"images": (2, 3, 32, 64)}
    assert resized_inputs(model, None, None) == {"images": trtnn.Input((2, 3, 32, 64))}
    assert resized_inputs(model, ((96,), (96,)), None) == {"images": trtnn.Input((2, 3, 96, 96))}
    assert resized_inputs(model, None, (4,)) == {"images": trtnn.Input((4, 3, 32, 64))}


def test_only_what_is_empty_is_filled():
    layer = trtnn.modules.Linear(2, 3)
    layer.bias.data = np.arange(3, dtype=np.float32)
    fill_empty(layer)
    assert layer.weight.data.tolist() == [[1, 1]] * 3
    assert layer.bias.data.tolist() == [0, 1, 2]


# -- a class of one's own ---------------------------------------------------------------------------------------------


def test_inspect(run, mine):
    result = run("inspect", "mine.py:Net", "--batch", 2)
    assert (result.code, result.err) == (0, "")
    assert "float32[2, 6, 4, 8]" in result.out
    assert "float32[1, 6, 8, 8]" in run("inspect", mine.with_name("mine.py:Net"), "--size", 64).out
    assert "float32[2, 5]" in run("inspect", "mine.py:Vector").out


def test_build_with_weights_and_with_its_own(run, mine, weights):
    result = run("build", "mine.py:Net", "--weights", weights, *TARGET)
    assert (result.code, result.err) == (0, "")
    engine = trtnn.Engine.load(weights.with_suffix(".engine"))
    assert engine.inputs == {"pictures": trtnn.Input((1, 3, 32, 64))}
    assert engine.description["model"] == "Net"
    assert engine.description["preprocessing"] == {"fit": "corner"}
    assert run("build", weights, "--model", "mine.py:Net", "-o", "other.engine", *TARGET).code == 0
    assert trtnn.Engine.load("other.engine").outputs == engine.outputs
    assert run("build", "mine.py:Filled", *TARGET).code == 0
    assert trtnn.Engine.load(mine.with_suffix(".engine")).description["model"] == "Filled"


def test_detect(run, mine, weights, tmp_path):
    for options in (["--model", "mine.py:Filled"], ["--model", "mine.py:Net", "--weights", weights]):
        result = run("detect", PICTURE, *options, "--reference", "-o", "out", "--names", "cat,dog")
        assert (result.code, result.err) == (0, "")
        (entry,) = json.loads((tmp_path / "out" / "detections.json").read_text()).values()
        assert {row["label"] for row in entry["detections"]} <= {"cat", "dog"}
        assert entry["detections"]


@pytest.mark.parametrize("command", [["inspect"], ["build"], ["detect", PICTURE, "--reference", "--model"]])
def test_an_error_in_a_forward_is_told_with_its_line(run, mine, command):
    mine.write_text(MINE + "\nclass Stumbling(Filled):\n    def forward(self, pictures):\n        return 1 / 0\n")
    result = run(*command, "mine.py:Stumbling")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: ZeroDivisionError: division by zero\n  mine.py:62: return 1 / 0\n"


def test_detect_of_what_is_no_detector(run, mine, tmp_path):
    result = run("detect", PICTURE, "--model", "mine.py:Classifier", "--reference", "-o", "out")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(
        "error: Classifier is not a detector\n  it gives float32[1, 6, 32], which are no boxes\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("half_scores", [[], ["--fp16-attention"]], ids=["scores in fp32", "scores in fp16"])
@pytest.mark.parametrize(
    "command", [["fp16"], ["build", "--fp16", "--fp32-module", "auto", "-o", "a.engine"]], ids=["fp16", "build"]
)
def test_samples_are_prepared_by_its_pipeline(run, mine, weights, monkeypatch, command, half_scores):
    seen = []

    def report(self, samples, *, fp16_attention):
        seen.extend([fp16_attention, *samples])
        raise ArgumentError("seen")

    monkeypatch.setattr("trtnn.Network.fp16_report", report)
    name, *options = (*command, *half_scores)
    assert run(name, "mine.py:Net", "--weights", weights, "--samples", PICTURE, *options).err == "error: seen\n"
    image = trtnn.vision.read_image(PICTURE)
    expected, _ = trtnn.vision.preprocess([image], (32, 64), how=trtnn.vision.Preprocessing("corner"))
    fp16_attention, sample = seen
    assert fp16_attention is bool(half_scores)
    np.testing.assert_array_equal(sample, expected)


@pytest.mark.usefixtures("no_build")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("none.py:Net", "there is no file none.py\n  none.py:Net is a class in a file of your own\n"),
        ("mine.py:Nte", "mine.py has no Nte\n  nearest: Net\n  its modules: Net, Filled, Vector, Classifier, "),
        ("mine.py", "mine.py may hold several classes: say which\n  its modules: Net, Filled, "),
        ("mine.py:", "mine.py may hold several classes: say which\n  its modules: Net, Filled, "),
        ("mine.py:Options", "Options in mine.py is no class of trtnn.Module\n  its modules: Net, "),
        ("mine.py:np", "np in mine.py is no class of trtnn.Module\n"),
        ("mine.py:Silent", 'declares no inputs\n  in its __init__: self.inputs = {"images": trtnn.Input((1, 3, 640, '),
        ("mine.py:Failing", "mine.py raised ZeroDivisionError: division by zero\n  mine.py:49: self.size = 1 / 0\n"),
        ("mine.py:Wrong", "groups 2\n  mine.py:54: self.conv = Conv2d(3, 8, 3, groups=2)\n"),
        (
            "mine.py:Needy",
            "Needy in mine.py cannot be made without arguments: missing a required argument: 'classes'\n",
        ),
        ("mine.py:Net", "mine.py:Net has no weights for conv.weight, conv.bias\n  give a checkpoint with --weights\n"),
        ("syntax.py:Net", "syntax.py raised SyntaxError: "),
        ("syntax.py:Net", "syntax.py:2: x = (1\n"),
        ("leaves.py:Net", "leaves.py raised SystemExit: 3\n  leaves.py:1: raise SystemExit(3)\n"),
        (
            "calls.py:Net",
            "calls.py raised TypeError: unsupported operand type(s) for +: 'int' and 'str'\n  calls.py:2: return 1",
        ),
        ("empty.py:Net", "empty.py has no Net\n  its modules: none\n"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(run, mine, tmp_path, what, message):
    (tmp_path / "syntax.py").write_text("import os\nx = (1\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "calls.py").write_text("def inner():\n    return 1 + '1'\ninner()\n")
    (tmp_path / "empty.py").write_text("")
    result = run("build", what)
    assert (result.code, result.out) == (1, "")
    assert message in result.err


FAILS = """
from trtnn.modules import Module

class Inner(Module):
    def forward(self, x):
        return x.sigmoidd()

class Net(Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.inner = {"x": (1, 3)}, Inner()

    def forward(self, x):
        return self.inner(x)
"""


def test_what_a_forward_raises_is_told_with_the_lines_that_it_came_by(run, mine, tmp_path):
    (tmp_path / "fails.py").write_text(FAILS)
    result = run("build", "fails.py:Net")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: AttributeError: 'Tensor' object has no attribute 'sigmoidd'\n"
        "  fails.py:14: return self.inner(x)\n  fails.py:6: return x.sigmoidd()\n"
    )


def test_a_bug_of_ours_is_no_message(run, mine, monkeypatch):
    monkeypatch.setattr("trtnn.graph.ends.flatten", None)
    with pytest.raises(TypeError, match="NoneType"):
        run("inspect", "mine.py:Filled")


def test_sizes_of_what_takes_no_pictures(run, mine):
    result = run("inspect", "mine.py:Vector", "--size", 64)
    assert result.code == 1
    assert "--size and --batch are for networks that take pictures" in result.err
    assert "the input 'x' is float32[2, 5]" in result.err


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_with_weights(run, tmp_path, monkeypatch):
    result = run("build", "yolov5n", "--weights", WEIGHTS, "-o", tmp_path / "a.engine", "--size", 32, *TARGET)
    assert (result.code, result.err) == (0, "")
    assert trtnn.Engine.load(tmp_path / "a.engine").description["classes"] == 10


@pytest.mark.usefixtures("no_build")
@pytest.mark.parametrize("command", ["build", "bench", "compare", "fp16"])
class TestWhatDoesNotGoTogether:
    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch):
        for module in ("bench", "compare"):
            monkeypatch.setattr(f"trtnn.cli.{module}.check_gpu", lambda: None)

    @pytest.fixture
    def options(self, command):
        return ["--samples", PICTURE] if command == "fp16" else []

    def test_a_name_without_weights(self, run, command, options):
        message = "error: yolov5s has no weights without a checkpoint\n  give one with --weights\n"
        assert run(command, "yolov5s", *options) == (1, "", message)

    def test_a_name_that_there_is_not(self, run, command, options):
        result = run(command, "yolo5s", *options)
        assert result.err.startswith("error: there is no file yolo5s, and no model of that name\n  nearest: yolov5s\n")
        assert run(command, "yolo5s", "--weights", WEIGHTS, *options) == result

    def test_two_models_or_two_checkpoints(self, run, command, options):
        result = run(command, "yolov5n", "--model", "yolov5s", "--weights", WEIGHTS, *options)
        assert result.err == "error: --model would change nothing here\n  yolov5n is the model\n"
        result = run(command, WEIGHTS, "--weights", WEIGHTS, *options)
        assert result.err == f"error: --weights would change nothing here\n  {WEIGHTS} is a checkpoint, not a model\n"


def test_detect_of_a_name_without_weights(run):
    result = run("detect", PICTURE, "--model", "yolov5n", "--reference")
    assert result == (1, "", "error: yolov5n has no weights without a checkpoint\n  give one with --weights\n")
    result = run("detect", PICTURE, "--model", "yolo5n", "--reference")
    assert result.err.startswith("error: no model is called 'yolo5n'\n  nearest: yolov5n")
