"""The run of the GPU's benchmark: what it begins with, leaves, and does not do again; no task of it runs here."""

from __future__ import annotations

import argparse
import json
import lzma
import time

import pytest

from benchmarks import gpu
from benchmarks.gpu import Task


@pytest.fixture
def args(tmp_path):
    """The arguments of a run whose folder is there, and a packed timing cache."""
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/a.cache.xz").write_bytes(lzma.compress(b"measured"))
    options = {"model": ["yolov5s:1,8"], "torch": [], "roads": None, "levels": [], "cold": False, "build": False}
    (tmp_path / "out").mkdir()
    folders = {"out": tmp_path / "out", "timing": tmp_path / "packed"}
    return argparse.Namespace(**options, **folders, end=time.monotonic() + 60, level=1, trt_python="python")


@pytest.fixture
def ran(monkeypatch):
    """The tasks that were run, by a stand-in that leaves what they would; ``ran.failing`` leave nothing."""

    class Ran(list):
        failing: tuple[Task, ...] = ()

    done = Ran()

    def run_process(tasks, args):
        for task in tasks:
            done.append(task)
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
