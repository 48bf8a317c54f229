"""The detector that Triton's Python backend runs: what ``1/model.py`` of its repository imports.

https://github.com/triton-inference-server/python_backend
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.detector import Detector
from trtnn.errors import TrtnnError
from trtnn.triton.repository import ENGINE
from trtnn.vision import Detections
from trtnn.vision.images import decode_image


class TritonPythonModel:
    """What the backend makes once an instance, and calls for each batch of requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine onto the GPU of this instance.

        Args:
            args: what Triton says of the instance.
        """
        if args.get("model_instance_kind") == "GPU":  # a process of its own; CUDA has not begun in it
            os.environ["CUDA_VISIBLE_DEVICES"] = args["model_instance_device_id"]
        parameters = json.loads(args["model_config"])["parameters"]
        self.rows = int(parameters["max_detections"]["string_value"])
        folder = Path(args["model_repository"], args["model_version"])
        self.detector = self.load(folder / ENGINE)

    def load(self, path: Path) -> Detector:
        """Return the detector of an engine file."""
        from trtnn.engine.engine import Engine

        return Detector(Engine.load(path), max_detections=self.rows)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Detect in the images of all requests at once; one that holds something else is told so, and no other."""
        import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]  Triton's own

        images: list[np.ndarray] = []
        parts: list[slice | str] = []  # of each request its images, or what is wrong with them
        for request in requests:
            encoded = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().ravel()
            try:
                decoded = [decode_image(bytes(data), f"image {index}") for index, data in enumerate(encoded)]
                for image in decoded:
                    self.detector.check_image_size((image.shape[0], image.shape[1]))
            except TrtnnError as error:
                parts.append(str(error))
                continue
            parts.append(slice(len(images), len(images) + len(decoded)))
            images += decoded
        detections = self.detector(images)
        return [
            pb_utils.InferenceResponse(error=pb_utils.TritonError(part))
            if isinstance(part, str)
            else pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, array) for name, array in padded(detections[part], self.rows).items()]
            )
            for part in parts
        ]


def padded(detections: Sequence[Detections], rows: int) -> dict[str, np.ndarray]:
    """Return detections as arrays of so many rows an image, those behind the last with zeros, and class -1."""
    count = len(detections)
    boxes, scores = np.zeros((count, rows, 4), np.float32), np.zeros((count, rows), np.float32)
    classes = np.full((count, rows), -1, np.int32)
    for index, found in enumerate(detections):
        boxes[index, : len(found)] = found.boxes
        scores[index, : len(found)] = found.scores
        classes[index, : len(found)] = found.classes
    lengths = np.array([[len(found)] for found in detections], np.int32).reshape(count, 1)
    return {"num_dets": lengths, "det_boxes": boxes, "det_scores": scores, "det_classes": classes}
