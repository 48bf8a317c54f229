"""Device buffers behind one small interface: torch's where it is installed with CUDA, else pycuda's.

Both work in the primary context of the first GPU, so each lives beside other users of CUDA in the process.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from trtnn.errors import EngineError
from trtnn.inputs import Input


class TorchMemory:
    """Buffers that are torch tensors, on torch's current stream."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda", 0)

    @property
    def stream(self) -> int:
        """The CUDA stream's handle."""
        return self._torch.cuda.current_stream(self._device).cuda_stream

    def upload(self, array: Any) -> Any:
        """Return a contiguous buffer on the GPU with what a NumPy array or a torch tensor holds."""
        if not isinstance(array, self._torch.Tensor):
            array = self._torch.from_numpy(np.array(array))
        return array.to(self._device).contiguous()

    def empty(self, spec: Input) -> Any:
        """Return a buffer for an output."""
        return self._torch.empty(spec.shape, dtype=getattr(self._torch, spec.dtype.name), device=self._device)

    def pointer(self, buffer: Any) -> int:
        """Return the device address of a buffer."""
        return buffer.data_ptr()

    def download(self, buffer: Any) -> np.ndarray:
        """Wait for the stream and return what a buffer holds."""
        return buffer.cpu().numpy()


class PycudaMemory:
    """Buffers that are pycuda's GPUArrays, on a stream of their own."""

    def __init__(self) -> None:
        import pycuda.autoprimaryctx  # noqa: F401  (makes the primary context current)
        from pycuda import driver, gpuarray

        self._gpuarray = gpuarray
        self._stream = driver.Stream()

    @property
    def stream(self) -> int:
        """The CUDA stream's handle."""
        return self._stream.handle

    def upload(self, array: Any) -> Any:
        """Return a contiguous buffer on the GPU with what a NumPy array holds."""
        return self._gpuarray.to_gpu_async(np.ascontiguousarray(array), stream=self._stream)

    def empty(self, spec: Input) -> Any:
        """Return a buffer for an output."""
        return self._gpuarray.empty(spec.shape, spec.dtype.numpy)

    def pointer(self, buffer: Any) -> int:
        """Return the device address of a buffer."""
        return int(buffer.gpudata)

    def download(self, buffer: Any) -> np.ndarray:
        """Wait for the stream and return what a buffer holds."""
        self._stream.synchronize()
        return buffer.get()


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
