"""Detector: images in, detections out, by an engine or by a network on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trtnn.engine.engine import Engine
from trtnn.engine.metadata import class_count, class_names
from trtnn.errors import ArgumentError
from trtnn.image_network import ImageNetwork
from trtnn.modules import Module
from trtnn.network import Network
from trtnn.vision import Detections, pipeline_of
from trtnn.vision.recognition import check_classes, check_metadata, recognise


class Detector:
    """An object detector with its pre- and post-processing, each as the network's own project does it.

    >>> detector = trtnn.Detector(model.compile(fp16=True))
    >>> for detections in detector([trtnn.vision.read_image("street.jpg")]): ...

    Args:
        source: an Engine; or a Network, which computes on the CPU; or a Module with its weights, which is traced at the
            inputs that it declares and computes on the CPU as well. It takes one input (batch, 3, height, width). Its
            metadata name its pipeline, see :data:`trtnn.vision.PIPELINES`; other tools' engines, which name none, are
            read by what else they say and by the shape of the output, see :func:`trtnn.vision.recognise`. Of a dynamic
            one the first profile is used: images at the height and width that it is fastest at, as many at a time as
            it takes.
        pipeline: the name of the pipeline, in place of what the metadata name.
        **thresholds: what the pipeline picks detections by, such as ``confidence=0.25``; the project's own by default.

    Attributes:
        pipeline: the pre- and post-processing.
        batch: the most images at a time.
        size: (height, width) of the input in pixels.
        classes: the number of classes, None where nothing tells.
        labels: the names of the classes, None where the metadata hold none.

    Raises:
        ArgumentError: the source is none of these, has other inputs or outputs, finds no boxes, or says of itself what
            its outputs contradict; it can be read in several ways; or there is no such threshold.
    """

    def __init__(self, source: Engine | Network | Module, *, pipeline: str | None = None, **thresholds: Any) -> None:
        self._network = network = ImageNetwork(source, "Detector")
        metadata = network.metadata if pipeline is None else {**network.metadata, "pipeline": pipeline}
        self.batch, self.size = network.batch, network.size
        if "pipeline" not in metadata:
            check_metadata(metadata)
            metadata = {**metadata, "pipeline": recognise(metadata, self.size, network.shapes)}
        self.pipeline = pipeline_of(metadata)
        head = self.pipeline.head
        if head is None:
            raise ArgumentError(
                f"{metadata.get('model', 'this network')} is not a detector",
                f"it gives {network.gives}, which are no boxes",
                "trtnn.Classifier(...) and trtnn classify name what is in a picture",
            )
        self._head = head
        check_metadata(metadata)
        self.classes = self.pipeline.read(network.shapes).get("classes")
        check_classes(metadata, self.classes, network.shapes)
        self.classes = class_count(metadata) if self.classes is None else self.classes
        self.thresholds = self.pipeline.thresholds(thresholds)
        self.labels = class_names(metadata)

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in images, uint8 (height, width, 3) RGB of any sizes; boxes are in each image's own pixels.

        Raises:
            ArgumentError: a single image, not a list of them; or the outputs are not what the pipeline reads.
            ShapeError, DTypeError: one of them is not an image.
        """
        results: list[Detections] = []
        for outputs, placements in self._network.run(images, self.pipeline):
            results += self._head.detect(self._head.name_outputs(outputs), placements, **self.thresholds)
        highest = max((detections.classes.max(initial=-1) for detections in results), default=-1)
        if self.classes is not None and highest >= self.classes:  # where no shape tells how many there are
            raise ArgumentError(
                "what this network says of itself and its outputs contradict each other",
                f"its metadata are of {self.classes} classes",
                f"its outputs have class {highest}",
            )
        return results
