"""What is seen of a tensor on samples, and the range that it comes to: what becomes the largest number of a type.

Of all methods but ``"max"`` a histogram of magnitudes is kept. The width of its bins is a power of two, which doubles
as larger numbers come, so that the histograms of several tensors add up to one of all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch

from trtnn.dtypes import DType
from trtnn.errors import ArgumentError
from trtnn.graph.quantization import largest_of
from trtnn.reference.layers.quantized import rounded_steps

BINS = 2048  # of a histogram; so many as TensorRT's calibrators had
PERCENTILE = 99.99  # of the numbers that are within the range
_LEAST_WIDTH = 2.0**-126  # of a bin: what numbers are divided by is a normal number of float32
_COUNTED = 1 << 24  # numbers at once: histc counts in float32, which has no whole number behind this
_CANDIDATES = 96  # ranges that are tried for the least error, evenly spaced up to the largest magnitude
_LEVELS = 128  # of int8's magnitudes, for the entropy


class Seen:
    """The largest magnitude of a tensor, and a histogram of its magnitudes.

    Args:
        with_histogram: whether there is one.

    Attributes:
        largest: the largest magnitude.
        counts: (BINS,) float64, how many magnitudes were in each bin.
        width: of a bin; 0 until a number that is not zero was seen.
    """

    def __init__(self, with_histogram: bool) -> None:
        self.largest = 0.0
        self.counts = np.zeros(BINS if with_histogram else 0)
        self.width = 0.0

    def add(self, values: torch.Tensor) -> None:
        """Take in the numbers of one sample.

        Raises:
            ArgumentError: one is not finite.
        """
        low, high = torch.aminmax(values)
        largest = max(-float(low), float(high))
        if not math.isfinite(largest):
            raise ArgumentError("a number is not finite")
        self.largest = max(self.largest, largest)
        if self.counts.size and largest:
            self._widen(max(self.width, 2.0 ** math.ceil(math.log2(largest / BINS)), _LEAST_WIDTH))
            bins = values.float().abs().div_(self.width).reshape(-1)  # the end of all bins may be beyond float32
            for piece in bins.split(_COUNTED):
                self.counts += torch.histc(piece, BINS, 0, BINS).double().cpu().numpy()

    def _widen(self, width: float) -> None:
        """Make bins as wide as this, which is no less than they are."""
        while self.width and self.width < width:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.width *= 2
        self.width = width

    def merge(self, other: Seen) -> None:
        """Take in what was seen of another tensor."""
        self.largest = max(self.largest, other.largest)
        if self.counts.size and other.width:
            added = copy.copy(other)
            width = max(self.width, other.width)
            added._widen(width)
            self._widen(width)
            self.counts = self.counts + added.counts

    @property
    def centres(self) -> np.ndarray:
        """The magnitude in the middle of each bin."""
        return (np.arange(BINS) + 0.5) * self.width


def _by_max(seen: Seen, dtype: DType) -> float:
    return seen.largest


def _by_percentile(seen: Seen, dtype: DType) -> float:
    """Return the range that holds :data:`PERCENTILE` of the numbers."""
    within = np.cumsum(seen.counts)
    index = int(np.searchsorted(within, within[-1] * PERCENTILE / 100))
    return min((index + 1) * seen.width, seen.largest)


def _by_mse(seen: Seen, dtype: DType) -> float:
    """Return the range of the least squared error of the rounded numbers."""
    centres = torch.from_numpy(seen.centres)
    largest = largest_of(dtype)
    candidates = seen.largest * np.arange(1, _CANDIDATES + 1) / _CANDIDATES
    errors = []
    for candidate in candidates:
        scale = candidate / largest
        back = rounded_steps(centres / scale, dtype).double() * scale
        errors.append(float((seen.counts * (back - centres).square().numpy()).sum()))
    return float(candidates[int(np.argmin(errors))])


def _by_entropy(seen: Seen, dtype: DType) -> float:
    """Return the range of the least Kullback-Leibler divergence between the histogram and what 128 levels keep of it.

    S. Migacz, 8-bit inference with TensorRT, GTC 2017
    (https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf).

    Raises:
        ArgumentError: the type is not int8, whose levels are evenly spaced.
    """
    counts = seen.counts.copy()
    counts[0] = counts[1]  # zeros are exact in any case, and there may be many: as TensorRT's calibrator
    best, best_divergence = BINS, math.inf
    for bins in range(_LEVELS, BINS + 1, 8):
        reference = counts[:bins].copy()
        reference[-1] += counts[bins:].sum()
        edges = np.linspace(0, bins, _LEVELS + 1)
        level = np.minimum(np.searchsorted(edges, np.arange(bins), side="right") - 1, _LEVELS - 1)
        there = counts[:bins] > 0
        sums = np.bincount(level, counts[:bins], _LEVELS)
        shared = np.bincount(level[there], minlength=_LEVELS)
        kept = np.where(there, sums[level] / np.maximum(shared[level], 1), 0)
        divergence = _divergence(reference, kept)
        if divergence < best_divergence:
            best, best_divergence = bins, divergence
    return min(best * seen.width, seen.largest)


def _divergence(reference: np.ndarray, kept: np.ndarray) -> float:
    p, q = reference / reference.sum(), kept / max(kept.sum(), 1e-300)
    there = p > 0
    if (q[there] == 0).any():
        q = np.where(q > 0, q, 1e-12)
    return float((p[there] * np.log(p[there] / q[there])).sum())


METHODS: dict[str, Callable[[Seen, DType], float]] = {
    "max": _by_max,
    "percentile": _by_percentile,
    "entropy": _by_entropy,
    "mse": _by_mse,
}
