"""Outputs on the GPU to detections: what the kernels of ``postprocessing.cu`` are told, and what they tell."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trtnn.kernels import Kernels
from trtnn.vision.anchor_maps import AnchorMaps
from trtnn.vision.detections import Detections
from trtnn.vision.heads import RETINANET, YOLOV5, YOLOV8, Head, levels
from trtnn.vision.placing import Placement, Size

_NAMES = {id(YOLOV5): "yolov5", id(YOLOV8): "yolov8", id(RETINANET): "retinanet"}
# Numbers of postprocessing.cu: threads of blocks, what a block takes, bins of scores, and the most of a tile.
_THREADS, _RANK_THREADS, _MANY_THREADS = 256, 128, 1024
_ROWS, _SCORES, _MAP_ROWS = 32, 2048, 256
_BINS, _LEVELS, _ANCHORS = 2048, 5, 8
_TILE, _BITS, _CLUSTER = 2048, 32, 8
_FIRST_TILE = 704  # as many as the threads of a cluster compare at once, a word each
_LEAST_SCORE, _MOST_SCORE = 2.0**-16, 1.0  # of the bins: what is lower is all in one, what is higher in the last
_MOST_CANDIDATES = 1 << 16  # of an image; where there are more the CPU is asked

#: What the kernels read of each image: ``Place`` of postprocessing.cu.
PLACE = np.dtype(
    [
        *((name, np.float64) for name in ("offset_x", "offset_y", "scale_x", "scale_y", "width", "height")),
        *((name, np.float32) for name in ("x1", "y1", "x2", "y2")),
    ],
    align=True,
)
_COUNTS_BYTES = 22 * 4  # of ``Counts``
_SUMMARY_NUMBERS = 4  # of ``Summary``, int32
_ON_GPU = (
    *("counts", "bins", "level_bins", "starts", "level_starts", "keys", "candidates", "slots", "level_slots"),
    *("grouped", "grouped_from", "sorted", "sorted_labels", "masks", "dropped", "kept"),
)
_ON_HOST = ("summaries", "boxes", "best", "labels")


class _Map(ctypes.Structure):
    """``Map`` of postprocessing.cu."""

    _fields_ = [
        ("values", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("columns", "cells")),
        ("stride", ctypes.c_float),
        ("anchors", ctypes.c_float * 2 * _ANCHORS),
    ]


class _Outputs(ctypes.Structure):
    """``Outputs`` of postprocessing.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("first", "scores")),
        *((name, ctypes.c_int) for name in ("images", "rows", "classes")),
        ("level_ends", ctypes.c_int * _LEVELS),
        *((name, ctypes.c_float) for name in ("confidence", "iou")),
        *((name, ctypes.c_int) for name in ("max_candidates", "max_detections")),
        *((name, ctypes.c_int) for name in ("is_agnostic", "is_multi_label", "has_levels", "are_all_wanted")),
        ("least_bits", ctypes.c_uint),
        ("bin_shift", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("wanted", "places")),
        *((name, ctypes.c_int) for name in ("capacity", "sorted_capacity", "round", "first_tile", "tile")),
        *((name, ctypes.c_void_p) for name in (*_ON_GPU, *_ON_HOST)),
        ("anchors", ctypes.c_int),
        ("maps", _Map * _LEVELS),
    ]


def has_kernels(head: Head) -> bool:
    """Tell whether a head's outputs are candidates that kernels pick from; of others the outputs are the boxes."""
    if isinstance(head, AnchorMaps):
        return len(head.strides) <= _LEVELS and len(head.anchors[0]) <= _ANCHORS
    return id(head) in _NAMES


class GpuPostprocessing:
    """Candidates, suppression and the way back to the images on the GPU, for a batch of outputs.

    The detections are those of the CPU, bit for bit and in its order.

    Args:
        head: one that :func:`has_kernels`.
        shapes: of the outputs by the head's names, for the most images.
        dtype: of the outputs, float32 or float16.
        size: the canvas's (height, width) in px.
        thresholds: all that the head takes.

    Attributes:
        memory_bytes: how much memory the kernels need on the GPU.
        cleared_bytes: of its beginning, what has to be 0 before the first batch.
        result_bytes: how much page-locked memory of the host they write to, what :meth:`results` reads.
        wanted: uint8, for each class whether it is looked for; the kernels read it on the GPU.
    """

    def __init__(
        self,
        head: Head,
        shapes: Mapping[str, Sequence[int]],
        dtype: npt.DTypeLike,
        size: Size,
        thresholds: Mapping[str, Any],
    ) -> None:
        dtype = np.dtype(dtype)
        self._is_dense, self._maps = head is RETINANET, list(head.outputs) if isinstance(head, AnchorMaps) else []
        self._first = "boxes" if self._is_dense else self._maps[0] if self._maps else "prediction"
        (self._images, *_), classes = shapes[self._first], (head.read(shapes) or {})["classes"]
        ends = _level_ends(head, shapes, size)
        rows = ends[-1]
        multi_label = self._is_dense or bool(thresholds["multi_label"])
        capacity = min(rows * classes, _MOST_CANDIDATES) if multi_label else rows
        most, most_detections = int(thresholds["max_candidates"]), int(thresholds["max_detections"])
        sorted_capacity = min(capacity, most * (len(ends) if self._is_dense else 1))
        max_detections = min(most_detections, sorted_capacity)
        scores_type = dtype if self._is_dense else np.dtype(np.float32)
        self._kernel = f"candidates_{'yolov5_raw' if self._maps else _NAMES[id(head)]}_{dtype.name}"
        self._outputs = _Outputs(
            images=self._images,
            rows=rows,
            classes=classes,
            confidence=_threshold(thresholds["confidence"], scores_type),
            iou=_float_below(thresholds["iou"]),
            max_candidates=min(most, capacity),
            max_detections=max_detections,
            is_agnostic=bool(thresholds.get("agnostic", False)),
            is_multi_label=multi_label,
            has_levels=self._is_dense,
            are_all_wanted=thresholds["classes"] is None,
            first_tile=_FIRST_TILE,
            tile=_TILE,
            capacity=capacity,
            sorted_capacity=sorted_capacity,
        )
        self._outputs.level_ends[:] = ends + [rows] * (_LEVELS - len(ends))
        if isinstance(head, AnchorMaps):
            self._outputs.anchors = len(head.anchors[0])
            for to, name, stride, anchors in zip(
                self._outputs.maps, self._maps, head.strides, head.anchors, strict=False
            ):
                to.columns, to.cells, to.stride = shapes[name][3], math.prod(shapes[name][2:]), stride
                for index, pair in enumerate(anchors):
                    to.anchors[index][:] = pair
        wanted, labels = thresholds["classes"], np.arange(classes)
        self.wanted = np.ones(classes, np.uint8) if wanted is None else np.isin(labels, list(wanted)).astype(np.uint8)
        least, most_bits = _bits(max(self._outputs.confidence, _LEAST_SCORE)), _bits(_MOST_SCORE)
        self._outputs.least_bits = least
        self._outputs.bin_shift = (max(most_bits - least - 1, 0) // _BINS).bit_length()
        images = self._images
        level_bins = images * _BINS * 4 * (_LEVELS if self._is_dense else 0)
        words = _TILE // _BITS
        cleared = {"counts": images * _COUNTS_BYTES, "bins": images * _BINS * 4, "level_bins": level_bins}
        _, self.cleared_bytes = _laid_out(cleared)
        sizes = {
            **cleared,
            "starts": images * _BINS * 4,
            "level_starts": level_bins,
            "keys": images * capacity * 8,
            "candidates": images * capacity * 32,
            "slots": images * capacity * 4,
            "level_slots": images * capacity * 4 * self._is_dense,
            "grouped": images * capacity * 8,
            "grouped_from": images * capacity * 4,
            "sorted": images * sorted_capacity * 32,
            "sorted_labels": images * (sorted_capacity + 2 * _BITS) * 4,
            "masks": images * words * _TILE * 4,
            "dropped": images * words * 4,
            "kept": images * max_detections * 4,
        }
        results = {
            "summaries": images * _SUMMARY_NUMBERS * 4,
            "boxes": images * max_detections * 16,
            "best": images * max_detections * 4,
            "labels": images * max_detections * 8,
        }
        self._offsets, self.memory_bytes = _laid_out(sizes)
        self._result_offsets, self.result_bytes = _laid_out(results)

    def launch(
        self,
        kernels: Kernels,
        stream: int,
        outputs: Mapping[str, int],
        wanted: int,
        places: int,
        memory: int,
        results: int,
        count: int,
        tile: int = 0,
    ) -> None:
        """Put the kernels for a batch on a stream.

        Args:
            kernels: those of ``postprocessing.cu``.
            stream: its handle.
            outputs: the addresses of the outputs by the head's names.
            wanted: that of :attr:`wanted` on the GPU.
            places: that of ``count`` entries that :func:`describe` wrote, there.
            memory: that of :attr:`memory_bytes` bytes, the first :attr:`cleared_bytes` of which were set to 0 once.
            results: that of :attr:`result_bytes` bytes of the host's, page-locked.
            count: how many images there are.
            tile: 0 for all that begins, the next ones as long as :meth:`Results.are_done` says no, of each of the
                images: what is counted is set back only where an image is done.
        """
        arguments = self._outputs
        arguments.images, arguments.round = count, tile
        arguments.first, arguments.scores = outputs[self._first], outputs["scores"] if self._is_dense else None
        for of_level, name in zip(arguments.maps, self._maps, strict=False):
            of_level.values = outputs[name]
        arguments.wanted, arguments.places = wanted, places
        for name, offset in self._offsets.items():
            setattr(arguments, name, memory + offset)
        for name, offset in self._result_offsets.items():
            setattr(arguments, name, results + offset)
        launch = functools.partial(kernels.launch, stream=stream, arguments=arguments)
        if tile == 0:
            rows = arguments.rows * arguments.classes if self._is_dense else arguments.rows
            rows /= _SCORES if self._is_dense else _MAP_ROWS if self._maps else _ROWS
            launch(self._kernel, (math.ceil(rows), 1, count), _THREADS)
            if self._is_dense:
                launch("group_in_levels", (max(4, 16 // count), _LEVELS, count), _THREADS)
                launch("rank_in_levels", (max(4, 128 // count), _LEVELS, count), _RANK_THREADS)
            if kernels.has_clusters:
                launch("pick", (_CLUSTER, 1, count), _MANY_THREADS)
                return
        launch("group", (max(4, 64 // count), 1, count), _THREADS)
        launch("rank", (max(4, 512 // count), 1, count), _RANK_THREADS)
        if tile > 0:
            launch("overlaps_of_kept", (_TILE // _BITS, 1, count), _BITS)
        words = (_FIRST_TILE if tile == 0 else _TILE) // _BITS
        launch("overlaps", (math.ceil(words * (words + 1) / 2 * _BITS / _THREADS), 1, count), _THREADS)
        launch("suppress", (1, 1, count), _MANY_THREADS)

    def results(self, memory: np.ndarray) -> Results:
        """Return what the kernels write to the host's memory, :attr:`result_bytes` of uint8, as arrays of it."""
        images, most, starts = self._images, self._outputs.max_detections, self._result_offsets
        summaries = np.ndarray((images, _SUMMARY_NUMBERS), np.int32, memory, starts["summaries"])
        return Results(
            summaries,
            summaries[:, -1],
            list(
                zip(
                    np.ndarray((images, most, 4), np.float32, memory, starts["boxes"]),
                    np.ndarray((images, most), np.float32, memory, starts["best"]),
                    np.ndarray((images, most), np.int64, memory, starts["labels"]),
                    strict=True,
                )
            ),
            self._outputs.capacity,
        )


class Results(NamedTuple):
    """What the kernels tell of a batch, in the host's memory.

    Attributes:
        summaries: (images, 4) int32, ``Summary`` of postprocessing.cu for each image: the candidates, whether a score
            is none, how many detections are kept, whether that is all of them.
        are_all: the last of these.
        images: for each the boxes, scores and classes of as many detections as may be kept; as many as the summary says
            are there.
        capacity: for how many candidates of an image there is room.
    """

    summaries: np.ndarray
    are_all: np.ndarray
    images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
    capacity: int

    def are_done(self) -> bool:
        """Tell whether no image needs a further tile, of all images that the kernels were launched for."""
        return all(self.are_all.tolist())

    def detections(self, count: int) -> list[Detections] | None:
        """Return a copy of the detections of each of the first images, once all are done.

        Returns:
            None where the CPU has to be asked: there was no room for all candidates of one, or a score is none.
        """
        found = []
        for image, (candidates, is_odd, kept, _) in enumerate(self.summaries.tolist()[:count]):
            if is_odd or candidates > self.capacity:
                return None
            boxes, scores, classes = self.images[image]
            found.append(Detections.of_arrays(boxes[:kept].copy(), scores[:kept].copy(), classes[:kept].copy()))
        return found


def _level_ends(head: Head, shapes: Mapping[str, Sequence[int]], size: Size) -> list[int]:
    """Return the first row behind each level of outputs; where a head has none, or its rows tell none, that is all."""
    if isinstance(head, AnchorMaps):
        head.check_size(shapes, size)
        cells = [len(head.anchors[0]) * math.prod(shapes[name][2:]) for name in head.outputs]
        return np.cumsum(cells).tolist()
    if head is RETINANET:
        return [end for _, end in levels(size, shapes["boxes"][1])]
    return [shapes["prediction"][2 if head is YOLOV8 else 1]]


def describe(placements: Sequence[Placement], to: np.ndarray) -> None:
    """Write what the kernels read of how images lie on their canvases to an array of :data:`PLACE`."""
    for index, placement in enumerate(placements):
        (height, width), area = placement.source_size, placement.area
        to[index] = (*placement.offset, *placement.scale, width, height, *area)


def _threshold(value: Any, dtype: np.dtype) -> float:
    """Return the number that float32 is above where what NumPy compares, of ``dtype``, is above a threshold."""
    return _float_below(np.result_type(dtype, value).type(value))


def _float_below(value: Any) -> float:
    """Return the highest float32 that is no higher than a number."""
    nearest = np.float32(value)
    return float(nearest if float(nearest) <= float(value) else np.nextafter(nearest, np.float32(-np.inf)))


def _bits(value: float) -> int:
    """Return the bits of a float32 as a number."""
    return int(np.float32(value).view(np.uint32))


def _laid_out(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return where each part of so many bytes begins, and how many bytes all take."""
    offsets, total = {}, 0
    for name, size_bytes in sizes.items():
        offsets[name] = total
        total += -(-size_bytes // 256) * 256
    return offsets, total
