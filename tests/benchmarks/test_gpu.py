"""The run of the GPU's benchmark: what it begins with, leaves, and does not do again; no task of it runs here."""

from __future__ import annotations

import argparse
import json
import lzma
import math
import time

import numpy as np
import pytest
import torch

import trtnn
from benchmarks import gpu
from benchmarks.gpu import Task
from trtnn import functional as F
from trtnn import models


@pytest.fixture
def args(tmp_path):
    """The arguments of a run whose folder is there, and a packed timing cache."""
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/a.cache.xz").write_bytes(lzma.compress(b"measured"))
    options = {"model": ["yolov5s:1,8"], "torch": [], "roads": None, "levels": [], "build": False, "gpus": ["0"]}
    options |= {"models_only": False, "fp16_attention": False}
    (tmp_path / "out").mkdir()
    folders = {"out": tmp_path / "out", "timing": tmp_path / "packed"}
    return argparse.Namespace(**options, **folders, end=math.inf, level=1, aux_streams=None, trt_python="python")


@pytest.fixture
def ran(monkeypatch):
    """The tasks that were run, by a stand-in that leaves what they would; ``ran.failing`` leave nothing."""

    class Ran(list):
        failing: tuple[Task, ...] = ()

    done = Ran()
    done.gpus = {}

    def run_process(tasks, args, gpu_of_these):
        args = argparse.Namespace(**vars(args))
        for task in tasks:
            done.append(task)
            done.gpus[task] = gpu_of_these
            if task in done.failing:
                continue
            args.task = task
            if task.kind == "build":
                gpu.engine_file(args, task.part).touch()
            roads = [road for road in gpu.roads_of(task.model) if gpu.engine_file(args, road).exists()]
            figures = {road: {"execute": 1.0} for road in roads} if task.kind == "time" else {"seconds": 1.0}
            (args.out / task.result).write_text(json.dumps(figures))

    monkeypatch.setattr(gpu, "run_process", run_process)
    return done


def test_a_run_that_is_repeated_does_nothing_again(args, ran):
    gpu.run_all(args)
    assert len(ran) == len(set(ran)) > 8
    assert ran.count(Task("time", "yolov5s", 8)) == 1
    table = (args.out / "table.md").read_text()
    assert "| yolov5s, 8 | 1.000 /" in table
    ran.clear()
    gpu.run_all(args)
    assert ran == []
    assert (args.out / "table.md").read_text() == table


def test_what_is_missing_is_done_and_the_model_timed_anew(args, ran):
    """An engine that came later is not compared with timings of another run."""
    missing = Task("build", "yolov5s", 8, "onnx")
    ran.failing = (missing, Task("time", "yolov5s", 1))
    gpu.run_all(args)
    assert "onnx" not in json.loads((args.out / Task("time", "yolov5s", 8).result).read_text())
    ran.clear()
    ran.failing = ()
    gpu.run_all(args)
    assert ran == [missing, Task("time", "yolov5s", 1), Task("time", "yolov5s", 8)]
    assert json.loads((args.out / ran[-1].result).read_text()).keys() == set(gpu.ROADS)


def test_each_model_and_batch_has_a_gpu_of_its_own(args, ran):
    args.model, args.gpus, args.levels = ["yolov5s:1,8", "yolov5s-dcn:8"], ["2", "3"], [1, 3]
    gpu.run_all(args)
    assert set(ran.gpus.values()) == {"2", "3"}
    kinds = [task.kind for task in ran]
    assert kinds == sorted(
        kinds, key=("weights", "export", "build", "time", "boxes", "copies", "overhead", "cold", "again").index
    )
    assert {task.part for task in ran if task.kind in ("cold", "again")} == {"1", "3"}
    builds = [Task("build", *rest) for rest in (("a", 1, "x"), ("a", 8, "x"), ("a-dcn", 1, "y"), ("b", 1, "x"))]
    assert gpu.grouped(builds) == [[builds[0], builds[2]], [builds[1]], [builds[3]]]
    levels = [Task("cold", "a", 1, "1"), Task("cold", "a", 1, "3")]
    assert gpu.grouped(levels) == [[levels[0]], [levels[1]]]


def test_a_process_that_cannot_start_ends_the_run(args, monkeypatch):
    """Its GPU is free again for the groups that wait for one."""

    def run_process(tasks, args, gpu_of_these):
        raise FileNotFoundError("no such python")

    monkeypatch.setattr(gpu, "run_process", run_process)
    args.gpus = ["0", "1"]
    with pytest.raises(FileNotFoundError):
        gpu.run_tasks([Task("build", f"m{i}", 1, "trtnn") for i in range(6)], args)


def test_a_level_is_built_again_only_where_it_was_built(args, ran):
    """A third build that found nothing measured would be told as one that did."""
    args.levels, ran.failing = [1, 3], (Task("cold", "yolov5s", 1, "3"),)
    gpu.run_all(args)
    assert [task.part for task in ran if task.kind == "again"] == ["1"]


def test_a_process_sees_the_gpu_that_it_was_given(args, monkeypatch):
    seen = []
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **options: seen.append(options["env"]))
    gpu.run_process([Task("time", "yolov5s", 1)], args, "3")
    assert seen[0]["CUDA_VISIBLE_DEVICES"] == "3"
    assert seen[0]["PATH"]


def test_a_process_is_told_how_to_build(args, monkeypatch):
    commands = []
    monkeypatch.setattr(gpu.subprocess, "run", lambda command, **_: commands.append(command))
    for args.level, args.aux_streams, args.fp16_attention in ((1, None, False), (3, 2, False), (1, None, True)):
        gpu.run_process([Task("time", "yolov5s", 1)], args, "0")
    assert "--aux-streams" not in commands[0]
    assert commands[1][-2:] == ["--aux-streams", "2"]
    assert [command[command.index("--level") + 1] for command in commands] == ["1", "3", "1"]
    assert [command[-1] == "--fp16-attention" for command in commands] == [False, False, True]


@pytest.mark.parametrize("road", ["trtnn", "trtnn-half-input"])
def test_trtnn_builds_attention_as_it_is_told(args, monkeypatch, road):
    class Net(trtnn.Module):
        def forward(self, images):
            return F.scaled_dot_product_attention(images, images, images)

    networks = []
    monkeypatch.setattr(gpu, "SIZE_PX", 8)
    monkeypatch.setattr(gpu, "load_model", lambda args, lowering: Net())
    monkeypatch.setattr(trtnn.network.Network, "build", lambda network, **options: networks.append(network))
    args.task = Task("build", "net", 2, road)
    for args.fp16_attention in (False, True):
        gpu.build_trtnn(args, road, args.out / "timing", 1)
    assert [bool(network.graph.choices) for network in networks] == [False, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--aux-streams", "128"], "max_aux_streams is an int from 0 to 127, not 128"),
        (["--level", "6"], "optimization_level goes from 0 to 5, not 6"),
        (["--levels", "1", "-1"], "optimization_level goes from 0 to 5, not -1"),
    ],
)
def test_settings_that_no_build_takes_are_told_first(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit):
        gpu.main()
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_results_of_one_level_number_of_streams_and_attention(args, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(gpu, "run_all", runs.append)
    for options in ([], [], ["--aux-streams", "1"], ["--level", "3"], ["--fp16-attention"]):
        monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", "--out", str(args.out), *options])
        if options:
            with pytest.raises(SystemExit):
                gpu.main()
            assert "give another folder" in capsys.readouterr().err
        else:
            gpu.main()
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("visible", "asked", "expected"), [(None, 1, ["0"]), (None, 3, ["0", "1", "2"]), ("4,6,7", 2, ["4", "6"])]
)
def test_the_gpus_of_a_run(args, monkeypatch, capsys, visible, asked, expected):
    seen = []
    monkeypatch.setattr(gpu, "run_all", lambda args: seen.append(args.gpus))
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", "--out", str(args.out), "--gpus", str(asked)])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu.main()
    assert seen == [expected]
    for wrong in (0, 4) if visible else (0,):
        gpu.sys.argv[-1] = str(wrong)
        with pytest.raises(SystemExit):
            gpu.main()
        assert f"--gpus {wrong}: at least 1, and no more than" in capsys.readouterr().err


def test_a_task_that_fails_does_not_keep_the_others_back(args, monkeypatch, capsys):
    def task(args):
        if args.task.batch == 2:
            raise RuntimeError("out of memory")
        return {"batch": args.task.batch}

    monkeypatch.setitem(gpu.TASKS, "build", task)
    tasks = [Task("build", "yolov5s", batch, "trtnn") for batch in (1, 2, 3)]
    args.tasks = json.dumps(tasks)
    gpu.run_here(args)
    assert "RuntimeError: out of memory" in capsys.readouterr().err
    assert sorted(path.name for path in args.out.iterdir()) == [tasks[0].result, tasks[2].result]
    assert json.loads((args.out / tasks[2].result).read_text()) == {"batch": 3}


def test_no_task_begins_when_time_is_over(args, monkeypatch):
    args.end = time.monotonic()
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: pytest.fail("there is no time"))
    assert gpu.run_tasks([Task("build", "yolov5s", 1, "trtnn")], args) == {}


def test_the_timing_cache_begins_with_the_packed_one_and_is_kept(args):
    gpu.unpack_timing(args)
    path = args.out / "timing" / "a.cache"
    assert path.read_bytes() == b"measured"
    path.write_bytes(b"measured and more")
    gpu.unpack_timing(args)
    assert path.read_bytes() == b"measured and more"


def test_what_copies_and_calls_cost_can_be_left_out(args, ran):
    args.models_only, args.model = True, ["yolo11s:1", "yolo26s:8", "rtdetr_r18:1"]
    gpu.run_all(args)
    assert {task.kind for task in ran} == {"weights", "export", "build", "time", "boxes"}


@pytest.mark.parametrize("name", ["yolo11n", "yolo26n", "rtdetr_r18", "yolov8n", "yolov5n"])
def test_a_twin_has_its_model_s_names(name):
    """Trained alike or not, one file of weights is for both."""
    with torch.device("meta"):
        twin = gpu.make_twin(name)
    theirs = {key: tuple(value.shape) for key, value in twin.state_dict().items() if "num_batches" not in key}
    ours = {key: member.shape for key, member in models.create(name)._state().items() if not member.optional}
    assert ours.items() <= theirs.items()


def test_numbers_near_the_reference_s_are_counted_by_their_own_channel():
    """A score that is off by all of its range is not near because boxes are pixels; by row and by column alike."""
    expected = np.concatenate([np.full((1, 4, 500), 600.0), np.full((1, 4, 500), 0.5)], 1).astype(np.float32)
    result = expected.copy()
    result[0, 0, :10] += 11.9  # of 12
    result[0, 1, :10] += 12.1
    result[0, 5, :20] = 0.25
    for turned in (lambda x: x, lambda x: x.swapaxes(1, 2)):
        assert gpu.share_near(turned(result), turned(expected)) == pytest.approx(1 - 30 / 4000)


def test_roads_are_held_against_one_output_whatever_their_order():
    boxes, scores = np.zeros((1, 300, 4)), np.ones((1, 300, 80))
    for outputs in ({"boxes": boxes, "scores": scores}, {"scores": scores, "boxes": boxes}):
        assert gpu.first_output(outputs) is boxes


def test_boxes_that_are_sorted_by_scores_are_found_in_any_order():
    expected = np.random.default_rng(0).random((1, 300, 6), np.float32) * [600, 600, 600, 600, 1, 80]
    result = np.flip(expected, 1).copy()
    result[0, :30, 4] += 0.03  # of scores up to 1
    for turned in (lambda x: x, lambda x: x.swapaxes(1, 2)):
        assert gpu.share_near(turned(result), turned(expected)) == pytest.approx(0.9)


def test_the_report_tells_a_road_that_computes_something_else():
    task = Task("time", "yolo11s", 1)
    times = {task: {"onnx": {"execute": 1.0, gpu.NEAR: 0.41}, "trtnn": {"execute": 2.0, gpu.NEAR: 0.999}}}
    assert "yolo11s, 1: onnx 0.410, trtnn 0.999" in gpu.report(times, {}, {}).splitlines()
