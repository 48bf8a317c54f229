"""Several GPUs of this machine: a process for each, which has an engine of its own and takes batches in turn.

Images go there through shared memory, which each process page-locks, so that its GPU fetches them from where they were
put. A process has its GPU alone (``CUDA_VISIBLE_DEVICES``) and an interpreter of its own, and ends with the one that
began it. They answer to that one alone: a fork of it has none of the threads that copy and listen, and neither asks
them nor ends them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
import warnings
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trtnn.engine.engine import Engine
from trtnn.errors import ArgumentError, EngineError
from trtnn.processes import command_of
from trtnn.threads import Here, is_own
from trtnn.vision.copying import copy_into
from trtnn.vision.detections import Detections, Packed, unpack
from trtnn.vision.images import check_images

VISIBLE = "CUDA_VISIBLE_DEVICES"
UNDER_WAY = 4  # batches of one process: one copied there, one going up, one computed, one coming back
KEY = "TRTNN_WORKER_KEY"
_START_S = 120.0  # to import, load an engine and answer
_GRAIN_BYTES = 1 << 22  # shared memory grows by as many
# Threads that copy for each GPU, 4 to 9 GB/s each, which the batches of one process that are under way have between
# them: one alone is there sooner by many, and where batches follow closely, few threads wait for each other less.
_COPIERS = 8


# The number of a slot, its shared memory's name, and where each image lies, in its shape.
Message = tuple[int, str, list[tuple[int, tuple[int, ...]]]]


class Place(NamedTuple):
    """Where an array of an answer lies in the shared memory of its batch."""

    start: int
    shape: tuple[int, ...]
    dtype: str


# A warning: its text, category, file and line.
Told = tuple[str, type[Warning], str, int]


class SeveralGpus:
    """The steps of batches that go to several GPUs in turn, see :class:`trtnn.vision.stream.Steps`.

    Args:
        make: what :func:`trtnn.gpu_worker.make_detector` takes, in each process.
        devices: the indices of the GPUs, as this process sees them.
        batch: the most images in a batch.

    Raises:
        ArgumentError: there are no devices, one twice, or one that is no index.
        EngineError, TrtnnError: a process could not begin; with what it said. Of each step: it is in another process
            than the way began in, which was forked of that one.
    """

    def __init__(self, make: Mapping[str, Any], devices: Sequence[int], batch: int) -> None:
        is_list = isinstance(devices, list | tuple | range)
        are_indices = is_list and all(type(device) is int and device >= 0 for device in devices)
        if not are_indices or not devices or len(set(devices)) < len(devices):
            raise ArgumentError(f"devices are a list of the indices of GPUs, each once, not {devices!r}")
        self._here, self.batch = Here(), batch
        self.in_flight = UNDER_WAY * len(devices)
        self._copiers = ThreadPoolExecutor(_COPIERS * len(devices), "trtnn-copy")
        told = _Warnings()
        self._workers = [_Worker(make, device, self._copiers, told) for device in devices]
        for worker in self._workers:
            worker.wait_until_ready()
        self._turns = itertools.cycle(self._workers)
        self._lock = threading.Lock()

    @classmethod
    def of_engine(cls, engine: Engine, make: Mapping[str, Any], devices: Sequence[int], batch: int) -> SeveralGpus:
        """Return the way of an engine, whose file each process reads; one that has none is written into one."""
        if engine.path is not None:
            return cls({"engine": str(engine.path), **make}, devices, batch)
        with tempfile.TemporaryDirectory() as folder:  # each process has read it before this ends
            return cls({"engine": str(engine.save(Path(folder, "model.engine"))), **make}, devices, batch)

    def prepare(self, images: Sequence[Any], first: int) -> _Batch:
        """Begin to copy images to where the process whose turn it is finds them."""
        self._check_process()
        checked = check_images(images, first)
        with self._lock:
            worker = next(self._turns)
        return _Batch(worker, checked)

    def compute(self, prepared: _Batch) -> _Batch:
        """Tell the process, once its images are there."""
        self._check_process()
        prepared.send()
        return prepared

    def finish(self, computed: _Batch) -> list[Detections]:
        """Wait for the detections."""
        self._check_process()
        return computed.receive()

    def _check_process(self) -> None:
        self._here.check("this detection on several GPUs")


class _Warnings:
    """The warnings of all processes of a Detector, each told once, in this process."""

    def __init__(self) -> None:
        self._first: dict[str, object] = {}  # by the text, whose numbers are one process's own

    def tell(self, told: Sequence[Told]) -> None:
        """Warn of what no process has warned of before."""
        for text, category, file, line in told:
            mine = object()
            if self._first.setdefault(re.sub(r"\d+", "#", text), mine) is mine:
                warnings.warn_explicit(text, category, file, line)


class _Batch:
    """A batch on its way to a process, and back."""

    def __init__(self, worker: _Worker, images: Sequence[np.ndarray]) -> None:
        self._worker, self._slot = worker, worker.slot()
        try:
            self._message, self._copies = self._slot.fill(images, worker.shares())
        except BaseException:
            worker.give_back(self._slot, ())
            raise
        # Of one that failed, or whose stream was closed, too.
        self._give_back = weakref.finalize(self, worker.give_back, self._slot, self._copies)
        self._give_back.atexit = False
        self.answered = threading.Event()
        self.answer: Any = None
        self.told: Sequence[Told] = ()

    def send(self) -> None:
        for copy in self._copies:
            copy.result()
        self._copies.clear()
        self._worker.send(self, self._message)

    def receive(self) -> list[Detections]:
        self.answered.wait()
        answer, self.answer = self.answer, None
        try:
            self._worker.warnings.tell(self.told)
            if isinstance(answer, BaseException):
                raise answer
            return self._slot.found(answer)
        finally:
            del answer  # an error that is raised would hold itself by its traceback
            self._give_back()


class _Slot:
    """Shared memory for the images of one batch, which is kept and grows."""

    def __init__(self, number: int, copiers: ThreadPoolExecutor) -> None:
        self._number, self._copiers = number, copiers
        self.memory: SharedMemory | None = None

    def fill(self, images: Sequence[np.ndarray], shares: int) -> tuple[Message, list[Future[None]]]:
        """Begin to copy images into the memory; return what tells the process of them, and the copies.

        Args:
            images: any number.
            shares: how many threads copy, each as many bytes, by whole images.
        """
        starts = [0, *itertools.accumulate(-(-image.nbytes // 256) * 256 for image in images)]
        if self.memory is None or self.memory.size < starts[-1]:
            self.close()
            size = -(-max(starts[-1], 1) // _GRAIN_BYTES) * _GRAIN_BYTES
            self.memory = SharedMemory(create=True, size=size)
        memory = self.memory

        def copy(first: int, last: int) -> None:
            copy_into(np.ndarray(memory.size, np.uint8, memory.buf), starts[first:last], images[first:last])

        cuts = [bisect_left(starts, starts[-1] * share // shares) for share in range(shares + 1)]
        copies = [self._copiers.submit(copy, *cut) for cut in itertools.pairwise(cuts) if cut[0] < cut[1]]
        places = list(zip(starts, (image.shape for image in images), strict=False))
        return (self._number, memory.name, places), copies

    def found(self, answer: Packed) -> list[Detections]:
        """Return the detections of an answer, whose arrays lie in the memory where there was room."""
        counts, columns = answer
        assert self.memory is not None
        buffer = self.memory.buf
        there = {
            name: np.ndarray(column.shape, column.dtype, buffer, column.start) if isinstance(column, Place) else column
            for name, column in columns.items()
        }
        return unpack((counts, there))

    def close(self) -> None:
        memory, self.memory = self.memory, None
        if memory is not None:
            try:
                memory.close()
            finally:
                memory.unlink()


class _Worker:
    """A process, as the one that began it sees it.

    Args:
        make: what it makes its detector of.
        device: the index of its GPU.
        copiers: threads that copy images.
        warnings: of all processes.
    """

    def __init__(self, make: Mapping[str, Any], device: int, copiers: ThreadPoolExecutor, warnings: _Warnings) -> None:
        self._here = Here()
        self.device, self._copiers, self.warnings = device, copiers, warnings
        visible = os.environ.get(VISIBLE)
        names = visible.split(",") if visible else None
        if names is not None and device >= len(names):
            raise ArgumentError(f"there is no GPU {device}", f"{VISIBLE}={visible} shows {len(names)}")
        key = secrets.token_hex(32)
        self._listener = Listener(authkey=key.encode())
        environment = {**os.environ, VISIBLE: names[device] if names else str(device), KEY: key}
        self._process = subprocess.Popen(
            command_of("trtnn.gpu_worker", str(self._listener.address), ignored=[signal.SIGINT]),
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        self._make = dict(make)
        self._sent: deque[_Batch] = deque()
        self._idle: list[_Slot] = []  # threads take from it and give back
        self._numbers = itertools.count()
        self._slots: list[_Slot] = []
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._end = weakref.finalize(self, _end, self._here, self._process, self._listener, self._slots)

    def wait_until_ready(self) -> None:
        """Wait until the process has its detector.

        Raises:
            TrtnnError: it has none; with what it said.
        """
        accepted: deque[Connection] = deque()
        listener = self._listener

        def accept() -> None:
            with contextlib.suppress(OSError, EOFError, AuthenticationError):  # where the process ends before
                accepted.append(listener.accept())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        waited = 0.0
        while not accepted and waited < _START_S and self._process.poll() is None:
            thread.join(0.1)
            waited += 0.1
        if not accepted:
            self._end()
            raise EngineError(f"the process for GPU {self.device} did not begin", f"waited {waited:.0f} s")
        self._connection = accepted[0]
        self._listener.close()
        self._connection.send(self._make)
        answer, told = self._received()
        self.warnings.tell(told)
        if isinstance(answer, BaseException):
            self._end()
            raise answer
        threading.Thread(target=_listen, args=(self._connection, self._sent, self.device), daemon=True).start()

    def _received(self) -> tuple[Any, Sequence[Told]]:
        assert self._connection is not None
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return _ended(self.device), ()

    def slot(self) -> _Slot:
        """Return memory for a batch."""
        try:
            return self._idle.pop()
        except IndexError:  # all of it is under way
            slot = _Slot(next(self._numbers), self._copiers)
            self._slots.append(slot)
            return slot

    def shares(self) -> int:
        """Return how many threads copy a batch whose memory was just taken."""
        return max(1, _COPIERS // max(1, len(self._slots) - len(self._idle)))

    def send(self, batch: _Batch, message: Message) -> None:
        """Tell the process of a batch whose images are in its memory."""
        assert self._connection is not None
        with self._lock:  # answers come in the order of what was sent
            self._sent.append(batch)
            try:
                self._connection.send(message)
            except OSError:
                with contextlib.suppress(ValueError):  # it was answered that the process has ended
                    self._sent.remove(batch)
                raise _ended(self.device) from None

    def give_back(self, slot: _Slot, copies: Sequence[Future[None]]) -> None:
        """Take the memory of a batch that is done, or that nobody waits for any more, once nothing writes there."""
        if self._here and (not is_own("copy") or all(copy.done() for copy in copies)):
            wait(copies)
            self._idle.append(slot)


def _listen(connection: Connection, sent: deque[_Batch], device: int) -> None:
    """Hand each answer to the batch that it is of, until the process ends."""
    while True:
        try:
            answer, told = connection.recv()
        except Exception as error:
            is_end = isinstance(error, (EOFError, OSError))
            while sent:
                _answer(sent.popleft(), _ended(device) if is_end else error)
            return
        _answer(sent.popleft(), answer, told)


def _answer(sent: _Batch, answer: Any, told: Sequence[Told] = ()) -> None:
    sent.answer, sent.told = answer, told
    sent.answered.set()


def _ended(device: int) -> EngineError:
    return EngineError(f"the process for GPU {device} has ended", "what it said stands above, on standard error")


def _end(here: Here, process: subprocess.Popen, listener: Listener, slots: Sequence[_Slot]) -> None:
    if not here:
        return
    process.kill()
    process.wait()
    listener.close()
    for slot in slots:
        with contextlib.suppress(BufferError):  # somebody looks at it
            slot.close()
