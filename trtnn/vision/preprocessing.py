"""From images of any size to a network's input of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, DTypeError, ImageError, nearest
from trtnn.vision.boxes import check_boxes
from trtnn.vision.images import check_image
from trtnn.vision.opencv import opencv

Size = tuple[int, int]
Color = int | tuple[float, float, float]
_LONGEST_WARPED = 32766  # of cv2.warpAffine


@dataclass(frozen=True)
class Placement:
    """How an image lies on its canvas: x on the canvas = x in the image · scale + offset, and so for y.

    Attributes:
        source_size: the image's (height, width) in px.
        canvas_size: the canvas's (height, width) in px.
        scale: canvas pixels per image pixel, (x, y).
        offset: of the image's top left corner on the canvas in px, (x, y); it may be a fraction.
    """

    source_size: Size
    canvas_size: Size
    scale: tuple[float, float]
    offset: tuple[float, float]

    @property
    def area(self) -> tuple[float, float, float, float]:
        """The box of the whole image on the canvas, xyxy in px."""
        (height, width), (x, y) = self.source_size, self.offset
        return x, y, x + width * self.scale[0], y + height * self.scale[1]

    def to_source(self, boxes: npt.ArrayLike) -> np.ndarray:
        """Map boxes from the canvas to the image: (x - offset) / scale, clipped to the image.

        Args:
            boxes: (n, 4) xyxy in px of the canvas.

        Returns:
            (n, 4) float32 xyxy in px of the image.

        Raises:
            ShapeError: boxes of another shape.
        """
        boxes = check_boxes(boxes).astype(np.float64)
        height, width = self.source_size
        boxes = (boxes - np.tile(self.offset, 2)) / np.tile(self.scale, 2)
        return np.clip(boxes, 0, np.tile((width, height), 2)).astype(np.float32)


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
    image, size = check_image(image), _check_size(size)
    ratio = _ratio(image, size)
    height, width = (max(1, round(side * ratio)) for side in image.shape[:2])
    top, left = (round((canvas - side) / 2 - 0.1) for canvas, side in zip(size, (height, width), strict=True))
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = color
    canvas[top : top + height, left : left + width] = _resize(image, height, width)
    return canvas, _placed(image, size, (height, width), (top, left))


def _corner(image: np.ndarray, size: Size, fill: Color) -> tuple[np.ndarray, Placement]:
    """Put an image, scaled to fit, at the top left, as torchvision's detectors do: it is resized in float32.

    Its sides are cut to whole pixels, and each side has the scale that comes of that.
    """
    ratio = _ratio(image, size)
    height, width = (max(1, int(side * ratio + 1e-6)) for side in image.shape[:2])
    canvas = np.empty((*size, 3), np.float32)
    canvas[:] = fill
    canvas[:height, :width] = _resize(image.astype(np.float32), height, width)
    return canvas, _placed(image, size, (height, width))


def _warp(image: np.ndarray, size: Size, fill: Color) -> tuple[np.ndarray, Placement]:
    """Put an image, scaled to fit, in the middle to the fraction of a pixel, by one affine map, as CenterNet does.

    CenterNet moves boxes, in training and back, by the map that moves the centres of pixels: so does the placement.

    Raises:
        ImageError: the image is longer than OpenCV can map.
    """
    if max(*image.shape[:2], *size) > _LONGEST_WARPED:
        raise ImageError(
            f"a picture of {image.shape[0]}×{image.shape[1]} is too long for this network's preprocessing",
            f"OpenCV maps pictures of up to {_LONGEST_WARPED} pixels a side",
        )
    cv2, ratio = opencv(), _ratio(image, size)
    x, y = _middle(image, size, ratio)
    matrix = np.array([[ratio, 0, x], [0, ratio, y]])
    canvas = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=fill)
    return canvas, Placement(image.shape[:2], size, (ratio, ratio), (x, y))


def _stretch(image: np.ndarray, size: Size, _: Color) -> tuple[np.ndarray, Placement]:
    """Fill the whole canvas with an image, whatever that does to its proportions."""
    return _resize(image, *size), _placed(image, size, size)


def _crop(image: np.ndarray, size: Size, _: Color) -> tuple[np.ndarray, Placement]:
    """Cut the middle out of an image, as torchvision's transform for classification does.

    The image's shorter side becomes 256 pixels for a canvas of 224, and so in proportion; the longer is cut to a
    whole number. The offset of the crop is round(rest / 2). Only what is on the canvas is computed.
    """
    sides = image.shape[:2]
    shorter = round(max(size) * 256 / 224)
    height, width = (shorter * side // min(sides) for side in sides)
    top, left = (round((side - canvas) / 2) for side, canvas in zip((height, width), size, strict=True))
    rows, columns = range(top, top + size[0]), range(left, left + size[1])
    canvas = image[_under(sides[0], height, rows), _under(sides[1], width, columns)]
    canvas = _average(canvas, sides[0], height, rows).transpose(1, 0, 2)
    canvas = _average(canvas, sides[1], width, columns).transpose(1, 0, 2)
    return np.rint(canvas), _placed(image, size, (height, width), (-top, -left))


#: How an image may lie on its canvas.
FITS: dict[str, Callable[[np.ndarray, Size, Color], tuple[np.ndarray, Placement]]] = {
    "letterbox": letterbox,
    "corner": _corner,
    "warp": _warp,
    "stretch": _stretch,
    "crop": _crop,
}


@dataclass(frozen=True)
class Preprocessing:
    """How images become a network's input: laid on a canvas, then (canvas / 255 - mean) / std, channels first.

    Args:
        fit: ``"letterbox"`` scales the image to fit, in the middle; ``"corner"`` at the top left, in float32;
            ``"warp"`` in the middle by one affine map; ``"stretch"`` fills the canvas; ``"crop"`` covers it with the
            middle of the image.
        channels: their order in the input, ``"RGB"`` or ``"BGR"``; the numbers below are in this order.
        fill: what else is on the canvas, in 0..255.
        mean: what is subtracted, in 0..1.
        std: what is divided by, in 0..1.

    Raises:
        ArgumentError: an unknown fit or order of channels, or not three finite numbers, or a std of zero.
    """

    fit: str = "letterbox"
    channels: str = "RGB"
    fill: tuple[float, float, float] = (114.0, 114.0, 114.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, values in {"fit": list(FITS), "channels": ["RGB", "BGR"]}.items():
            value = getattr(self, name)
            if value not in values:
                raise ArgumentError(f"preprocessing has no {name} {value!r}", f"known: {', '.join(values)}")
        for name in ("fill", "mean", "std"):
            value = getattr(self, name)
            try:
                numbers = np.asarray(value)
            except ValueError:  # lists of different lengths
                numbers = np.empty(0)
            good = numbers.shape == (3,) and numbers.dtype.kind in "iuf" and np.isfinite(numbers).all()
            if not good or (name == "std" and not numbers.all()):
                not_zero = ", none of them zero" if name == "std" else ""
                raise ArgumentError(f"{name} of preprocessing is a number for each channel{not_zero}", f"got: {value}")
            if name == "fill" and not 0 <= numbers.min() <= numbers.max() <= 255:
                raise ArgumentError("fill of preprocessing is in 0..255", f"got: {value}")
            object.__setattr__(self, name, tuple(numbers.tolist()))

    def changed(self, changes: Mapping[str, Any]) -> Preprocessing:
        """Return one that differs in what ``changes`` names, as a network's metadata has it.

        Raises:
            ArgumentError: it names what there is not, or a value is none.
        """
        names = [field.name for field in fields(self)]
        unknown = [name for name in changes if name not in names]
        if unknown:
            raise ArgumentError(
                f"preprocessing has no {unknown[0]!r}", *nearest(unknown[0], names), f"known: {', '.join(names)}"
            )
        return replace(self, **changes)


YOLO = Preprocessing()


def preprocess(
    images: Iterable[npt.ArrayLike],
    size: int | Size,
    dtype: npt.DTypeLike = np.float32,
    how: Preprocessing = YOLO,
) -> tuple[np.ndarray, list[Placement]]:
    """Make one batch of images of any sizes: each on a canvas of its own, normalised, channels first.

    Args:
        images: uint8 (height, width, 3) RGB each.
        size: the canvas's (height, width) in px, or one number for a square.
        dtype: float32 or float16.
        how: YOLO's way by default: letterboxed, RGB in 0..1.

    Returns:
        The batch (N, 3, *size), and how every image lies on its canvas, for :func:`postprocess`.

    Raises:
        ArgumentError: the size is not positive.
        DTypeError: a ``dtype`` other than float32 and float16, or an image that is not uint8.
        ShapeError: an image of another shape.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float16):
        raise DTypeError("a batch of pictures is float32 or float16", f"received: {dtype}")
    canvas_size, placements, fit = _check_size(size), [], FITS[how.fit]
    images = [check_image(image) for image in images]
    batch = np.empty((len(images), 3, *canvas_size), dtype)
    mean, std = (np.reshape(np.float32(numbers), (3, 1, 1)) for numbers in (how.mean, how.std))
    for planes, image in zip(batch, images, strict=True):
        ordered = image if how.channels == "RGB" else np.ascontiguousarray(image[..., ::-1])
        canvas, placement = fit(ordered, canvas_size, how.fill)
        values = np.divide(canvas.transpose(2, 0, 1), 255, dtype=np.float32)
        values -= mean
        np.divide(values, std, out=planes, casting="same_kind")
        placements.append(placement)
    return batch, placements


def _check_size(size: int | Size) -> Size:
    height, width = (size, size) if isinstance(size, (int, np.integer)) else size
    if height <= 0 or width <= 0:
        raise ArgumentError("the size of a canvas must be positive", f"received: height {height}, width {width}")
    return int(height), int(width)


def _ratio(image: np.ndarray, size: Size) -> float:
    """Canvas pixels per image pixel where the whole image fits: min(canvas height / height, and so for width)."""
    return min(canvas / source for canvas, source in zip(size, image.shape[:2], strict=True))


def _middle(image: np.ndarray, size: Size, ratio: float) -> tuple[float, float]:
    """Return the (x, y) at which an image, scaled by ``ratio``, is in the middle of a canvas."""
    (height, width), (canvas_height, canvas_width) = image.shape[:2], size
    return (canvas_width - width * ratio) / 2, (canvas_height - height * ratio) / 2


def _placed(image: np.ndarray, canvas_size: Size, resized: Size, corner: tuple[int, int] = (0, 0)) -> Placement:
    """Return the placement of an image that was resized to (height, width) and has its top left at (top, left)."""
    (height, width), (top, left) = image.shape[:2], corner
    scale = resized[1] / width, resized[0] / height
    return Placement((height, width), canvas_size, scale, (float(left), float(top)))


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image of another size, bilinear; what has that size as it is."""
    if image.shape[:2] == (height, width):
        return image
    cv2 = opencv()
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _under(side: int, length: int, wanted: range) -> slice:
    """Return the pixels of a side that the ``wanted`` ones are made of, where it is resized to ``length``."""
    ratio = side / length
    reach = max(ratio, 1) + 0.5
    first, last = ((index + 0.5) * ratio for index in (wanted[0], wanted[-1]))
    return slice(max(0, math.floor(first - reach)), min(side, math.ceil(last + reach)))


def _average(part: np.ndarray, side: int, length: int, wanted: range) -> np.ndarray:
    """Resize the first axis, bilinear, in float32: from the pixels :func:`_under` the ``wanted`` ones to those.

    A smaller image's pixel is a weighted mean of all that lie under it. Weights fall linearly from the pixel's centre
    to zero at a distance of one pixel of the coarser of the two.
    """
    ratio, start = side / length, _under(side, length, wanted).start
    result = np.empty((len(wanted), *part.shape[1:]), np.float32)
    for row, index in enumerate(wanted):
        under = _under(side, length, range(index, index + 1))
        distances = np.abs(np.arange(under.start, under.stop) + 0.5 - (index + 0.5) * ratio)
        weights = np.maximum(0, 1 - distances / max(ratio, 1))
        pixels = part[under.start - start : under.stop - start].astype(np.float32)
        result[row] = np.tensordot((weights / weights.sum()).astype(np.float32), pixels, 1)
    return result
