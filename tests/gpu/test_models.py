"""Every family of models on a GPU: the engine agrees with the CPU reference, and detects as it does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.twins import (
    centernet,
    numbered,
    resnet,
    retinanet,
    rtdetr,
    yolo12,
    yolo_tasks,
    yolov3,
    yolov3u,
    yolov5u,
    yolov8,
    yolov9,
)
from tests.helpers import assert_close, message_of
from tests.models.checks import assert_boxes_close, assert_outputs_close
from tests.models.test_retinanet import assert_detections_close
from tests.models.test_rtdetr import assert_queries_close
from trtnn import models
from trtnn.detector import Detector
from trtnn.errors import ArgumentError
from trtnn.structure import flatten

RAW = {"head": "raw"}
TOLERANCE = 1e-3  # of a logit; whole fp32, as the reference computes
SHAPE = (2, 3, 64, 96)
PLACES = 8 * 12 + 4 * 6 + 2 * 3


class Drawn:
    """Weights of a model of ours, to be drawn, where its twin is transformers' module."""

    def __init__(self, name, classes):
        model = models.create(name, classes=classes)
        known = {"num_points_scale": 1 / torch.repeat_interleave(*[torch.tensor(model.variants[name].points)] * 2)}
        known |= {"up": torch.tensor([0.5]), "reg_scale": torch.tensor([4.0])}
        shapes = {key: member.shape for key, member in model._state().items()}
        self.state = {key: known.get(key.rpartition(".")[2], torch.empty(shape)) for key, shape in shapes.items()}

    def state_dict(self):
        return self.state

    def eval(self):
        return self


# A model, its twin with 3 classes and well-scaled weights, how its outputs are compared, and options. CenterNet gives
# raw maps, as rounding exchanges places of nearly one score; RT-DETR takes every place, so that each is in the result.
# The blocks of diffusion run in tests/models/test_diffusion.py.
CASES = [
    ("yolov8n", lambda: yolov8.make("yolov8n", 3), partial(assert_boxes_close, dim=1, cell=8 * 32), {}),
    *(
        (
            name,
            lambda name=name: yolo_tasks.make(name, 3),
            lambda *args, name=name: assert_outputs_close(models.create(name, classes=3), *args),
            {},
        )
        for name in ("yolo11n", "yolo26n-seg", "yolo26n-pose", "yolov8n-obb", "yolo11n-cls")
    ),
    *(
        (
            name,
            lambda name=name, twin=twin: numbered.make(twin, name, 3),
            partial(assert_boxes_close, dim=1, cell=256),
            {},
        )
        for name, twin in (
            ("yolo12n", yolo12.YOLO12),
            ("yolov9t", yolov9.YOLOv9),
            ("yolov5nu", yolov5u.YOLOv5u),
            ("yolov3-tinyu", yolov3u.YOLOv3u),
            ("yolov8n-p2", yolov8.YOLOv8),
        )
    ),
    ("yolov3-tiny", lambda: yolov3.make("yolov3-tiny", 3, "9.0"), assert_boxes_close, {}),
    ("yolov3", lambda: yolov3.make("yolov3", 3, "9.0"), assert_boxes_close, {}),
    ("resnet18", lambda: resnet.well_scaled(resnet.ResNet("resnet18", 3), 64), assert_close, {}),
    *(
        (name, lambda name=name: retinanet.settled(retinanet.RetinaNet(name, 3)), assert_detections_close, {})
        for name in ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
    ),
    *(
        (name, lambda name=name: centernet.well_scaled(centernet.CenterNet(name, 3)), assert_close, RAW)
        for name in ("centernet_resdcn18", "centernet_dla34", "centernet_resnet50")
    ),
    *(
        (name, lambda name=name: rtdetr.make(name, 3), assert_queries_close, {"queries": PLACES})
        for name in ("rtdetr_r18", "rtdetr_v2_r50")
    ),
    ("dfine_s", lambda: rtdetr.well_scaled(Drawn("dfine_s", 3)), assert_queries_close, {"queries": PLACES}),
]


def check_detections(engine, network, monkeypatch):
    """The engine's file tells the Detector all that the network does: the same numbers give the same boxes."""
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 96), (120, 90), (50, 70))]
    found = Detector(engine)(pictures)  # the second batch is not full
    monkeypatch.setattr(network, "run_flat", engine.run_flat)
    wanted = Detector(network)(pictures)
    assert all(len(detections) > 2 for detections in wanted)
    for one, other in zip(found, wanted, strict=True):
        for part in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize(("name", "twin", "compare", "options"), CASES, ids=[case[0] for case in CASES])
def test_the_engine_agrees_with_the_reference(name, twin, compare, options, monkeypatch):
    model = models.from_state_dict(twin().state_dict(), **options)
    assert model.name == name
    images = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)).numpy()
    network = model.trace({"images": SHAPE})
    expected = network.run(images)
    with network.build(optimization_level=0, tf32=False) as engine:
        result = engine(images)
        if model.task not in ("detect", "classify"):
            assert engine.description["task"] == model.task
        elif name.startswith(("resnet", "centernet")) or model.task == "classify":
            for source in (engine, network):
                assert "is not a detector" in message_of(ArgumentError, Detector, source)
        else:
            check_detections(engine, network, monkeypatch)
    assert all(np.abs(value).max() > 0.1 for value in flatten(expected)[0].values())
    compare(result, expected, TOLERANCE)


def test_detections_of_centernet(monkeypatch):
    """Its peaks are found within the engine: the scores agree, in order, where the places of near ones may not."""
    twin = centernet.well_scaled(centernet.CenterNet("centernet_resdcn18", 3))
    network = models.from_state_dict(twin.state_dict()).trace({"images": (2, 3, 64, 96)})
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).numpy()
    expected, _ = flatten(network.run(images))
    with network.build(optimization_level=0, tf32=False) as engine:
        result, _ = flatten(engine(images))
        check_detections(engine, network, monkeypatch)
    assert_close(result["output"][..., 4], expected["output"][..., 4], TOLERANCE)
