"""Instance masks beside torch's resizing, COCO's tool, OpenCV's polygons, and plain arrays."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from tests.helpers import message_of
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.vision import PIPELINES, Detections, Masks
from trtnn.vision.placing import place


def blobs(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Masks of several parts with holes in them, (count, height, width) bool."""
    rng = np.random.default_rng((seed, count, height, width))
    return np.stack([cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 3) > 0.03 for _ in range(count)])


def prototypes_of(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    noise = rng.standard_normal((32, rows, columns)).astype(np.float32)
    return np.stack([10 * cv2.GaussianBlur(plane, (0, 0), 2) for plane in noise])


def plainly(prototypes, coefficients, boxes, window, size):
    """All the image lies on resized by torch, and then cut to boxes in px of the image."""
    sums = np.einsum("nc,crs->nrs", coefficients.astype(np.float64), prototypes.astype(np.float64))
    (top, bottom), (left, right) = window
    part = torch.from_numpy(sums[:, top:bottom, left:right])[None]
    resized = torch.nn.functional.interpolate(part, size, mode="bilinear", align_corners=False)[0].numpy()
    ys, xs = np.arange(size[0])[:, None], np.arange(size[1])
    inside = [(xs >= x1) & (xs < x2) & (ys >= y1) & (ys < y2) for x1, y1, x2, y2 in boxes]
    return (resized > 0) & np.array(inside), np.abs(resized)


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((128, 192), ((0, 32), (0, 48))),
        ((100, 192), ((4, 28), (0, 48))),
        ((300, 225), ((0, 32), (12, 36))),
    ],
    ids=["as it is", "margins above and below", "margins beside, enlarged"],
)
def test_masks_are_prototypes_resized_and_cut(size, window):
    rng, canvas = np.random.default_rng(1), (128, 192)
    prototypes, coefficients = prototypes_of(rng, 32, 48), rng.standard_normal((9, 32)).astype(np.float32)
    (top, bottom), (left, right) = window
    scale = (right - left) * 4 / size[1], (bottom - top) * 4 / size[0]
    placement = place("letterbox", size, canvas)
    if size == (100, 192):  # a whole number of cells above, as where a side is a multiple of 8
        size, scale = (96, 192), (1.0, 1.0)
        placement = place("letterbox", size, canvas)
    assert placement.scale == pytest.approx(scale)
    corners, sides = rng.uniform(-10, 150, (9, 2)), rng.uniform(1, 120, (9, 2))
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    boxes[0], boxes[1], boxes[2] = (0, 0, 192, 128), (20.5, 30.2, 20.9, 31.1), (-9, -9, -1, -1)
    masks = Masks.of_prototypes(prototypes, coefficients, boxes, canvas).scaled(placement)
    expected, far = plainly(prototypes, coefficients, placement.to_source(boxes), window, size)
    actual = np.asarray(masks)
    assert masks.shape == actual.shape == expected.shape
    assert expected[0].any()
    assert not actual[2].any()
    np.testing.assert_array_equal(actual | (far < 1e-4), expected | (far < 1e-4))  # but for where it is a toss
    assert (far < 1e-4).mean() < 1e-3


@pytest.mark.parametrize(
    ("size", "window"), [((16, 24), ((0, 32), (0, 48))), ((8, 4), ((0, 32), (16, 32))), ((1, 1), ((0, 32), (8, 40)))]
)
def test_pixels_larger_than_cells_whose_middle_lies_behind_their_box(size, window):
    """Small images: a pixel within the box is set by the number at its middle, which is not within."""
    rng, placement = np.random.default_rng(4), place("letterbox", size, (128, 192))
    prototypes, coefficients = prototypes_of(rng, 32, 48), rng.standard_normal((200, 32)).astype(np.float32)
    corners = rng.uniform(-40, 60, (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 90, (200, 2))], 1).astype(np.float32)
    rows = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], np.full((200, 1), 0.9)], 1)
    outputs = {"prediction": np.concatenate([rows, coefficients], 1).T[None], "prototypes": prototypes[None]}
    (found,) = PIPELINES["yolov8-segment"].postprocess(outputs, [placement], iou=1.0)
    expected, far = plainly(prototypes, coefficients, placement.to_source(boxes), window, size)
    assert far.min() > 1e-5  # none is a toss
    expected = expected[expected.any((1, 2))]  # what has no pixel is left out
    assert len(expected) > 5
    np.testing.assert_array_equal(found.masks, expected)


def test_a_part_is_what_lies_within_the_box():
    rng = np.random.default_rng(2)
    boxes = np.float32([[10.2, 20, 30, 41.5], [0, 0, 64, 64]])
    masks = Masks.of_prototypes(prototypes_of(rng, 16, 16), rng.standard_normal((2, 32)), boxes, (64, 64))
    top, left, part = masks.part(0)
    assert (top, left, part.shape) == (20, 11, (22, 19))
    np.testing.assert_array_equal(masks[0][20:42, 11:30], part)
    assert masks[0].sum() == part.sum() > 0


@pytest.mark.parametrize("shape", [(3, 40, 50), (2, 1, 60), (2, 60, 1), (0, 5, 6), (1, 3, 4)])
def test_arrays_are_kept_as_they_are(shape):
    array = blobs(*shape) if shape[0] else np.zeros(shape, bool)
    masks = Masks.of_array(array)
    np.testing.assert_array_equal(masks, array)
    assert (len(masks), masks.size, masks.shape) == (shape[0], shape[1:], shape)
    assert all((one == other).all() for one, other in zip(masks, array, strict=True))
    assert Masks.of_array(np.zeros((2, 4, 5))).are_empty().tolist() == [True, True]
    assert Masks.of_array(np.ones((2, 4, 5))).are_empty().tolist() == [False, False]


def test_masks_are_picked_as_the_first_axis_of_an_array():
    array = blobs(5, 20, 30)
    masks = Masks.of_array(array)
    for index in ([3, 1], slice(1, 4), np.array([True, False, True, False, True]), [], np.array([-1])):
        np.testing.assert_array_equal(masks[index], array[index])
    np.testing.assert_array_equal(masks[-1], array[-1])
    assert repr(masks) == "Masks(5 of 20×30 px)"
    assert np.asarray(masks, np.uint8).dtype == np.uint8
    with pytest.raises(IndexError):
        masks[5]


def of_grids(size=(90, 150)) -> list[Masks]:
    """Masks of one image by networks of other canvases, fits and grids, and of an array."""
    rng, several = np.random.default_rng(5), []
    for fit, canvas in (("letterbox", (64, 96)), ("stretch", (160, 160))):
        corners = rng.uniform(0, 40, (4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (4, 2))], 1).astype(np.float32)
        prototypes = prototypes_of(rng, canvas[0] // 4, canvas[1] // 4)
        masks = Masks.of_prototypes(prototypes, rng.standard_normal((4, 32)), boxes, canvas)
        several.append(masks.scaled(place(fit, size, canvas)))
    return [*several, Masks.of_array(blobs(2, *size))]


def test_masks_of_several_networks_are_joined():
    several = of_grids()
    joined, arrays = Masks.merge(several), np.concatenate([np.asarray(masks) for masks in several])
    assert arrays.any((1, 2)).all()
    np.testing.assert_array_equal(joined, arrays)
    order = [9, 4, 0, 5]
    np.testing.assert_array_equal(joined[order], arrays[order])
    assert [joined.rle(i) for i in order] == [Masks.of_array(arrays).rle(i) for i in order]
    back = place("letterbox", (200, 180), (90, 150))
    expected = np.concatenate([np.asarray(masks.scaled(back)) for masks in several])
    np.testing.assert_array_equal(joined.scaled(back), expected)
    np.testing.assert_array_equal(Masks.merge(iter([joined[:0], several[0]])), several[0])


def test_masks_that_cannot_be_joined():
    words = message_of(ShapeError, Masks.merge, [*of_grids(), *of_grids((91, 150))])
    assert "masks of images of other sizes cannot be joined\n  received: 90×150, 91×150 px" in words
    for wrong, received in (([], "none"), (of_grids()[0], ", ".join(["numpy.ndarray"] * 4))):
        words = message_of(ArgumentError, Masks.merge, wrong)
        assert words == f"Masks.merge takes a list of Masks, one at least\n  received: {received}"


def test_masks_are_equal_where_their_pixels_are():
    """However they are kept: by prototypes or as they are, and within whichever box."""
    for masks in of_grids():
        array = np.asarray(masks)
        assert masks == Masks.of_array(array)
        other = array.copy()
        other[-1, 40, 30] ^= True
        assert masks != Masks.of_array(other)
        assert masks != masks[:-1]
    assert Masks.of_array(np.zeros((1, 4, 5))) != Masks.of_array(np.zeros((1, 5, 4)))
    assert Masks.of_array(np.zeros((0, 4, 5))) == Masks.of_array(np.ones((2, 4, 5)))[:0]
    assert Masks.of_array(np.zeros((1, 4, 5))) != "masks"


def test_masks_without_a_pixel_are_told_from_those_that_have_one():
    """Also where a cell beside a small box is positive, or one pixel of a large box alone is set."""
    rng, placement = np.random.default_rng(3), place("letterbox", (90, 150), (64, 96))
    corners = rng.uniform(-5, 95, (400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 9, (400, 2))], 1).astype(np.float32)
    masks = Masks.of_prototypes(prototypes_of(rng, 16, 24), rng.standard_normal((400, 32)), boxes, (64, 96))
    masks = masks.scaled(placement)
    expected = [not mask.any() for mask in masks]
    assert 50 < sum(expected) < 350
    assert masks.are_empty().tolist() == expected
    single = np.zeros((3, 200, 300), bool)
    single[0, 77, 131], single[1, 0, 0], single[1, -1, -1] = True, True, True
    assert Masks.of_array(single).are_empty().tolist() == [False, False, True]


def test_run_lengths_are_coco_s():
    coder = pytest.importorskip("pycocotools.mask")
    full, empty = np.ones((1, 7, 9), bool), np.zeros((1, 7, 9), bool)
    corner = empty.copy()
    corner[0, -1, -1] = True
    for array in (blobs(6, 60, 83), blobs(2, 300, 200), full, empty, corner, blobs(3, 1, 50), blobs(3, 50, 1)):
        masks = Masks.of_array(array)
        for index, mask in enumerate(array):
            theirs = coder.encode(np.asfortranarray(mask, np.uint8))
            assert masks.rle(index) == {"size": list(mask.shape), "counts": theirs["counts"].decode()}


def filled(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [points.round().astype(np.int32).reshape(-1, 1, 2)], 1)
    return canvas.astype(bool)


def test_an_outline_fills_to_all_parts_of_the_mask():
    for array in blobs(8, 70, 90):
        contours, _ = cv2.findContours(array.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        whole = np.zeros(array.shape, np.uint8)
        cv2.drawContours(whole, contours, -1, 1, cv2.FILLED)
        polygon = Masks.of_array(array[None]).polygon(0)
        assert polygon.dtype == np.float32
        assert len(contours) > 2
        assert (filled(polygon, array.shape) >= whole.astype(bool)).all()  # lines between parts are more
        assert filled(polygon, array.shape).sum() < 1.2 * whole.sum()
    assert Masks.of_array(np.zeros((1, 4, 5))).polygon(0).shape == (0, 2)
    square = np.zeros((1, 30, 40), bool)
    square[0, 5:11, 20:31] = True
    points = Masks.of_array(square).polygon(0)
    assert sorted(map(tuple, points.tolist())) == [(20, 5), (20, 10), (30, 5), (30, 10)]


def test_three_hundred_masks_of_a_large_image_are_small_until_they_are_asked_for():
    rng, size = np.random.default_rng(0), (2160, 3840)
    prototypes, coefficients = prototypes_of(rng, 96, 160), rng.standard_normal((300, 32)).astype(np.float32)
    boxes = np.tile(np.float32([[0, 0, 640, 360]]), (300, 1))
    placement = place("letterbox", size, (384, 640))
    tracemalloc.start()
    masks = Masks.of_prototypes(prototypes, coefficients, boxes, (384, 640)).scaled(placement)
    for mask in masks[:3]:
        assert mask.shape == size
    part = masks.rle(5)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 300e6  # all of them would be 2,488 MB
    assert len(part["counts"]) < 100_000


def test_masks_of_another_shape():
    with pytest.raises(ShapeError, match=r"masks have the shape \(n, height, width\)\n.*received: \(4, 5\)"):
        Masks.of_array(np.zeros((4, 5)))
    with pytest.raises(ShapeError, match=r"as many masks as boxes\n.*2 boxes, 1 masks"):
        Detections(np.zeros((2, 4)), [0.5, 0.5], [0, 0], masks=np.zeros((1, 4, 5)))


def test_probabilities_are_no_masks():
    """Any above 0 would be set."""
    numbers = np.random.default_rng(0).random((2, 4, 5))
    for dtype in (np.float16, np.float32, np.float64):
        with pytest.raises(
            DTypeError, match=f"masks are of bools\n  received: {np.dtype(dtype)}\n  of prob.*masks > 0.5"
        ):
            Masks.of_array(numbers.astype(dtype))
    whole = numbers > 0.5
    for same in (whole, whole * np.uint8(255), whole.astype(int), whole.astype(np.float32)):
        np.testing.assert_array_equal(np.asarray(Masks.of_array(same)), whole)
