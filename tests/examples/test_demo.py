"""The demonstration: every field of what it returns."""

import json
from contextlib import contextmanager

import numpy as np

import trtnn
from trtnn import get_backend
from trtnn.examples.digits import PICTURE
from trtnn.examples.digits.demo import run_demo
from trtnn.examples.digits.picture import TRUTH
from trtnn.vision import box_iou, read_image


def test_the_demonstration(tmp_path):
    steps = []

    @contextmanager
    def working(step):
        steps.append(step)
        yield
        steps.append("done")

    result = run_demo(tmp_path, working)
    assert steps == ["loading torch", "done", "detecting digits on the CPU", "done", "comparing with torch", "done"]

    engine = trtnn.Engine.load(result.engine_path)
    assert result.engine_path == tmp_path / "yolov5n-digits.engine"
    assert engine.description["precision"] == "float16"
    assert engine.inputs == {"images": trtnn.Input((1, 3, 320, 320))}
    assert result.targets == engine.targets
    assert set(result.targets) <= set(get_backend().targets or result.targets)

    truth = json.loads(TRUTH.read_text())
    overlaps = box_iou([row["box"] for row in truth], result.detections.boxes)
    assert len(result.detections) == len(truth)
    assert overlaps.max(1).min() > 0.6
    assert result.detections.classes[overlaps.argmax(1)].tolist() == [row["class"] for row in truth]

    picture, drawn = read_image(PICTURE), read_image(result.picture_path)
    assert result.picture_path == tmp_path / "digits.png"
    assert drawn.shape == picture.shape
    assert 0.01 < np.mean((drawn != picture).any(2)) < 0.3

    assert result.boxes == 3 * (40**2 + 20**2 + 10**2)
    assert 0 < result.fp32_difference.boxes_px < 0.01
    assert 0 < result.fp32_difference.scores < 1e-4
    assert result.fp32_difference.boxes_px < result.fp16_difference.boxes_px < 3
    assert result.fp32_difference.scores < result.fp16_difference.scores < 0.02
    assert str(result.fp32_difference).endswith(" in scores")
