"""Masks, key points, rotated boxes and RT-DETR's queries on a GPU, beside what the CPU picks."""

from __future__ import annotations

import pytest

from tests.test_detecting_tasks import OUTPUTS, PICTURES, check_same, model
from trtnn import Detector
from trtnn.cuda import gpus
from trtnn.kernels import is_ready
from trtnn.on_gpu import OnGpu

pytestmark = pytest.mark.skipif(
    not (gpus() and is_ready("preprocessing", gpus()[0].replace("sm", "sm_"))), reason="cuda-core is not installed"
)


@pytest.mark.parametrize("name", OUTPUTS)
def test_images_are_prepared_on_the_gpu_and_tasks_picked_as_on_the_cpu(name):
    engine = model(name).compile(optimization_level=0)
    expected = Detector(engine, device="cpu")(PICTURES)
    assert sum(map(len, expected)) >= 10
    detector = Detector(engine)
    assert isinstance(detector._steps, OnGpu)
    for _ in range(2):  # the second time by graphs
        check_same(detector(PICTURES), expected)
    check_same(list(detector.stream(iter(PICTURES))), expected)
