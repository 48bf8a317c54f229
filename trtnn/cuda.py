"""The CUDA driver by its own interface, and what it says of the GPUs that there are.

https://docs.nvidia.com/cuda/cuda-driver-api
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from trtnn.errors import EngineError

MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_MEMORY_TYPE, _HOST = 2, 1  # CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_MEMORYTYPE_HOST
_VERSION_BYTES = 80  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE


@functools.cache
def driver() -> ctypes.CDLL | None:
    """Return the CUDA driver, initialised, or None where there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return cuda if cuda.cuInit(0) == 0 else None


def call(name: str, *args: object, memory: Callable[[], list[str]] = list) -> None:
    """Call a function of the driver.

    Args:
        name: the function, such as ``"cuGraphLaunch"``.
        *args: what it takes, in the types of ctypes.
        memory: lines for the error where memory ran out.

    Raises:
        EngineError: it failed, or there is no driver.
    """
    bound(name, *args, memory=memory)()


def bound(name: str, *first: object, memory: Callable[[], list[str]] = list) -> Callable[..., None]:
    """Return a function of the driver that was found, and given its first arguments, once for many calls.

    Args:
        name, memory: as for :func:`call`.
        *first: what it takes first in each call.

    Returns:
        What takes the other arguments, and raises as :func:`call` does.

    Raises:
        EngineError: there is no driver.
    """
    function = functools.partial(function_of(name), *first)

    def ask(*others: object) -> None:
        code = function(*others)
        if code:
            lines = memory() if code == _OUT_OF_MEMORY else []
            raise EngineError(f"{name} failed: {_text_of(code)} ({code})", *lines)

    return ask


def function_of(name: str) -> Callable[..., int]:
    """Return a function of the driver, which returns a code: 0 where it did what was asked.

    Raises:
        EngineError: there is no driver.
    """
    cuda = driver()
    if cuda is None:
        raise EngineError(f"there is no CUDA driver here, and {name} is one of its functions")
    return getattr(cuda, name)


def _text_of(code: int) -> str:
    text = ctypes.c_char_p()
    function_of("cuGetErrorString")(code, ctypes.byref(text))
    return (text.value or b"").decode()


#: What functions of the driver take of a stream, by its handle; those that are used again and again are kept.
stream_pointer = functools.lru_cache(maxsize=256)(ctypes.c_void_p)


@functools.cache
def entering_first_gpu() -> Callable[[], None]:
    """Return what :func:`use_first_gpu` does, for who does it often.

    Raises:
        EngineError: there is no GPU, or it has no memory left for a context.
    """
    device, context = ctypes.c_int(), ctypes.c_void_p()
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return bound("cuCtxSetCurrent", context)


def use_first_gpu() -> None:
    """Make the primary context of the first GPU, which torch and pycuda use as well, the calling thread's own.

    Raises:
        EngineError: there is no GPU, or it has no memory left for a context.
    """
    entering_first_gpu()()


@functools.cache
def gpus() -> tuple[str, ...]:
    """Return the compute capability of each GPU that the CUDA driver shows, such as ``("sm90",)``; often empty."""
    cuda, count = driver(), ctypes.c_int()
    if cuda is None or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    major_attribute, minor_attribute = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    capabilities = []
    for ordinal in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), ordinal)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), major_attribute, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), minor_attribute, device)
        capabilities.append(f"sm{major.value}{minor.value}")
    return tuple(capabilities)


def gpu_name() -> str:
    """Return the name of the first GPU, such as ``"NVIDIA H100 80GB HBM3"``, or an empty string where there is none."""
    cuda, device, name = driver(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return ""
    return name.value.decode() if cuda.cuDeviceGetName(name, len(name), device) == 0 else ""


def gpu_attribute(attribute: int) -> int | None:
    """Return an attribute of the first GPU by the number of its ``CUdevice_attribute``, or None where none is told."""
    cuda, device, value = driver(), ctypes.c_int(), ctypes.c_int()
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    return value.value if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) == 0 else None


def driver_version() -> str:
    """Return the version of NVIDIA's driver, such as ``"550.54.15"``, or an empty string where nothing tells it.

    https://docs.nvidia.com/deploy/nvml-api
    """
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ""
    if nvml.nvmlInit_v2() != 0:
        return ""
    text = ctypes.create_string_buffer(_VERSION_BYTES)
    code = nvml.nvmlSystemGetDriverVersion(text, len(text))
    nvml.nvmlShutdown()
    return text.value.decode() if code == 0 else ""


def gpu_memory() -> tuple[int, int] | None:
    """Return the free and the total bytes of the GPU in use, or None where none is."""
    cuda, free, total = driver(), ctypes.c_size_t(), ctypes.c_size_t()
    if cuda is None or cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) != 0:
        return None
    return free.value, total.value


def is_page_locked(address: int) -> bool:
    """Tell whether memory of the host is page-locked, so that the GPU fetches it by itself."""
    cuda, kind = driver(), ctypes.c_uint()
    if cuda is None or cuda.cuPointerGetAttribute(ctypes.byref(kind), _MEMORY_TYPE, ctypes.c_uint64(address)) != 0:
        return False
    return kind.value == _HOST


def is_capturing(stream: int) -> bool:
    """Tell whether work on a stream, by its handle, is being captured in a CUDA graph; no where there is no driver."""
    cuda, status = driver(), ctypes.c_int()
    return (
        cuda is not None
        and cuda.cuStreamIsCapturing(ctypes.c_void_p(stream), ctypes.byref(status)) == 0
        and status.value != 0
    )


def wait_for_all() -> None:
    """Wait until all work of the current context is done; nothing where there is no driver.

    Raises:
        EngineError: the GPU reported an error.
    """
    if driver() is not None:
        call("cuCtxSynchronize")
