"""Device and pinned memory behind one small interface: torch's where it is installed with CUDA, else pycuda's.

Without either the driver's own serves, see :mod:`trtnn.engine.driver_memory`. All work in the primary context of the
first GPU, so each lives beside other users of CUDA in the process. An object belongs to the thread that made it.

Arrays go to the GPU and come from there straight, whatever memory they lie in: where it is not page-locked the driver
copies through its own that is, which takes less time than to do so here. Threads do not help: where cores are busy a
copy that several threads share waits milliseconds for the last of them.
"""

from __future__ import annotations

import atexit
import importlib.util
import math
import threading
from typing import Any, Protocol

import numpy as np

from trtnn.cuda import gpu_memory
from trtnn.dtypes import DType
from trtnn.errors import EngineError
from trtnn.shapes.spec import TensorSpec

_MIB = 2**20


def describe_gpu_memory(wanted_bytes: int | None = None) -> list[str]:
    """Return lines for an error: how much was wanted, and how much the GPU has; without a GPU no line for that."""
    lines = [] if wanted_bytes is None else [f"wanted: {wanted_bytes / _MIB:,.1f} MiB"]
    memory = gpu_memory()
    if memory is not None:
        lines.append(f"memory of the GPU: {memory[0] / _MIB:,.0f} MiB free of {memory[1] / _MIB:,.0f}")
    return lines


def _refused(error: Exception, doing: str, spec: TensorSpec | None = None) -> EngineError:
    """Return the error for what torch or pycuda raised where the GPU refused, with its memory's numbers.

    Args:
        error: what was raised.
        doing: what was tried, such as ``"allocate a buffer"``.
        spec: of the buffer that was to be made.
    """
    wanted_bytes = None if spec is None else math.prod(spec.shape) * spec.dtype.itemsize
    said = str(error).strip().splitlines()[:1]
    return EngineError(f"the GPU could not {doing}", *said, *describe_gpu_memory(wanted_bytes))


class DeviceMemory(Protocol):
    """What workers ask of memory and streams; buffers and streams are whatever an implementation makes of them."""

    def current_stream(self) -> Any:
        """Return the stream to work on."""
        ...

    def current_handle(self) -> int:
        """Return the CUDA handle of the stream to work on."""
        ...

    def handle(self, stream: Any) -> int:
        """Return a stream's CUDA handle."""
        ...

    def wait(self, stream: Any, other: Any) -> None:
        """Let ``stream`` go on only after what is on ``other`` now."""
        ...

    def empty(self, spec: TensorSpec) -> Any:
        """Return an uninitialised buffer on the GPU.

        Raises:
            EngineError: the GPU has not that much memory.
        """
        ...

    def pinned(self, spec: TensorSpec) -> Any:
        """Return an uninitialised buffer on the host, page-locked.

        Raises:
            EngineError: the host has not that much memory to lock.
        """
        ...

    def array(self, pinned: Any) -> np.ndarray:
        """Return a pinned buffer as a NumPy array that shares its memory."""
        ...

    def direct(self, array: np.ndarray) -> Any:
        """Return an array as what :meth:`copy` takes, sharing its memory; None for one that it does not take."""
        ...

    def fill(self, pinned: Any, array: np.ndarray) -> None:
        """Copy an array into a pinned buffer."""
        ...

    def read(self, pinned: Any, array: np.ndarray) -> None:
        """Copy a pinned buffer into an array."""
        ...

    def pointer(self, buffer: Any) -> int:
        """Return the device address of a buffer."""
        ...

    def copy(self, target: Any, source: Any) -> None:
        """Copy between host and GPU in the order of the stream.

        Pinned buffers may still be read or written when this returns; other arrays are done with.
        """
        ...

    def synchronize(self) -> None:
        """Wait until the stream is done.

        Raises:
            EngineError: the work failed.
        """
        ...


class TorchMemory:
    """Torch tensors for buffers, torch's current stream for work."""

    def __init__(self) -> None:
        import torch

        try:
            torch.cuda.init()
            torch.empty(0, device="cuda:0")  # it makes the context, which takes some memory
        except RuntimeError as error:
            raise _refused(error, "make a CUDA context") from error
        self._torch: Any = torch
        self._device = torch.device("cuda", 0)
        self._streams: dict[int, Any] = {}  # by handle: asking torch for the current one takes 5 us
        self._of_type: dict[DType, Any] = {}  # an empty tensor of each, to make others of: quicker than torch.empty
        # What code that torch.compile writes calls; a Stream object would take more than all of a call's other checks.
        self._current_handle = torch._C._cuda_getCurrentRawStream

    def current_stream(self) -> Any:
        return self._torch.cuda.current_stream(self._device)

    def current_handle(self) -> int:
        return self._current_handle(0)

    def handle(self, stream: Any) -> int:
        return stream.cuda_stream

    def wait(self, stream: Any, other: Any) -> None:
        stream.wait_stream(other)

    def empty(self, spec: TensorSpec) -> Any:
        like = self._of_type.get(spec.dtype)
        if like is None:
            dtype = getattr(self._torch, spec.dtype.name)
            like = self._of_type[spec.dtype] = self._torch.empty(0, dtype=dtype, device=self._device)
        try:
            return like.new_empty(spec.shape)
        except RuntimeError as error:
            raise _refused(error, "allocate a buffer", spec) from error

    def pinned(self, spec: TensorSpec) -> Any:
        dtype = getattr(self._torch, spec.dtype.name)
        try:
            return self._torch.empty(spec.shape, dtype=dtype, pin_memory=True)
        except RuntimeError as error:
            raise _refused(error, "page-lock a buffer of the host", spec) from error

    def array(self, pinned: Any) -> np.ndarray:
        return pinned.numpy()

    def direct(self, array: np.ndarray) -> Any:
        if not (array.flags.writeable and array.flags.c_contiguous):
            return None
        try:
            return self._torch.from_numpy(array)
        except ValueError:  # a length of one may have any stride, also one that torch knows not
            return None

    def fill(self, pinned: Any, array: np.ndarray) -> None:
        np.copyto(pinned.numpy(), array)

    def read(self, pinned: Any, array: np.ndarray) -> None:
        np.copyto(array, pinned.numpy())

    def pointer(self, buffer: Any) -> int:
        return buffer.data_ptr()

    def copy(self, target: Any, source: Any) -> None:
        target.copy_(source, non_blocking=True)

    def synchronize(self) -> None:
        handle = self._current_handle(0)
        stream = self._streams.get(handle)
        if stream is None:
            stream = self._streams[handle] = self.current_stream()
        try:
            stream.synchronize()
        except RuntimeError as error:
            raise _refused(error, "finish the work") from error


class _PrimaryContext:
    """The primary context of the first GPU, current in the thread that made this until the thread ends.

    pycuda ends the process where a thread ends with a context on its stack.
    """

    def __init__(self, driver: Any) -> None:
        self._primary = None
        driver.init()
        self._primary = driver.Device(0).retain_primary_context()
        self._primary.push()
        if threading.current_thread() is threading.main_thread():
            atexit.register(self.pop)

    def pop(self) -> None:
        primary, self._primary = self._primary, None
        if primary is not None:
            primary.pop()

    __del__ = pop


_of_thread = threading.local()


class PinnedArrays:
    """What ways to memory have in common whose page-locked memory is NumPy arrays."""

    def array(self, pinned: np.ndarray) -> np.ndarray:
        return pinned

    def direct(self, array: np.ndarray) -> np.ndarray | None:
        return array if array.flags.c_contiguous else None

    def fill(self, pinned: np.ndarray, array: np.ndarray) -> None:
        np.copyto(pinned, array)

    def read(self, pinned: np.ndarray, array: np.ndarray) -> None:
        np.copyto(array, pinned)


class PycudaMemory(PinnedArrays):
    """pycuda's arrays for buffers, on a stream of their own."""

    def __init__(self) -> None:
        from pycuda import driver, gpuarray, tools  # pyright: ignore[reportMissingImports]  (it is optional)

        self._driver, self._gpuarray = driver, gpuarray
        self._errors = (driver.Error, MemoryError)  # the first holds pycuda's own MemoryError
        try:
            if not hasattr(_of_thread, "context"):
                _of_thread.context = _PrimaryContext(driver)
        except self._errors as error:
            raise _refused(error, "make a CUDA context") from error
        self._stream = driver.Stream()
        self._pool = tools.PageLockedMemoryPool()  # page-locking takes longer than most copies

    def current_stream(self) -> Any:
        return self._stream

    def current_handle(self) -> int:
        return self._stream.handle

    def handle(self, stream: Any) -> int:
        return stream.handle

    def wait(self, stream: Any, other: Any) -> None:
        stream.wait_for_event(self._driver.Event().record(other))

    def empty(self, spec: TensorSpec) -> Any:
        try:
            return self._gpuarray.empty(spec.shape, spec.dtype.numpy)
        except self._errors as error:
            raise _refused(error, "allocate a buffer", spec) from error

    def pinned(self, spec: TensorSpec) -> Any:
        try:
            return self._pool.allocate(spec.shape, spec.dtype.numpy)
        except self._errors as error:
            raise _refused(error, "page-lock a buffer of the host", spec) from error

    def pointer(self, buffer: Any) -> int:
        return int(buffer.gpudata)

    def copy(self, target: Any, source: Any) -> None:
        if isinstance(target, np.ndarray):
            source.get_async(stream=self._stream, ary=target)
        else:
            target.set_async(source, stream=self._stream)

    def synchronize(self) -> None:
        try:
            self._stream.synchronize()
        except self._errors as error:
            raise _refused(error, "finish the work") from error


def device_memory() -> DeviceMemory:
    """Return the way to device memory that is installed; the driver's own needs nothing.

    Raises:
        EngineError: there is no driver, or the GPU has no memory for a context.
    """
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return TorchMemory()
    if importlib.util.find_spec("pycuda") is not None:
        return PycudaMemory()
    from trtnn.engine.driver_memory import DriverMemory  # which needs this file

    return DriverMemory()
