"""From pictures of any size to a network's input of one size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, DTypeError
from trtnn.vision.boxes import check_boxes
from trtnn.vision.images import check_image


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies on its canvas: scaled by one ratio, centred, the rest filled.

    Attributes:
        source_size: the picture's (height, width) in px.
        canvas_size: the canvas's (height, width) in px.
    """

    source_size: tuple[int, int]
    canvas_size: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Canvas pixels per picture pixel: min(canvas height / height, canvas width / width)."""
        return min(canvas / source for canvas, source in zip(self.canvas_size, self.source_size, strict=True))

    @property
    def pad(self) -> tuple[float, float]:
        """The picture's (left, top) on the canvas in px: (canvas - source * ratio) / 2, unrounded.

        It is what boxes are moved by. The pixels themselves lie at a whole number, at most 1 px away.
        """
        (height, width), (canvas_height, canvas_width) = self.source_size, self.canvas_size
        return (canvas_width - width * self.ratio) / 2, (canvas_height - height * self.ratio) / 2

    def to_source(self, boxes: npt.ArrayLike) -> np.ndarray:
        """Map boxes from the canvas to the picture: (x - pad) / ratio, clipped to the picture.

        Args:
            boxes: (n, 4) xyxy in px of the canvas.

        Returns:
            (n, 4) float32 xyxy in px of the picture.

        Raises:
            ShapeError: boxes of another shape.
        """
        boxes = check_boxes(boxes).astype(np.float64)
        height, width = self.source_size
        boxes = (boxes - np.tile(self.pad, 2)) / self.ratio
        return np.clip(boxes, 0, np.tile((width, height), 2)).astype(np.float32)


def letterbox(
    image: npt.ArrayLike, size: int | tuple[int, int], color: int | tuple[int, int, int] = 114
) -> tuple[np.ndarray, Letterbox]:
    """Put a picture, scaled to fit, into the middle of a canvas of fixed size.

    The numbers are those of YOLOv5's own input pipeline with a fixed canvas: the picture is resized bilinearly to
    (round(w * ratio), round(h * ratio)), enlarged too if it is small, and put at the offset round(rest / 2 - 0.1).

    Args:
        image: uint8 (height, width, 3) RGB.
        size: the canvas's (height, width) in px, or one number for a square.
        color: the filling, one grey value or (red, green, blue).

    Returns:
        The canvas, uint8 (*size, 3) RGB, and the Letterbox that maps boxes back.

    Raises:
        ArgumentError: the size is not positive.
        ShapeError, DTypeError: ``image`` is not a picture.
    """
    image = check_image(image)
    canvas_size = _check_size(size)
    box = Letterbox(image.shape[:2], canvas_size)
    height, width = (max(1, round(side * box.ratio)) for side in box.source_size)
    if (height, width) != box.source_size:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (round((canvas - side) / 2 - 0.1) for canvas, side in zip(canvas_size, (height, width), strict=True))
    canvas = np.empty((*canvas_size, 3), np.uint8)
    canvas[:] = color
    canvas[top : top + height, left : left + width] = image
    return canvas, box


def preprocess(
    images: Iterable[npt.ArrayLike], size: int | tuple[int, int], dtype: npt.DTypeLike = np.float32
) -> tuple[np.ndarray, list[Letterbox]]:
    """Make one batch of pictures of any sizes: each letterboxed, divided by 255, channels first.

    Args:
        images: uint8 (height, width, 3) RGB each.
        size: the canvas's (height, width) in px, or one number for a square.
        dtype: float32 or float16.

    Returns:
        The batch (N, 3, *size) RGB in 0..1, and a Letterbox for every picture, for :func:`postprocess`.

    Raises:
        ArgumentError: the size is not positive.
        DTypeError: a ``dtype`` other than float32 and float16, or a picture that is not uint8.
        ShapeError: a picture of another shape.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float16):
        raise DTypeError("a batch of pictures is float32 or float16", f"received: {dtype}")
    canvas_size = _check_size(size)
    boxed = [letterbox(image, canvas_size) for image in images]
    batch = np.empty((len(boxed), 3, *canvas_size), dtype)
    for planes, (canvas, _) in zip(batch, boxed, strict=True):
        np.divide(canvas.transpose(2, 0, 1), 255, out=planes, dtype=np.float32, casting="same_kind")
    return batch, [box for _, box in boxed]


def _check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, (int, np.integer)) else size
    if height <= 0 or width <= 0:
        raise ArgumentError("the size of a canvas must be positive", f"received: height {height}, width {width}")
    return int(height), int(width)
