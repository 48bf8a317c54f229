"""Every family of detectors, in fixed and dynamic shapes, through a Detector and ``trtnn detect``: network and engine.

The weights are random, so that there are boxes everywhere, and a batch of its own for each picture is the oracle.
"""

import json
import sys

import numpy as np
import pytest

import trtnn
from tests.standin import stand_in
from trtnn import Dim, models
from trtnn.build.describe import describe
from trtnn.cli import main
from trtnn.engine import file as engine_file
from trtnn.vision import Masks, write_image

FAMILIES = (
    *("yolov5n", "yolov8n", "yolov3-tiny", "retinanet_resnet50_fpn", "centernet_resdcn18"),
    *("yolov8n-pose", "yolo11n-obb", "yolo12n-seg"),  # random masks of others are mostly empty
)
SHAPES = {
    "static": ["--size", "64x96"],
    "dynamic batch": ["--size", "64x96", "--batch", "1,2,4"],
    "dynamic height and width": ["--size", "64,64,128x64,96,128"],
    "dynamic batch, height and width": ["--size", "64,64,128x64,96,128", "--batch", "1,2,4"],
}
THRESHOLDS = {"confidence": 0.3, "max_detections": 20}


def fill(model):
    """Give a model weights of a size that keeps its numbers in bounds."""
    random = np.random.default_rng(0)
    for name, member in [*model.named_parameters(), *model.named_buffers()]:
        if member.data is None and not member.optional:
            drawn = random.standard_normal(member.shape) * max(1, int(np.prod(member.shape[1:]))) ** -0.5
            member.data = (np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn).astype(np.float32)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A model, its checkpoint, two pictures in a folder, and what is found in each alone."""
    folder = tmp_path_factory.mktemp(request.param)
    model = fill(models.create(request.param, classes=3))
    trtnn.save(model.state_dict(), folder / "weights.npz")
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((50, 80), (97, 61))]
    (folder / "pictures").mkdir()
    for index, image in enumerate(images):
        write_image(folder / "pictures" / f"{index}.png", image)
    alone = trtnn.Detector(model.trace({"images": (1, 3, 64, 96)}), **THRESHOLDS)
    expected = [alone([image])[0] for image in images]
    assert all(len(found) > 2 for found in expected)
    return model, folder, images, expected


def check(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["scores"], other.scores, rtol=1e-3)
        np.testing.assert_allclose(one["boxes"], other.boxes, atol=0.02)
        assert list(one["classes"]) == other.classes.tolist()
        for name in ("keypoints", "rotated"):
            assert (one.get(name) is None) == (getattr(other, name) is None)
            if one.get(name) is not None:
                np.testing.assert_allclose(one[name], getattr(other, name), atol=0.02)
        if isinstance(one.get("masks"), Masks):
            assert (np.asarray(one["masks"]) != np.asarray(other.masks)).mean() < 1e-3
        elif other.masks is not None:
            assert [mask["size"] for mask in one["masks"]] == [list(other.masks.size)] * len(other)


def dims(options):
    """The shape that options of the command line stand for."""
    batch = Dim("batch", 1, 2, 4) if "--batch" in options else 1
    if "," not in options[1]:
        return batch, 3, 64, 96
    return batch, 3, Dim("height", 64, 64, 128, multiple_of=32), Dim("width", 64, 96, 128, multiple_of=32)


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_found_is_the_same_by_every_way(family, kind, monkeypatch, tmp_path, capfd):
    model, folder, images, expected = family
    options = SHAPES[kind]
    network = model.trace({"images": dims(options)})
    detector = trtnn.Detector(network, **THRESHOLDS)
    assert (detector.size, detector.classes) == ([64, 96], 3)
    check([vars(found) for found in detector(images)], expected)

    plan = memoryview(b"ftrt" + bytes(60))
    description = describe(network.graph, ["sm86"], network.metadata, plan)
    engine_file.write(tmp_path / "a.engine", description, plan)
    stand_in(monkeypatch, network)
    check(
        [vars(found) for found in trtnn.Detector(trtnn.Engine.load(tmp_path / "a.engine"), **THRESHOLDS)(images)],
        expected,
    )

    weights = ["--weights", folder / "weights.npz", "--model", network.metadata["model"], "--reference", *options]
    for name, source in {"engine": ["--engine", tmp_path / "a.engine"], "weights": weights}.items():
        out = tmp_path / name
        line = [
            "detect",
            folder / "pictures",
            *source,
            "-o",
            out,
            "--no-draw",
            "--confidence",
            0.3,
            "--max-detections",
            20,
        ]
        monkeypatch.setattr(sys, "argv", ["trtnn", *map(str, line)])
        main()
        report = json.loads((out / "detections.json").read_text())
        rows = [report[str(folder / "pictures" / f"{index}.png")]["detections"] for index in range(2)]
        keys = {"scores": "score", "boxes": "box", "classes": "class", "masks": "mask"}
        keys = {
            key: word
            for key, word in {**keys, "keypoints": "keypoints", "rotated": "rotated"}.items()
            if word in rows[0][0]
        }
        check([{key: [row[word] for row in found] for key, word in keys.items()} for found in rows], expected)
        assert capfd.readouterr().err == ""
