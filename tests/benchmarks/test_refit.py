"""The steps of the benchmark of new weights, on a stand-in for the GPU; and how a run goes on."""

from __future__ import annotations

import argparse
import json

import pytest

import trtnn
from benchmarks import refit
from benchmarks.refit import Step
from tests.engine.refitted import stand_in_builds
from tests.helpers import ONE_TARGET, needs_type


@pytest.fixture
def args(tmp_path):
    return argparse.Namespace(
        out=tmp_path,
        model=["yolov5n:1"],
        steps=list(refit.STEPS),
        cold=False,
        refits=2,
        refits_a_step=1,
        calls=2,
        level=None,
        aux_streams=1,
        size=32,
        targets=ONE_TARGET,
    )


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(refit, "milliseconds", lambda call: call() or 2.0)
    return stand_in_builds(monkeypatch)


@needs_type("float16")
def test_all_steps(args, gpu, capsys):
    args.cold = bool(not ONE_TARGET)  # TensorRT-RTX has no timing cache
    steps = list(refit.all_steps(args))
    for args.step in steps:
        refit.run_here(args)
    done = {step: json.loads((args.out / step.result).read_text()) for step in steps}
    for figures in done.values():
        assert figures["circumstances"]["tensorrt"] == str(trtnn.get_backend())
    of_refit = done[Step("refit", "yolov5n", 1)]
    same = {name: value for name, value in of_refit.items() if "beside" in name}
    assert len(same) == 8
    assert all(value == {"bit for bit": True, "difference": 0.0} for value in same.values()), same
    apart = [value for name, value in of_refit.items() if name.startswith("that far")]
    assert len(apart) == 2
    assert min(apart) > 100 * refit.TOLERANCE
    assert of_refit["arrays of the head that changed, time 2"] == 6
    assert of_refit["arrays that changed, time 2"] > 100
    rebuilt = done[Step("rebuild", "yolov5n", 1)]
    assert rebuilt["then beside a fresh build"]["bit for bit"]
    for how in ("plain", "in a CUDA graph"):
        assert (rebuilt[f"{how}: wrong results"], rebuilt[f"{how}: the last is of the new weights"]) == (0, True)
    for part in range(2):
        loaded = done[Step("load", "yolov5n", 1, part)]
        assert (loaded["refits"], loaded["wrong results"], loaded["errors"]) == (1, 0, [])
        assert loaded["calls"] > 0
    refit.write_differences(args)
    assert (args.out / "yolov5n-1-layers.diff").read_text() == "\n"  # the stand-in's layers are the same
    table = refit.table(args)
    assert "| yolov5n 1 | refittable / plain, ms in a CUDA graph | 1.000 |" in table
    assert "not done" not in table
    assert '| load | all | {"refits": 2, "calls": ' in table
    assert "plain yolov5n 1 | ms in a CUDA graph | 2" in capsys.readouterr().out


@needs_type("float16")
def test_a_wrong_result_is_counted(args, gpu, monkeypatch):
    """Here of an engine whose refits change nothing."""
    for args.step in (Step("weights", "yolov5n"), Step("marked", "yolov5n")):
        refit.run_here(args)
    monkeypatch.setattr(type(gpu), "Refitter", _idle_refitter(type(gpu).Refitter))
    args.step = Step("load", "yolov5n")
    refit.run_here(args)
    figures = json.loads((args.out / args.step.result).read_text())
    assert figures["that far are the two heads apart, at least"] == 0
    assert figures["wrong results"] == figures["calls"] > 0  # they are of both heads


def _idle_refitter(usual):
    def make(self, engine, logger):
        refitter = usual(self, engine, logger)
        refitter.refit_cuda_engine = lambda: True
        return refitter

    return make


def test_layers_side_by_side(args):
    plain = [{"LayerType": "Conv", "TacticName": "fused", "Name": "a + b"}, "c"]
    marked = [{"LayerType": "Conv", "TacticName": "plain", "Name": "a", "Outputs": [{"Format/Datatype": "Half"}]}, "c"]
    for name, layers in (("plain", plain), ("marked", marked)):
        (args.out / f"m-1-{name}.layers.json").write_text(json.dumps({"Layers": layers}))
    refit.write_differences(args)
    assert (args.out / "m-1-layers.diff").read_text().splitlines()[3:] == [
        "-Conv |  | fused | a + b",
        "+Conv | Half | plain | a",
        " c",
    ]


def test_a_run_that_is_repeated_does_what_is_missing(args, monkeypatch, capsys):
    ran, limits = [], []

    def run_process(step, seconds):
        ran.append(step)
        limits.append(seconds)
        if step.kind != "rebuild":  # which fails
            (args.out / step.result).write_text("{}")

    monkeypatch.setattr(refit, "run_process", run_process)
    monkeypatch.setattr(refit, "unpack_timing", lambda args: None)
    monkeypatch.setattr(refit, "table", lambda args: "the table")
    command = ["refit.py", "--out", str(args.out), "--model", "yolov5s:1,8", "yolov5x:1", "--refits", "150"]
    monkeypatch.setattr("sys.argv", [*command, "--seconds", "100"])
    refit.main()
    assert [(step.kind, step.model, step.batch, step.part) for step in ran] == [
        ("weights", "yolov5s", 1, 0),
        ("plain", "yolov5s", 1, 0),
        ("marked", "yolov5s", 1, 0),
        ("plain", "yolov5s", 8, 0),
        ("marked", "yolov5s", 8, 0),
        ("refit", "yolov5s", 1, 0),
        ("rebuild", "yolov5s", 1, 0),
        ("load", "yolov5s", 1, 0),
        ("load", "yolov5s", 1, 1),
        ("weights", "yolov5x", 1, 0),
        ("plain", "yolov5x", 1, 0),
        ("marked", "yolov5x", 1, 0),
        ("refit", "yolov5x", 1, 0),
        ("rebuild", "yolov5x", 1, 0),
        ("load", "yolov5x", 1, 0),
        ("load", "yolov5x", 1, 1),
    ]
    assert max(limits) <= 100
    ran.clear()
    monkeypatch.setattr("sys.argv", command)
    refit.main()
    assert ran == [Step("rebuild", "yolov5s"), Step("rebuild", "yolov5x")]
    assert limits[-1] == refit.LIMITS["rebuild"]
    ran.clear()
    monkeypatch.setattr("sys.argv", [*command, "--steps", "load"])
    refit.main()
    assert ran == []
    assert "the table" in capsys.readouterr().out
