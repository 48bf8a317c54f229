"""Where an image lies on a canvas, by its size alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trtnn.errors import ImageError
from trtnn.vision.boxes import check_boxes

Size = tuple[int, int]
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

    @property
    def inner_size(self) -> Size:
        """The (height, width) in whole pixels that the image is resized to."""
        return round(self.source_size[0] * self.scale[1]), round(self.source_size[1] * self.scale[0])

    @property
    def corner(self) -> Size:
        """The whole pixel of the canvas that the image's top left one comes to, (top, left)."""
        return int(self.offset[1]), int(self.offset[0])

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


def place(fit: str, source_size: Size, canvas_size: Size) -> Placement:
    """Return how an image of a (height, width) lies on a canvas, by the name of a fit.

    Raises:
        ImageError: the image is longer than the fit takes.
    """
    return _FITS[fit](source_size, canvas_size)


def _ratio(source_size: Size, canvas_size: Size) -> float:
    """Canvas pixels per image pixel where the whole image fits: min(canvas height / height, and so for width)."""
    return min(canvas / source for canvas, source in zip(canvas_size, source_size, strict=True))


def _placed(source_size: Size, canvas_size: Size, inner: Size, corner: Size = (0, 0)) -> Placement:
    """Return the placement of an image resized to ``inner``, (height, width), with its top left at ``corner``."""
    scale = inner[1] / source_size[1], inner[0] / source_size[0]
    return Placement(source_size, canvas_size, scale, (float(corner[1]), float(corner[0])))


def _letterbox(source_size: Size, canvas_size: Size) -> Placement:
    """Scaled to fit, in the middle; each side is rounded, and is at least a pixel."""
    ratio = _ratio(source_size, canvas_size)
    height, width = (max(1, round(side * ratio)) for side in source_size)
    top, left = (round((canvas - side) / 2 - 0.1) for canvas, side in zip(canvas_size, (height, width), strict=True))
    return _placed(source_size, canvas_size, (height, width), (top, left))


def _corner(source_size: Size, canvas_size: Size) -> Placement:
    """Scaled to fit, at the top left; each side is cut to whole pixels."""
    ratio = _ratio(source_size, canvas_size)
    height, width = (max(1, int(side * ratio + 1e-6)) for side in source_size)
    return _placed(source_size, canvas_size, (height, width))


def _warp(source_size: Size, canvas_size: Size) -> Placement:
    """Scaled to fit, in the middle to the fraction of a pixel."""
    if max(*source_size, *canvas_size) > _LONGEST_WARPED:
        raise ImageError(
            f"a picture of {source_size[0]}×{source_size[1]} is too long for this network's preprocessing",
            f"OpenCV maps pictures of up to {_LONGEST_WARPED} pixels a side",
        )
    ratio = _ratio(source_size, canvas_size)
    y, x = ((canvas - side * ratio) / 2 for canvas, side in zip(canvas_size, source_size, strict=True))
    return Placement(source_size, canvas_size, (ratio, ratio), (x, y))


def _stretch(source_size: Size, canvas_size: Size) -> Placement:
    """Over the whole canvas."""
    return _placed(source_size, canvas_size, canvas_size)


def _crop(source_size: Size, canvas_size: Size) -> Placement:
    """The middle: the shorter side becomes 256 pixels for a canvas of 224, and so in proportion; the longer is cut."""
    shorter = round(max(canvas_size) * 256 / 224)
    height, width = (shorter * side // min(source_size) for side in source_size)
    top, left = (round((side - canvas) / 2) for side, canvas in zip((height, width), canvas_size, strict=True))
    return _placed(source_size, canvas_size, (height, width), (-top, -left))


_FITS: dict[str, Callable[[Size, Size], Placement]] = {
    "letterbox": _letterbox,
    "corner": _corner,
    "warp": _warp,
    "stretch": _stretch,
    "crop": _crop,
}
