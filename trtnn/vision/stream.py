"""Batches on their way from images to detections, several at once: reading, preparing, computing and finishing overlap.

This is where the CPU's way and the GPU's meet: each is a class of :class:`Steps`.
"""

from __future__ import annotations

import atexit
import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple, Protocol

from trtnn.threads import Here, is_own
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
    if 0 < len(images) <= steps.batch:  # one batch: for one picture the loop below is a twentieth of Python's time
        return steps.finish(steps.compute(steps.prepare(images, 0)))
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

    Raises:
        TrtnnError: it goes on in another process than it began in, which was forked of that one.
    """
    here, source = Here(), iter(images)
    starts = itertools.count(0, steps.batch)

    def take(source: Iterator[Any]) -> list[Any] | None:
        return list(itertools.islice(source, steps.batch)) or None

    def prepare(batch: list[Any]) -> Any:
        return steps.prepare(batch, next(starts))

    way: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(5)]  # into each step, and out of the last
    closed = threading.Event()
    named = {"read": take, "prepare": prepare, "compute": steps.compute, "finish": steps.finish}
    threads = [
        threading.Thread(target=_work, args=(step, before, after, closed), name=f"trtnn-stream-{name}", daemon=True)
        for (name, step), before, after in zip(named.items(), way, way[1:], strict=False)
    ]

    def close() -> None:
        if not here:
            return
        closed.set()
        for queue in way:
            queue.put(None)
        if is_own():
            return
        for thread in threads:
            if thread.is_alive():  # not where it could not be started
                thread.join()  # whoever gave the images has them for itself again
        for queue in way:
            while not queue.empty():  # an error there would hold the queue by its traceback, and that the error
                queue.get()

    atexit.register(close)  # a stream that nobody closed: threads must not go on while Python ends
    try:
        for thread in threads:
            thread.start()
        for _ in range(steps.in_flight):
            way[0].put(source)  # no thread holds it longer than it reads
        while (found := way[-1].get()) is not None:
            if isinstance(found, _Failed):
                error = found.error
                try:
                    raise error
                finally:
                    del error, found  # which would hold each other, and all that the step held
            for detections in found:
                yield detections
                here.check("this stream of detections")
            way[0].put(source)
    finally:
        atexit.unregister(close)
        close()


class _Failed(NamedTuple):
    """What is in the place of a batch that failed."""

    error: BaseException


def _work(step: Callable[[Any], Any], before: SimpleQueue[Any], after: SimpleQueue[Any], closed: Event) -> None:
    """Take one batch after another through a step, until the stream is closed; a queue costs less than a future."""
    while True:
        batch = before.get()
        if closed.is_set():
            return
        after.put(_stepped(step, batch))
        del batch  # else it were held until the next comes


def _stepped(step: Callable[[Any], Any], batch: Any) -> Any:
    """Return what a step makes of a batch; what has failed stays so, and None, where there is none left."""
    if batch is None or isinstance(batch, _Failed):
        return batch
    try:
        return step(batch)
    except BaseException as error:
        return _Failed(error)
