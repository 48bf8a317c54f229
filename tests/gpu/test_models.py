"""Every family of models on a GPU: the engine agrees with the CPU reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import assert_close
from tests.models.twins import centernet, resnet, retinanet, yolov3, yolov8
from trtnn import models
from trtnn.structure import flatten

RAW = {"head": "raw"}
# A model, its twin with 3 classes and well-scaled weights, the shape of its pictures, the tolerance, of the largest
# magnitude, where a GPU multiplies in TF32 and sizes are an exponential, and options. CenterNet gives raw maps, as
# rounding exchanges places of nearly one score. The blocks of diffusion run in tests/models/test_diffusion.py.
CASES = [
    ("yolov8n", lambda: yolov8.make("yolov8n", 3), (2, 3, 64, 96), 1e-2, {}),
    ("yolov3-tiny", lambda: yolov3.make("yolov3-tiny", 3, "9.0"), (2, 3, 64, 96), 1e-2, {}),
    ("yolov3", lambda: yolov3.make("yolov3", 3, "9.0"), (2, 3, 64, 96), 1e-2, {}),
    ("resnet18", lambda: resnet.well_scaled(resnet.ResNet("resnet18", 3), 64), (2, 3, 64, 96), 1e-2, {}),
    *(
        (name, lambda name=name: retinanet.settled(retinanet.RetinaNet(name, 3)), (2, 3, 64, 96), 2e-2, {})
        for name in ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
    ),
    *(
        (name, lambda name=name: centernet.well_scaled(centernet.CenterNet(name, 3)), (2, 3, 64, 96), 2e-2, RAW)
        for name in ("centernet_resdcn18", "centernet_dla34", "centernet_resnet50")
    ),
]


@pytest.mark.parametrize(("name", "twin", "shape", "tolerance", "options"), CASES, ids=[case[0] for case in CASES])
def test_the_engine_agrees_with_the_reference(name, twin, shape, tolerance, options):
    model = models.from_state_dict(twin().state_dict(), **options)
    assert model.name == name
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).numpy()
    network = model.trace({"images": shape})
    with network.build(optimization_level=0) as engine:
        result, _ = flatten(engine(images))
    expected, _ = flatten(network.run(images))
    assert result.keys() == expected.keys()
    for key, value in result.items():
        assert np.abs(value).max() > 0.1
        assert_close(value, expected[key], tolerance)
