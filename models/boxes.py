"""From a head's maps to boxes in pixels: the cells of a map, and the arithmetic of anchors.

All levels are joined before, so that they are one run of arithmetic, in fp32 also where the rest is fp16: beyond 512
pixels the coordinates of fp16 are half a pixel apart, and σ in fp16 puts a large box half a pixel off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules import Module
from trtnn.parameter import Buffer
from trtnn.shapes.symbolic import Length, is_static

Numbers = np.ndarray | Tensor  # an array where all lengths are static


def count(length: Length, static: bool) -> Numbers:
    """Return 0, 1, ... length - 1 in fp32: as an array where ``static``, else as a Tensor."""
    return np.arange(int(length), dtype=np.float32) if static else F.arange(length, dtype="float32")


def cells_of(rows: Length, columns: Length) -> Numbers:
    """Return the column and the row of each cell of a map, (rows · columns, 2): an array where the map is static."""
    static = is_static((rows, columns))
    x, y = count(columns, static).reshape(1, -1, 1), count(rows, static).reshape(-1, 1, 1)
    x_axis, y_axis = np.eye(2, dtype=np.float32)
    return (x * x_axis + y * y_axis).reshape(-1, 2)


def join(parts: Sequence[Numbers], dim: int) -> Numbers:
    """Join along ``dim``: arrays to an array; where Tensors are among them, to a Tensor."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) < len(parts):
        return F.cat(parts, dim)
    if dim == -1:  # one column after another: NumPy takes 4 times as long to copy them two by two
        return np.stack([column for array in arrays for column in array.T], -1)
    return np.concatenate(arrays, dim)


class AnchorHead(Module):
    """A head whose maps hold, for each anchor of each cell, a box, its objectness and a score for each class.

    With σ the sigmoid of a map, centre = (2σ - ½ + cell) · stride and size = (2σ)² · anchor, in pixels, as in
    YOLOv5.

    Args:
        classes: how many.
        anchors: (levels, anchors, 2), widths and heights in pixels.
        strides: pixels between the cells of each level.

    Attributes:
        outputs: numbers for each box, 5 + classes.
        anchors: (levels, anchors, 2), widths and heights in cells of their level.
    """

    def __init__(self, classes: int, anchors: np.ndarray, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.outputs = 5 + classes
        in_cells = (anchors / np.reshape(strides, (-1, 1, 1))).astype(np.float32)
        self.anchors = Buffer(in_cells.shape, data=in_cells, optional=True)

    def boxes(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn maps (batch, anchors · outputs, rows, columns) into (batch, boxes, outputs)."""
        y = F.cat([self.rows(x) for x in maps], 1)
        levels = [self._coefficients(level, cells_of(*x.shape[2:])) for level, x in enumerate(maps)]
        square, linear, offset = (join(parts, 0) for parts in zip(*levels, strict=True))
        zero = square * 0
        square, linear, offset = (join(pair, -1) for pair in ([zero, square], [linear, zero], [offset, zero]))
        # Each its own sigmoid: TensorRT 8.6 writes them where they are joined, and copies parts of one for both.
        box, scores = (part.float().sigmoid() for part in (y[..., :4], y[..., 4:]))
        return F.cat([(box * square + linear) * box + offset, scores], -1)

    def rows(self, x: Tensor) -> Tensor:
        """Turn a map into a row for each box: anchor by anchor, and cell by cell."""
        batch, channels, rows, columns = x.shape
        boxes = x.view(batch, channels // self.outputs, self.outputs, rows * columns).permute(0, 1, 3, 2)
        return boxes.reshape(batch, -1, self.outputs)

    def set_anchors(self, anchors: Sequence[Sequence[Sequence[float]]]) -> None:
        """Take anchors in pixels, by level, the finest first, in place of those that it has.

        Raises:
            ArgumentError: there are not as many.
        """
        self.anchors.data = self.in_cells(anchors)

    def in_cells(self, anchors: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
        """Return anchors in pixels as this head holds them: (levels, anchors, 2), in cells of their level.

        Raises:
            ArgumentError: there are not as many as it has.
        """
        counts = [len(level) for level in anchors]
        if counts != [self.anchors.shape[1]] * len(self.strides) or {len(pair) for a in anchors for pair in a} != {2}:
            raise ArgumentError(
                f"anchors are {self.anchors.shape[1]} pairs of width and height on each of {len(self.strides)} levels",
                f"received {' and '.join(map(str, counts)) or 'none'}",
            )
        return (np.asarray(anchors) / np.reshape(self.strides, (-1, 1, 1))).astype(np.float32)

    def anchors_px(self, level: int) -> np.ndarray:
        """Return the widths and heights of a level's anchors in pixels, (anchors, 2)."""
        return self.anchors.numpy()[level].astype(np.float32) * self.strides[level]

    def _coefficients(self, level: int, cells: Numbers) -> list[Numbers]:
        """Return q, l and c of each box of a level, (boxes, 2) each: its size is q · σ², its centre l · σ + c."""
        stride, zero, anchors = self.strides[level], cells * 0, self.anchors_px(level)
        square = [zero + anchor * 4 for anchor in anchors]
        linear = [zero + 2 * stride] * len(anchors)
        offset = [(cells - 0.5) * stride] * len(anchors)
        return [join(parts, 0) for parts in (square, linear, offset)]
