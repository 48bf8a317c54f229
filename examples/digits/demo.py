"""The demonstration: an engine of the digits detector, and what its network sees in the example's picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn.detector import Detector
from trtnn.examples.digits import CLASSES, PICTURE, SIZE_PX, WEIGHTS
from trtnn.models.yolov5 import YOLOv5
from trtnn.torch_import import import_with_torch
from trtnn.vision import Detections, draw, preprocess, read_image, write_image


@dataclass(frozen=True)
class Difference:
    """The largest difference between two predictions: of boxes in pixels, and of scores."""

    boxes_px: float
    scores: float

    def __str__(self) -> str:
        return f"{self.boxes_px:.2g} px in boxes, {self.scores:.2g} in scores"


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made and measured.

    Attributes:
        engine_path: the fp16 engine.
        targets: the GPUs that it is for.
        picture_path: the picture with its detections drawn.
        detections: those, found by the fp16 network on the CPU.
        boxes: how many boxes the network predicts, of which the detections are the best.
        fp32_difference, fp16_difference: of the network from the same model in torch, over all predicted boxes.
    """

    engine_path: Path
    targets: tuple[str, ...]
    picture_path: Path
    detections: Detections
    boxes: int
    fp32_difference: Difference
    fp16_difference: Difference


def run_demo(folder: Path, working: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> DemoResult:
    """Build the digits detector's engine into ``folder``, detect in the example's picture, and compare with torch.

    Args:
        folder: it must exist.
        working: a context for each step that takes a while, such as rich's ``Console().status``.

    Raises:
        BackendError: torch is not installed.
    """
    with working("loading torch"):
        predictors = import_with_torch(
            "trtnn.examples.digits.predictors",
            "the demonstration runs the network on the CPU and compares it with torch: it needs",
        )

    model = YOLOv5("yolov5n", classes=CLASSES)
    model.load_state_dict(trtnn.load(WEIGHTS))
    inputs = {"images": (1, 3, SIZE_PX, SIZE_PX)}
    fp32, fp16 = model.trace(inputs), model.trace(inputs, fp16=True)
    engine = fp16.build()
    engine_path = engine.save(folder / "yolov5n-digits.engine")

    with working("detecting digits on the CPU"):
        image = read_image(PICTURE)
        (detections,) = Detector(fp16)([image])
        picture_path = folder / "digits.png"
        write_image(picture_path, draw(image, detections))

    with working("comparing with torch"):
        pixels, _ = preprocess([image], SIZE_PX)
        expected = predictors.torch_predictor(predictors.load_twin())(pixels)
        fp32_difference = _difference(fp32.run(pixels), expected)
        fp16_difference = _difference(fp16.run(pixels), expected)
    return DemoResult(
        engine_path, engine.targets, picture_path, detections, expected.shape[1], fp32_difference, fp16_difference
    )


def _difference(prediction: np.ndarray, expected: np.ndarray) -> Difference:
    difference = np.abs(prediction - expected)
    return Difference(float(difference[..., :4].max()), float(difference[..., 4:].max()))
