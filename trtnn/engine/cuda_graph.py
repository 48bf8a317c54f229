"""CUDA graphs through the driver's own interface, which torch's and pycuda's streams share.

https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator

from trtnn.cuda import bound, call, stream_pointer
from trtnn.engine.memory import describe_gpu_memory
from trtnn.errors import EngineError

_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using the GPU
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered with the legacy default stream, which cannot be captured

_call = functools.partial(call, memory=describe_gpu_memory)


def _destroy(executable: ctypes.c_void_p) -> None:
    with contextlib.suppress(EngineError):  # nobody is there to hear of it
        _call("cuGraphExecDestroy", executable)


class _Collector:
    """The garbage collector, which must not run in a thread that captures: what it frees spoils the capture."""

    def __init__(self) -> None:
        self._lock, self._pauses, self._was_enabled = threading.Lock(), 0, True

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keep it from running, in any thread, until the last of those that want that is through."""
        with self._lock:
            if self._pauses == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                if self._pauses == 0 and self._was_enabled:
                    gc.enable()


_collector = _Collector()


class CapturedGraph:
    """Work recorded once from a stream, then launched as a whole.

    Args:
        enqueue: puts the work on the stream whose handle it is given; it must not wait for the GPU.

    Raises:
        EngineError: the work cannot be captured.
    """

    def __init__(self, enqueue: Callable[[int], None]) -> None:
        self._executable = ctypes.c_void_p()
        stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        try:
            with _collector.paused():
                _call("cuStreamBeginCapture_v2", stream, ctypes.c_int(_CAPTURE_THREAD_LOCAL))
                try:
                    enqueue(stream.value or 0)
                except BaseException:  # which says why; the error that a spoilt capture ends with says nothing more
                    with contextlib.suppress(EngineError):
                        _call("cuStreamEndCapture", stream, ctypes.byref(graph))
                    raise
                _call("cuStreamEndCapture", stream, ctypes.byref(graph))
            _call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            if graph:
                _call("cuGraphDestroy", graph)
            _call("cuStreamDestroy_v2", stream)
        self._free = weakref.finalize(self, _destroy, self._executable)
        self._free.atexit = False  # the driver ends with the process, maybe before
        self._launch = bound("cuGraphLaunch", self._executable, memory=describe_gpu_memory)

    def launch(self, stream: int) -> None:
        """Put the work on the stream of this handle."""
        self._launch(stream_pointer(stream))

    def close(self) -> None:
        """Free the graph, as happens too when nobody holds it any more; one that still runs goes on to its end."""
        self._free()
