"""The ways to fit an image to a canvas of fixed size: what becomes of its pixels."""

from __future__ import annotations

import functools
import math
import operator
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError
from trtnn.vision.images import check_image
from trtnn.vision.opencv import opencv
from trtnn.vision.placing import Placement, Size, place

Color = int | tuple[float, ...]
_MOST_KEPT = 1 << 26  # bytes of a scratch array that stay for the next image
_BAND = 1 << 22  # bytes of rows that are resized in one go
_SUMMED = 1 << 17  # numbers that are summed in one go
_ROWS = 8  # that are made at once: BLAS on many cores takes longer to share out one than to compute it


class Fitted(NamedTuple):
    """An image that was fitted: what of its canvas it covers, and the pixels there.

    Attributes:
        pixels: (height, width, 3), uint8 in 0..255, or float32 of the same range; it may be the image itself, or memory
            that the next image of this thread is fitted in.
        top, left: where they begin on the canvas; the rest of the canvas is the fill.
        placement: how the image lies there.
    """

    pixels: np.ndarray
    top: int
    left: int
    placement: Placement


class _Scratch(threading.local):
    """A thread's memory for what each image passes through, kept from one to the next."""

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def __call__(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """Return an uninitialised array that is valid until the next of the same use."""
        dtype = np.dtype(dtype)
        size_bytes = math.prod(shape) * dtype.itemsize
        if size_bytes > _MOST_KEPT:
            return np.empty(shape, dtype)
        kept = self._kept.get(use)
        if kept is None or kept.nbytes < size_bytes:
            kept = self._kept[use] = np.empty(size_bytes, np.uint8)
        return kept[:size_bytes].view(dtype).reshape(shape)


scratch = _Scratch()


def letterbox(image: npt.ArrayLike, size: int | Size, color: Color = 114) -> tuple[np.ndarray, Placement]:
    """Put an image, scaled to fit, into the middle of a canvas of fixed size.

    The canvas is that of YOLOv5's own input pipeline with a fixed size: the image is resized bilinearly to
    (round(w * ratio), round(h * ratio)), enlarged too if it is small, and put at the offset round(rest / 2 - 0.1).
    The placement says where the pixels are: at whole pixels, each side with the scale that rounding gave it.

    Args:
        image: uint8 (height, width, 3) RGB.
        size: the canvas's (height, width) in px, or one number for a square.
        color: the filling, one grey value or (red, green, blue).

    Returns:
        The canvas, uint8 (*size, 3) RGB, and how the image lies on it.

    Raises:
        ArgumentError: the size is not positive.
        ShapeError, DTypeError: ``image`` is not an image.
    """
    image, size = check_image(image), check_size(size)
    pixels, top, left, placement = _letterbox(image, size, (0, 0, 0))
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = color
    canvas[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
    return canvas, placement


def _letterbox(image: np.ndarray, size: Size, _: Color) -> Fitted:
    """Put an image, scaled to fit, into the middle, as :func:`letterbox` says."""
    placement = place("letterbox", image.shape[:2], size)
    return Fitted(_resize(image, placement.inner_size), *placement.corner, placement)


def _corner(image: np.ndarray, size: Size, _: Color) -> Fitted:
    """Put an image, scaled to fit, at the top left, as torchvision's detectors do: it is resized in float32.

    Its sides are cut to whole pixels, and each side has the scale that comes of that.
    """
    placement = place("corner", image.shape[:2], size)
    floats = scratch("floats", image.shape, np.float32)
    floats[:] = image
    return Fitted(_resize(floats, placement.inner_size), 0, 0, placement)


def _warp(image: np.ndarray, size: Size, fill: Color) -> Fitted:
    """Put an image, scaled to fit, in the middle to the fraction of a pixel, by one affine map, as CenterNet does.

    CenterNet moves boxes, in training and back, by the map that moves the centres of pixels: so does the placement.

    Raises:
        ImageError: the image is longer than OpenCV can map.
    """
    cv2, placement = opencv(), place("warp", image.shape[:2], size)
    (ratio, _), (x, y) = placement.scale, placement.offset
    matrix, canvas = np.array([[ratio, 0, x], [0, ratio, y]]), scratch("resized", (*size, 3), np.uint8)
    cv2.warpAffine(image, matrix, size[::-1], canvas, cv2.INTER_LINEAR, borderValue=fill)
    return Fitted(canvas, 0, 0, placement)


def _stretch(image: np.ndarray, size: Size, _: Color) -> Fitted:
    """Fill the whole canvas with an image, whatever that does to its proportions."""
    return Fitted(_resize(image, size), 0, 0, place("stretch", image.shape[:2], size))


def _stretch_antialias(image: np.ndarray, size: Size, _: Color) -> Fitted:
    """Fill the whole canvas with an image by weighted means, as torchvision's Resize does to bytes, with its numbers.

    First the columns and then the rows are averaged by :func:`whole_weights`, and each is rounded to bytes. Sums are of
    whole numbers in float64: exact in any order. An image is resized band by band, as a long thin one would become a
    large one between the two.

    Source: ``upsample_avx_bilinear_bicubic_uint8`` of torch's UpSampleKernelAVXAntialias.h.
    """
    (height, width), pixels = image.shape[:2], scratch("resized", (*size, 3), np.uint8)
    (row_bits, rows), (column_bits, columns) = whole_weights(height, size[0]), whole_weights(width, size[1])
    most, top = max(1, _BAND // (3 * size[1])), 0
    while top < size[0]:
        first, bottom = rows[top][0], top + 1
        while bottom < size[0] and rows[bottom][0] + len(rows[bottom][1]) - first <= most:
            bottom += 1
        band = image[first : rows[bottom - 1][0] + len(rows[bottom - 1][1])]
        if width != size[1]:
            resized = scratch("turned columns", (size[1], len(band), 3), np.uint8)
            _average_bytes(_transposed(band, "turned"), columns, column_bits, resized)
            band = _transposed(resized, "band")
        _average_bytes(band, [(start - first, weights) for start, weights in rows[top:bottom]], row_bits, pixels[top:])
        top = bottom
    return Fitted(pixels, 0, 0, place("stretch-antialias", image.shape[:2], size))


def _crop(fit: str, image: np.ndarray, size: Size, _: Color) -> Fitted:
    """Cut the middle out of an image, as torchvision's transforms for classification do.

    The image's shorter side becomes 256 pixels for a canvas of 224, and so in proportion, by the fit ``"crop"``, and
    the canvas's own by ``"cover"``; the longer is cut to a whole number. The offset of the crop is round(rest / 2).
    Only what is on the canvas is computed, first the rows and then the columns, in float32; what comes of it is
    rounded.
    """
    sides, placement = image.shape[:2], place(fit, image.shape[:2], size)
    (height, width), (top, left) = placement.inner_size, placement.corner
    rows = _weights(sides[0], height, -top, size[0])
    columns = _weights(sides[1], width, -left, size[1])
    under = image[rows[0][0] : rows[-1][0] + len(rows[-1][1]), columns[0][0] : columns[-1][0] + len(columns[-1][1])]
    canvas = _average(under, rows, "rows").transpose(1, 0, 2)
    canvas = _average(canvas, columns, "columns").transpose(1, 0, 2)
    pixels = scratch("resized", (*size, 3), np.uint8)
    pixels[:] = np.rint(canvas, out=canvas)
    return Fitted(pixels, 0, 0, placement)


#: How an image may lie on its canvas: a function of an image, the canvas's size and the fill in the image's channels.
FITS: dict[str, Callable[[np.ndarray, Size, Color], Fitted]] = {
    "letterbox": _letterbox,
    "corner": _corner,
    "warp": _warp,
    "stretch": _stretch,
    "stretch-antialias": _stretch_antialias,
    "crop": functools.partial(_crop, "crop"),
    "cover": functools.partial(_crop, "cover"),
}

#: Those in float32, where OpenCV may round a channel otherwise at another place in the pixel.
FLOAT_FITS = frozenset({"corner"})


def check_size(size: int | Size) -> Size:
    """Return the (height, width) of a canvas, of one number that of a square.

    Raises:
        ArgumentError: it is none, or not positive.
    """
    try:
        height, width = map(operator.index, size if isinstance(size, Iterable) else (size, size))
    except (TypeError, ValueError):
        raise ArgumentError(
            "the size of a canvas is (height, width), whole numbers, or one", f"received: {size!r}"
        ) from None
    if height <= 0 or width <= 0:
        raise ArgumentError("the size of a canvas must be positive", f"received: height {height}, width {width}")
    return height, width


def _resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Return an image of another (height, width), bilinear; what has that size as it is."""
    if image.shape[:2] == size:
        return image
    cv2, resized = opencv(), scratch("resized", (*size, 3), image.dtype)
    return cv2.resize(image, size[::-1], resized, interpolation=cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=64)  # of images of one size they are the same
def _weights(side: int, length: int, start: int, count: int) -> list[tuple[int, np.ndarray]]:
    """Return how each pixel of ``start`` and the ``count`` from there is made, where a side is resized to ``length``.

    A smaller image's pixel is a weighted mean of all that lie under it. Weights fall linearly from the pixel's centre
    to zero at a distance of one pixel of the coarser of the two.

    Returns:
        For each pixel the first under it, and the weights of that and those behind it, float32.
    """
    ratio = side / length
    reach = max(ratio, 1) + 0.5
    rows = []
    for index in range(start, start + count):
        centre = (index + 0.5) * ratio
        first, end = max(0, math.floor(centre - reach)), min(side, math.ceil(centre + reach))
        weights = np.maximum(0, 1 - np.abs(np.arange(first, end) + 0.5 - centre) / max(ratio, 1))
        rows.append((first, (weights / weights.sum()).astype(np.float32)))
    return rows


def _average(part: np.ndarray, weights: list[tuple[int, np.ndarray]], use: str) -> np.ndarray:
    """Resize the first axis, bilinear, in float32: from the pixels under the wanted ones to those.

    Args:
        part: (n, other, 3), from the first pixel under the first of the wanted ones on.
        weights: of :func:`_weights`.
        use: of the scratch memory.
    """
    (start, _), inner = weights[0], part.shape[1:]
    pixels = scratch(f"{use} under", part.shape, np.float32)
    pixels[:] = part
    lines, result = pixels.reshape(len(part), -1), scratch(use, (len(weights), *inner), np.float32)
    for row, (first, factors) in zip(result.reshape(len(weights), -1), weights, strict=True):
        np.dot(factors, lines[first - start : first - start + len(factors)], out=row)
    return result


@functools.lru_cache(maxsize=64)
def whole_weights(side: int, length: int) -> tuple[int, list[tuple[int, np.ndarray]]]:
    """Return how each pixel of a side that is resized to ``length`` is made of bytes, in torch's whole numbers.

    Weights are those of :func:`_weights`, times 2**bits and rounded, halves up, where the largest still has 15 bits.
    Each step in double is torch's, its order as well: a sum whose last digit is another may round otherwise.

    Returns:
        The bits, 14 to 22. For each pixel the first under it, and the weights of that and those behind it, whole
        numbers in float64.
    """
    ratio = side / length
    reach, centres = max(ratio, 1.0), ratio * (np.arange(length) + 0.5)
    firsts = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.int64), side)
    under = firsts[:, None] + np.arange((ends - firsts).max())
    weights = under - centres[:, None]
    weights += 0.5
    weights *= 1 / reach
    np.abs(weights, out=weights)
    np.maximum(np.subtract(1, weights, out=weights), 0, out=weights)
    weights[under >= ends[:, None]] = 0
    weights /= np.add.accumulate(weights, axis=1)[:, -1:]
    bits, largest = 0, weights.max()
    while bits < 22 and int(0.5 + largest * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    weights *= 1 << bits
    np.floor(np.add(weights, 0.5, out=weights), out=weights)
    counts = (ends - firsts).tolist()
    return bits, [(first, row[:count]) for first, row, count in zip(firsts.tolist(), weights, counts, strict=True)]


def _transposed(image: np.ndarray, use: str) -> np.ndarray:
    """Return an image with rows for columns, in the scratch memory of a use."""
    height, width, _ = image.shape
    return opencv().transpose(image, scratch(use, (width, height, 3), np.uint8))


def _average_bytes(part: np.ndarray, weights: list[tuple[int, np.ndarray]], bits: int, to: np.ndarray) -> None:
    """Write the weighted means of an image's rows, rounded to bytes, halves up.

    Args:
        part: uint8 (n, other, 3).
        weights: for each wanted row the first of ``part`` under it, and the weights, whole numbers.
        bits: what the weights are to be divided by: 2**bits.
        to: uint8 (at least as many as the weights, other, 3), contiguous.
    """
    lines, results = part.reshape(len(part), -1), to.reshape(len(to), -1)
    wide = lines.shape[1]
    most, step = max(1, min(_ROWS, _SUMMED // wide)), max(1, _SUMMED // wide)
    floats = scratch("summed", (step, wide), np.float64)
    for top in range(0, len(weights), most):
        rows = weights[top : top + most]
        begin, end = rows[0][0], max(first + len(factors) for first, factors in rows)
        factors = np.zeros((len(rows), end - begin))
        for line, (first, some) in zip(factors, rows, strict=True):
            line[first - begin : first - begin + len(some)] = some
        sums = scratch("byte sums", (most, wide), np.float64)[: len(rows)]
        products = scratch("some sums", (most, wide), np.float64)[: len(rows)]
        sums.fill(0.5 * (1 << bits))
        for start in range(0, end - begin, step):
            count = min(step, end - begin - start)
            floats[:count] = lines[begin + start : begin + start + count]
            sums += np.matmul(factors[:, start : start + count], floats[:count], out=products)
        np.multiply(sums, 0.5**bits, out=sums)
        np.minimum(np.floor(sums, out=sums), 255, out=sums)
        np.copyto(results[top : top + len(rows)], sums, casting="unsafe")
