"""Instance masks, each kept as small as the network made it; what covers an image is made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, DTypeError, ShapeError, listed, named
from trtnn.vision.boxes import places_of
from trtnn.vision.opencv import opencv
from trtnn.vision.placing import Placement, Size

_LOOKED_AT = 16  # pixels a side of a box, to see whether a mask has any
_AT_ONCE = 64  # masks whose numbers are computed together: a few MB


class Masks:
    """The masks of instances in one image.

    Each is kept as the numbers of its grid's cells under its box, which are positive where the instance is: for
    YOLO a quarter of the canvas a side, so that three hundred instances of an image of any size take 30 MB at most, of
    a canvas of 640 px. A mask in px of the image is made when it is asked for: numbers are taken between cells
    bilinearly, each pixel's at its own place on the grid, and pixels are set where they are positive and within the
    box.

    ``len(masks)``, ``masks[0]``, (height, width) bool, and iteration make one at a time; ``numpy.asarray(masks)`` makes
    all, (n, height, width) bool. Slices, indices and masks of bools pick, as an array's first axis does. They are equal
    to as many that set the same pixels of an image of the same size.

    Attributes:
        size: the image's (height, width) in px.
        shape: (n, height, width), of all as an array.
    """

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        corners: np.ndarray,
        boxes: np.ndarray,
        size: Size,
        scale: npt.ArrayLike = (1.0, 1.0),
        offset: npt.ArrayLike = (0.0, 0.0),
    ) -> None:
        """Take the numbers of the cells under each box.

        Args:
            parts: (rows, columns) each, any length of at least one.
            corners: (n, 2), the row and the column of the grid that each begins at.
            boxes: (n, 4) xyxy in px of the image: pixels whose index is in x1 <= x < x2, and so for y, are within.
            size: the image's (height, width) in px.
            scale: cells per pixel, (x, y) of all masks or (n, 2) of each.
            offset: of the image's top left corner on the grid in cells, (x, y) of all masks or (n, 2) of each.
        """
        self._parts, self._corners, self._boxes = list(parts), corners, boxes
        shape = (len(self._parts), 2)
        self._scale, self._offset = np.broadcast_to(scale, shape), np.broadcast_to(offset, shape)
        self.size = size

    @classmethod
    def of_prototypes(
        cls,
        prototypes: np.ndarray,
        coefficients: np.ndarray,
        boxes: np.ndarray,
        canvas_size: Size,
        pixel: tuple[float, float] = (1.0, 1.0),
    ) -> Masks:
        """Make the masks of a segmentation head, on the canvas: sums of prototypes, weighted by coefficients.

        The sum is YOLACT's (arXiv 1904.02689) without its sigmoid, which is above a half where the sum is positive.

        Args:
            prototypes: (channels, rows, columns), over the canvas.
            coefficients: (n, channels)
            boxes: (n, 4) xyxy in px of the canvas.
            canvas_size: its (height, width) in px.
            pixel: how large a pixel of the image is for which they will be :meth:`scaled`, (x, y) in px of the canvas.
        """
        channels, rows, columns = prototypes.shape
        scale = columns / canvas_size[1], rows / canvas_size[0]
        flat = prototypes.reshape(channels, -1).astype(np.float32, copy=False)
        # Bilinear sampling reaches half a cell, and what the way to the image rounds, less than another half. The last
        # pixel of the image within a box may have its middle behind it, by less than half a pixel.
        cells = boxes * np.tile(scale, 2)
        behind = cells[:, :1:-1] + (scale[1] * pixel[1] / 2, scale[0] * pixel[0] / 2)
        first = np.clip(np.floor(cells[:, 1::-1]) - 1, 0, (rows - 1, columns - 1)).astype(int)
        last = np.clip(np.ceil(behind) + 1, first + 1, (rows, columns)).astype(int)
        parts: list[np.ndarray] = []
        for start in range(0, len(boxes), _AT_ONCE):
            sums = (coefficients[start : start + _AT_ONCE].astype(np.float32) @ flat).reshape(-1, rows, columns)
            for whole, (top, left), (bottom, right) in zip(sums, first[start:], last[start:], strict=False):
                parts.append(whole[top:bottom, left:right].copy())
        return cls(parts, first, boxes, canvas_size, scale)

    @classmethod
    def of_array(cls, masks: npt.ArrayLike) -> Masks:
        """Keep masks that are there, (n, height, width) bool.

        Raises:
            ShapeError: they have another shape.
            DTypeError: they are probabilities or the like, of which any but 0 would be set.
        """
        array = np.asarray(masks)
        if array.ndim != 3:
            raise ShapeError("masks have the shape (n, height, width)", f"received: {array.shape}")
        if array.dtype.kind not in "bui" and not np.isin(array, (0, 1)).all():
            raise DTypeError("masks are of bools", f"received: {array.dtype}", "of probabilities: masks > 0.5")
        array, parts, boxes = array.astype(bool), [], np.zeros((len(array), 4), np.float32)
        for mask, box in zip(array, boxes, strict=True):
            ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(ys):
                box[:] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
            (x1, y1, x2, y2) = box.astype(int)
            parts.append(np.where(mask[y1 : max(y2, 1), x1 : max(x2, 1)], np.int8(1), np.int8(-1)))
        return cls(parts, boxes[:, 1::-1].astype(int), boxes, (array.shape[1], array.shape[2]))

    @classmethod
    def merge(cls, several: Iterable[Masks]) -> Masks:
        """Return the masks of several of these behind each other, of one image; none is drawn for it.

        Args:
            several: at least one.

        Raises:
            ArgumentError: there is none, or one is no Masks.
            ShapeError: they are of images of other sizes.
        """
        masks = list(several)
        if not masks or not all(isinstance(each, Masks) for each in masks):
            received = listed([named(each) for each in masks], 4) or "none"
            raise ArgumentError("Masks.merge takes a list of Masks, one at least", f"received: {received}")
        if any(each.size != masks[0].size for each in masks):
            sizes = dict.fromkeys(f"{each.size[0]}×{each.size[1]}" for each in masks)
            raise ShapeError(
                "masks of images of other sizes cannot be joined",
                f"received: {', '.join(sizes)} px",
                "bring them to px of one image first",
            )
        columns = [(each._corners, each._boxes, each._scale, each._offset) for each in masks]
        corners, boxes, scale, offset = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls([part for each in masks for part in each._parts], corners, boxes, masks[0].size, scale, offset)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, height, width)."""
        return len(self), *self.size

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._whole(index) for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Masks: ...
    def __getitem__(self, index: Any) -> np.ndarray | Masks:
        picked = places_of(index, len(self))
        if picked.ndim == 0:
            return self._whole(int(picked))
        parts = [self._parts[i] for i in picked]
        columns = (self._corners[picked], self._boxes[picked])
        return Masks(parts, *columns, self.size, self._scale[picked], self._offset[picked])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self.shape == other.shape and all(self.rle(i) == other.rle(i) for i in range(len(self)))

    __hash__ = None  # type: ignore[assignment]  # it would be of all pixels

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        array = np.zeros(self.shape, bool)
        for index, whole in enumerate(array):
            self._draw(index, whole)
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.size[0]}×{self.size[1]} px)"

    def scaled(self, placement: Placement) -> Masks:
        """Return the same masks in px of the image that lies on the canvas as a placement says."""
        scale = self._scale * placement.scale
        offset = self._offset + self._scale * placement.offset
        boxes = placement.to_source(self._boxes)
        return Masks(self._parts, self._corners, boxes, placement.source_size, scale, offset)

    def are_empty(self) -> np.ndarray:
        """Return which have no pixel, (n,) bool.

        Most are told by some of their pixels; all are looked at where none of these is set.
        """
        return np.array([not (self._has_pixel(i, _LOOKED_AT) or self._has_pixel(i)) for i in range(len(self))], bool)

    def _has_pixel(self, index: int, looked_at: int | None = None) -> bool:
        """Tell whether any pixel is set, or any of at least so many a side."""
        if not (self._parts[index] > 0).any():
            return False
        x1, y1, x2, y2 = self._extent(index)
        steps = (1, 1) if looked_at is None else (max(1, (y2 - y1) // looked_at), max(1, (x2 - x1) // looked_at))
        return bool(self._pixels(index, np.arange(y1, y2, steps[0]), np.arange(x1, x2, steps[1])).any())

    def part(self, index: int) -> tuple[int, int, np.ndarray]:
        """Return what lies within the box of one mask.

        Returns:
            The first row and the first column in px of the image, and (height, width) bool from there.
        """
        x1, y1, x2, y2 = self._extent(index)
        return y1, x1, self._pixels(index, np.arange(y1, y2), np.arange(x1, x2))

    def _extent(self, index: int) -> tuple[int, int, int, int]:
        """Return the first column and row of pixels within a box, and those behind the last."""
        height, width = self.size
        x1, y1, x2, y2 = np.clip(np.ceil(self._boxes[index]), 0, (width, height) * 2).astype(int).tolist()
        return x1, y1, x2, y2

    def _pixels(self, index: int, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """Return whether pixels of rows and columns, within the box, are set: (rows, columns) bool."""
        numbers, (top, left) = self._parts[index], self._corners[index]
        rows = self._places(index, ys, self.size[0], 1, numbers.shape[0], top)
        columns = self._places(index, xs, self.size[1], 0, numbers.shape[1], left)
        return _between(_between(numbers, rows), columns, axis=1) > 0

    def _places(
        self, index: int, pixels: np.ndarray, length: int, axis: int, cells: int, first: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for pixels of an axis the cells before and behind them in one part, and the weight of those behind.

        Cells that lie beside the image do not count: the canvas is filled there.
        """
        scale, offset = self._scale[index, axis], self._offset[index, axis]
        places = (pixels + 0.5) * scale + offset - 0.5
        places = np.clip(places, offset, max(offset, offset + length * scale - 1))
        places = np.clip(places - first, 0, cells - 1)
        before = np.floor(places).astype(int)
        return before, np.minimum(before + 1, cells - 1), (places - before).astype(np.float32)

    def _whole(self, index: int) -> np.ndarray:
        whole = np.zeros(self.size, bool)
        self._draw(index, whole)
        return whole

    def _draw(self, index: int, whole: np.ndarray) -> None:
        top, left, part = self.part(index)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part

    def rle(self, index: int) -> dict[str, Any]:
        """Return one mask in COCO's run-length encoding, as its tool writes and reads it.

        Lengths of runs of unset and set pixels, in turn and column by column, are written in characters of 6 bits, each
        from the fourth on as the difference from the one before the last
        (https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h).

        Returns:
            ``{"size": [height, width], "counts": "..."}``
        """
        top, left, part = self.part(index)
        height, width = self.size
        edges = np.zeros((part.shape[1], part.shape[0] + 2), np.int8)
        edges[:, 1:-1] = part.T
        columns, rows = np.nonzero(np.diff(edges, axis=1))
        turns = (left + columns) * height + top + rows  # where a run of set pixels begins, and where it ends, in turn
        joined = np.flatnonzero(turns[1:-1:2] == turns[2::2]) * 2 + 1  # it goes on at the top of the next column
        turns = np.delete(turns, np.concatenate([joined, joined + 1]))
        lengths = np.diff(turns, prepend=0, append=height * width)
        return {"size": [height, width], "counts": _written(lengths[: len(lengths) - (lengths[-1] == 0)].tolist())}

    def polygon(self, index: int) -> np.ndarray:
        """Return the outline of one mask, (points, 2) float32 x and y in px; parts of it are joined, holes are filled.

        The points are the outer pixels' own indices, as OpenCV's contours have them. From each further part a line goes
        to a near point of what is there already, and back, so that what is within is all parts.
        """
        top, left, part = self.part(index)
        cv2 = opencv()
        found, _ = cv2.findContours(part.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outlines = sorted((outline.reshape(-1, 2) for outline in found), key=len, reverse=True)
        if not outlines:
            return np.zeros((0, 2), np.float32)
        whole = outlines[0].astype(np.float32)
        for outline in outlines[1:]:
            at = _nearest(whole, outline[0])
            to = _nearest(outline, whole[at])
            at = _nearest(whole, outline[to])
            there_and_back = [np.roll(outline, -to, axis=0), outline[to : to + 1], whole[at : at + 1]]
            whole = np.concatenate([whole[: at + 1], *there_and_back, whole[at + 1 :]])
        return whole.astype(np.float32) + np.array([left, top], np.float32)


def _nearest(points: np.ndarray, point: np.ndarray) -> int:
    return int(np.square(points - point).sum(axis=1).argmin())


def _between(numbers: np.ndarray, places: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int = 0) -> np.ndarray:
    """Return numbers between cells of an axis: (1 - weight) · before + weight · behind."""
    before, behind, weights = places
    weights = weights if axis else weights[:, None]
    first = numbers.take(before, axis=axis).astype(np.float32, copy=False)
    return first + (numbers.take(behind, axis=axis) - first) * weights


def read_lengths(text: str) -> list[int]:
    """Return the lengths of runs in COCO's characters: what :meth:`Masks.rle` writes.

    Raises:
        ValueError: the text is none.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f"counts are run lengths in COCO's characters, not {text!r:.80}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"counts end within a number: {text!r:.80}")
    return lengths


def _written(lengths: list[int]) -> str:
    """Return lengths of runs in COCO's characters."""
    text = []
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            is_last = value == (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits if is_last else bits | 32)))
            if is_last:
                break
    return "".join(text)
