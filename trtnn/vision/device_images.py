"""Images that lie on the GPU: torch's tensors, and whatever else says so by ``__cuda_array_interface__`` or DLPack.

https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, https://dmlc.github.io/dlpack/latest
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, DTypeError, named
from trtnn.vision.gpu_preprocessing import Pixels
from trtnn.vision.images import check_image

_CUDA, _CUDA_MANAGED = 2, 13  # kDLCUDA and kDLCUDAManaged
_KINDS = {0: "int", 1: "uint", 2: "float"}  # kDLInt, kDLUInt, kDLFloat

#: An image on the GPU: where it lies, what keeps its memory, and the handle of the stream on which it may still be
#: made, None where it is there. A plain tuple, since each call makes one for each image.
DeviceImage = tuple[Pixels, Any, int | None]


class _Tensor(ctypes.Structure):
    """``DLTensor`` of dlpack.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_capsule_pointer: Callable[..., Any] = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]  # type: ignore


def device_image(image: Any, index: int, stream: int) -> DeviceImage | None:
    """Return an image where it lies on the GPU, or None for one that does not lie there.

    Args:
        image: uint8 (height, width, 3) RGB.
        index: of the image in all that was given, for messages.
        stream: the handle of the stream that is going to read it.

    Raises:
        ShapeError, DTypeError: it is not an image; with its index.
        ArgumentError: it lies on another GPU, or its pixels are not beside each other.
    """
    if isinstance(image, np.ndarray):
        return None
    if getattr(image, "is_cuda", False):
        torch = sys.modules["torch"]  # who has a tensor has imported it
        _check_gpu(image.get_device(), image, index)
        shape = image.shape  # each time it is asked torch makes another
        if image.dtype is not torch.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            _check(tuple(shape), str(image.dtype).removeprefix("torch."), index)
        row, column, channel = image.stride()
        if column != 3 or channel != 1 or row < 0:
            image = image.contiguous()
            row = image.stride(0)
        # As trtnn.engine.memory asks for it: a Stream object takes longer than all else here.
        current = torch._C._cuda_getCurrentRawStream(0)
        return (image.data_ptr(), shape[0], shape[1], row), image, current
    interface = getattr(image, "__cuda_array_interface__", None)
    if interface is not None:
        shape = tuple(interface["shape"])
        _check(shape, _type_name(interface["typestr"]), index)
        pixels = _pixels(interface["data"][0], shape, interface.get("strides"), image, index)
        return pixels, image, interface.get("stream")
    if hasattr(image, "__dlpack_device__") and image.__dlpack_device__()[0] in (_CUDA, _CUDA_MANAGED):
        _check_gpu(image.__dlpack_device__()[1], image, index)
        capsule = image.__dlpack__(stream=stream)  # which makes that stream wait
        tensor = _Tensor.from_address(_capsule_pointer(capsule, b"dltensor"))
        shape = tuple(tensor.shape[: tensor.ndim])
        kind = f"{_KINDS.get(tensor.code, 'unknown')}{tensor.bits}" + (f"x{tensor.lanes}" if tensor.lanes > 1 else "")
        _check(shape, kind, index)
        strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
        address = (tensor.data or 0) + tensor.byte_offset
        return _pixels(address, shape, strides, image, index), (image, capsule), None
    return None


@functools.lru_cache(maxsize=64)
def _type_name(typestr: str) -> str:
    return np.dtype(typestr).name


@functools.lru_cache(maxsize=1024)  # errors are not kept
def _check(shape: tuple[int, ...], dtype: str, index: int) -> None:
    """Check a shape and an element type as those of an image on the host are.

    Raises:
        ShapeError, DTypeError: they are no image's.
    """
    try:
        like = np.zeros((), dtype)
    except TypeError:
        like = None
    if like is None or like.dtype.kind not in "biuf":  # others may teach NumPy more types
        summary = f"image {index} of those given: a picture must be uint8, RGB in 0..255"
        raise DTypeError(summary, f"received: {dtype}")
    try:
        check_image(np.broadcast_to(like, shape))
    except (DTypeError, ValueError) as error:  # the latter is ShapeError's own base
        raise type(error)(f"image {index} of those given: {error.args[0]}") from None


def _check_gpu(ordinal: int, image: Any, index: int) -> None:
    if ordinal != 0:
        raise ArgumentError(
            f"image {index} of those given lies on another GPU than the engine, which runs on the first",
            f"received: {named(image)} on GPU {ordinal}",
            'a tensor is moved by .to("cuda:0")',
        )


def _pixels(address: int, shape: Sequence[int], strides: Sequence[int] | None, image: Any, index: int) -> Pixels:
    height, width, channels = shape
    row, column, channel = strides or (width * channels, channels, 1)
    if (column, channel) != (3, 1) or row < 0:
        raise ArgumentError(
            f"image {index} of those given has pixels that are not beside each other on the GPU",
            f"received: {named(image)} of strides {tuple(strides or ())} in bytes",
            "copy it into (height, width, 3) as it is before",
        )
    return address, height, width, row
