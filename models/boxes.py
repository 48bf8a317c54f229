"""From a head's maps to boxes in pixels: the cells of a map, and the arithmetic of anchors.

All levels are joined before, so that they are one run of arithmetic, in fp32 also where the rest is fp16: beyond 512
pixels the coordinates of fp16 are half a pixel apart, and σ in fp16 puts a large box half a pixel off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from trtnn import functional as F
from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import ArgumentError, StateDictError, is_number
from trtnn.graph.tensor import Tensor
from trtnn.models.names import FROM_TORCH
from trtnn.modules import Module
from trtnn.parameter import Buffer
from trtnn.shapes.symbolic import Length, is_static

ANCHORS = 3  # a cell, of the YOLOs that have some
# By level, the finest first, widths and heights in pixels; or the usual ones, said to be those of the weights.
Anchors = Sequence[Sequence[Sequence[float]]] | Literal["usual"]
_ROUNDED = 1e-2  # how far anchors of a file may be from those of an author, of which fp16 keeps three digits
Numbers = np.ndarray | Tensor  # an array where all lengths are static


def _is_flat(level: Any) -> bool:
    """Whether a level's anchors are widths and heights one after another."""
    return len(level) % 2 == 0 and all(map(is_number, level))


def check_anchors_told(state_dict: Mapping[str, Any], head: str, model: str) -> None:
    """Check that a state dict tells of how many anchors its head is, beside how long the bias of one level is.

    It does by its anchors, or by the number of classes.

    Args:
        state_dict: of a YOLO with anchors.
        head: the path of its head, which has the convolutions ``m`` and the buffer ``anchors``.
        model: what it is, for the message.

    Raises:
        StateDictError: it does not, with all that it may be of; or they are other than those here.
    """
    said, numbers = metadata_of(state_dict), math.prod(state_dict[f"{head}.m.0.bias"].shape)
    if f"{head}.anchors" in state_dict or "anchors" in said:
        return
    if "names" in said or "classes" in said:
        anchors, rest = divmod(numbers, 5 + (len(said["names"]) if "names" in said else said["classes"]))
        if anchors != ANCHORS and not rest:
            raise other_anchors(model, anchors)
        return
    counts = [n for n in (ANCHORS, *range(1, 10)) if numbers % n == 0 and numbers // n > 5]
    readings = dict.fromkeys(f"{n} · (5 + {numbers // n - 5})" for n in counts)
    raise StateDictError(
        f"nothing tells how many anchors and classes this {model} has: {head}.anchors is missing",
        f"the {numbers} numbers of a cell, anchors · (5 + classes), may be {', '.join(readings)}",
        "take all of model.state_dict(), which has the anchors, and not the parameters alone",
        "or say which: models.from_state_dict(state_dict, anchors=[...]), widths and heights in pixels, three a level,",
        'or anchors="usual" for those that are published; on the command line --anchors',
    )


def other_anchors(model: str, anchors: int) -> StateDictError:
    """Return the error of a YOLO with another number of anchors."""
    return StateDictError(f"this is a {model} with {anchors} anchors a cell, and those here have {ANCHORS}", FROM_TORCH)


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
        are_usual: whether they are those of the project's own training, and nobody gave others.
    """

    are_usual = True

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

    def set_anchors(self, anchors: Anchors) -> None:
        """Take anchors in pixels, by level, the finest first, in place of those that it has.

        Each level has pairs of width and height, or these one after another, as YOLOv5's YAML files have them.
        ``"usual"`` says that those it has are the ones that the network was trained with.

        Raises:
            ArgumentError: there are not as many, one is no length, or they are another word.
        """
        if anchors != "usual":
            self.anchors.data = self.in_cells(anchors)
        self.are_usual = False

    def has_anchors(self, anchors: Anchors) -> bool:
        """Return whether these are its anchors, but for what fp16 rounds; whatever it has is called usual."""
        return anchors == "usual" or np.allclose(self.in_cells(anchors), self.anchors.numpy(), _ROUNDED, 0)

    def in_cells(self, anchors: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
        """Return anchors in pixels as this head holds them: (levels, anchors, 2), in cells of their level.

        Raises:
            ArgumentError: there are not as many as it has, or one is no length.
        """
        if isinstance(anchors, str):
            raise ArgumentError(f"anchors are 'usual', or numbers, not {anchors!r}")
        anchors = [np.reshape(level, (-1, 2)).tolist() if _is_flat(level) else level for level in anchors]
        counts = [len(level) for level in anchors]
        if counts != [self.anchors.shape[1]] * len(self.strides) or {len(pair) for a in anchors for pair in a} != {2}:
            raise ArgumentError(
                f"anchors are {self.anchors.shape[1]} pairs of width and height on each of {len(self.strides)} levels",
                f"received {' and '.join(map(str, counts)) or 'none'}",
            )
        pixels = np.asarray(anchors)
        if pixels.dtype.kind not in "iuf" or not (np.isfinite(pixels) & (pixels > 0)).all():
            raise ArgumentError("anchors are widths and heights in pixels, above 0", f"received {anchors!r:.200}")
        return (pixels / np.reshape(self.strides, (-1, 1, 1))).astype(np.float32)

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
