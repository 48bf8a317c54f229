"""The kernel without TensorRT: ``libtrtnn_dcnv2.so`` called with torch tensors or raw pointers.

It is what the tests and timings of the kernel use. The library is the one of ``python -m trtnn.plugins.dcnv2 build
--kernel-only``; the plugin's library has the same functions in it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, DTypeError, ShapeError

FLOAT, HALF = 0, 1
NCHW, NHWC = 0, 1
MASKS = {"none": 0, "given": 1, "logits": 2}


class _Layer(ctypes.Structure):
    """``dcnv2_layer`` of csrc/dcnv2.h."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            *("channels", "out_channels", "kernel_h", "kernel_w", "stride_h", "stride_w", "padding_h", "padding_w"),
            *("dilation_h", "dilation_w", "groups", "offset_groups", "data_type", "mask", "combined"),
        )
    ]


class _Call(ctypes.Structure):
    """``dcnv2_call`` of csrc/dcnv2.h."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            *("batch", "height", "width", "input_layout", "output_layout", "offset_type", "offset_layout"),
            *("tile", "splits"),
        )
    ]


class Library:
    """The kernel's C functions.

    Args:
        path: the library's file.

    Raises:
        ArgumentError: it cannot be loaded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self.functions = ctypes.CDLL(self.path)
        except OSError as error:
            raise ArgumentError(
                f"cannot load the DCNv2 kernel from {self.path}: {error}",
                "build it with: python -m trtnn.plugins.dcnv2 build --kernel-only",
            ) from error
        pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
        layer, call = ctypes.POINTER(_Layer), ctypes.POINTER(_Call)
        for name, result, arguments in (
            ("error", ctypes.c_char_p, []),
            ("check", ctypes.c_int, [layer]),
            ("create", ctypes.c_int, [layer, pointer, pointer, ctypes.POINTER(pointer)]),
            ("destroy", None, [pointer]),
            ("output_size", ctypes.c_int, [layer, integer, integer, *[ctypes.POINTER(integer)] * 2]),
            ("workspace_bytes", ctypes.c_int, [layer, call, ctypes.POINTER(size)]),
            ("forward", ctypes.c_int, [pointer, call, *[pointer] * 5, size, pointer]),
            ("choice", ctypes.c_int, [pointer, call, *[ctypes.POINTER(integer)] * 2]),
            ("tile", ctypes.c_char_p, [integer, integer]),
        ):
            function = getattr(self.functions, f"dcnv2_{name}")
            function.restype, function.argtypes = result, arguments

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``dcnv2_<name>`` and raise what it says went wrong."""
        if getattr(self.functions, f"dcnv2_{name}")(*arguments):
            raise ArgumentError(f"dcnv2_{name}: {self.functions.dcnv2_error().decode()}")

    def tiles(self, half: bool) -> list[str]:
        """Return the names of the block shapes, such as ``"128x256"`` (pixels x output channels), by their number."""
        names = []
        while name := self.functions.dcnv2_tile(HALF if half else FLOAT, len(names)):
            names.append(name.decode())
        return names


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


class DeformConv2d:
    """One layer with its weights on the current GPU; arguments as of ``torchvision.ops.deform_conv2d``.

    Args:
        library: the kernel.
        weight: (out_channels, in_channels / groups, kernel_h, kernel_w), NumPy.
        bias: (out_channels,), or None.
        half: x and the output are fp16, else fp32.
        mask: ``"none"``, ``"given"``, or ``"logits"``: the kernel applies the sigmoid.
        combined: offset and mask come as one map of 3 * offset_groups * kernel_h * kernel_w channels.

    Raises:
        ArgumentError: an argument is out of range, or the GPU has no memory left.
    """

    def __init__(
        self,
        library: Library,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        offset_groups: int = 1,
        half: bool = True,
        mask: str = "given",
        combined: bool = False,
    ) -> None:
        if weight.ndim != 4 or (bias is not None and bias.shape != weight.shape[:1]):
            raise ShapeError(
                f"weight is {weight.shape}, bias {None if bias is None else bias.shape}",
                "expected: weight (out_channels, in_channels / groups, kernel_h, kernel_w), bias (out_channels,)",
            )
        if mask not in MASKS:
            raise ArgumentError(f"mask={mask!r} is unknown", f"known: {', '.join(MASKS)}")
        self.library, self.half, self.combined = library, half, combined
        out_channels, in_channels, *kernel = weight.shape
        numbers = (*kernel, *_pair(stride), *_pair(padding), *_pair(dilation), groups, offset_groups)
        self.layer = _Layer(
            in_channels * groups, out_channels, *numbers, HALF if half else FLOAT, MASKS[mask], int(combined)
        )
        weight = np.ascontiguousarray(weight, np.float32)
        bias = None if bias is None else np.ascontiguousarray(bias, np.float32)
        handle = ctypes.c_void_p()
        library.call("create", self.layer, weight.ctypes.data, bias.ctypes.data if bias is not None else None, handle)
        self.handle = handle
        weakref.finalize(self, library.functions.dcnv2_destroy, handle)

    def make_call(self, batch: int, height: int, width: int, **options: int) -> _Call:
        """Return the C structure of a call; ``options`` are its further fields, by default NCHW and fp32 offsets."""
        return _Call(batch, height, width, **{"tile": -1, **options})

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the output's height and width in pixels."""
        out_height, out_width = ctypes.c_int32(), ctypes.c_int32()
        self.library.call("output_size", self.layer, height, width, out_height, out_width)
        return out_height.value, out_width.value

    def workspace_bytes(self, call: _Call) -> int:
        """Return how many bytes of scratch memory a call wants."""
        size = ctypes.c_size_t()
        self.library.call("workspace_bytes", self.layer, call, size)
        return size.value

    def choice(self, call: _Call) -> tuple[str, int]:
        """Return the block shape and the number of splits that a call uses."""
        tile, splits = ctypes.c_int32(), ctypes.c_int32()
        self.library.call("choice", self.handle, call, tile, splits)
        return self.library.tiles(self.half)[tile.value], splits.value

    def enqueue(self, call: _Call, x: int, offset: int, mask: int, output: int, workspace: int, stream: int) -> None:
        """Enqueue a call by device addresses; ``workspace`` has :meth:`workspace_bytes`, ``mask`` is 0 for none."""
        size = self.workspace_bytes(call)
        self.library.call("forward", self.handle, call, x, offset, mask, output, workspace, size, stream)

    def prepare(self, x: Any, offset: Any, mask: Any = None, **options: Any) -> tuple[Any, Any]:
        """Return the output's tensor and a function that enqueues the call on torch's current stream.

        Args:
            x: torch tensor (batch, channels, height, width), contiguous or channels_last.
            offset: contiguous, (batch, 2 * offset_groups * taps, out_height, out_width); or with ``offset_nhwc``
                (batch, out_height, out_width, channels padded to a multiple of 8).
            mask: as offset, with half the channels; None where the layer takes none or has it in ``offset``.
            **options: ``channels_last`` of the output, by default as x; ``offset_nhwc``; ``tile``; ``splits``.
        """
        torch = sys.modules["torch"]  # who has a tensor has imported it
        if x.ndim != 4 or x.shape[1] != self.layer.channels:
            raise ShapeError(f"x is {tuple(x.shape)}", f"expected (batch, {self.layer.channels}, height, width)")
        if x.dtype != (torch.float16 if self.half else torch.float32):
            raise DTypeError(f"x is {x.dtype}, the layer computes in {'float16' if self.half else 'float32'}")
        last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        last = last or bool(options.get("input_nhwc"))
        x = x if last else x.contiguous()
        batch, _, height, width = x.shape
        out_height, out_width = self.output_size(height, width)
        nhwc = bool(options.get("offset_nhwc", False))
        slots = self.layer.offset_groups * self.layer.kernel_h * self.layer.kernel_w
        wanted = {"offset": (offset, (3 if self.combined else 2) * slots)}
        if self.layer.mask != MASKS["none"] and not self.combined:
            wanted["mask"] = (mask, slots)
        elif mask is not None:
            raise ArgumentError("a mask was given to a layer that takes none")
        for name, (tensor, channels) in wanted.items():
            shape = (batch, channels, out_height, out_width)
            if nhwc:
                shape = (batch, out_height, out_width, -(-channels // 8) * 8)
            if tensor is None or tuple(tensor.shape) != shape or not tensor.is_contiguous():
                received = None if tensor is None else tuple(tensor.shape)
                raise ShapeError(f"{name} is {received}", f"expected {shape}, contiguous")
            if tensor.dtype != offset.dtype or tensor.dtype not in (torch.float16, torch.float32):
                raise DTypeError(f"{name} is {tensor.dtype}", "offset and mask are both float32 or both float16")
        output_last = options.get("channels_last", last)
        memory_format = torch.channels_last if output_last else torch.contiguous_format
        output = torch.empty(
            (batch, self.layer.out_channels, out_height, out_width),
            dtype=x.dtype,
            device=x.device,
            memory_format=memory_format,
        )
        call = self.make_call(
            batch,
            height,
            width,
            input_layout=NHWC if last else NCHW,
            output_layout=NHWC if output_last else NCHW,
            offset_type=HALF if offset.dtype == torch.float16 else FLOAT,
            offset_layout=NHWC if nhwc else NCHW,
            tile=options.get("tile", -1),
            splits=options.get("splits", 0),
        )
        size = self.workspace_bytes(call)
        workspace = torch.empty(max(size, 16), dtype=torch.uint8, device=x.device)
        stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
        pointers = [t.data_ptr() if t is not None else None for t in (x, offset, mask, output, workspace)]
        forward, handle, library = self.library.functions.dcnv2_forward, self.handle, self.library
        tensors = (x, offset, mask, output, workspace)

        def enqueue(kept: Any = tensors) -> None:
            if forward(handle, call, *pointers, size, stream):
                raise ArgumentError(f"dcnv2_forward: {library.functions.dcnv2_error().decode()}")

        return output, enqueue

    def __call__(self, x: Any, offset: Any, mask: Any = None, **options: Any) -> Any:
        """Return the layer's output; arguments as of :meth:`prepare`."""
        output, enqueue = self.prepare(x, offset, mask, **options)
        enqueue()
        return output
