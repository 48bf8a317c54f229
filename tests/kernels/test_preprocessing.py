"""The kernel that makes a network's input of images, compiled for the CPU, beside what the CPU's own way makes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.kernels.emulated import EmulatedKernels
from tests.kernels.running import prepare_by_kernel
from tests.standin import Lane
from trtnn.vision import Preprocessing, preprocess
from trtnn.vision.gpu_preprocessing import opencv_is_exact

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FITS = ["letterbox", "stretch", "stretch-antialias", "corner", "warp"]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([height, width, seed]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_kernel(images, size, dtype=np.float32, how=None, threads=1):
    """The batch as the kernel makes it on the CPU."""
    return prepare_by_kernel(Lane([]), lambda name: EmulatedKernels(name, threads), images, size, dtype, how)


def check_equal(images, size, dtype=np.float32, how=None, threads=1):
    """Each number of a batch is the CPU's, and so is each placement.

    Where IPP computes in float32 the last of its digits may be another: it goes other ways through narrow images.
    """
    how = Preprocessing() if how is None else how
    actual, placements = by_kernel(images, size, dtype, how, threads)
    expected, expected_placements = preprocess(images, size, dtype, how)
    assert placements == expected_placements
    if how.fit == "warp" and size[1] % 32:
        bytes_apart(actual, expected, most=2e-2)
    elif how.fit == "corner" and dtype == np.float32:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-7 / min(map(abs, how.std)))
    else:
        np.testing.assert_array_equal(actual, expected)


def bytes_apart(actual, expected, most):
    """What is in 0..1 differs by one byte at most, and in few places: where rounding to a byte is a toss."""
    steps = np.abs(np.rint(actual * 255) - np.rint(expected * 255))
    assert steps.max() <= 1
    assert np.count_nonzero(steps) <= max(2, most * steps.size)


def drawn_sizes(count: int, most: int, seed: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Sizes of images and canvases: any, doubled, halved, of a third, one that fits, and one pixel in any place."""
    rng = np.random.default_rng(seed)
    sizes = []
    for index in range(count):
        (height, width), (above, across) = rng.integers(1, most, (2, 2)).tolist()
        kinds = [(above, across), (2 * height, 2 * width), (-(-height // 2), -(-width // 2)), (height, width)]
        kinds += [(-(-height // 3), -(-width // 2)), (1, across), (above, 1)]
        canvas = kinds[index % len(kinds)]
        source = [(height, width), (1, width), (height, 1), (1, 1), (2, 3)][index % 5 if index % 3 == 0 else 0]
        sizes.append((source, canvas))
    return sizes


@pytest.mark.parametrize("fit", FITS)
def test_it_gives_the_cpus_numbers_at_any_sizes(fit):
    how = Preprocessing(fit, fill=(114.0, 13.0, 255.0))
    for source, (height, width) in drawn_sizes(200, 90, seed=FITS.index(fit)):
        check_equal([noise(*source)], (height, width), how=how)
        if fit == "warp":
            check_equal([noise(*source)], (height, -(-width // 32) * 32), how=how)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("source", "canvas"), [((720, 1280), (640, 640)), ((1079, 1917), (384, 672)), ((7, 5), (320, 320))]
)
def test_it_gives_the_cpus_numbers_at_usual_sizes(fit, source, canvas):
    check_equal([noise(*source)], canvas, np.float16, Preprocessing(fit))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalisation_types_and_orders(fit, dtype, channels):
    how = Preprocessing(fit, channels, (255 * MEAN[0], 12.5, 200.75), MEAN, STD)
    check_equal([noise(33, 57), noise(100, 31), noise(64, 64)], (70, 96), dtype, how)


def test_every_byte_becomes_what_it_becomes_on_the_cpu():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for mean, std in [((0, 0, 0), (1, 1, 1)), (MEAN, STD), ((0.1, -3, 7), (1e-3, 9.7, -2))]:
        for dtype in (np.float32, np.float16):
            check_equal([every], (16, 16), dtype, Preprocessing("stretch", mean=mean, std=std))


@pytest.mark.parametrize("fit", FITS)
def test_rows_may_be_apart_and_anywhere_in_memory(fit):
    """An image may be a part of another: its rows are farther apart, and it begins at any byte."""
    whole = noise(80, 90)
    for left in range(5):
        for width in (1, 2, 3, 40):
            check_equal([whole[3:60, left : left + width]], (40, 64), how=Preprocessing(fit))


@pytest.mark.parametrize("fit", [*FITS, "crop", "cover"])
def test_threads_of_a_block_do_not_depend_on_each_others_order(fit):
    images = [noise(50, 70), noise(90, 40)]
    alone, _ = by_kernel(images, (70, 130), how=Preprocessing(fit))
    together, _ = by_kernel(images, (70, 130), how=Preprocessing(fit), threads=4)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("fit", ["crop", "cover"])
@pytest.mark.parametrize(("source", "canvas"), drawn_sizes(40, 90, seed=9))
def test_a_crop_differs_only_where_rounding_is_a_toss(source, canvas, fit):
    """The order of its sums is BLAS's own on the CPU: a byte may differ where the mean is half a whole number."""
    image, size = noise(*source), canvas if min(canvas) > 1 else (31, 33)
    how = Preprocessing(fit)
    actual, placements = by_kernel([image], size, how=how)
    expected, expected_placements = preprocess([image], size, np.float32, how)
    assert placements == expected_placements
    bytes_apart(actual, expected, most=2e-3)


def test_corner_follows_opencv_with_and_without_ipp():
    images, how = [noise(99, 171)], Preprocessing("corner")
    was = cv2.ipp.useIPP()
    try:
        for use in (True, False):
            cv2.ipp.setUseIPP(use)
            opencv_is_exact.cache_clear()
            check_equal(images, (64, 64), how=how)
        assert not opencv_is_exact()
    finally:
        cv2.ipp.setUseIPP(was)
        opencv_is_exact.cache_clear()
