"""Detector: pictures in, detections out, by an engine or by a network on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from trtnn.engine import Engine
from trtnn.engine_file import class_names
from trtnn.errors import ArgumentError
from trtnn.modules import Module
from trtnn.network import Network
from trtnn.profiles import lengths_in
from trtnn.structure import flatten
from trtnn.symbolic import Dim
from trtnn.vision import Detections, likely_pipeline, pipeline_of


class Detector:
    """An object detector with its pre- and post-processing, each as the network's own project does it.

    >>> detector = Detector(model.compile(fp16=True))
    >>> for detections in detector([read_image("street.jpg")]): ...

    Args:
        source: an Engine; or a Network, which computes on the CPU; or a Module with its weights, which is traced at the
            inputs that it declares and computes on the CPU as well. It takes one input (batch, 3, height, width). Its
            metadata name its pipeline, see :data:`trtnn.vision.PIPELINES`; without, it is YOLOv5's or YOLOv8's by the
            shape of its output. Of a dynamic one the first profile is used: pictures at the height and width that it is
            fastest at, as many at a time as it takes.
        **thresholds: what the pipeline picks detections by, such as ``confidence=0.25``; the project's own by default.

    Attributes:
        pipeline: the pre- and post-processing.
        batch: the most pictures at a time.
        size: (height, width) of the input in pixels.
        classes: the number of classes, None where nothing tells.
        labels: the names of the classes, None where the metadata hold none.

    Raises:
        ArgumentError: the source is none of these, has other inputs or outputs, finds no boxes, or there is no such
            threshold.
    """

    def __init__(self, source: Engine | Network | Module, **thresholds: Any) -> None:
        if isinstance(source, Module):
            source = source.trace()
        if not isinstance(source, Engine | Network):
            raise ArgumentError(
                f"a Detector is made of an Engine, a Network or a Module, not of {source!r}",
                "an engine file is read by trtnn.Engine.load(path)",
                "a checkpoint becomes a model by trtnn.models.from_state_dict(trtnn.load(path))",
            )
        self._run = source.run if isinstance(source, Network) else source
        inputs = list(source.inputs.values())
        shapes = {name: spec.shape for name, spec in source.outputs.items()}
        metadata = source.metadata if isinstance(source, Network) else source.description
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
            received = f"received {', '.join(map(str, inputs))}"
            raise ArgumentError("this is not a detector", "expected one input (batch, 3, height, width)", received)
        profile = source.profiles[0] if source.profiles else {}
        self._least, *_ = lengths_in(profile, inputs[0].shape, "min")
        self.batch, *_ = lengths_in(profile, inputs[0].shape, "max")
        _, _, *self.size = lengths_in(profile, inputs[0].shape, "opt")
        batch = inputs[0].shape[0]
        self._multiple = batch.multiple_of if isinstance(batch, Dim) else 1
        self.dtype = inputs[0].dtype.numpy
        self.pipeline = pipeline_of(metadata, likely_pipeline(tuple(self.size), shapes.values()))
        if self.pipeline.head is None:
            gives = ", ".join(map(str, source.outputs.values()))
            raise ArgumentError(
                f"{metadata.get('model', 'this network')} is not a detector",
                f"it gives {gives}, which are no boxes",
                "call it with what trtnn.vision.pipeline_of(metadata).preprocess(pictures, size) gives",
            )
        self.classes = self.pipeline.read(shapes).get("classes", metadata.get("classes"))
        self.thresholds = self.pipeline.thresholds(thresholds)
        self.labels = class_names(metadata)

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in pictures, uint8 (height, width, 3) RGB of any sizes; boxes are in each picture's own pixels.

        Raises:
            ArgumentError: a single picture, not a list of them.
            ShapeError, DTypeError: one of them is not a picture.
        """
        single = isinstance(images, str | os.PathLike) or getattr(images, "ndim", None) == 3
        if single or not isinstance(images, Iterable):
            raise ArgumentError(
                "a Detector takes a list of pictures", f"received: one {type(images).__name__}; [it] is a list"
            )
        images = list(images)
        found: list[Detections] = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            pixels, placements = self.pipeline.preprocess(part, tuple(self.size), self.dtype)
            # The last batch may be short of what the network takes.
            count = -(-max(len(part), self._least) // self._multiple) * self._multiple
            pixels = np.pad(pixels, [(0, count - len(part)), (0, 0), (0, 0), (0, 0)])
            outputs, _ = flatten(self._run(pixels))
            outputs = {name: np.asarray(output)[: len(part)] for name, output in outputs.items()}
            found += self.pipeline.postprocess(outputs, placements, **self.thresholds)
        return found
