"""Every family of models on a GPU: the engine agrees with the CPU reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import assert_close
from tests.models.twins import yolov3, yolov8
from trtnn import models

# A model, its twin with 3 classes and well-scaled weights, the shape of its pictures, and the tolerance: of the largest
# magnitude, where a GPU multiplies in TF32 and sizes are an exponential.
CASES = [
    ("yolov8n", lambda: yolov8.make("yolov8n", 3), (2, 3, 64, 96), 1e-2),
    ("yolov3-tiny", lambda: yolov3.make("yolov3-tiny", 3, "9.0"), (2, 3, 64, 96), 1e-2),
]


@pytest.mark.parametrize(("name", "twin", "shape", "tolerance"), CASES, ids=[case[0] for case in CASES])
def test_the_engine_agrees_with_the_reference(name, twin, shape, tolerance):
    model = models.from_state_dict(twin().state_dict())
    assert model.name == name
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).numpy()
    network = model.trace({"images": shape})
    with network.build(optimization_level=0) as engine:
        result = engine(images)
    assert np.abs(result).max() > 1
    assert_close(result, network.run(images), tolerance)
