"""Outputs on the GPU to detections: what the kernels of ``postprocessing.cu`` are told, and what they tell."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.kernels import Kernels
from trtnn.vision.detections import Detections
from trtnn.vision.heads import RETINANET, YOLOV5, YOLOV8, Head, levels
from trtnn.vision.placing import Placement, Size

_NAMES = {id(YOLOV5): "yolov5", id(YOLOV8): "yolov8", id(RETINANET): "retinanet"}
_THREADS, _ROW_THREADS, _BITS, _SUPPRESS_THREADS = 256, 128, 64, 256  # of a block, as in postprocessing.cu
_TILE = 8192  # candidates whose overlaps are known at once
_MOST_CANDIDATES = 1 << 16  # of an image; where there are more the CPU is asked
_BLOCKS = 2048  # among which pieces of work go round

#: What the kernels read of each image: ``Place`` of postprocessing.cu.
PLACE = np.dtype(
    [
        *((name, np.float64) for name in ("offset_x", "offset_y", "scale_x", "scale_y", "width", "height")),
        *((name, np.float32) for name in ("x1", "y1", "x2", "y2")),
    ],
    align=True,
)
_COUNTS = np.dtype([(name, np.int32) for name in ("candidates", "sorted", "kept", "is_done")])
_DETECTION = np.dtype([("box", np.float32, 4), ("score", np.float32), ("label", np.int32)])
_POINTERS = ("counts", "odd", "keys", "candidates", "ranks", "level_ranks", "sorted", "masks", "dropped", "kept")


class _Outputs(ctypes.Structure):
    """``Outputs`` of postprocessing.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("first", "scores")),
        *((name, ctypes.c_int) for name in ("images", "rows", "classes")),
        ("level_ends", ctypes.c_int * 5),
        *((name, ctypes.c_float) for name in ("confidence", "iou")),
        *((name, ctypes.c_int) for name in ("max_candidates", "max_detections")),
        *((name, ctypes.c_int) for name in ("is_agnostic", "is_multi_label", "has_levels")),
        *((name, ctypes.c_void_p) for name in ("wanted", "places")),
        *((name, ctypes.c_int) for name in ("capacity", "sorted_capacity", "round")),
        *((name, ctypes.c_void_p) for name in (*_POINTERS, "results")),
    ]


def has_kernels(head: Head) -> bool:
    """Tell whether a head's outputs are candidates that kernels pick from; of others the outputs are the boxes."""
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
        result_bytes: of its beginning, what :meth:`read` reads.
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
        self._name, self._is_dense = _NAMES[id(head)], head is RETINANET
        self._first = "boxes" if self._is_dense else "prediction"
        (images, *_), classes = shapes[self._first], (head.read(shapes) or {})["classes"]
        rows = shapes["prediction"][2] if head is YOLOV8 else shapes[self._first][1]
        multi_label = self._is_dense or bool(thresholds["multi_label"])
        capacity = min(rows * (classes if multi_label else 1), _MOST_CANDIDATES)
        most, most_detections = int(thresholds["max_candidates"]), int(thresholds["max_detections"])
        ends = [end for _, end in levels(size, rows)] if self._is_dense else [0, 0, 0, 0, rows]
        sorted_capacity = min(capacity, most * (len(ends) if self._is_dense else 1))
        max_detections = min(most_detections, sorted_capacity)
        scores_type = dtype if self._is_dense else np.dtype(np.float32)
        self._kernel = f"candidates_{self._name}_{dtype.name}"
        self._outputs = _Outputs(
            images=images,
            rows=rows,
            classes=classes,
            confidence=_threshold(thresholds["confidence"], scores_type),
            iou=_float_below(thresholds["iou"]),
            max_candidates=min(most, capacity),
            max_detections=max_detections,
            is_agnostic=bool(thresholds.get("agnostic", False)),
            is_multi_label=multi_label,
            has_levels=self._is_dense,
            capacity=capacity,
            sorted_capacity=sorted_capacity,
        )
        self._outputs.level_ends[:] = ends
        wanted, labels = thresholds["classes"], np.arange(classes)
        self.wanted = np.ones(classes, np.uint8) if wanted is None else np.isin(labels, list(wanted)).astype(np.uint8)
        words = _TILE // _BITS
        tile = min(_TILE, -(-sorted_capacity // _BITS) * _BITS)  # no row of the masks behind it is written
        sizes = {
            "counts": images * _COUNTS.itemsize,
            "odd": 4,
            "results": images * max_detections * _DETECTION.itemsize,
            "keys": images * capacity * 8,
            "candidates": images * capacity * 24,
            "ranks": images * capacity * 4,
            "level_ranks": images * capacity * 4,
            "sorted": images * sorted_capacity * _DETECTION.itemsize,
            "masks": ((images - 1) * _TILE + tile) * words * 8,
            "dropped": images * words * 8,
            "kept": images * max_detections * 4,
        }
        self._offsets, self.memory_bytes = {}, 0
        for name, size_bytes in sizes.items():
            self._offsets[name] = self.memory_bytes
            self.memory_bytes += -(-size_bytes // 256) * 256
            if name == "results":
                self.result_bytes = self.memory_bytes

    def launch(
        self,
        kernels: Kernels,
        stream: int,
        outputs: Mapping[str, int],
        wanted: int,
        places: int,
        memory: int,
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
            memory: that of :attr:`memory_bytes` bytes.
            count: how many images there are.
            tile: 0 for all that begins, the next ones as long as :meth:`is_done` says no.
        """
        arguments = self._outputs
        arguments.images, arguments.round, arguments.first = count, tile, outputs[self._first]
        arguments.scores = outputs["scores"] if self._is_dense else None
        arguments.wanted, arguments.places = wanted, places
        for name, offset in self._offsets.items():
            setattr(arguments, name, memory + offset)
        blocks, rows = max(64, _BLOCKS // count), math.ceil(arguments.rows / _ROW_THREADS)
        if tile == 0:
            kernels.launch("begin", (1, 1, 1), _THREADS, stream, arguments)
            kernels.launch(self._kernel, (rows, 1, count), _ROW_THREADS, stream, arguments)
            if self._is_dense:
                kernels.launch("rank_in_levels", (blocks, 1, count), _THREADS, stream, arguments)
            kernels.launch("rank", (blocks, 1, count), _THREADS, stream, arguments)
            kernels.launch("sort", (64, 1, count), _THREADS, stream, arguments)
        else:
            kernels.launch("overlaps_of_kept", (_TILE // _BITS, 1, count), _BITS, stream, arguments)
        kernels.launch("overlaps", (blocks, 1, count), _BITS, stream, arguments)
        kernels.launch("suppress", (1, 1, count), _SUPPRESS_THREADS, stream, arguments)

    def is_good(self, results: np.ndarray, count: int) -> bool:
        """Tell whether the kernels had room for all candidates, and took all scores for what they are.

        Where they had not, the CPU has to be asked.

        Args:
            results: uint8, the first :attr:`result_bytes` of the memory.
            count: how many images there are.
        """
        odd = results[self._offsets["odd"] :][:4].view(np.int32)[0]
        return odd == 0 and self._counts(results, count)["candidates"].max() <= self._outputs.capacity

    def is_done(self, results: np.ndarray, count: int) -> bool:
        """Tell whether no further tile is needed."""
        return bool(self._counts(results, count)["is_done"].all())

    def read(self, results: np.ndarray, count: int) -> list[Detections]:
        """Return the detections of ``count`` images; arguments as of :meth:`is_good`."""
        kept, most = self._counts(results, count)["kept"].tolist(), self._outputs.max_detections
        whole = results[self._offsets["results"] :][: count * most * _DETECTION.itemsize].view(_DETECTION)
        parts = [whole[image * most : image * most + number].copy() for image, number in enumerate(kept)]
        return [Detections(part["box"], part["score"], part["label"]) for part in parts]

    def _counts(self, results: np.ndarray, count: int) -> np.ndarray:
        return results[: count * _COUNTS.itemsize].view(_COUNTS)


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
