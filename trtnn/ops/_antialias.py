"""Weights of resizing with antialiasing: each place is a weighted mean of all that lie under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - abs(x), 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' kernel (https://doi.org/10.1109/TASSP.1981.1163711) with a = -0.5, which Pillow has too."""
    x = abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


class Filter(NamedTuple):
    """A kernel, and how far it reaches."""

    kernel: Callable[[np.ndarray], np.ndarray]
    reach: float


FILTERS = {"bilinear": Filter(_triangle, 1), "bicubic": Filter(_cubic, 2), "lanczos": Filter(_lanczos, 3)}


def weights_of(mode: str, length: int, wanted: int, scale: float) -> np.ndarray:
    """Return the weights that make ``wanted`` places of ``length``, (wanted, length) float32, whose rows sum to 1.

    Place i is centred at c = scale · (i + ½). The kernel is stretched by the scale where that is more than 1, and
    counts over the whole places from trunc(c - reach + ½) to before trunc(c + reach + ½).

    Source: ``_compute_index_ranges_weights`` of torch's UpSampleKernel.cpp.

    Args:
        mode: one of FILTERS.
        scale: places of the input for each of the output.
    """
    kernel, reach = FILTERS[mode]
    stretch = max(scale, 1.0)
    centre = scale * (np.arange(wanted) + 0.5)
    first = np.maximum(np.trunc(centre - reach * stretch + 0.5), 0)
    end = np.minimum(np.trunc(centre + reach * stretch + 0.5), length)
    places = np.arange(length)
    within = (places >= first[:, None]) & (places < end[:, None])
    weights = np.where(within, kernel((places + 0.5 - centre[:, None]) / stretch), 0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
