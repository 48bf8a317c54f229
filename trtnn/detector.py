"""Detector: pictures in, detections out, by an engine or by a network on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trtnn.engine import Engine
from trtnn.errors import ArgumentError
from trtnn.network import Network
from trtnn.profiles import lengths_in
from trtnn.symbolic import Dim, is_static
from trtnn.vision import Detections, postprocess, preprocess


class Detector:
    """An object detector with its pre- and post-processing.

    >>> detector = Detector(model.compile(fp16=True))
    >>> for detections in detector([read_image("street.jpg")]): ...

    Args:
        source: an Engine, or a Network, which computes on the CPU. It takes one input (batch, 3, height, width) of RGB
            in 0..1 and gives (batch, boxes, 5 + classes), as YOLOv5's decoded head does. Of a dynamic one the first
            profile is used: pictures at the height and width that it is fastest at, as many at a time as it takes.
        **thresholds: arguments of :func:`trtnn.vision.non_max_suppression`, such as ``confidence=0.25``.

    Attributes:
        batch: the most pictures at a time.
        size: (height, width) that pictures are fitted into, in pixels.
        classes: the number of classes.

    Raises:
        ArgumentError: the source has other inputs or outputs.
    """

    def __init__(self, source: Engine | Network, **thresholds: Any) -> None:
        self.thresholds = thresholds
        self._run = source.run if isinstance(source, Network) else source
        inputs, outputs = list(source.inputs.values()), list(source.outputs.values())
        takes_pictures = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[1] == 3
        gives_boxes = len(outputs) == 1 and len(outputs[0].shape) == 3 and is_static(outputs[0].shape[2:])
        gives_boxes = gives_boxes and outputs[0].shape[2] > 5
        if not takes_pictures or not gives_boxes:
            raise ArgumentError(
                "this is not a detector",
                "expected one input (batch, 3, height, width) and one output (batch, boxes, 5 + classes)",
                f"received {', '.join(map(str, inputs))} -> {', '.join(map(str, outputs))}",
            )
        profile = source.profiles[0] if source.profiles else {}
        self._least, *_ = lengths_in(profile, inputs[0].shape, "min")
        self.batch, *_ = lengths_in(profile, inputs[0].shape, "max")
        _, _, *self.size = lengths_in(profile, inputs[0].shape, "opt")
        batch = inputs[0].shape[0]
        self._multiple = batch.multiple_of if isinstance(batch, Dim) else 1
        self.dtype = inputs[0].dtype.numpy
        self.classes = outputs[0].shape[2] - 5

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in pictures, uint8 (height, width, 3) RGB of any sizes; boxes are in each picture's own pixels."""
        images = list(images)
        found: list[Detections] = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            pixels, letterboxes = preprocess(part, tuple(self.size), self.dtype)
            # The last batch may be short of what the network takes.
            count = -(-max(len(part), self._least) // self._multiple) * self._multiple
            pixels = np.pad(pixels, [(0, count - len(part)), (0, 0), (0, 0), (0, 0)])
            prediction = np.asarray(self._run(pixels))[: len(part)]
            found += postprocess(prediction, letterboxes, **self.thresholds)
        return found
