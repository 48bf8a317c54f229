"""Images on the GPU to a network's input: what the kernels of ``preprocessing.cu`` are told of them."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trtnn.kernels import Kernels
from trtnn.vision.fits import whole_weights
from trtnn.vision.opencv import opencv
from trtnn.vision.placing import Placement, Size, place
from trtnn.vision.preprocessing import Preprocessing, preprocess

_KERNELS = {"letterbox": "bytes", "stretch": "bytes", "corner": "floats", "warp": "warp"}
_KERNELS |= {"crop": "average", "cover": "average", "stretch-antialias": "average_bytes"}
_COLUMNS, _ROWS, _FEW_ROWS, _THREADS = 64, 32, 8, 256  # of a block, as in preprocessing.cu
_MANY_BLOCKS = 1024  # more than a GPU has at the same time

#: What a kernel reads of each image: ``Image`` of preprocessing.cu.
IMAGE = np.dtype(
    [
        ("pixels", np.uint64),
        ("row_bytes", np.int64),
        *((name, np.int32) for name in ("height", "width", "top", "left", "inner_height", "inner_width")),
        ("ratio_y", np.float64),
        ("ratio_x", np.float64),
        *((name, np.float64) for name in ("warp_y", "warp_x", "warp_scale")),
        *((name, np.int32) for name in ("is_exact", "bits_y", "bits_x")),
    ],
    align=True,
)


class _Batch(ctypes.Structure):
    """``Batch`` of preprocessing.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("images", "output", "table")),
        *((name, ctypes.c_int) for name in ("height", "width", "is_bgr", "rows")),
        ("fill_bytes", ctypes.c_int * 3),
        *((name, ctypes.c_float * 3) for name in ("fill", "mean", "std")),
    ]


#: An image in the GPU's memory, uint8 (height, width, 3) RGB, pixels beside each other in a row: the address of the
#: first pixel, height and width in px, and the bytes from one row to the next. A plain tuple, since each call makes one
#: for each image.
Pixels = tuple[int, int, int, int]


class GpuPreprocessing:
    """A preprocessing by one kernel for a whole batch; its numbers are those of :func:`trtnn.vision.preprocess`.

    ``letterbox``, ``stretch`` and ``stretch-antialias`` are so bit for bit, ``warp`` too (of OpenCV 5 on canvases whose
    width is a multiple of 32), and ``corner`` to 1e-6. ``crop``, ``cover``, and ``warp`` elsewhere, round to bytes what
    they sum in another order: where that is half a whole number, a byte may be the next one. ``csrc/bilinear.h`` has
    OpenCV's arithmetic and its sources.

    Args:
        how: the preprocessing.
        size: the canvas's (height, width) in px.
        dtype: of the input, float32 or float16.

    Attributes:
        table: (3, 256) of ``dtype``, what a byte of the canvas becomes in each plane; the kernel reads it on the GPU.
    """

    def __init__(self, how: Preprocessing, size: Size, dtype: npt.DTypeLike) -> None:
        self.how, self.size, self.dtype = how, size, np.dtype(dtype)
        self._kernel = f"{_KERNELS[how.fit]}_to_{self.dtype.name}"
        every = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
        in_order = Preprocessing("stretch", "RGB", mean=how.mean, std=how.std)
        self.table = preprocess([every], (1, 256), self.dtype, in_order)[0].reshape(3, 256)
        # A canvas of bytes is filled by NumPy, which cuts, and by OpenCV's warp, which rounds.
        fill = np.rint(how.fill) if how.fit == "warp" else np.trunc(how.fill)
        self._batch = _Batch(height=size[0], width=size[1], is_bgr=how.channels == "BGR")
        self._batch.fill_bytes[:] = [int(value) for value in fill]
        for name in ("fill", "mean", "std"):
            getattr(self._batch, name)[:] = getattr(how, name)
        self._placed = functools.lru_cache(maxsize=1024)(self._place)  # images of one size lie alike

    def describe(self, images: Sequence[Pixels], to: np.ndarray) -> list[Placement]:
        """Write what the kernel reads of images, and return how they lie on their canvases.

        Args:
            images: on the GPU, or where they will be there.
            to: an array of :data:`IMAGE`, at least as many.

        Raises:
            ImageError: an image is longer than the fit takes.
        """
        placements = []
        for index, (address, height, width, row_bytes) in enumerate(images):
            placement, lie = self._placed((height, width))
            to[index] = (address, row_bytes, height, width, *lie)
            placements.append(placement)
        return placements

    def _place(self, source_size: Size) -> tuple[Placement, tuple[float, ...]]:
        """Return how an image of a size lies on its canvas, and what the kernel reads of that."""
        placement = place(self.how.fit, source_size, self.size)
        (height, width), (scale_x, scale_y), (x, y) = source_size, placement.scale, placement.offset
        if self.how.fit == "warp":  # the inverse of the map, in the steps of cv2.warpAffine
            factor = 1 / (scale_x * scale_y)
            scale = scale_y * factor
            return placement, (0, 0, 0, 0, 0.0, 0.0, -scale * y, -scale * x, scale, _warp_is_exact(), 0, 0)
        inner_height, inner_width = placement.inner_size
        if self.how.fit == "stretch-antialias":
            ratios = height / inner_height, width / inner_width
            bits = whole_weights(height, inner_height)[0], whole_weights(width, inner_width)[0]
            return placement, (0, 0, inner_height, inner_width, *ratios, 0.0, 0.0, 0.0, 0, *bits)
        is_exact = _KERNELS[self.how.fit] == "average" or (min(height, width) > 1 and opencv_is_exact())
        if is_exact and _KERNELS[self.how.fit] != "bytes":
            ratios = height / inner_height, width / inner_width
        else:
            ratios = 1 / (inner_height / height), 1 / (inner_width / width)
        return placement, (*placement.corner, inner_height, inner_width, *ratios, 0.0, 0.0, 0.0, is_exact, 0, 0)

    def launch(self, kernels: Kernels, stream: int, images: int, table: int, output: int, count: int) -> None:
        """Put the kernel for a batch on a stream.

        Args:
            kernels: those of ``preprocessing.cu``.
            stream: its handle.
            images: the address of ``count`` entries that :meth:`describe` wrote, on the GPU.
            table: that of :attr:`table` there.
            output: that of the network's input.
            count: how many images there are.
        """
        batch, (height, width) = self._batch, self.size
        batch.images, batch.table, batch.output = images, table, output
        across = math.ceil(width / _COLUMNS)
        batch.rows = _ROWS if across * math.ceil(height / _ROWS) * count >= _MANY_BLOCKS else _FEW_ROWS
        kernels.launch(self._kernel, (across, math.ceil(height / batch.rows), count), _THREADS, stream, batch)


@functools.cache
def _warp_is_exact() -> bool:
    """Tell whether OpenCV warps as its version 5 does, and not by 32nds of a pixel."""
    step, matrix, cv2 = np.zeros((2, 2, 3), np.uint8), np.array([[1, 0, 1 / 64], [0, 1, 0]]), opencv()
    step[:, 1:] = 255
    return int(cv2.warpAffine(step, matrix, (2, 2), flags=cv2.INTER_LINEAR)[0, 1, 0]) == round(255 * 63 / 64)


@functools.cache
def opencv_is_exact() -> bool:
    """Tell whether OpenCV resizes float32 as IPP does, which it has on x86: by the weight of a pixel."""
    side, length, edge = 97, 150, 60
    step = np.zeros((2, side, 3), np.float32)
    step[:, edge:] = 1
    cv2 = opencv()
    weights = cv2.resize(step, (length, 2), interpolation=cv2.INTER_LINEAR)[0, :, 0]
    index = int(np.argmax(weights > 0))
    position = (index + 0.5) * side / length - 0.5
    return abs(weights[index] - (position - math.floor(position))) < 1e-7
