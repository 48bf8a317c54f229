"""``trtnn detect`` on networks of each task."""

import csv
import io
import json

import numpy as np
import pytest

from tests.helpers import ONE_TARGET
from tests.standin import stand_in
from tests.test_detecting_tasks import OUTPUTS, PICTURES, Giving, model
from trtnn.detector import Detector
from trtnn.vision import draw, read_image, write_image

__all__ = ["Giving", "model"]  # for the classes that the tests write


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(PICTURES):
        write_image(folder / f"{number}.png", image)
    return folder


def own_class(folder, name, base="model"):
    """A file with a class of that network, as a command takes it."""
    path = folder / "own.py"
    path.write_text(
        f"from tests.cli import test_detect_tasks as tasks\n"
        f"class Net(tasks.Giving):\n"
        f"    def __init__(self):\n"
        f"        made = tasks.{base}({name!r})\n"
        f"        super().__init__(made.outputs, **made.metadata)\n"
        f"        self.outputs = made.outputs\n"
    )
    return f"{path}:Net"


@pytest.mark.parametrize("name", OUTPUTS)
def test_detect_writes_what_was_found_in_each_format(run, tmp_path, pictures, name):
    formats = [word for kind in ("json", "coco", "yolo", "csv") for word in ("--format", kind)]
    out = tmp_path / "out"
    done = run("detect", pictures, "--model", own_class(tmp_path, name), "--reference", *formats, "-o", out)
    assert (done.code, done.err) == (0, "")
    detector = Detector(model(name))
    expected = detector(PICTURES)
    rows = json.loads((out / "detections.json").read_text())
    assert [row["detections"] for row in rows.values()] == [e.to_dict(detector.labels)["detections"] for e in expected]
    coco = json.loads((out / "coco.json").read_text())
    lines = list(csv.DictReader(io.StringIO((out / "detections.csv").read_text())))
    labels = [line for i in range(3) for line in (out / "labels" / f"{i}.txt").read_text().splitlines()]
    assert len(coco) == len(lines) == len(labels) == sum(map(len, expected)) >= 10
    extra = {"segment": "segmentation", "pose": "keypoints", "obb": "segmentation"}.get(detector.task)
    assert set(coco[0]) == {"image_id", "category_id", "bbox", "score"} | ({extra} if extra else set())
    if detector.task == "segment":
        assert [row["segmentation"] for row in coco] == [
            found.masks.rle(i) for found in expected for i in range(len(found))
        ]
    numbers = [len(line.split()) for line in labels]
    assert numbers == [{"detect": 5, "pose": 11, "obb": 9}.get(detector.task, count) for count in numbers]
    for number, found in enumerate(expected):
        drawn = draw(PICTURES[number], found, detector.labels)
        np.testing.assert_array_equal(read_image(out / f"{number}.png"), drawn)


def test_detect_refuses_a_task_that_it_cannot_draw(run, tmp_path, pictures):
    name = own_class(tmp_path, "yolov8-segment", "depth")
    done = run("detect", pictures, "--model", name, "--reference", "-o", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        "error: Giving is not a detector: its task is depth\n  a Detector reads detect, segment, "
    )
    assert not (tmp_path / "out").exists()


def depth(name):
    made = model(name)
    made.metadata = {"task": "depth", "model": "Giving"}
    return made


# -- val --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine_file(tmp_path, monkeypatch):
    """Return a function that writes the engine of a pipeline, on a GPU that is stood in for."""

    def write(name):
        network = model(name).trace()
        stand_in(monkeypatch, network, lambda _: [("a", 0.001)])
        path = tmp_path / "a.engine"
        network.build(**ONE_TARGET).save(path)
        return path

    return write


LABELS = {
    "segment": "2 0.5 0.6 0.9 0.6 0.9 0.8 0.5 0.8\n",
    "pose": "0 0.4 0.35 0.4 0.5 0.33 0.3 2 0.4 0.2 2\n",
    "detect": "0 0.3125 0.3125 0.41666 0.46875\n",
    "obb": "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n",
}


@pytest.mark.parametrize(("task", "name"), [("segment", "masks"), ("pose", "poses"), ("detect", None)])
def test_val_measures_what_stands_beside_boxes(run, tmp_path, pictures, engine_file, task, name):
    pytest.importorskip("pycocotools")
    path = engine_file("rtdetr" if task == "detect" else f"yolov8-{task}")
    (pictures / "0.txt").write_text(LABELS[task])
    (pictures / "1.txt").write_text("")
    names = "person" if task == "pose" else "a,b,c"
    done = run("val", path, "--data", pictures, "--names", names, "--json", tmp_path / "a.json")
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "a.json").read_text())
    heads = [line.split()[1] for line in done.out.splitlines() if line.startswith("class")]
    assert heads == (["boxes"] if name is None else ["boxes", name])
    assert {"masks", "poses"} & report.keys() == ({name} if name else set())
    if name:
        assert report[name].keys() >= {"map50", "map50_95", "classes"}


def test_val_refuses_rotated_boxes(run, pictures, engine_file):
    pytest.importorskip("pycocotools")
    (pictures / "0.txt").write_text(LABELS["obb"])
    done = run("val", engine_file("yolov8-obb"), "--data", pictures)
    assert done.code == 1
    assert done.err.startswith("error: val measures detect, segment, pose, and the task of this network is obb\n")


def test_val_wants_labels_of_its_task(run, pictures, engine_file):
    pytest.importorskip("pycocotools")
    (pictures / "0.txt").write_text(LABELS["detect"])
    done = run("val", engine_file("yolov8-segment"), "--data", pictures)
    assert done.code == 1
    assert "0.txt:1 is no label: 5 numbers are no class with an outline, of which masks are measured" in done.err
