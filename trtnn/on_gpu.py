"""The steps from images to detections on the GPU: an image goes up once, and only boxes come back."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from trtnn.cuda import gpus
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.engine.engine import Engine
from trtnn.engine.lane import Lane
from trtnn.engine.staging import Staging
from trtnn.errors import EngineError
from trtnn.image_network import ImageNetwork
from trtnn.kernels import INSTALL, is_ready, kernels
from trtnn.vision.detections import Detections
from trtnn.vision.device_images import device_image
from trtnn.vision.gpu_postprocessing import PLACE, GpuPostprocessing, describe, has_kernels
from trtnn.vision.gpu_preprocessing import IMAGE, GpuPreprocessing, Pixels
from trtnn.vision.images import check_one
from trtnn.vision.pipelines import Pipeline
from trtnn.vision.placing import Placement
from trtnn.vision.rows import warning_once
from trtnn.vision.stream import IN_FLIGHT

_NOWHERE: Pixels = (0, 0, 0, 0)


def why_not(network: ImageNetwork) -> tuple[str, bool]:
    """Return why images cannot be prepared and boxes picked on the GPU here, and whether installing helps.

    Returns:
        Nothing where they can be; where what lacks could be installed, the line for pip.
    """
    outputs = {str(dtype.numpy) for dtype in network.types.values()}
    if not outputs | {str(network.dtype)} <= {"float32", "float16"} or len(outputs) > 1:
        received = f"an input of {network.dtype} and outputs of {', '.join(sorted(outputs))}"
        return f"the kernels take float32 or float16, all outputs the same, and this network has {received}", False
    if not gpus():
        return "there is no GPU here", False
    arch = gpus()[0].replace("sm", "sm_")
    if not all(is_ready(name, arch) for name in ("preprocessing", "postprocessing")):
        return f"cuda-core, which compiles the kernels, is not installed: {INSTALL}", True
    return "", False


class OnGpu:
    """The steps of a batch whose images are prepared, and whose boxes are picked, by kernels on the GPU.

    From the second batch of a size on, all from the images on the GPU to the boxes is one CUDA graph. Several batches
    may be under way: each has a stream, an execution context and memory of its own, which are kept for later ones.

    Args:
        engine: what computes the network.
        network: the same, as it takes images.
        pipeline: the pre- and post-processing.
        thresholds: all that the pipeline's head takes.
    """

    def __init__(
        self, engine: Engine, network: ImageNetwork, pipeline: Pipeline, thresholds: Mapping[str, Any]
    ) -> None:
        self.batch, self.in_flight = network.batch, IN_FLIGHT
        self.engine, self.network, self.pipeline, self.thresholds = engine, network, pipeline, thresholds
        self._warned: dict[str, object] = {}
        # That the network takes for 1, 2, ...
        self._counts = [self._count(images) for images in range(1, self.batch + 1)]
        # By how many images they take; threads take from it and give back.
        self._idle: dict[int, list[_Batch]] = {count: [] for count in self._counts}

    def prepare(self, images: Sequence[Any], first: int) -> _Batch:
        """Begin to copy images to the GPU; those that lie there stay where they are."""
        count = self._counts[len(images) - 1]
        batch = self._take(count) or self._make(count)
        batch.begin(images, first)
        return batch

    def _make(self, count: int) -> _Batch:
        return _Batch(self.engine, self.network, self.pipeline, self.thresholds, count, self._warned)

    def _take(self, count: int) -> _Batch | None:
        """Return a batch that is idle, and none whose weights were exchanged since; None where all are under way."""
        idle = self._idle[count]
        while True:
            try:
                batch = idle.pop()
            except IndexError:
                return None
            if batch.refits == self.engine.refits:
                return batch

    def compute(self, prepared: _Batch) -> _Batch:
        """Put all the work on the batch's stream, once its images are on their way."""
        prepared.run()
        return prepared

    def finish(self, computed: _Batch) -> list[Detections]:
        """Wait for the boxes."""
        detections = computed.finish()
        self._idle[computed.count].append(computed)
        return detections

    def _count(self, images: int) -> int:
        """Return how many images the network takes for a batch: powers of two below the most, so that sizes are few."""
        return min(self.network.taken(1 << (images - 1).bit_length()), self.network.taken(self.batch))


def _leave(lane: Lane, staging: Staging) -> None:
    """Wait until nothing of a batch is under way."""
    with suppress(EngineError):
        lane.enter()
        staging.stop()


class _Batch:
    """A batch on its way, and what it needs on the GPU.

    Attributes:
        count: how many images the network takes.
    """

    def __init__(
        self,
        engine: Engine,
        network: ImageNetwork,
        pipeline: Pipeline,
        thresholds: Mapping[str, Any],
        count: int,
        warned: dict[str, object],
    ) -> None:
        assert pipeline.head is not None  # Detector says so
        self._warned = warned
        self.count, self._thresholds, self._head = count, thresholds, pipeline.head
        height, width = network.size
        self.refits = engine.refits  # before a worker is made: a refit between the two is seen the next time
        self._lane = lane = Lane()
        shapes, self._worker = engine.attach((count, 3, height, width), lane.handle)
        (self._input,) = (self._worker.addresses[name] for name in shapes.inputs)
        self._outputs = {name: (spec.shape, spec.dtype.numpy) for name, spec in shapes.outputs.items()}
        self._addresses = self._named({name: self._worker.addresses[name] for name in shapes.outputs})
        self._preprocessing = GpuPreprocessing(pipeline.preprocessing, (height, width), network.dtype)
        self._table = self._uploaded(self._preprocessing.table)
        self._described = lane.pinned(count * (IMAGE.itemsize + PLACE.itemsize))
        self._images = self._described[: count * IMAGE.itemsize].view(IMAGE)
        self._images_at = self._images["pixels"]
        self._places = self._described[count * IMAGE.itemsize :].view(PLACE)
        self._described_at = lane.allocate(self._described.nbytes)
        self._upload_described = lane.repeated(self._described_at, self._described)
        self._postprocessing, self._memory, self._wanted = None, 0, 0
        if has_kernels(self._head):
            named = self._named(self._outputs)
            (dtype,) = {dtype for _, dtype in named.values()}
            output_shapes = {name: shape for name, (shape, _) in named.items()}
            self._postprocessing = after = GpuPostprocessing(
                self._head, output_shapes, dtype, (height, width), thresholds
            )
            self._memory, self._wanted = lane.allocate(after.memory_bytes), self._uploaded(after.wanted)
            lane.upload(self._memory, np.zeros(after.cleared_bytes, np.uint8))
            self._pinned = lane.pinned(after.result_bytes)
            self._results = after.results(self._pinned)
        self._graph: CapturedGraph | None = None
        self._thread = 0  # in which it was begun
        self._has_run = False
        self._staging = Staging(lane)
        # A batch that nobody waits for: what the GPU reads and writes goes behind that.
        weakref.finalize(self, _leave, lane, self._staging).atexit = False
        self._pixels: list[Pixels] = []  # what was described last
        self._placements: list[Placement] = []
        self._owners: list[Any] = []

    def _named(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        named = self._head.name_outputs(outputs)
        assert named is not None  # Detector has read them
        return named

    def _uploaded(self, array: np.ndarray) -> int:
        address = self._lane.allocate(array.nbytes)
        self._lane.upload(address, np.ascontiguousarray(array))
        return address

    def begin(self, images: Sequence[Any], first: int) -> None:
        """Bring images to the GPU, and say what they are."""
        lane = self._lane
        lane.enter()
        self._thread = threading.get_ident()
        pixels: list[Pixels] = []
        self._owners = owners = []
        host: list[np.ndarray] = []
        places: list[int] = []  # of these
        for index, image in enumerate(images, first):
            there = device_image(image, index, lane.handle)
            if there is None:
                owner = check_one(image, index)
                host.append(owner)
                places.append(len(pixels))
                pixels.append(_NOWHERE)
            else:
                lies, owner, stream = there
                if stream is not None:
                    lane.wait_for(stream)
                pixels.append(lies)
            owners.append(owner)
        try:
            if host:
                for at, address in enumerate(self._staging.upload(host)):
                    height, width, _ = host[at].shape
                    pixels[places[at]] = address, height, width, 3 * width
            self._describe(pixels)
        except BaseException:
            self._staging.stop()
            raise

    def _describe(self, pixels: list[Pixels]) -> None:
        """Say on the GPU where images lie."""
        if pixels == self._pixels:  # what is said of them is there already
            return
        before, self._pixels = self._pixels, []
        if [one[1:] for one in pixels] == [one[1:] for one in before]:  # they lie on their canvases as before
            self._images_at[: len(pixels)] = [one[0] for one in pixels]
        else:
            self._described[:] = 0  # behind the images is one of no size: all of its canvas is the fill
            self._placements = self._preprocessing.describe(pixels, self._images)
            describe(self._placements, self._places)
        self._upload_described()
        self._pixels = pixels

    def run(self) -> None:
        """Put the work on the stream: at first piece by piece, and from the second time on as one graph."""
        lane = self._lane
        self._worker.check_is_open()
        self._enter()
        self._staging.wait()
        if self._has_run and self._graph is None:
            self._graph = CapturedGraph(self._enqueue)
        if self._graph is None:  # TensorRT finishes its set-up in the first run, which cannot be captured
            self._enqueue(lane.handle)
        else:
            self._graph.launch(lane.handle)
        self._has_run = True

    def _enqueue(self, stream: int) -> None:
        before, places = self._preprocessing, self._described_at + self._images.nbytes
        before.launch(kernels("preprocessing"), stream, self._described_at, self._table, self._input, self.count)
        self._worker.enqueue(stream)
        self._pick(stream, places, 0)

    def _pick(self, stream: int, places: int, tile: int) -> None:
        after, outputs, memory = self._postprocessing, self._addresses, self._memory
        if after is not None:
            to = self._pinned.ctypes.data
            after.launch(kernels("postprocessing"), stream, outputs, self._wanted, places, memory, to, self.count, tile)

    def finish(self) -> list[Detections]:
        """Wait for the detections, and pick what is left to be picked."""
        lane, after, count, tile = self._lane, self._postprocessing, len(self._placements), 0
        self._enter()
        lane.synchronize()
        self._owners = []
        self._worker.check_is_open()  # where it was closed meanwhile, nobody knows what was computed
        if after is None:
            return self._on_cpu()
        # Each of the network's images, also one that nobody gave: what is counted is 0 again only where one is done.
        while not self._results.are_done():
            tile += 1
            self._pick(lane.handle, self._described_at + self._images.nbytes, tile)
            lane.synchronize()
        found = self._results.detections(count)
        return self._on_cpu() if found is None else found

    def _enter(self) -> None:
        """Make the GPU the calling thread's own, unless it is since :meth:`begin`."""
        if threading.get_ident() != self._thread:
            self._lane.enter()

    def _on_cpu(self) -> list[Detections]:
        """Return what the CPU makes of the outputs: they are the boxes already, or it has to say what they are."""
        outputs = {}
        for name, (shape, dtype) in self._outputs.items():
            whole = np.empty(shape, dtype)
            self._lane.download(whole, self._worker.addresses[name])
            outputs[name] = whole[: len(self._placements)]
        self._lane.synchronize()
        with warning_once(self._warned):
            return self._head.detect(self._named(outputs), self._placements, **self._thresholds)
