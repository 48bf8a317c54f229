"""Classifier: images in, what is in each out, by an engine or by a network on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trtnn.engine.engine import Engine
from trtnn.engine.metadata import CONTRADICTION, class_count, class_names, told
from trtnn.errors import ArgumentError
from trtnn.image_network import ImageNetwork, Runnable
from trtnn.modules import Module
from trtnn.network import Network
from trtnn.vision import pipeline_of
from trtnn.vision.pipelines import task_of
from trtnn.vision.recognition import TO_DETECT, other_task


class Classification(NamedTuple):
    """One class that an image may be of, in plain Python numbers.

    Attributes:
        class_index: the class's index.
        score: its probability in 0..1.
    """

    class_index: int
    score: float


class Classifier:
    """A classifier of images with its preprocessing, as the network's own project does it.

    >>> classifier = trtnn.Classifier(model.compile(fp16=True))
    >>> for best in classifier([trtnn.vision.read_image("cat.jpg")]): ...

    Args:
        source: an Engine, a Network or a Module, as for :class:`trtnn.Detector`. Its one output is (batch, classes),
            and its metadata name the pipeline: ``"imagenet"`` gives logits, of which the softmax makes probabilities,
            and ``"yolo-classify"`` probabilities. Engines of Ultralytics' classifiers, which name none, are read so.
        pipeline: its name, in place of what the metadata name.
        top: how many classes to give for each image, the likeliest first.

    Attributes:
        pipeline: the preprocessing.
        batch: the most images at a time.
        size: (height, width) of the input in pixels.
        classes: the number of classes.
        labels: the names of the classes, None where the metadata hold none.

    Raises:
        ArgumentError: the source is none of these, has another input, output, pipeline or number of names, or ``top``
            is no positive number.
    """

    def __init__(
        self, source: Engine | Network | Module | Runnable, top: int = 5, *, pipeline: str | None = None
    ) -> None:
        self._network = network = ImageNetwork(source, "Classifier")
        metadata, shapes = network.metadata, list(network.shapes.values())
        name = metadata.get("model", "this network")
        if pipeline is not None:
            metadata = {**metadata, "pipeline": pipeline}
        elif "pipeline" not in metadata and metadata.get("task") == "classify" and told(metadata, "imgsz") is not None:
            metadata = {**metadata, "pipeline": "yolo-classify"}  # those are Ultralytics' words
        named = metadata.get("pipeline", "imagenet")
        own, read = metadata.get("task"), task_of(named)
        if own not in (None, read) and (own == "classify" or pipeline is not None):
            raise other_task(name, read, own)
        if own not in (None, "classify"):
            raise ArgumentError(f"{name} is not a classifier: its task is {own}", TO_DETECT)
        if read != "classify":
            raise ArgumentError(f"{name} is not a classifier: its pipeline {named} is for the task {read}", TO_DETECT)
        self.pipeline = pipeline_of({**metadata, "pipeline": named})
        if "pipeline" not in metadata:
            raise ArgumentError(
                f"nothing tells how pictures are prepared for {name}",
                'where it is as for torchvision\'s ResNets, name it: metadata = {"pipeline": "imagenet"}',
                'where it is as for Ultralytics\' classifiers: {"pipeline": "yolo-classify"}',
            )
        if len(shapes) != 1 or len(shapes[0]) != 2:
            raise ArgumentError(
                f"{name} is not a classifier", "expected one output (batch, classes)", f"received {network.gives}"
            )
        count, self.classes = class_count(metadata), shapes[0][1]
        if count not in (None, self.classes):
            raise ArgumentError(
                CONTRADICTION,
                f"its metadata are of {count} classes",
                f"its output is of {self.classes}: {network.gives}",
            )
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise ArgumentError(f"top is a positive int, not {top!r}")
        self.top, self.batch, self.size = top, network.batch, network.size
        self.labels = class_names(metadata)
        self._has_warned = False

    def __call__(self, images: Iterable[np.ndarray]) -> list[list[Classification]]:
        """Return the likeliest classes of each image, uint8 (height, width, 3) RGB of any sizes.

        What is read as logits and looks like probabilities is warned of once.

        Raises:
            ArgumentError: a single image, not a list of them; logits that are not finite; or probabilities that are
                none.
            ShapeError, DTypeError: one of them is not an image.
        """
        results = []
        for outputs, _ in self._network.run(images, self.pipeline):
            (rows,) = outputs.values()
            scores_of = _softmax if self.pipeline.are_logits else _probabilities
            if self.pipeline.are_logits and not self._has_warned and _look_like_probabilities(rows):
                self._has_warned = True
                warnings.warn(
                    "the outputs of a classifier are read as logits, and look like probabilities, which a softmax "
                    "would make too even: leave the softmax out of forward, or name a pipeline of probabilities",
                    stacklevel=2,
                )
            results += [self._best(scores_of(row.astype(np.float64))) for row in rows]
        return results

    def _best(self, scores: np.ndarray) -> list[Classification]:
        """Return the likeliest classes, the first of equal ones first."""
        best = np.argsort(-scores, kind="stable")[: self.top]
        return [Classification(int(index), float(scores[index])) for index in best]


def _softmax(logits: np.ndarray) -> np.ndarray:
    if not np.isfinite(logits.max()):
        raise ArgumentError(
            f"the logits of a picture reach {logits.max()}, of which no probabilities come",
            "in half precision numbers may overflow: trtnn fp16 shows where; --fp32-module keeps modules from it",
        )
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    low, total = outputs.min(), outputs.sum()
    if not (low >= -_TOLERANCE and abs(total - 1) <= _TOLERANCE):
        raise ArgumentError(
            f"the outputs of a picture are from {low:.4g} up and sum to {total:.4g}, and probabilities sum to 1",
            'where they are logits, the pipeline is "imagenet", or another that has them',
        )
    return outputs


def _look_like_probabilities(outputs: np.ndarray) -> bool:
    """Whether the outputs of all images are from 0 up and sum to 1, which logits hardly do."""
    sums = outputs.sum(axis=1, dtype=np.float64)
    return outputs.shape[1] > 1 and bool((outputs >= 0).all() and (np.abs(sums - 1) <= 1e-3).all())


_TOLERANCE = 0.01  # half precision rounds each of some thousand numbers
