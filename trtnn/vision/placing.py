"""Where an image lies on a canvas, by its size alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trtnn.errors import ImageError
from trtnn.vision.boxes import check_boxes
from trtnn.vision.rotated import check_rotated

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
        return self.points_to_source(check_boxes(boxes).reshape(-1, 2, 2)).reshape(-1, 4)

    def points_to_source(self, points: npt.ArrayLike) -> np.ndarray:
        """Map points from the canvas to the image: (x - offset) / scale, clipped to the image.

        Args:
            points: (..., 2), x and y in px of the canvas.

        Returns:
            The same shape, float32, in px of the image.
        """
        height, width = self.source_size
        points = (np.asarray(points, np.float64) - self.offset) / self.scale
        return np.clip(points, 0, (width, height)).astype(np.float32)

    def rotated_to_source(self, boxes: npt.ArrayLike) -> np.ndarray:
        """Map rotated boxes from the canvas to the image; they are not clipped, which would turn them.

        Where the scales of x and y differ, a rectangle becomes a parallelogram: what is returned has its centre, the
        lengths of its sides, and the angle of that of the width.

        Args:
            boxes: (n, 5), centre x, centre y, width, height in px of the canvas, and angle in radians.

        Returns:
            (n, 5) float32, in px of the image.

        Raises:
            ShapeError: boxes of another shape.
        """
        boxes = check_rotated(boxes).astype(np.float64)
        cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
        x_scale, y_scale = self.scale
        mapped = np.empty(boxes.shape, np.float32)
        mapped[:, :2] = (boxes[:, :2] - self.offset) / self.scale
        mapped[:, 2] = boxes[:, 2] * np.hypot(cos / x_scale, sin / y_scale)
        mapped[:, 3] = boxes[:, 3] * np.hypot(sin / x_scale, cos / y_scale)
        turn = np.arctan2(sin / y_scale, cos / x_scale) - np.arctan2(sin, cos)
        mapped[:, 4] = boxes[:, 4] + turn  # angles keep their whole turns
        return mapped


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


def _crop(ratio: float, source_size: Size, canvas_size: Size) -> Placement:
    """The middle: the shorter side becomes so many times the canvas's longer one, and so in proportion; it is cut."""
    shorter = round(max(canvas_size) * ratio)
    height, width = (shorter * side // min(source_size) for side in source_size)
    top, left = (round((side - canvas) / 2) for side, canvas in zip((height, width), canvas_size, strict=True))
    return _placed(source_size, canvas_size, (height, width), (-top, -left))


_FITS: dict[str, Callable[[Size, Size], Placement]] = {
    "letterbox": _letterbox,
    "corner": _corner,
    "warp": _warp,
    "stretch": _stretch,
    "stretch-antialias": _stretch,
    "crop": functools.partial(_crop, 256 / 224),
    "cover": functools.partial(_crop, 1),
}
