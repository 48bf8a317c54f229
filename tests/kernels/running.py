"""Batches through the kernels alone, on a lane of a GPU or of one that is stood in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.vision import Detections, Placement, Preprocessing
from trtnn.vision.gpu_postprocessing import PLACE, GpuPostprocessing, describe
from trtnn.vision.gpu_preprocessing import IMAGE, GpuPreprocessing
from trtnn.vision.heads import Head

KernelsOf = Callable[[str], Any]


def upload(lane: Any, array: np.ndarray) -> int:
    """Return the address of a copy on the GPU."""
    address = lane.allocate(max(array.nbytes, 1))
    lane.upload(address, np.ascontiguousarray(array))
    return address


def prepare_by_kernel(
    lane: Any,
    kernels_of: KernelsOf,
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    dtype: npt.DTypeLike = np.float32,
    how: Preprocessing | None = None,
) -> tuple[np.ndarray, list[Placement]]:
    """Return the batch as the kernel makes it, its memory begun as NaN; rows of images may be apart."""
    preprocessing = GpuPreprocessing(Preprocessing() if how is None else how, size, dtype)
    pixels = []
    for image in images:
        height, width, _ = image.shape
        flat = np.lib.stride_tricks.as_strided(image, (image.strides[0] * (height - 1) + 3 * width,), (1,))
        pixels.append((upload(lane, flat), height, width, image.strides[0]))
    described, output = np.zeros(len(images), IMAGE), np.full((len(images), 3, *size), np.nan, dtype)
    placements = preprocessing.describe(pixels, described)
    table, target = upload(lane, preprocessing.table), upload(lane, output)
    kernels = kernels_of("preprocessing")
    preprocessing.launch(kernels, lane.handle, upload(lane, described), table, target, len(images))
    lane.download(output, target)
    lane.synchronize()
    return output, placements


def pick_by_kernels(
    lane: Any,
    kernels_of: KernelsOf,
    head: Head,
    outputs: Mapping[str, np.ndarray],
    size: tuple[int, int],
    placements: Sequence[Placement],
    thresholds: Mapping[str, Any],
) -> list[Detections] | None:
    """Return the detections by the kernels, tile by tile; None where they ask for the CPU."""
    shapes, count = {name: output.shape for name, output in outputs.items()}, len(placements)
    dtype = next(iter(outputs.values())).dtype
    picking = GpuPostprocessing(head, shapes, dtype, size, {**head.thresholds, **thresholds})
    memory, places = lane.allocate(picking.memory_bytes), np.zeros(count, PLACE)
    lane.upload(memory, np.zeros(picking.cleared_bytes, np.uint8))
    describe(placements, places)
    addresses = {name: upload(lane, output) for name, output in outputs.items()}
    wanted, placed, pinned = upload(lane, picking.wanted), upload(lane, places), lane.pinned(picking.result_bytes)
    results, kernels = picking.results(pinned), kernels_of("postprocessing")
    found = []
    for _ in range(2):  # what is counted is left as it was found
        tile = 0
        while True:
            picking.launch(kernels, lane.handle, addresses, wanted, placed, memory, pinned.ctypes.data, count, tile)
            lane.synchronize()
            if results.are_done():
                break
            tile += 1
        found.append(results.detections(count))
    first, second = found
    assert (first is None) == (second is None)
    for one, other in zip(first or [], second or [], strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
    return first
