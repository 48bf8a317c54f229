"""Device and pinned memory by the driver alone, where neither torch with CUDA nor pycuda is installed."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any

import numpy as np

from trtnn.engine.lane import Lane
from trtnn.engine.memory import PinnedArrays
from trtnn.shapes.spec import TensorSpec


class DeviceArray:
    """Memory of the GPU in a shape; beginnings of it, and other shapes, are of the same memory.

    Attributes:
        address: of its first element.
        shape, itemsize: as of an array.
    """

    def __init__(self, address: int, shape: tuple[int, ...], itemsize: int, owner: Any) -> None:
        self.address, self.shape, self.itemsize = address, shape, itemsize
        self._owner = owner

    def __getitem__(self, part: slice) -> DeviceArray:
        count, *_ = self.shape
        return DeviceArray(self.address, (len(range(count)[part]), *self.shape[1:]), self.itemsize, self._owner)

    def reshape(self, shape: tuple[int, ...]) -> DeviceArray:
        """Return the same memory in another shape of as many elements."""
        assert math.prod(shape) == math.prod(self.shape)
        return DeviceArray(self.address, tuple(shape), self.itemsize, self._owner)

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * self.itemsize


class _Owner:
    """Who keeps memory: it is freed when nobody holds this any more."""


class DriverMemory(PinnedArrays):
    """The driver's memory, on a stream of its own; see :class:`trtnn.engine.memory.DeviceMemory`.

    Page-locked memory that is given back is kept for the next of its size: to lock it takes longer than most copies.
    """

    def __init__(self) -> None:
        self._lane = Lane()
        self._locked: dict[int, list[np.ndarray]] = {}  # by size, those that nobody holds

    def current_stream(self) -> Lane:
        return self._lane

    def current_handle(self) -> int:
        return self._lane.handle

    def handle(self, stream: Lane) -> int:
        return stream.handle

    def wait(self, stream: Lane, other: Lane) -> None:
        stream.wait_for(other.handle)

    def empty(self, spec: TensorSpec) -> DeviceArray:
        shape = tuple(int(length) for length in spec.shape)
        address, owner = self._lane.allocate(math.prod(shape) * spec.dtype.itemsize), _Owner()
        weakref.finalize(owner, self._lane.release, address).atexit = False  # the driver ends with the process
        return DeviceArray(address, shape, spec.dtype.itemsize, owner)

    def pinned(self, spec: TensorSpec) -> np.ndarray:
        shape = tuple(int(length) for length in spec.shape)
        size_bytes = math.prod(shape) * spec.dtype.itemsize
        idle = self._locked.setdefault(size_bytes, [])
        memory = idle.pop() if idle else self._lane.pinned(size_bytes)
        # What is handed out keeps a buffer of ctypes alive, and with the last array of it that goes, it comes back.
        buffer = (ctypes.c_uint8 * size_bytes).from_address(memory.ctypes.data)
        weakref.finalize(buffer, idle.append, memory).atexit = False
        dtype: Any = spec.dtype.numpy  # the caller has seen that NumPy has it
        return np.ctypeslib.as_array(buffer).view(dtype).reshape(shape)

    def pointer(self, buffer: DeviceArray) -> int:
        return buffer.address

    def copy(self, target: Any, source: Any) -> None:
        assert target.nbytes == source.nbytes
        if isinstance(target, np.ndarray):
            self._lane.download(target, source.address)
        else:
            self._lane.upload(target.address, source)

    def synchronize(self) -> None:
        self._lane.synchronize()
