"""The heads that are measured: of the same weights and scales, and what they give has the same boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.int8 import image
from benchmarks.maps import HEADS, network_of, weights
from tests.helpers import layers
from trtnn.vision import preprocess
from trtnn.vision.pipelines import pipeline_of


@pytest.mark.parametrize("int8", [False, True], ids=["fp16", "int8"])
def test_both_heads_find_the_same(tmp_path: Path, int8: bool) -> None:
    state = weights("yolov5n", int8, tmp_path)
    found, counts = [], []
    _, placements = preprocess([np.zeros((640, 640, 3), np.uint8)], (640, 640))
    for head in HEADS:
        network = network_of("yolov5n", head, state, 1)
        pipeline, outputs = pipeline_of(network.metadata), network.run_flat(image(1))
        (one,) = pipeline.postprocess(outputs, placements, confidence=0.6, iou=1.0)
        found.append(one)
        counts.append(len(layers(network, "QUANTIZE")))
    decoded, raw = found
    assert len(decoded) > 20
    np.testing.assert_array_equal(raw.classes, decoded.classes)
    np.testing.assert_allclose(raw.scores, decoded.scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(raw.boxes, decoded.boxes, rtol=0, atol=1e-2)
    assert counts[0] == counts[1]
    assert (counts[0] > 100) == int8
