"""benchmarks/from_torch.py: its steps on small models, and what is told of steps that fail; no GPU is needed."""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from benchmarks import from_torch
from benchmarks.gpu import Task
from tests.helpers import ONE_TARGET, assert_close, load_random
from tests.standin import stand_in
from trtnn import functional as F

NAME = "torchvision:net"
# torch warns of the exporter that is the faster of the two, and of what it calls itself.
EXPORTS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def args(tmp_path, monkeypatch):
    """Arguments for steps in this process, whose models are a small one."""

    def make(name):
        assert name == NAME
        return load_random(Net()), (torch.rand(1, 3, 8, 8),), {}

    monkeypatch.setattr(from_torch, "make", make)
    return argparse.Namespace(
        what="gpu", out=tmp_path, task=Task("", NAME, 2), model=[NAME], batch=[1], level=0, gpus=["0"],
        aux_streams=None, fp16_attention=False, compare_torch=True, trt_python=sys.executable, end=math.inf,
        timing=tmp_path / "none",
    )  # fmt: skip


@pytest.fixture
def steps(monkeypatch):
    """The figures of steps by kind and level, in place of processes."""
    figures: dict[str, dict] = {}
    monkeypatch.setattr(from_torch, "run_step", lambda step, args, gpu=None: figures[step.kind + step.part])
    return figures


# -- steps ------------------------------------------------------------------------------------------------------------


@EXPORTS
def test_layers_of_both_roads(args):
    args.task = Task("", NAME)
    ours, theirs = from_torch.step_ours(args), from_torch.step_onnx(args)
    module, (images,), _ = from_torch.make(NAME)
    network = trtnn.from_torch(module, images).trace()
    assert ours["layers"] == network.graph.definition.num_layers
    assert ours["layers"] <= theirs["layers"]
    assert ours["difference"] < 1e-5
    assert min(ours["convert s"], ours["trace s"], ours["build s"]) > 0


def test_another_result_than_torch_ends_the_step(args, monkeypatch):
    module = load_random(Net())
    monkeypatch.setattr(from_torch, "make", lambda name: (module, (torch.rand(1, 3, 8, 8),), {}))
    monkeypatch.setattr("trtnn.network.Network.build", lambda *_, **__: module.fc.bias.data.add_(1))  # traced before
    args.task = Task("", NAME)
    with pytest.raises(trtnn.errors.VerificationError):
        from_torch.step_ours(args)


def test_a_conversion_shares_the_weights(args):
    args.task = Task("", NAME)
    figures = from_torch.step_speed(args)
    assert figures["weights shared"] == "4 of 4"
    assert figures["million parameters"] == pytest.approx((3 * 8 * 9 + 8 + 8 * 5 + 5) / 1e6)
    assert figures["limit s"] == pytest.approx(3 * figures["eager s"] + 0.5)
    assert figures["times the model"] >= 1


def test_the_peak_of_memory_begins_anew():
    np.ones(50_000_000)  # 400 MB, which are given back
    before = from_torch.forget_peak()
    held = np.ones(25_000_000)
    assert from_torch.peak_mb() - before == pytest.approx(held.nbytes / 1e6, abs=20)


@EXPORTS
def test_what_is_exported_runs_without_the_torch_module(args, monkeypatch):
    figures = from_torch.step_export(args)
    (args.out / Task("export", NAME, 2).result).write_text(json.dumps(figures))
    module, images = from_torch.module_and_images(args.task)
    monkeypatch.setattr(from_torch, "make", lambda name: pytest.fail("the torch module is not needed"))
    network = from_torch.load_converted(args).trace()
    with np.load(from_torch.numbers_file(args)) as numbers, torch.no_grad():
        assert (numbers["images"] == images.numpy()).all()
        assert_close(numbers["expected"], module(images), 1e-6)
        assert_close(network.run(numbers["images"]), module(images), 1e-5)
    assert (args.out / f"{NAME}-2.onnx").stat().st_size > 1000


@EXPORTS
@pytest.mark.parametrize(("parses", "part"), [(True, "1"), (False, "1"), (True, "1-fp16-attention")])
def test_both_roads_are_timed(args, monkeypatch, capsys, parses, part):
    """The GPU is stood in for; what either road builds runs the network that was exported."""
    (args.out / Task("export", NAME, 2).result).write_text(json.dumps(from_torch.step_export(args)))
    network = from_torch.load_converted(args).trace()
    stand_in(monkeypatch, network)
    engine = network.build(**ONE_TARGET)
    monkeypatch.setattr(trtnn.network.Network, "build", lambda self, timing_cache, progress, optimization_level: engine)

    def build_onnx(args, road, timing, level):
        if not parses:
            raise RuntimeError("no such operator")
        return engine.plan, 33

    monkeypatch.setattr(from_torch, "build_onnx", build_onnx)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    args.task = Task("tensorrt", NAME, 2, part)
    figures = from_torch.step_tensorrt(args)
    assert figures["level"] == 1
    assert figures["trtnn"]["layers"] == from_torch.load_converted(args).trace(fp16=True).graph.definition.num_layers
    for road in from_torch.ROADS if parses else ("trtnn",):
        assert figures[road]["difference"] < 1e-5
        assert min(figures[road][key] for key in ("build s", "execute", "graph")) > 0
    if not parses:
        assert figures["onnx"] == {"failed": "RuntimeError: no such operator"}
        assert "no such operator" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["1", "1-fp16-attention"])
def test_ours_is_built_as_its_step_says(args, monkeypatch, part):
    class Attends(trtnn.Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 2, 8, 16)}

        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x)

    networks = []
    monkeypatch.setattr(from_torch, "load_converted", lambda args: Attends())
    monkeypatch.setattr(trtnn.network.Network, "build", lambda network, **options: networks.append((network, options)))
    args.task = Task("tensorrt", NAME, 1, part)
    from_torch.build_converted(args, "trtnn", args.timing, 1)
    ((network, options),) = networks
    assert options["optimization_level"] == 1
    assert bool(network.graph.choices) is (part != "1")


def test_differences_are_parts_of_the_largest_magnitude():
    expected = np.array([[1.0, -4.0]], np.float32)
    assert from_torch.difference((np.array([[1.5, -4.0]], np.float16),), expected) == 0.125
    with pytest.raises(ValueError, match=r"shape \(2,\), and torch's \(1, 2\)"):
        from_torch.difference(np.zeros(2), expected)


# -- how steps are run ------------------------------------------------------------------------------------------------


def program(text: str, monkeypatch, tmp_path: Path) -> None:
    """Let this text run in place of the benchmark."""
    file = tmp_path / "program.py"
    file.write_text(f"import sys, pathlib, json, os, subprocess, time\n{text}")
    monkeypatch.setattr(from_torch, "__file__", str(file))


def test_a_step_is_not_run_again(args, monkeypatch, tmp_path):
    program(
        "arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))\n"
        "step = json.loads(arguments['--step'])\n"
        "seen = {'step': step, 'what': sys.argv[1], 'gpu': os.environ['CUDA_VISIBLE_DEVICES']}\n"
        f"pathlib.Path(arguments['--out'], {Task('export', NAME, 2).result!r}).write_text(json.dumps(seen))",
        monkeypatch,
        tmp_path,
    )
    step = Task("export", NAME, 2)
    seen = from_torch.run_step(step, args, "3")
    assert seen == {"step": list(step), "what": "gpu", "gpu": "3"}
    program("raise SystemExit(1)", monkeypatch, tmp_path)
    assert from_torch.run_step(step, args, "4") == seen


def test_a_step_that_fails_says_its_last_line(args, monkeypatch, tmp_path):
    program("raise RuntimeError('out of memory')", monkeypatch, tmp_path)
    assert from_torch.run_step(Task("torch", NAME), args) == {"failed": "RuntimeError: out of memory"}
    program("raise SystemExit(3)", monkeypatch, tmp_path)
    assert from_torch.run_step(Task("torch", NAME), args) == {"failed": "ended with 3"}
    args.end = time.monotonic()
    assert from_torch.run_step(Task("torch", NAME), args) == {"failed": "no time was left"}


def test_a_step_that_hangs_ends_with_what_it_started(args, monkeypatch, tmp_path):
    """Its helper holds a pipe open, whose end says that it is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    helper = f"import time; pipe = open({str(pipe)!r}, 'w'); time.sleep(600)"
    program(f"subprocess.Popen([sys.executable, '-c', {helper!r}])\ntime.sleep(600)", monkeypatch, tmp_path)
    monkeypatch.setitem(from_torch.LIMITS_S, "torch", 2)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert from_torch.run_step(Task("torch", NAME), args) == {"failed": "took more than 2 s"}
    assert select.select([reader], [], [], 30)[0], "the helper runs on"
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_tensorrt_has_its_own_python(args, monkeypatch):
    commands = []

    def run_for(command, seconds, log, environment):
        commands.append(command)
        log.touch()
        return 1

    monkeypatch.setattr(from_torch, "run_for", run_for)
    args.trt_python = "/opt/trt86/bin/python"
    for kind in ("export", "tensorrt", "torch"):
        from_torch.run_step(Task(kind, NAME), args)
    assert [command[0] for command in commands] == [sys.executable, args.trt_python, sys.executable]


# -- what is printed --------------------------------------------------------------------------------------------------


def test_more_layers_than_the_onnx_road_are_told(args, steps, capsys):
    steps["ours"] = {"convert s": 0.5, "trace s": 0.1, "build s": 1.0, "layers": 12, "difference": 3e-7}
    steps["onnx"] = {"export s": 2.0, "parse s": 0.25, "build s": 1.5, "layers": 12}
    assert from_torch.run_layers(args) == []
    assert f"| {NAME} | 0.5 / 0.1 / 1 | 2 / 0.25 / 1.5 | 12 | 12 | 3e-07 |" in capsys.readouterr().out
    steps["onnx"]["layers"] = 11
    assert from_torch.run_layers(args) == [f"{NAME}: 12 layers, but 11 by way of ONNX"]
    steps["onnx"] = {"failed": "the parser refused it"}
    assert from_torch.run_layers(args) == []
    assert "the parser refused it" in capsys.readouterr().out
    steps["ours"] = {"failed": "took more than 600 s"}
    assert from_torch.run_layers(args) == [f"{NAME}: took more than 600 s"]


def test_a_slow_conversion_is_told(args, steps, capsys):
    keys = ("million parameters", "eager s", "first convert s", "convert s", "limit s", "model MB", "eager adds MB")
    steps["speed"] = dict.fromkeys((*keys, "convert adds MB", "times the model"), 1.0) | {"weights shared": "4 of 4"}
    assert from_torch.run_speed(args) == []
    assert f"| {NAME} | 1 | 1 |" in capsys.readouterr().out
    steps["speed"]["convert s"] = 1.5
    assert from_torch.run_speed(args) == [f"{NAME}: 1.50 s, and the limit is 1.00 s"]


def test_a_row_of_the_gpu(args, steps, capsys):
    roads = {
        "trtnn": {"execute": 0.9, "graph": 0.75, "layers": 10, "build s": 20.0, "difference": 1e-3},
        "onnx": {"execute": 1.0, "graph": 0.8, "layers": 30, "build s": 25.0, "difference": 2e-3},
    }
    steps |= {
        "export": {},
        "tensorrt0": roads,
        "torch": {"eager": 4.0, "graph": 2.0, "compile": 1.5, "difference": 3e-3},
    }
    args.batch = [1, 8]
    assert from_torch.run_gpu(args) == []
    row = "| 0.900 / 0.750 | 1.000 / 0.800 | 0.94 | 4.000 / 2.000 / 1.500 | 0.50 "
    row += "| 10 / 30 | 20 / 25 | 1e-03 / 2e-03 / 3e-03 |"
    out = capsys.readouterr().out
    assert f"| {NAME}, 1 {row}\n| {NAME}, 8 {row}" in out


def test_a_row_of_the_gpu_with_scores_in_half(args, steps, capsys):
    """It is no row of the others."""
    failed = {"failed": "of the others"}
    figures = {"execute": 0.9, "graph": 0.75, "layers": 10, "build s": 20.0, "difference": 1e-3}
    steps |= {"export": {}, "tensorrt0": failed, "tensorrt0-fp16-attention": {"trtnn": figures, "onnx": figures}}
    args.compare_torch, args.fp16_attention = False, True
    assert from_torch.run_gpu(args) == []
    out = capsys.readouterr().out
    assert "Ours keep the scores of attention in fp16.\n" in out
    assert f"| {NAME}, 1 | 0.900 / 0.750 | 0.900 / 0.750 | 1.00 |" in out


def test_a_row_of_the_gpu_with_what_failed(args, steps):
    """What one road or torch lacks does not keep the others back."""
    ours = {"execute": 0.9, "graph": 0.75, "layers": 10, "build s": 20.0, "difference": 1e-3}
    steps |= {"export": {}, "tensorrt0": {"trtnn": ours, "onnx": {"failed": "no parser | at all"}}}
    args.compare_torch = False
    text, wrong = from_torch.gpu_row(args.task, args, "0")
    assert wrong == []
    assert text.startswith(f"| {NAME}, 2 | 0.900 / 0.750 | no parser / at all |  |  |  | 10 / no parser")
    steps["tensorrt0"] = {"failed": "took more than 240 s"}
    assert from_torch.gpu_row(args.task, args, "0")[1] == [f"{NAME}, 2: no engine of ours"]
    steps["export"] = {"failed": "no such model"}
    assert from_torch.gpu_row(args.task, args, "0") == (
        f"| {NAME}, 2 | no such model |", [f"{NAME}, 2: nothing was exported"]
    )  # fmt: skip


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["gpu"], "gpu writes its results to a folder: --out FOLDER"),
        (["layers", "--model", "resnet18"], "a model is torchvision:NAME or timm:NAME, not resnet18"),
        (["gpu", "--out", "x", "--gpus", "0"], "--gpus 0: at least 1, and no more than"),
        (["weights"], "invalid choice: 'weights'"),
    ],
)
def test_what_is_wrong_with_the_arguments(options, words, capsys):
    with pytest.raises(SystemExit):
        from_torch.parse(options)
    assert words in capsys.readouterr().err


def test_each_has_its_models():
    assert len(from_torch.parse(["layers"]).model) == 21
    assert len(from_torch.parse(["gpu", "--out", "x"]).model) == 10
    assert from_torch.parse(["speed", "--model", NAME]).model == [NAME]


def test_what_is_wrong_is_the_exit_code(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(from_torch.sys, "argv", ["from_torch.py", "layers", "--out", str(tmp_path / "out")])
    monkeypatch.setitem(from_torch.RUNS, "layers", lambda args: ["resnet18: 12 layers"] if args.out.exists() else [])
    with pytest.raises(SystemExit, match="resnet18: 12 layers"):
        from_torch.main()
    assert "cores of" in capsys.readouterr().out


def test_a_step_leaves_its_figures(args, monkeypatch, tmp_path):
    step = json.dumps(Task("export", NAME, 2))
    monkeypatch.setattr(from_torch.sys, "argv", ["from_torch.py", "gpu", "--out", str(tmp_path), "--step", step])
    monkeypatch.setitem(from_torch.STEPS, "export", lambda args: {"model": args.task.model})
    from_torch.main()
    assert json.loads((tmp_path / Task("export", NAME, 2).result).read_text()) == {"model": NAME}
