"""What runs in the process of one GPU, see :mod:`trtnn.several_gpus`, which begins it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Client, Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, TypeVar, cast

import numpy as np

from trtnn.cuda import call, gpus, use_first_gpu
from trtnn.detector import Detector
from trtnn.engine.engine import Engine
from trtnn.errors import EngineError
from trtnn.several_gpus import KEY, UNDER_WAY, Message, Place, Told
from trtnn.vision.detections import Packed, pack
from trtnn.vision.stream import Steps, stream


def make_detector(engine: str | None = None, weights: str | None = None, **options: Any) -> Detector:
    """Return the detector of an engine file, or of a checkpoint; the options are the Detector's own."""
    return Detector(Engine.load(engine), **options) if engine else Detector.from_weights(weights or "", **options)


class _Views:
    """The shared memory of batches, page-locked where there is a GPU: one for each slot of the other process."""

    def __init__(self) -> None:
        self._memories: dict[int, SharedMemory] = {}

    def of(self, slot: int, name: str) -> SharedMemory:
        memory = self._memories.get(slot)
        if memory is None or memory.name != name:
            if memory is not None:  # it was too small for this batch, and nobody looks at it any more
                _unlock_pages(memory)
                with contextlib.suppress(BufferError):  # the error of a batch before may still hold its images
                    memory.close()
            memory = self._memories[slot] = _attached(name)
            _lock_pages(memory)
        return memory


def _attached(name: str) -> SharedMemory:
    """Return memory that the other process made and removes, which Python's own tracker knows nothing of here."""
    register, resource_tracker.register = resource_tracker.register, lambda *_: None
    try:
        return SharedMemory(name)
    finally:
        resource_tracker.register = register


def _lock_pages(memory: SharedMemory) -> None:
    """Lock memory for the GPU, so that it is fetched without another copy; what the driver refuses is copied."""
    if gpus():
        with contextlib.suppress(EngineError):
            use_first_gpu()
            call("cuMemHostRegister_v2", _address(memory), ctypes.c_size_t(memory.size), ctypes.c_uint(0))


def _unlock_pages(memory: SharedMemory) -> None:
    if gpus():
        with contextlib.suppress(EngineError):  # it was not locked
            use_first_gpu()
            call("cuMemHostUnregister", _address(memory))


def _address(memory: SharedMemory) -> ctypes.c_void_p:
    return ctypes.c_void_p(np.ndarray(memory.size, np.uint8, memory.buf).ctypes.data)


def serve(connection: Connection) -> None:
    """Make a detector of what comes first, and detect in batch after batch; a few are under way at once.

    Warnings go with the next answer: the other process tells them.
    """
    with warnings.catch_warnings(record=True) as caught:
        _serve(connection, caught)


def _serve(connection: Connection, caught: list[warnings.WarningMessage]) -> None:
    try:
        detector = make_detector(**connection.recv())
        steps = detector._steps
    except BaseException as error:
        connection.send((_sendable(error), _taken(caught)))
        return
    connection.send((None, _taken(caught)))
    for answer in stream(_Messages(steps), _received(connection)):
        connection.send((answer, _taken(caught)))


def _received(connection: Connection) -> Iterator[Message]:
    """Yield what the other process sends, until it is gone."""
    with contextlib.suppress(EOFError):
        while True:
            yield connection.recv()


_Step = TypeVar("_Step", bound=Callable[..., Any])


def _tried(step: _Step) -> _Step:
    """Return a step that gives an error that can be sent in the place of a batch that failed, in it or before."""

    @functools.wraps(step)
    def tried(self: Any, batch: Any, *more: Any) -> Any:
        if isinstance(batch, BaseException):
            return batch
        try:
            return step(self, batch, *more)
        except Exception as error:
            return _sendable(error)

    return cast(_Step, tried)


class _Messages:
    """The steps of batches that come as messages: each is a stream's one image.

    What is found goes back where the images were, if there is room: that takes less than to send it.

    Args:
        steps: of the detector.
    """

    batch, in_flight = 1, UNDER_WAY

    def __init__(self, steps: Steps) -> None:
        self._steps, self._views = steps, _Views()

    @_tried
    def prepare(self, images: Sequence[Message], first: int) -> Any:
        """Begin the batch of one message."""
        ((slot, name, places),) = images
        memory = self._views.of(slot, name)
        views = [np.ndarray(shape, np.uint8, memory.buf, start) for start, shape in places]
        return memory, self._steps.prepare(views, 0)

    @_tried
    def compute(self, prepared: Any) -> Any:
        """Run the network."""
        memory, batch = prepared
        return memory, self._steps.compute(batch)

    def finish(self, computed: Any) -> list[Any]:
        """Return the one answer."""
        return [self._answer(computed)]

    @_tried
    def _answer(self, computed: Any) -> Packed:
        memory, batch = computed
        counts, columns = pack(self._steps.finish(batch))
        end = 0
        for name, column in columns.items():
            if isinstance(column, np.ndarray) and end + column.nbytes <= memory.size:
                np.ndarray(column.shape, column.dtype, memory.buf, end)[...] = column
                columns[name] = Place(end, column.shape, column.dtype.str)
                end += -(-column.nbytes // 16) * 16
        return counts, columns


def _taken(caught: list[warnings.WarningMessage]) -> list[Told]:
    """Take the warnings that were caught; categories are Python's own, which the other process has."""
    taken = []
    while caught:
        one = caught.pop(0)
        category = next(base for base in one.category.__mro__ if base.__module__ == "builtins")
        taken.append((str(one.message), category, one.filename, one.lineno))
    return taken


def _sendable(error: BaseException) -> BaseException:
    """Return an error that can be sent: itself, or its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return EngineError(f"{type(error).__name__}: {error}")
    return error


def main(address: str) -> None:
    """Serve the process that began this one, and ends it.

    Args:
        address: where it listens.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(Client(address, authkey=os.environ.pop(KEY).encode()))
