"""Detector: images in, detections out, by an engine or by a network on the CPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from trtnn.engine.engine import Engine
from trtnn.engine.metadata import CONTRADICTION, class_count, class_names
from trtnn.errors import ArgumentError, check_switches
from trtnn.image_network import ImageNetwork, Prepared, Runnable
from trtnn.modules import Module
from trtnn.network import Network
from trtnn.vision import Detections, Pipeline, pipeline_of
from trtnn.vision.pipelines import task_of
from trtnn.vision.placing import Size, place
from trtnn.vision.recognition import TO_CLASSIFY, check_classes, check_metadata, recognise
from trtnn.vision.rows import warning_once
from trtnn.vision.stream import IN_FLIGHT, Steps, call, stream


class Detector:
    """An object detector with its pre- and post-processing, each as the network's own project does it.

    >>> detector = trtnn.Detector(model.compile(fp16=True))
    >>> for detections in detector([trtnn.vision.read_image("street.jpg")]): ...

    Args:
        source: an Engine, or the path of its file; or a Network, which computes on the CPU; or a Module with its
            weights, which is traced at the inputs that it declares and computes on the CPU as well. It takes one input
            (batch, 3, height, width). Its metadata name its pipeline, see :data:`trtnn.vision.PIPELINES`; other tools'
            engines, which name none, are read by what else they say and by the shape of the output, see
            :func:`trtnn.vision.recognise`. Of a dynamic one the first profile is used: images at the height and width
            that it is fastest at, as many at a time as it takes.
        pipeline: the name of the pipeline, in place of what the metadata name.
        device: ``"cuda"`` prepares images and picks boxes on the GPU, beside an Engine, ``"cpu"`` on the CPU; both find
            the same. By default it is the GPU where it can be: there kernels are compiled at first use, by the extra
            ``trtnn[cuda]``, and without that a warning says so.
        devices: the indices of GPUs that take batches in turn, each in a process of its own, beside an Engine. By
            default it is one GPU, in this process.
        **thresholds: what the pipeline picks detections by, such as ``confidence=0.25``; the project's own by default.

    Attributes:
        pipeline: the pre- and post-processing.
        task: what is found: ``"detect"`` boxes, ``"segment"`` masks too, ``"pose"`` key points too, ``"obb"`` rotated
            boxes.
        device: where images are prepared and boxes picked, ``"cuda"`` or ``"cpu"``.
        batch: the most images at a time.
        size: (height, width) of the input in pixels.
        classes: the number of classes, None where nothing tells.
        labels: the names of the classes, None where the metadata hold none.

    Raises:
        ArgumentError: the source is none of these, has other inputs or outputs, finds no boxes, or says of itself what
            its outputs contradict; it can be read in several ways; there is no such threshold; or the GPU cannot be
            used as ``device`` asks.
    """

    def __init__(
        self,
        source: Engine | Network | Module | Runnable | str | os.PathLike[str],
        *,
        pipeline: str | None = None,
        device: str | None = None,
        devices: Sequence[int] | None = None,
        **thresholds: Any,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            source = Engine.load(source)
        self._network = network = ImageNetwork(source, "Detector")
        metadata = network.metadata if pipeline is None else {**network.metadata, "pipeline": pipeline}
        self.batch, self.size = network.batch, network.size
        if "pipeline" not in metadata:
            metadata = {**metadata, "pipeline": recognise(metadata, self.size, network.shapes)}
        check_metadata(metadata, task_of(metadata["pipeline"]))  # before what a pipeline of another task needs
        made = pipeline_of(metadata)
        if made.head is None:
            raise ArgumentError(
                f"{metadata.get('model', 'this network')} is not a detector",
                f"it gives {network.gives}, which are no boxes",
                TO_CLASSIFY,
            )
        self.pipeline = replace(made, head=made.head.renamed(network.shapes))
        self.task = made.head.task
        self.classes = self.pipeline.read(network.shapes).get("classes")
        if isinstance(source, Engine | Network | Module):  # a server may not say how long outputs are
            made.head.check_size(network.shapes, (self.size[0], self.size[1]))
        check_classes(metadata, self.classes, network.shapes)
        self._are_classes_sure = self.classes is not None  # by a shape
        self.classes = class_count(metadata) if self.classes is None else self.classes
        self.thresholds = self.pipeline.thresholds(thresholds)
        highest = max(self.thresholds["classes"] or [], default=-1)
        if self.classes is not None and highest >= self.classes:
            raise ArgumentError(
                f"class {highest} is wanted, and this network has {self.classes}: 0 to {self.classes - 1}"
            )
        self.labels = class_names(metadata)
        self._steps = (
            self._choose(source, device) if devices is None else self._spread(source, device, devices, pipeline)
        )
        self.device = "cpu" if isinstance(self._steps, OnCpu) else "cuda"

    @classmethod
    def from_weights(
        cls,
        path: str | os.PathLike[str],
        model: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        fp16: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        reference: bool = False,
        **options: Any,
    ) -> Detector:
        """Return the detector of a checkpoint, with an engine that is built for the GPU and the TensorRT here.

        Args:
            path: the checkpoint.
            model: the model's name, where the checkpoint does not tell it.
            inputs: in place of those that the model declares, by name.
            fp16: build in half precision.
            cache_dir: a folder of engines, which several processes and machines may share: each GPU and TensorRT finds
                its own there, and one builds while others wait. None keeps none.
            reference: compute on the CPU, and build nothing.
            **options: of the Detector.

        Raises:
            TrtnnError: the file cannot be read, is of no model that is known, or an engine cannot run here.
        """
        from trtnn import checkpoint, models
        from trtnn.engine.engine import check_gpu

        check_switches(fp16=fp16, reference=reference)
        if not reference:
            check_gpu()
        network = models.from_state_dict(checkpoint.load(path), model)
        traced = network.trace(inputs, fp16=fp16)
        return cls(traced if reference else traced.build(cache_dir=cache_dir), **options)

    def check_image_size(self, size: Size) -> None:
        """Check that an image of a (height, width) in px can be prepared, before it is one of a batch.

        Raises:
            ImageError: it is longer than the preprocessing takes.
        """
        place(self.pipeline.preprocessing.fit, size, (self.size[0], self.size[1]))

    def check_boxes_alone(self, what: str) -> None:
        """Check that boxes are all that is found, for what has no place for masks, key points and angles.

        Args:
            what: in words, with its verb: ``"Triton's detector gives"``.

        Raises:
            ArgumentError: the task is another one.
        """
        if self.task != "detect":
            raise ArgumentError(
                f"{what} boxes alone, and the task of this network is {self.task}",
                "trtnn detect and Detector give all of it",
            )

    def _choose(self, source: Engine | Network | Module | Runnable, device: str | None) -> Steps:
        """Return the way that images go."""
        if device not in (None, "cpu", "cuda"):
            raise ArgumentError(f"a Detector has no device {device!r}", "known: cpu, cuda")
        if device != "cpu" and isinstance(source, Engine):
            from trtnn.on_gpu import OnGpu, why_not

            reason, can_install = why_not(self._network)
            if not reason:
                return OnGpu(source, self._network, self.pipeline, self.thresholds)
            if device == "cuda":
                raise ArgumentError("images cannot be prepared on the GPU", reason)
            if can_install:
                warnings.warn(f"images are prepared on the CPU: {reason}", stacklevel=3)
        elif device == "cuda":
            raise ArgumentError(
                'device="cuda" needs an Engine', f"received: a {type(source).__name__}, which computes on the CPU"
            )
        return OnCpu(self._network, self.pipeline, self.thresholds)

    def _spread(self, source: Any, device: str | None, devices: Sequence[int], pipeline: str | None) -> Steps:
        """Return the way over several GPUs."""
        if not isinstance(source, Engine):
            raise ArgumentError(
                "devices=... needs an Engine", f"received: a {type(source).__name__}, which computes on the CPU"
            )
        from trtnn.several_gpus import SeveralGpus

        make = {"pipeline": pipeline, "device": device, **self.thresholds}
        return SeveralGpus.of_engine(source, make, devices, self.batch)

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in images, uint8 (height, width, 3) RGB of any sizes; boxes are in each image's own pixels.

        On the GPU images may also lie there: torch's tensors, after the work on torch's current stream, and whatever
        has ``__cuda_array_interface__`` or ``__dlpack__``. Arrays of the host go up fastest from page-locked memory.

        Raises:
            ArgumentError: a single image, not a list of them; or the outputs are not what the pipeline reads.
            ShapeError, DTypeError: one of them is not an image; with its index.
        """
        several = list(self._network.check_several(images))
        found = call(self._steps, several)
        for one, image in zip(found, several, strict=True):
            self._checked(one).found_in(image, self.labels)
        return found

    def stream(self, images: Iterable[np.ndarray]) -> Generator[Detections, None, None]:
        """Yield the detections in each image, in order, while those behind it are read, prepared and computed.

        Images are taken from ``images`` in a thread of its own, a few batches ahead of what is yielded and no more, so
        that there may be any number of them.

        >>> for found in detector.stream(map(trtnn.vision.read_image, paths)): ...

        Args:
            images: any iterable of them, also one without an end. Each is an array of its own: one that is filled anew
                for the next would be seen as it is by then.

        Raises:
            ArgumentError, ShapeError, DTypeError: as for a call, at the image's turn; and whatever ``images`` raises.
            TrtnnError: it goes on in another process than it began in, which was forked of that one.
        """
        return self._stream(self._network.check_several(images))

    def _stream(self, images: Iterable[np.ndarray]) -> Generator[Detections, None, None]:
        with closing(stream(self._steps, images)) as found:
            yield from map(self._checked, found)

    def _checked(self, detections: Detections) -> Detections:
        """Return detections, once their classes are of those that there are, where no shape tells how many."""
        if self._are_classes_sure or self.classes is None:
            return detections
        highest = detections.classes.max(initial=-1)
        if highest >= self.classes:
            raise ArgumentError(
                CONTRADICTION,
                f"its metadata are of {self.classes} classes",
                f"its outputs have class {highest}",
            )
        return detections


class OnCpu:
    """The steps of a batch that is prepared and finished by NumPy and OpenCV, whatever computes the network.

    Args:
        network: what is fed.
        pipeline: the pre- and post-processing.
        thresholds: all that the pipeline's head takes.
    """

    def __init__(self, network: ImageNetwork, pipeline: Pipeline, thresholds: Mapping[str, Any]) -> None:
        assert pipeline.head is not None  # Detector says so
        self.batch, self.in_flight = network.batch, IN_FLIGHT
        self._network, self._pipeline, self._head, self._thresholds = network, pipeline, pipeline.head, thresholds
        self._warned: dict[str, object] = {}

    def prepare(self, images: Sequence[np.ndarray], first: int) -> Prepared:
        """Make the network's input of images."""
        return self._network.prepare(images, self._pipeline, first)

    def compute(self, prepared: Prepared) -> tuple[Prepared, dict[str, np.ndarray]]:
        """Run the network."""
        return prepared, self._network.compute(prepared)

    def finish(self, computed: tuple[Prepared, dict[str, np.ndarray]]) -> list[Detections]:
        """Pick the detections out of the outputs."""
        prepared, outputs = computed
        named = self._head.name_outputs(outputs)
        with warning_once(self._warned):
            detections = self._head.detect(named, prepared.placements, **self._thresholds)
        self._network.give_back(prepared)
        return detections
