"""Maps of a head with anchors, as its convolutions leave them, to detections: rows are made of candidates alone.

The numbers of a map are logits. Of each box its objectness is computed, and all else of those alone whose objectness is
above the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from trtnn.engine.metadata import CONTRADICTION, told
from trtnn.errors import ArgumentError
from trtnn.vision.detections import Detections
from trtnn.vision.heads import YOLOV5, Head
from trtnn.vision.placing import Placement, Size
from trtnn.vision.postprocessing import check_batch, check_thresholds, class_list
from trtnn.vision.rows import BOXES, check_scores, pick, to_image

_MOST_PX = 1 << 24  # of which float32 has each
_FAR = np.float32(110)  # exp(-110) is below all float32
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # a multiple of the first is exact
_FACTORS = [np.float32(1) / np.float32(math.factorial(n)) for n in range(7, -1, -1)]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) of each number, in float32, by steps that are rounded one by one.

    ``sigmoid_of`` of ``postprocessing.cu`` has the same steps, so that both give the same bits; they are right to 2.5
    units in the last place. With t = exp(-|x|) it is 1 / (1 + t), or t / (1 + t) below 0; and t is 2ⁿ exp(r), where n
    is whole and exp(r) is Taylor's sum. NaN stays NaN.

    Args:
        logits: float32 or float16.
    """
    x, one = logits.astype(np.float32, copy=False), np.float32(1)
    a = np.abs(x)
    a = np.where(a < _FAR, a, _FAR)
    n = np.rint(a * -_LOG2_E)
    r = (-a - n * _LN2_HIGH) - n * _LN2_LOW
    total = np.full_like(r, _FACTORS[0])
    for factor in _FACTORS[1:]:
        total *= r
        total += factor
    power = n.astype(np.int32)
    first = power >> 1
    with np.errstate(under="ignore"):
        # In two steps, each power a float of its own: what is below the least of them is rounded once.
        t = total * _power_of_2(first) * _power_of_2(power - first)
        return np.where(np.isnan(x), x, np.where(x < 0, t, one) / (one + t))


def _power_of_2(n: np.ndarray) -> np.ndarray:
    return ((n + np.int32(127)) << np.int32(23)).view(np.float32)


def _detect_maps(
    outputs: Mapping[str, np.ndarray],
    placements: Sequence[Placement],
    head: AnchorMaps,
    **thresholds: Any,
) -> list[Detections]:
    """Make rows of the boxes whose objectness is above the threshold, in YOLOv5's order, and pick the best."""
    maps = [outputs[name] for name in head.outputs]
    check_thresholds(**thresholds)
    thresholds["classes"] = class_list(thresholds["classes"])
    for x in maps:
        check_batch(x.shape, placements)
    if placements:
        head.check_size({name: outputs[name].shape for name in head.outputs}, placements[0].canvas_size)
    by_anchor = [x.reshape(len(x), len(head.anchors[0]), -1, math.prod(x.shape[2:])) for x in maps]
    objectness = [sigmoid(x[:, :, 4]) for x in by_anchor]
    are_objects = [level > thresholds["confidence"] for level in objectness]
    rows = [
        np.concatenate(
            [
                _rows(x[image], are[image], maps[level].shape[3], head.strides[level], head.anchors[level])
                for level, (x, are) in enumerate(zip(by_anchor, are_objects, strict=True))
            ]
        )
        for image in range(len(placements))
    ]
    check_scores(np.concatenate([level.ravel() for level in objectness] + [own[:, 5:].ravel() for own in rows]))
    return [
        to_image(pick(own, BOXES, {}, placement, objectness=True, **thresholds), placement)
        for own, placement in zip(rows, placements, strict=True)
    ]


def _rows(
    logits: np.ndarray, are_objects: np.ndarray, columns: int, stride: int, anchors: Sequence[Sequence[float]]
) -> np.ndarray:
    """Return the rows of some boxes of a level: centre, sides, objectness and scores, anchor by anchor, cell by cell.

    Args:
        logits: (anchors, 5 + classes, cells).
        are_objects: (anchors, cells), the boxes.
        columns: of the map.
        stride: px between cells.
        anchors: widths and heights in px.
    """
    which, cells = np.nonzero(are_objects)
    numbers = sigmoid(logits[which, :, cells])
    corners = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    centres = numbers[:, :2] * np.float32(2 * stride) + (corners - np.float32(0.5)) * np.float32(stride)
    sides = numbers[:, 2:4] * (np.asarray(anchors, np.float32)[which] * np.float32(4)) * numbers[:, 2:4]
    return np.concatenate([centres, sides, numbers[:, 4:]], axis=1)


@dataclass(frozen=True)
class AnchorMaps(Head):
    """Maps (batch, anchors · (5 + classes), rows, columns), one for each level, the finest first, of logits.

    With σ the sigmoid of a number, a box has its centre at (2σ - ½ + cell) · stride and is as large as (2σ)² · anchor,
    in px, as YOLOv5's.

    Args:
        strides: px between the cells of each level, once :meth:`with_metadata` has said them.
        anchors: widths and heights in px by level, so too.
    """

    strides: tuple[int, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()

    def __str__(self) -> str:
        of_each = next(iter(self.outputs.values()))[1]
        return f"{len(self.outputs)} maps (batch, {of_each}, rows, columns): {', '.join(self.outputs)}"

    def with_metadata(self, metadata: Mapping[str, Any]) -> AnchorMaps:
        """Return this head with the strides and anchors that a network's metadata say.

        Raises:
            ArgumentError: they say none, or none that belong together.
        """
        if self.strides:
            return self
        strides, anchors = told(metadata, "strides"), told(metadata, "anchors")
        for name, value in (("strides", strides), ("anchors", anchors)):
            if value is None:
                raise ArgumentError(
                    f"nothing tells the {name} of the maps of this network",
                    "its metadata have them: strides by level, and anchors, widths and heights in pixels by level",
                    'such as {"strides": [16, 32], "anchors": [[[10, 14], [23, 27]], [[81, 82], [135, 169]]]}',
                )
        if not _is_list(strides) or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in strides):
            raise ArgumentError(f"strides are whole numbers of pixels by level, not {strides!r:.200}")
        if not _is_list(anchors) or not all(map(_is_pairs, anchors)) or len(set(map(len, anchors))) != 1:
            raise ArgumentError(
                "anchors are as many pairs of width and height in pixels on each level", f"received {anchors!r:.200}"
            )
        if len(strides) != len(anchors):
            raise ArgumentError(
                "the strides and the anchors of this network are of different levels",
                f"its metadata have {len(strides)} strides: {strides}",
                f"its metadata have anchors of {len(anchors)} levels",
            )
        words = ("batch", f"{len(anchors[0])} · (5 + classes)", "rows", "columns")
        made = replace(
            self,
            outputs={f"output_{level}": words for level in range(len(strides))},
            strides=tuple(strides),
            anchors=tuple(tuple((float(width), float(height)) for width, height in level) for level in anchors),
        )
        return replace(made, detect=partial(_detect_maps, head=made))

    def read(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, int] | None:
        """Return ``{"classes": n}``, or None where the shapes are of another form.

        Raises:
            ArgumentError: channels are not of as many anchors as the metadata have.
        """
        if super().read(shapes) is None:
            return None
        named = self.name_outputs(shapes) or {}
        anchors, channels = len(self.anchors[0]), [named[name][1] for name in self.outputs]
        classes, rest = divmod(channels[0], anchors)
        if rest or classes < 6 or len(set(channels)) > 1:
            raise ArgumentError(
                CONTRADICTION,
                f"its metadata have {anchors} anchors, so that each map has {anchors} · (5 + classes) channels",
                f"its maps have {', '.join(map(str, channels))}",
            )
        return {"classes": classes - 5}

    def check_size(self, shapes: Mapping[str, Sequence[Any]], size: Size) -> None:
        """Check that each map has a cell for each stride of pixels.

        Raises:
            ArgumentError: one has not; with both.
        """
        for shape, stride in zip((self.name_outputs(shapes) or {}).values(), self.strides, strict=True):
            rows, columns = shape[2:]
            if (rows * stride, columns * stride) != tuple(size):
                raise ArgumentError(
                    CONTRADICTION,
                    f"its metadata have strides of {', '.join(map(str, self.strides))} pixels",
                    f"the map of the stride {stride} has {rows}×{columns} cells, "
                    f"and the input {size[0]}×{size[1]} pixels",
                )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0


def _is_pairs(level: Any) -> bool:
    return _is_list(level) and all(_is_list(pair) and len(pair) == 2 and all(map(_is_length, pair)) for pair in level)


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MOST_PX


#: YOLOv5's maps, before any box is made of them.
YOLOV5_RAW = AnchorMaps(
    {"output_0": ("batch", "anchors · (5 + classes)", "rows", "columns")},
    YOLOV5.thresholds,
    _detect_maps,
    YOLOV5.evaluation,
)
