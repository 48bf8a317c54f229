import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.vision import Placement, letterbox, preprocess

SIDE = st.integers(1, 4000)
SIZE = st.tuples(SIDE, SIDE)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def letterboxed(source: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """Where a letterboxed picture lies, by the formula."""
    ratio = min(canvas[0] / source[0], canvas[1] / source[1])
    offset = (canvas[1] - source[1] * ratio) / 2, (canvas[0] - source[0] * ratio) / 2
    return Placement(source, canvas, (ratio, ratio), offset)


def by_borders(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same canvas another way: OpenCV's borders of round(d - 0.1) and round(d + 0.1) px around the picture."""
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
    image = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    x, y = (width - inner[0]) / 2, (height - inner[1]) / 2
    borders = (round(y - 0.1), round(y + 0.1), round(x - 0.1), round(x + 0.1))
    return cv2.copyMakeBorder(image, *borders, cv2.BORDER_CONSTANT, value=(114, 114, 114))


@pytest.mark.parametrize("source", [(480, 640), (1080, 810), (333, 500), (20, 30), (640, 640), (99, 641), (720, 1281)])
@pytest.mark.parametrize("size", [(640, 640), (384, 672), (33, 50)])
def test_the_canvas_is_the_one_opencv_makes(source, size):
    image = noise(*source)
    canvas, box = letterbox(image, size)
    np.testing.assert_array_equal(canvas, by_borders(image, *size))
    assert box == letterboxed(source, size)


def test_numbers_by_hand():
    canvas, box = letterbox(np.full((333, 500, 3), 255, np.uint8), 640)
    assert box.scale == (640 / 500, 640 / 500)
    assert box.offset == pytest.approx((0, (640 - 333 * 1.28) / 2))  # 106.88
    assert box.area == pytest.approx((0, 106.88, 640, 533.12))
    white = np.flatnonzero((canvas == 255).all(axis=(1, 2)))  # 426 rows of the 640, 107 above and 107 below
    assert (white[0], white[-1], len(white)) == (107, 532, 426)
    assert (np.delete(canvas, white, axis=0) == 114).all()


def test_an_odd_rest_has_its_extra_row_below():
    canvas, _ = letterbox(np.full((5, 10, 3), 255, np.uint8), (8, 10))
    assert (canvas[:, 0, 0] == 255).tolist() == [False, True, True, True, True, True, False, False]


def test_a_picture_that_fits_is_not_touched():
    image = noise(6, 9)
    np.testing.assert_array_equal(letterbox(image, (6, 9))[0], image)
    np.testing.assert_array_equal(letterbox(image, (10, 9))[0][2:8], image)


def test_a_thin_line_keeps_a_pixel():
    canvas, _ = letterbox(np.full((1, 5000, 3), 255, np.uint8), 640)
    assert (canvas == 255).all(axis=2).sum() == 640


def test_the_color_is_rgb():
    canvas, _ = letterbox(noise(4, 8), 8, color=(255, 128, 0))
    assert canvas[0, 0].tolist() == [255, 128, 0]


def test_views_of_any_layout_are_taken():
    image = noise(40, 60)
    expected = letterbox(np.ascontiguousarray(image[:, ::-1, ::-1]), 32)[0]
    np.testing.assert_array_equal(letterbox(image[:, ::-1, ::-1], 32)[0], expected)


@given(SIZE, SIZE, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4))
def test_boxes_come_back_from_the_canvas(source, canvas, fractions):
    height, width = source
    boxes = np.array(fractions, np.float64).reshape(-1, 4) * (width, height, width, height)
    ratio = min(canvas[0] / height, canvas[1] / width)
    left, top = (canvas[1] - width * ratio) / 2, (canvas[0] - height * ratio) / 2
    back = letterboxed(source, canvas).to_source(boxes * ratio + (left, top, left, top))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, boxes, atol=1e-3)


@given(SIZE, SIZE, st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_boxes_never_leave_the_picture(source, canvas, box):
    x1, y1, x2, y2 = letterboxed(source, canvas).to_source([box])[0]
    assert 0 <= min(x1, x2) <= max(x1, x2) <= source[1]
    assert 0 <= min(y1, y2) <= max(y1, y2) <= source[0]


@given(st.tuples(st.integers(50, 400), st.integers(50, 400)), st.tuples(st.integers(200, 400), st.integers(200, 400)))
def test_a_thing_seen_on_the_canvas_is_where_it_is_in_the_picture(source, canvas):
    image = np.zeros((*source, 3), np.uint8)
    image[20:40, 10:45] = 255
    pixels, box = letterbox(image, canvas, color=0)
    y, x = np.nonzero(pixels[:, :, 0] > 127)
    seen = [[x.min(), y.min(), x.max() + 1, y.max() + 1]]
    np.testing.assert_allclose(box.to_source(seen), [[10, 20, 45, 40]], atol=1.5 / box.scale[0])


def test_no_boxes_and_wrong_boxes():
    box = letterboxed((10, 20), (40, 40))
    assert box.to_source([]).shape == box.to_source(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ShapeError, match=r"shape \(n, 4\)\n.*received: \(4,\)"):
        box.to_source([1, 2, 3, 4])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_batch_of_different_sizes(dtype):
    images = [noise(480, 640), noise(100, 50), noise(64, 96)]
    batch, boxes = preprocess(images, (64, 96), dtype)
    assert batch.shape == (3, 3, 64, 96)
    assert batch.dtype == dtype
    assert batch.flags.c_contiguous
    assert [box.source_size for box in boxes] == [(480, 640), (100, 50), (64, 96)]
    for planes, image in zip(batch, images, strict=True):
        canvas = letterbox(image, (64, 96))[0]
        for channel in range(3):
            np.testing.assert_array_equal(planes[channel], (canvas[:, :, channel] / np.float32(255)).astype(dtype))
    assert (batch.min(), batch.max()) == (0, 1)


def test_an_empty_batch_has_the_shape_of_one():
    batch, boxes = preprocess([], 32)
    assert batch.shape == (0, 3, 32, 32)
    assert boxes == []


def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError, match=r"must be positive\n.*height 0, width 640"):
        preprocess([noise(4, 4)], (0, 640))
    with pytest.raises(DTypeError, match=r"float32 or float16\n.*received: uint8"):
        preprocess([noise(4, 4)], 32, np.uint8)
    with pytest.raises(ShapeError, match=r"\(height, width, 3\)\n.*received: \(4, 3\)"):
        preprocess(noise(4, 4), 32)  # one picture instead of a list
    with pytest.raises(DTypeError, match=r"must be uint8.*\n.*float64"):
        letterbox(np.zeros((4, 4, 3)), 32)
