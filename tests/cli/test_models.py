"""``trtnn models``: what it lists, and the numbers of it."""

import json

import pytest

from trtnn import models
from trtnn.cli.models import _describe
from trtnn.models.yolov5 import YOLOv5


def test_the_ones_that_are_named(run, tmp_path):
    result = run("models", "yolov5n", "yolov5s", "--json", tmp_path / "m.json")
    assert (result.code, result.err) == (0, "")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.out.splitlines() if "│" in line]
    assert lines[1] == ["yolov5s", "detect", "7,235,389", "16.69 G", "1×3×640×640"]
    assert "2 for each multiply-and-add" in result.out
    written = json.loads((tmp_path / "m.json").read_text())
    assert list(written) == ["yolov5n", "yolov5s"]
    assert written["yolov5s"]["family"] == "YOLOv5"
    assert written["yolov5s"]["parameters"] == sum(p.numel() for p in YOLOv5("yolov5s").parameters()) == 7_235_389
    assert written["yolov5s"]["flops"] == pytest.approx(16.5e9, rel=0.02)  # Ultralytics' own figure
    assert written["yolov5s"]["inputs"] == {"images": {"shape": [1, 3, 640, 640], "dtype": "float32"}}


def test_another_size(run):
    assert "1×3×320×320" in run("models", "yolov5n", "--size", 320).out
    assert _describe("yolov5n", ((320,), (320,)))["flops"] == pytest.approx(
        _describe("yolov5n", None)["flops"] / 4, rel=1e-3
    )


def test_all_of_them(run, tmp_path):
    """By family and task, on a terminal of 80 columns."""
    result = run("models", "--json", tmp_path / "m.json")
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.out.splitlines() if "│" in line]
    groups = [(family.__name__, task) for family, task in models.by_task()]
    assert [(family, task) for family, task, _ in rows if family] == groups
    listed = ", ".join(names.rstrip(",") for *_, names in rows)
    assert listed.split(", ") == [name for names in models.by_task().values() for name in names]
    written = json.loads((tmp_path / "m.json").read_text())
    assert written["yolov8n-seg"] == {"family": "YOLOv8", "task": "segment"}
    assert sorted(written) == sorted(models.by_name())


def test_patterns_of_names(run):
    result = run("models", "yolo12n-*", "yolo12n-cls", "--size", 64)
    assert (result.code, result.err) == (0, "")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.out.splitlines() if "│" in line]
    tasks = [["yolo12n-seg", "segment"], ["yolo12n-pose", "pose"], ["yolo12n-obb", "obb"], ["yolo12n-cls", "classify"]]
    assert [line[:2] for line in lines] == tasks
    assert "no model is called 'yolo99*'" in run("models", "yolo99*").err


def test_a_size_is_that_of_models_that_are_named(run):
    result = run("models", "--size", 320)
    assert result.code == 2
    assert "it goes with the names of models" in result.err


def test_a_name_that_there_is_not(run, tmp_path):
    result = run("models", "yolov5q")
    assert result.code == 1
    assert result.err.startswith("error: no model is called 'yolov5q'\n  begin with yolov5: yolov5n, yolov5s")
    assert "cannot write" in run("models", "--json", tmp_path / "no" / "m.json").err
