"""Batches on their way from images to detections, several at once: reading, preparing, computing and finishing overlap.

This is where the CPU's way and the GPU's meet: each is a class of :class:`Steps`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from trtnn.vision.detections import Detections

IN_FLIGHT = 4  # batches on one GPU, or on the CPU: one for each step, reading among them


class Steps(Protocol):
    """What becomes of a batch of images, in three steps.

    Each batch goes through them in this order, batches go through each step in theirs, and no step is called twice at a
    time by one stream; but steps of different batches overlap, each in a thread of its own, and several streams and
    calls may be under way at once. What :meth:`prepare` takes for a batch, :meth:`finish` gives back; a batch that
    fails on its way, or whose stream is closed, does not get there.

    Attributes:
        batch: the most images in a batch.
        in_flight: how many batches may be under way in one stream.
    """

    batch: int
    in_flight: int

    def prepare(self, images: Sequence[Any], first: int) -> Any:
        """Begin a batch: make the network's input of images, or start that.

        Args:
            images: 1 to :attr:`batch` of them.
            first: the index of the first in all that was given, for messages.

        Raises:
            ShapeError, DTypeError: one is not an image; with its index.
        """
        ...

    def compute(self, prepared: Any) -> Any:
        """Run the network on what :meth:`prepare` returned, or start that."""
        ...

    def finish(self, computed: Any) -> list[Detections]:
        """Wait for what :meth:`compute` returned, and return the detections in each image, in its own pixels."""
        ...


def call(steps: Steps, images: Sequence[Any]) -> list[Detections]:
    """Return the detections in all images, a batch at a time, in the thread that calls."""
    results: list[Detections] = []
    for start in range(0, len(images), steps.batch):
        part = images[start : start + steps.batch]
        results += steps.finish(steps.compute(steps.prepare(part, start)))
    return results


def stream(steps: Steps, images: Iterable[Any]) -> Generator[Detections, None, None]:
    """Yield the detections in each image, in order, while batches behind it are under way.

    At most ``steps.in_flight`` batches are read and not yet yielded. What fails, ``images`` among it, raises its error
    where its batch's detections would come, behind all before it.

    Args:
        steps: the way.
        images: any iterable; a thread takes from it ahead of what is yielded, one image at a time.
    """
    source = iter(images)
    starts = itertools.count(0, steps.batch)

    def take() -> list[Any] | None:
        return list(itertools.islice(source, steps.batch)) or None

    def prepare(batch: list[Any]) -> Any:
        return steps.prepare(batch, next(starts))

    threads = [ThreadPoolExecutor(1, f"trtnn-stream-{name}") for name in ("read", "prepare", "compute", "finish")]
    under_way: deque[Future[list[Detections] | None]] = deque()
    try:
        while True:
            while len(under_way) < steps.in_flight:
                future: Future[Any] = threads[0].submit(take)
                for thread, step in zip(threads[1:], (prepare, steps.compute, steps.finish), strict=True):
                    future = thread.submit(_after, future, step)
                under_way.append(future)
            detections = under_way.popleft().result()
            if detections is None:
                return
            yield from detections
    finally:
        for thread in threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for thread in threads:
            thread.shutdown()  # whoever gave the images has them for itself again


def _after(before: Future[Any], step: Callable[[Any], Any]) -> Any:
    """Return what a step makes of a batch once the step before is done with it; None where there is no batch left."""
    value = before.result()
    return None if value is None else step(value)
