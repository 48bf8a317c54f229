"""A stream of the GPU with memory of its own, by the driver alone: work that any thread goes on with.

https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__MEM.html
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trtnn.arrays import address_of
from trtnn.cuda import bound, call, entering_first_gpu, function_of, is_page_locked, stream_pointer, use_first_gpu
from trtnn.engine.memory import describe_gpu_memory
from trtnn.errors import EngineError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered with the legacy default stream, which cannot be captured
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED

_call = functools.partial(call, memory=describe_gpu_memory)


@contextlib.contextmanager
def _uncaptured() -> Iterator[None]:
    """Use the GPU in any thread, also one that captures a CUDA graph: the garbage collector frees where it likes."""
    use_first_gpu()
    mode = ctypes.c_int(_RELAXED)
    _call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
    try:
        yield
    finally:
        _call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))


def _free(stream: ctypes.c_void_p, event: ctypes.c_void_p, device: set[int], pinned: set[int]) -> None:
    with contextlib.suppress(EngineError), _uncaptured():  # nobody is there to hear of an error
        _call("cuStreamSynchronize", stream)
        for address in device:
            _call("cuMemFree_v2", ctypes.c_uint64(address))
        for address in pinned:
            _call("cuMemFreeHost", ctypes.c_void_p(address))
        _call("cuEventDestroy_v2", event)
        _call("cuStreamDestroy_v2", stream)


class Lane:
    """A stream of the first GPU, and memory for what goes along it.

    Threads may use it in turn; each begins with :meth:`enter`. What it holds is freed when nobody holds it any
    more, or an array of its page-locked memory.

    Attributes:
        handle: of the stream.

    Raises:
        EngineError: there is no GPU, or the driver refuses.
    """

    def __init__(self) -> None:
        self._enter = entering_first_gpu()
        self.enter()
        stream, event = ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        _call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(_NO_TIMING))
        self.handle = stream.value or 0
        self._stream, self._event = stream, event
        self._upload = bound("cuMemcpyHtoDAsync_v2", memory=describe_gpu_memory)
        self._query = function_of("cuStreamQuery")
        self._synchronize = bound("cuStreamSynchronize", stream, memory=describe_gpu_memory)
        self._device: set[int] = set()
        self._pinned: set[int] = set()
        self._free = weakref.finalize(self, _free, stream, event, self._device, self._pinned)
        self._free.atexit = False  # the driver ends with the process, maybe before

    def enter(self) -> None:
        """Make the GPU the calling thread's own, as the methods here and launches on the stream need it."""
        self._enter()

    def allocate(self, size_bytes: int) -> int:
        """Return the address of uninitialised memory of the GPU.

        Raises:
            EngineError: the GPU has not that much.
        """
        address = ctypes.c_uint64()
        lines = functools.partial(describe_gpu_memory, size_bytes)
        call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size_bytes), memory=lines)
        self._device.add(address.value)
        return address.value

    def release(self, address: int) -> None:
        """Give memory back that :meth:`allocate` returned, once the stream is done with it."""
        self._device.remove(address)
        with _uncaptured():
            _call("cuStreamSynchronize", self._stream)
            _call("cuMemFree_v2", ctypes.c_uint64(address))

    def pinned(self, size_bytes: int) -> np.ndarray:
        """Return uninitialised page-locked memory of the host as a uint8 array, which holds this lane.

        Raises:
            EngineError: the host has not that much to lock.
        """
        address = ctypes.c_void_p()
        _call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size_bytes), ctypes.c_uint(0))
        assert address.value is not None
        self._pinned.add(address.value)
        buffer: Any = (ctypes.c_uint8 * size_bytes).from_address(address.value)
        buffer.lane = self  # who frees it
        return np.ctypeslib.as_array(buffer)

    def is_pinned(self, array: np.ndarray) -> bool:
        """Tell whether an array lies in page-locked memory, whoever locked it."""
        return is_page_locked(address_of(array))

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the GPU, in the stream's order.

        One in page-locked memory may still be read when this returns, any other is done with.
        """
        self._upload(*self._arguments(address, array))

    def repeated(self, address: int, array: np.ndarray) -> Callable[[], None]:
        """Return what does :meth:`upload` each time that it is called; the array has to be held as long."""
        return bound("cuMemcpyHtoDAsync_v2", *self._arguments(address, array), memory=describe_gpu_memory)

    def _arguments(self, address: int, array: np.ndarray) -> tuple[object, ...]:
        size, source = ctypes.c_size_t(array.nbytes), ctypes.c_void_p(address_of(array))
        return ctypes.c_uint64(address), source, size, self._stream

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the GPU to a contiguous array, in the stream's order; it is there after :meth:`synchronize`."""
        size, target = ctypes.c_size_t(array.nbytes), ctypes.c_void_p(address_of(array))
        _call("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(address), size, self._stream)

    def wait_for(self, stream: int) -> None:
        """Let this lane go on only after what is on another stream now, by that one's handle."""
        if self._query(stream_pointer(stream)) == 0:  # all that is there is done
            return
        self.mark(stream)
        _call("cuStreamWaitEvent", self._stream, self._event, ctypes.c_uint(0))

    def mark(self, stream: int) -> None:
        """Note how far a stream's work goes now, by its handle, for :meth:`wait_marked`."""
        _call("cuEventRecord", self._event, ctypes.c_void_p(stream))

    def wait_marked(self) -> None:
        """Wait until the work is done that :meth:`mark` noted last.

        Raises:
            EngineError: it failed.
        """
        _call("cuEventSynchronize", self._event)

    def synchronize(self) -> None:
        """Wait until the stream is done.

        Raises:
            EngineError: the work failed.
        """
        self._synchronize()
