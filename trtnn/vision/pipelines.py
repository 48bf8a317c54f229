"""Pipelines: what each family of networks does to images before it, and to its outputs after it.

A network's metadata names its pipeline, and its engine file carries that, so that the file alone is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, check_switches, nearest
from trtnn.vision.anchor_maps import YOLOV5_RAW
from trtnn.vision.detections import Detections
from trtnn.vision.heads import (
    CENTERNET,
    END2END,
    END2END_OBB,
    END2END_POSE,
    END2END_SEGMENT,
    RETINANET,
    RTDETR,
    YOLOV5,
    YOLOV8,
    YOLOV8_OBB,
    YOLOV8_POSE,
    YOLOV8_SEGMENT,
    Head,
)
from trtnn.vision.postprocessing import check_thresholds, class_list
from trtnn.vision.preprocessing import YOLO, Placement, Preprocessing, Size, preprocess

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass(frozen=True)
class Pipeline:
    """The way from images to a network's input, and from its outputs to detections.

    Args:
        preprocessing: how images become the input.
        head: what the outputs mean; None where they are no boxes.
        are_logits: whether the outputs of a classifier are logits, of which the softmax makes probabilities; else they
            are the probabilities.
    """

    preprocessing: Preprocessing
    head: Head | None
    are_logits: bool = True

    def __post_init__(self) -> None:
        check_switches(are_logits=self.are_logits)

    def preprocess(
        self, images: Iterable[npt.ArrayLike], size: int | Size, dtype: npt.DTypeLike = np.float32, **options: Any
    ) -> tuple[np.ndarray, list[Placement]]:
        """Make one batch of images; see :func:`trtnn.vision.preprocess`, also for the ``options``."""
        return preprocess(images, size, dtype, self.preprocessing, **options)

    def thresholds(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return all thresholds: those given, and the project's own for the rest.

        Raises:
            ArgumentError: one is given that these outputs are not picked by, or is out of range or of another type.
        """
        defaults = self._head().thresholds
        unknown = [name for name in changes if name not in defaults]
        if unknown:
            message = f"these detections are not picked by {unknown[0]!r}"
            raise ArgumentError(message, *nearest(unknown[0], defaults), f"they take: {', '.join(defaults)}")
        check_thresholds(**changes)
        if "classes" in changes:  # an iterator would be at its end after one batch
            changes = {**changes, "classes": class_list(changes["classes"])}
        return {**defaults, **changes}

    def postprocess(
        self, outputs: Mapping[str, npt.ArrayLike], placements: Sequence[Placement], **thresholds: Any
    ) -> list[Detections]:
        """Turn a batch's outputs into the detections in every image's own pixels.

        Args:
            outputs: arrays by name, in the form that the head says.
            placements: what :meth:`preprocess` returned beside the batch.
            **thresholds: in place of the project's own.

        Raises:
            ArgumentError: outputs of another form, an unknown threshold, or one that is out of range.
            ShapeError: outputs of another number of images.
        """
        arrays = {name: np.asarray(array) for name, array in outputs.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        self.read(shapes)
        head = self._head().renamed(shapes)
        return head.detect(head.name_outputs(arrays), placements, **self.thresholds(thresholds))

    def read(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, int]:
        """Return what the shapes of outputs tell: ``{"classes": n}``, or nothing.

        Raises:
            ArgumentError: they are of another form.
        """
        sizes = self._head().renamed(shapes).read(shapes)
        if sizes is None:
            received = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ArgumentError("this is not a detector", f"expected {self.head}", f"received {received}")
        return sizes

    def _head(self) -> Head:
        if self.head is None:
            raise ArgumentError("this is not a detector", "its outputs are no boxes: call the engine or the network")
        return self.head


#: The pipelines by name, each as the project does it. YOLOv3's is YOLOv5's, on Darknet's grey where it is Darknet's.
PIPELINES = {
    "yolov5": Pipeline(YOLO, YOLOV5),
    "yolov8": Pipeline(YOLO, YOLOV8),
    # Pixels beside the image are zero after normalisation.
    "retinanet": Pipeline(
        Preprocessing("corner", fill=(255 * _MEAN[0], 255 * _MEAN[1], 255 * _MEAN[2]), mean=_MEAN, std=_STD), RETINANET
    ),
    "centernet": Pipeline(
        Preprocessing(
            "warp",
            "BGR",
            (0, 0, 0),
            mean=(0.40789654, 0.44719302, 0.47026115),
            std=(0.28863828, 0.27408164, 0.27809835),
        ),
        CENTERNET,
    ),
    "end2end": Pipeline(YOLO, END2END),
    "yolov5-raw": Pipeline(YOLO, YOLOV5_RAW),
    "yolov8-segment": Pipeline(YOLO, YOLOV8_SEGMENT),
    "yolov8-pose": Pipeline(YOLO, YOLOV8_POSE),
    "yolov8-obb": Pipeline(YOLO, YOLOV8_OBB),
    "end2end-segment": Pipeline(YOLO, END2END_SEGMENT),
    "end2end-pose": Pipeline(YOLO, END2END_POSE),
    "end2end-obb": Pipeline(YOLO, END2END_OBB),
    # transformers' RTDetrImageProcessor and the authors' own: torchvision's Resize, of bytes.
    "rtdetr": Pipeline(Preprocessing("stretch-antialias"), RTDETR),
    "yolo-classify": Pipeline(Preprocessing("cover", fill=(0, 0, 0)), None, are_logits=False),
    "imagenet": Pipeline(Preprocessing("crop", fill=(0, 0, 0), mean=_MEAN, std=_STD), None),
}


def pipeline_of(metadata: Mapping[str, Any], default: str = "yolov5") -> Pipeline:
    """Return the pipeline that a network's metadata names, such as ``{"pipeline": "yolov8"}``.

    What else is under ``"preprocessing"``, the arguments of a :class:`Preprocessing`, takes the place of its own:
    ``{"pipeline": "yolov5", "preprocessing": {"fit": "stretch"}}``.

    Args:
        metadata: of a network, or the description of an engine.
        default: the pipeline where the metadata names none.

    Raises:
        ArgumentError: there is none of that name, or it has no such preprocessing.
    """
    pipeline, changes = _called(metadata.get("pipeline", default)), metadata.get("preprocessing", {})
    if not isinstance(changes, Mapping):
        raise ArgumentError(f"a network's preprocessing is a dict, not {changes!r}", 'such as {"fit": "stretch"}')
    head = None if pipeline.head is None else pipeline.head.with_metadata(metadata)
    return replace(pipeline, preprocessing=pipeline.preprocessing.changed(changes), head=head)


def task_of(name: Any) -> str:
    """Return the task of a pipeline by its name, ``"classify"`` where it has no boxes.

    Raises:
        ArgumentError: there is none of that name.
    """
    return _task(_called(name))


def pipelines_of(task: str) -> list[str]:
    """Return the names of the pipelines for a task."""
    return [name for name, pipeline in PIPELINES.items() if _task(pipeline) == task]


def _called(name: Any) -> Pipeline:
    if not isinstance(name, str) or name not in PIPELINES:
        near = nearest(str(name), PIPELINES)
        raise ArgumentError(f"there is no pipeline {name!r}", *near, f"known: {', '.join(PIPELINES)}")
    return PIPELINES[name]


def _task(pipeline: Pipeline) -> str:
    return "classify" if pipeline.head is None else pipeline.head.task
