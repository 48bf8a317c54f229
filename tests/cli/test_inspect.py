"""``trtnn inspect`` of checkpoints, models and engines."""

import json

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ONE_TARGET, message_of
from trtnn import models
from trtnn.cli.sources import fill_empty, make_model
from trtnn.errors import ArgumentError
from trtnn.examples.digits import WEIGHTS
from trtnn.modules import Linear


def test_a_checkpoint_of_a_known_model(run):
    result = run("inspect", WEIGHTS)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    state = trtnn.load(WEIGHTS)
    assert lines[0].split() == ["name", "type", "shape"]
    assert [line.split()[0] for line in lines[1:-3]] == list(state)
    assert "model.0.conv.weight" in result.out
    (stem,) = (line for line in lines if line.startswith("model.0.conv.weight"))
    assert stem.split() == ["model.0.conv.weight", "float16", "16×3×6×6"]
    numbers = sum(array.size for array in state.values())
    assert lines[-2] == f"{len(state)} tensors, {numbers:,} numbers, {2 * numbers / 1e6:.1f} MB"
    assert lines[-1] == "model: yolov5n, classes 10, version 6.0"
    assert max(map(len, lines)) <= 80


def test_a_checkpoint_of_no_known_model(run, tmp_path):
    trtnn.save({"steps": np.array(3), "x" * 100: np.zeros((1, 2), np.float32)}, tmp_path / "a.npz")
    result = run("inspect", tmp_path / "a.npz")
    assert result.code == 0
    assert f"{'x' * 100}  float32  1×2\n" in result.out
    assert f"{'steps':100}  int64    scalar\n" in result.out
    assert result.out.endswith("2 tensors, 3 numbers, 0.0 MB\nmodel: none that trtnn knows\n")


def test_a_checkpoint_of_another_width_and_one_that_may_be_two_are_told(run, tmp_path):
    wide = models.create("yolov5n", classes=2, width=0.375)
    pose = models.create("yolov8n-pose", classes=1, kpt_shape=(2, 3))
    for name, model in (("wide", wide), ("pose", pose)):
        members = (*model.named_parameters(), *model.named_buffers())
        trtnn.save({path: np.zeros(member.shape, np.float32) for path, member in members}, tmp_path / f"{name}.npz")
    usual = {name: member.numel() for name, member in models.create("yolov5n", classes=2)._state().items()}
    others = [name for name, member in wide._state().items() if member.numel() != usual[name]]
    result = run("inspect", tmp_path / "wide.npz", "--json", tmp_path / "wide.json")
    assert result.out.splitlines()[-1] == (
        "model: none that trtnn has, nearest yolov5n, classes 2, version 6.0: "
        f"other sizes of model.0.conv.weight, model.0.bn.weight, model.0.bn.bias and {len(others) - 3} more"
    )
    assert json.loads((tmp_path / "wide.json").read_text())["model"] is None
    assert run("inspect", tmp_path / "pose.npz").out.endswith(
        "model: yolov8n-pose, classes 1, kpt_shape of 6 numbers, which nothing tells more of\n"
    )


def test_numbers_that_are_none_are_told(run, tmp_path):
    weights = {name: np.ones(2, np.float32) for name in "abcd"}
    weights["a"][1] = weights["b"][0] = np.nan
    weights["c"][1] = -np.inf
    trtnn.save({**weights, "steps": np.array(3)}, tmp_path / "a.npz")
    assert "\nnan or inf in a, b, c\n" in run("inspect", tmp_path / "a.npz").out
    halves = {"w": torch.tensor([1.0, float("inf")], dtype=torch.bfloat16), "v": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(halves, tmp_path / "b.pt")
    assert "\nnan or inf in w\n" in run("inspect", tmp_path / "b.pt").out


def test_a_training_checkpoint_says_what_was_taken_and_more(run, tmp_path):
    content = {"model": {"w": torch.ones(2)}, "ema": {"w": torch.ones(2)}, "names": ["cat", "d\x1b[2Jog"], "epoch": 3}
    torch.save({**content, "train_args": {"imgsz": 320, "lr0": 0.01}}, tmp_path / "a.pt")
    result = run("inspect", tmp_path / "a.pt")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[-6:] == [
        "names: cat, d\\x1b[2Jog",
        "train_args: imgsz 320, lr0 0.01",
        "imgsz: 320",
        "taken: ema",
        "others: model",
        "model: none that trtnn knows",
    ]
    torch.save({"model.10.m.0.attn.qkv.conv.weight": torch.ones(1)}, tmp_path / "b.pt")
    assert run("inspect", tmp_path / "b.pt").out.endswith(
        "model: YOLO11 or a later one in another form, which trtnn has not\n"
    )


def test_a_model_s_name(run):
    result = run("inspect", "yolov5n", "--size", 64, "--batch", 2, "--fp16")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["module", "layer", "output", "parameters", "FLOPs"]
    assert any(line.startswith("model.0.conv ") and "float16[2, 16, 32, 32]" in line for line in lines)
    assert lines[-1].startswith("total")


def test_a_model_by_module(run):
    result = run("inspect", "yolov5n", "--size", 64, "--depth", 2)
    assert (result.code, result.err) == (0, "")
    whole = run("inspect", "yolov5n", "--size", 64)
    lines = result.out.splitlines()
    assert lines[-1].split()[:3] == whole.out.splitlines()[-1].split()[:3]
    assert lines[-1].split()[-2:] == whole.out.splitlines()[-1].split()[-2:]
    assert [line.split()[0] for line in lines[2:-2]] == [f"model.{i}" for i in range(25)]
    (row,) = (line for line in lines if line.startswith("model.0 "))
    assert "float32[1, 16, 32, 32]" in row
    network = fill_empty(make_model("yolov5n")).trace({"images": (1, 3, 64, 64)})
    own = [layer for layer in network.layers() if layer.path.startswith("model.0.")]
    assert f"{len(own)} layers" in row
    assert row.split()[-2:] == [f"{sum(x.parameters for x in own):,}", f"{sum(x.flops for x in own):,}"]
    assert "depth is a positive int, not 0" in message_of(ArgumentError, network.summary, 0)
    assert "--depth would change nothing" in run("inspect", WEIGHTS, "--depth", 2).err


def test_all_of_it_as_json(run, tmp_path):
    path = tmp_path / "a.json"
    assert run("inspect", "yolov5n", "--size", "64x96", "--json", path).code == 0
    found = json.loads(path.read_text())
    assert found["inputs"] == {"images": {"shape": [1, 3, 64, 96], "dtype": "float32"}}
    assert found["model"] == "yolov5n"
    network = fill_empty(make_model("yolov5n")).trace({"images": (1, 3, 64, 96)})
    assert sum(layer["flops"] for layer in found["layers"]) == network.flops
    assert found["layers"][0]["module"] == network.layers()[0].path

    assert run("inspect", WEIGHTS, "--json", path).code == 0
    found = json.loads(path.read_text())
    assert found["model"] == {"name": "yolov5n", "classes": 10, "version": "6.0"}
    assert found["tensors"]["model.0.conv.weight"] == {"dtype": "float16", "shape": [16, 3, 6, 6]}

    layer = Linear(2, 3)
    layer.load_state_dict({"weight": np.ones((3, 2), np.float32), "bias": np.ones(3, np.float32)})
    engine = layer.compile({"input": (4, 2)}, **ONE_TARGET)
    engine.save(tmp_path / "a.engine")
    assert run("inspect", tmp_path / "a.engine", "--json", path).code == 0
    found = json.loads(path.read_text())
    assert found["outputs"] == {"output": {"shape": [4, 3], "dtype": "float32"}}
    assert found["plan_bytes"] == engine.plan.nbytes


def test_an_engine(run, tmp_path):
    layer = Linear(2, 3)
    layer.load_state_dict({"weight": np.ones((3, 2), np.float32), "bias": np.ones(3, np.float32)})
    layer.metadata = {"classes": 3}  # which nobody named
    layer.compile({"input": (4, 2)}, **ONE_TARGET).save(tmp_path / "a [b].plan")
    result = run("inspect", tmp_path / "a [b].plan")
    assert (result.code, result.err) == (0, "")
    assert "input: float32[4, 2]" in result.out
    assert "float32[4, 3]" in result.out
    assert "plan_bytes" not in result.out
    assert "plan_digest" not in result.out
    assert "names" not in result.out


def test_plans_of_other_tools(run, tmp_path):
    text = b'{"task": "detect", "stride": 32, "names": {"0": "cat", "1": "dog"}}'
    (tmp_path / "theirs.engine").write_bytes(len(text).to_bytes(4, "little") + text + b"ftrt" + bytes(2_000_000))
    (tmp_path / "bare.plan").write_bytes(b"ftrt" + bytes(1_000_000))
    theirs, bare = run("inspect", tmp_path / "theirs.engine"), run("inspect", tmp_path / "bare.plan")
    for result, megabytes in ((theirs, "2.0 MB"), (bare, "1.0 MB")):
        assert (result.code, result.err) == (0, "")
        assert "not known here" in result.out
        assert megabytes in result.out
    assert "1: dog" in theirs.out
    assert "stride" in theirs.out
    assert "stride" not in bare.out


@pytest.mark.parametrize("data", [b"", b"abc", b"\x05\0\0\0hello", b"\xff\xff\xff\x7f" + b"x" * 100])
def test_a_damaged_engine(run, tmp_path, data):
    path = tmp_path / "bad.engine"
    path.write_bytes(data)
    result = run("inspect", path)
    assert (result.code, result.out) == (1, "")
    assert str(path) in result.err
    assert "engine file" in result.err


def test_an_engine_whose_plan_was_changed(run, tmp_path):
    layer = Linear(2, 3)
    layer.load_state_dict({"weight": np.ones((3, 2), np.float32), "bias": np.ones(3, np.float32)})
    path = layer.compile({"input": (4, 2)}, **ONE_TARGET).save(tmp_path / "a.engine")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    result = run("inspect", path)
    assert (result.code, result.out) == (1, "")
    assert f"the plan of this engine is damaged: {path}" in result.err


def test_nothing_of_that_name(run):
    result = run("inspect", "yolov5z6")
    assert result.code == 1
    message = (
        "error: there is no file yolov5z6, and no model of that name\n"
        "  near: yolov5n6, yolov5s6, yolov5m6, yolov5l6, yolov5x6\n  trtnn models lists all "
    )
    assert result.err.startswith(message)
    assert run("inspect", "n" * 5000).code == 1


def test_options_of_a_name_are_not_for_files(run):
    result = run("inspect", WEIGHTS, "--size", 64, "--fp16")
    assert result == (1, "", "error: --size, --fp16 would change nothing here\n  this is for a model\n")


def test_whether_an_engine_runs_there(run, tmp_path):
    path = tmp_path / "a.engine"
    module = Linear(3, 2)
    fill_empty(module)
    engine = module.compile({"input": (1, 3)}, **ONE_TARGET)
    engine.save(path)
    (gpu,) = engine.targets
    result = run("inspect", path, "--for", f"{gpu},driver=580", "--json", tmp_path / "a.json")
    assert result.code == 0
    assert "nothing speaks against it\n" in result.out
    said = json.loads((tmp_path / "a.json").read_text())["can_run"]
    assert (said["on"], said["can_run"], said["problems"]) == (f"{gpu},driver=580", True, [])
    result = run("inspect", path, "--for", "sm61", "--json", tmp_path / "a.json")
    assert result.code == 1
    assert "it cannot run\n  the GPU there is sm61: build it again for this one\n" in result.out
    assert json.loads((tmp_path / "a.json").read_text())["can_run"]["problems"]
    assert "this is for an engine" in run("inspect", WEIGHTS, "--for", "sm61").err
    assert "'sm' tells nothing of a machine" in run("inspect", path, "--for", "sm").err


def test_a_checkpoint_that_lacks_its_anchors_is_of_no_number_of_classes(run, tmp_path):
    model = models.create("yolov5n", classes=3)
    trtnn.save(
        {path: np.zeros(member.shape, np.float32) for path, member in model.named_parameters()}, tmp_path / "a.npz"
    )
    result = run("inspect", tmp_path / "a.npz", "--json", tmp_path / "a.json")
    assert result.out.splitlines()[-1] == (
        "model: yolov5n, version 6.0; nothing tells how many anchors and classes this YOLOv5 has: "
        "model.24.anchors is missing; the 24 numbers of a cell, anchors · (5 + classes), may be "
        "3 · (5 + 3), 1 · (5 + 19), 2 · (5 + 7), 4 · (5 + 1)"
    )
    assert json.loads((tmp_path / "a.json").read_text())["model"] == {"name": "yolov5n", "version": "6.0"}
