"""Device and pinned memory behind one small interface: torch's where it is installed with CUDA, else pycuda's.

Both work in the primary context of the first GPU, so each lives beside other users of CUDA in the process. An object
belongs to the thread that made it.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from trtnn.errors import EngineError
from trtnn.inputs import Input


class TorchMemory:
    """Torch tensors for buffers, torch's current stream for work."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda", 0)

    def current_stream(self) -> Any:
        """Return the stream to work on."""
        return self._torch.cuda.current_stream(self._device)

    def handle(self, stream: Any) -> int:
        """Return a stream's CUDA handle."""
        return stream.cuda_stream

    def wait(self, stream: Any, other: Any) -> None:
        """Let ``stream`` go on only after what is on ``other`` now."""
        stream.wait_stream(other)

    def empty(self, spec: Input) -> Any:
        """Return an uninitialised buffer on the GPU."""
        return self._torch.empty(spec.shape, dtype=getattr(self._torch, spec.dtype.name), device=self._device)

    def pinned(self, spec: Input) -> Any:
        """Return an uninitialised buffer on the host, page-locked."""
        return self._torch.empty(spec.shape, dtype=getattr(self._torch, spec.dtype.name), pin_memory=True)

    def array(self, pinned: Any) -> np.ndarray:
        """Return a pinned buffer as a NumPy array that shares its memory."""
        return pinned.numpy()

    def pointer(self, buffer: Any) -> int:
        """Return the device address of a buffer."""
        return buffer.data_ptr()

    def copy(self, target: Any, source: Any) -> None:
        """Copy between a pinned buffer and one on the GPU, in the order of the stream."""
        target.copy_(source, non_blocking=True)

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        self.current_stream().synchronize()


class PycudaMemory:
    """pycuda's arrays for buffers, on a stream of their own."""

    def __init__(self) -> None:
        from pycuda import autoprimaryctx, driver, gpuarray

        autoprimaryctx.context.push()  # current in this thread too, whichever imported it first
        self._driver, self._gpuarray = driver, gpuarray
        self._stream = driver.Stream()

    def current_stream(self) -> Any:
        """Return the stream to work on."""
        return self._stream

    def handle(self, stream: Any) -> int:
        """Return a stream's CUDA handle."""
        return stream.handle

    def wait(self, stream: Any, other: Any) -> None:
        """Let ``stream`` go on only after what is on ``other`` now."""
        stream.wait_for_event(self._driver.Event().record(other))

    def empty(self, spec: Input) -> Any:
        """Return an uninitialised buffer on the GPU."""
        return self._gpuarray.empty(spec.shape, spec.dtype.numpy)

    def pinned(self, spec: Input) -> Any:
        """Return an uninitialised buffer on the host, page-locked."""
        return self._driver.pagelocked_empty(spec.shape, spec.dtype.numpy)

    def array(self, pinned: Any) -> np.ndarray:
        """Return a pinned buffer as a NumPy array that shares its memory."""
        return pinned

    def pointer(self, buffer: Any) -> int:
        """Return the device address of a buffer."""
        return int(buffer.gpudata)

    def copy(self, target: Any, source: Any) -> None:
        """Copy between a pinned buffer and one on the GPU, in the order of the stream."""
        if isinstance(target, np.ndarray):
            source.get_async(stream=self._stream, ary=target)
        else:
            target.set_async(source, stream=self._stream)

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        self._stream.synchronize()


def device_memory() -> TorchMemory | PycudaMemory:
    """Return the way to device memory that is installed.

    Raises:
        EngineError: neither torch with CUDA nor pycuda is.
    """
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return TorchMemory()
    if importlib.util.find_spec("pycuda") is not None:
        return PycudaMemory()
    raise EngineError("an engine needs torch with CUDA, or pycuda, for device memory", "pip install pycuda")
