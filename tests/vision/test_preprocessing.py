import itertools
import math
import os
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import message_of
from trtnn.errors import ArgumentError, DTypeError, ImageError, ShapeError
from trtnn.vision import Placement, Preprocessing, letterbox, preprocess
from trtnn.vision.fits import FITS

SIDE = st.integers(1, 4000)
SIZE = st.tuples(SIDE, SIDE)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def letterboxed(source: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """Where the pixels of a letterboxed picture are, by the formula."""
    ratio = min(canvas[0] / source[0], canvas[1] / source[1])
    height, width = (max(1, round(side * ratio)) for side in source)
    offset = round((canvas[1] - width) / 2 - 0.1), round((canvas[0] - height) / 2 - 0.1)
    return Placement(source, canvas, (width / source[1], height / source[0]), offset)


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
    assert box.scale == (640 / 500, 426 / 333)
    assert box.offset == (0, 107)
    assert box.area == pytest.approx((0, 107, 640, 533))
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
    placement = letterboxed(source, canvas)
    back = placement.to_source(boxes * np.tile(placement.scale, 2) + np.tile(placement.offset, 2))
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


# -- where a picture's pixels are: markers at known places, through the preprocessing and back ------------------------

LEVELS_PX = 30  # by how much a marker's ramp rises from one pixel of the canvas to the next


def ramp(length: int, place: float, scale: float) -> np.ndarray:
    """Values of pixels along a line that rise evenly through 127.5 at ``place``: an interpolation keeps that."""
    centres = np.arange(length) + 0.5
    return np.clip(127.5 + LEVELS_PX * min(scale, 1) * (centres - place), 0, 255).round().astype(np.uint8)


def crossing(values: np.ndarray) -> float:
    """Where values rise through 127.5, in px."""
    right = int(np.argmax(values > 127.5))
    low, high = values[right - 1], values[right]
    return right - 0.5 + (127.5 - low) / (high - low)


def seen_and_true(source: tuple[int, int], canvas: tuple[int, int], fit: str, at: float) -> list[tuple[float, ...]]:
    """For each axis where a marker comes back to, where it is, and the scale."""
    ratio = min(canvas[0] / source[0], canvas[1] / source[1])
    found = []
    for axis in (1, 0):  # x, and then y
        place = at * source[axis]
        scale = canvas[axis] / source[axis] if fit.startswith("stretch") else ratio
        line = ramp(source[axis], place, scale)
        line = line if axis == 1 else line[:, None]
        image = np.broadcast_to(line[..., None], (*source, 3))
        (planes,), (placement,) = preprocess([image], canvas, how=Preprocessing(fit, fill=(0, 0, 0)))
        left, top, right, bottom = placement.area
        middle = round((top + bottom) / 2 - 0.5) if axis == 1 else round((left + right) / 2 - 0.5)
        values = planes[0, middle] if axis == 1 else planes[0, :, middle]
        spot = crossing(values.astype(np.float64) * 255)
        back = placement.to_source([[spot, spot, spot, spot]])[0, 1 - axis]
        found.append((back, place, placement.scale[1 - axis]))
    return found


SHAPES = np.random.default_rng(7)
RANDOM = [(tuple(SHAPES.integers(60, 1600, 2).tolist()), tuple(SHAPES.integers(3, 11, 2) * 32)) for _ in range(150)]
UNUSUAL = [
    ((1571, 3775), (1280, 1280)),
    ((1600, 2128), (320, 320)),
    ((333, 500), (640, 640)),
    ((100, 1999), (320, 320)),
]


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch", "stretch-antialias"])
def test_markers_come_back_to_where_they_are(fit):
    """To 0.1 px of the canvas: what 8 bits of the ramp, and OpenCV's weights of 11 bits, leave of a place."""
    for index, (source, canvas) in enumerate([*RANDOM, *UNUSUAL]):
        tall = max(source[0] / source[1], source[1] / source[0])
        room = min(source) * min(canvas[0] / source[0], canvas[1] / source[1])
        if room < 24 or (fit.startswith("stretch") and tall > 4):
            continue  # no room for the ramp
        for back, place, scale in seen_and_true(source, tuple(map(int, canvas)), fit, (0.3, 0.5, 0.7)[index % 3]):
            assert abs(back - place) < 0.1 / min(scale, 1), (source, canvas, back, place)


def test_markers_of_centernet_come_back_to_where_its_own_project_has_them():
    """Its map moves the centres of pixels where it moves boxes: they part by half a pixel of the canvas less one of the
    picture, in training as here, which a trained network has learned.
    """
    for (height, width), canvas in [((300, 500), (128, 128)), ((211, 97), (256, 160)), ((480, 640), (384, 512))]:
        for back, place, scale in seen_and_true((height, width), canvas, "warp", 0.4):
            assert abs(back - (place + 0.5 / scale - 0.5)) < 0.15 / min(scale, 1)


def test_a_long_thin_picture_is_prepared_without_the_memory_for_all_of_it():
    for fit in ("letterbox", "corner", "stretch", "stretch-antialias", "crop", "cover"):
        for shape in ((1, 400_000), (400_000, 1)):
            image = np.full((*shape, 3), 77, np.uint8)
            tracemalloc.start()
            batch, _ = preprocess([image], 224, how=Preprocessing(fit, fill=(77, 77, 77)))
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            np.testing.assert_allclose(batch, 77 / 255, atol=1e-6)
            assert peak_bytes < 30e6
    with pytest.raises(ImageError, match=r"1×400000 is too long for this network's preprocessing"):
        preprocess([np.zeros((1, 400_000, 3), np.uint8)], 224, how=Preprocessing("warp"))


def test_no_boxes_and_wrong_boxes():
    box = letterboxed((10, 20), (40, 40))
    assert box.to_source([]).shape == box.to_source(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ShapeError, match=r"shape \(n, 4\)\n.*received: \(4,\)"):
        box.to_source([1, 2, 3, 4])


# -- the numbers, bit for bit: one image at a time on a whole canvas, reckoned by NumPy in float32 --------------------


def reduced(image: np.ndarray, side: int, length: int, wanted: range) -> np.ndarray:
    """The wanted rows of an image whose rows are resized to ``length``, each a weighted mean, in float32."""
    ratio, rows = side / length, []
    for index in wanted:
        centre, reach = (index + 0.5) * ratio, max(ratio, 1) + 0.5
        under = np.arange(max(0, math.floor(centre - reach)), min(side, math.ceil(centre + reach)))
        weights = np.maximum(0, 1 - np.abs(under + 0.5 - centre) / max(ratio, 1))
        rows.append(np.tensordot((weights / weights.sum()).astype(np.float32), image[under].astype(np.float32), 1))
    return np.array(rows)


def by_torch(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image's bytes as torch resizes them with antialiasing, and torchvision by it."""
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", antialias=True)
    assert resized.dtype == torch.uint8
    return resized[0].permute(1, 2, 0).numpy()


def canvas_of(image: np.ndarray, size: tuple[int, int], how: Preprocessing) -> np.ndarray:
    """An image on its canvas, in the order of its channels that the network takes."""
    image = np.ascontiguousarray(image if how.channels == "RGB" else image[..., ::-1])
    height, width = image.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    if how.fit == "stretch":
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    if how.fit == "stretch-antialias":
        return by_torch(image, size)
    if how.fit == "warp":
        x, y = ((canvas - side * ratio) / 2 for canvas, side in ((size[1], width), (size[0], height)))
        return cv2.warpAffine(image, np.array([[ratio, 0, x], [0, ratio, y]]), size[::-1], borderValue=how.fill)
    if how.fit == "crop":
        shorter = round(max(size) * 256 / 224)
        for side, canvas in zip((height, width), size, strict=True):
            length = shorter * side // min(height, width)
            start = round((length - canvas) / 2)
            image = reduced(image, side, length, range(start, start + canvas)).transpose(1, 0, 2)
        return np.rint(image)
    kind = np.uint8 if how.fit == "letterbox" else np.float32
    whole = round if how.fit == "letterbox" else (lambda side: int(side + 1e-6))
    inner = tuple(max(1, whole(side * ratio)) for side in (height, width))
    top, left = (round((c - s) / 2 - 0.1) for c, s in zip(size, inner, strict=True)) if kind == np.uint8 else (0, 0)
    canvas = np.empty((*size, 3), kind)
    canvas[:] = how.fill
    resized = cv2.resize(image.astype(kind), inner[::-1], interpolation=cv2.INTER_LINEAR)
    canvas[top : top + inner[0], left : left + inner[1]] = resized
    return canvas


def as_bits(image: np.ndarray, size: tuple[int, int], how: Preprocessing, dtype: type) -> bytes:
    """The (3, height, width) of one image in the input, as they lie in memory."""
    values = canvas_of(image, size, how).astype(np.float32) / np.float32(255)
    values = (values - np.float32(how.mean)) / np.float32(how.std)
    return values.astype(dtype).transpose(2, 0, 1).tobytes()


MIXED = [(480, 640), (64, 96), (31, 500), (97, 64), (1, 40), (128, 192), (250, 251), (96, 640)]
NUMBERS = [
    {},
    {"fill": (10, 20.5, 150.75), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    {"mean": (1, 0, 0.5), "std": (1 / 255, 3, 0.1)},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("fit", sorted(FITS.keys() - {"cover"}))  # its ratios give halves, whose rounding BLAS decides
def test_every_bit_is_as_reckoned_for_one_image_at_a_time(fit, channels, dtype):
    images = [noise(*size) for size in MIXED]
    images += [images[0][:, ::-1], images[0][::2, 1::3, ::-1]]  # of any layout
    for size, numbers in itertools.product([(64, 96), (96, 64), (160, 160)], NUMBERS):
        how = Preprocessing(fit, channels, **numbers)
        batch, _ = preprocess(images, size, dtype, how)
        for planes, image in zip(batch, images, strict=True):
            assert planes.tobytes() == as_bits(image, size, how, dtype), (image.shape, size, numbers)
        (alone,), _ = preprocess(images[:1], size, dtype, how)
        assert alone.tobytes() == batch[0].tobytes()


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_each_of_the_256_values_is_as_reckoned(dtype, numbers):
    image, how = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2), Preprocessing(**numbers)
    (planes,), _ = preprocess([image], 16, dtype, how)
    assert planes.tobytes() == as_bits(image, (16, 16), how, dtype)


def test_memory_is_taken_again():
    """The first call makes what the next ones use: all that is left is the thread's own, and the result."""
    images = [noise(500, 700)] * 2
    for fit in FITS:
        out, how = np.empty((1, 3, 320, 320), np.float32), Preprocessing(fit)
        for _ in range(2):
            preprocess(images[:1], 320, how=how, out=out)
        tracemalloc.start()
        preprocess(images[:1], 320, how=how, out=out)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 50_000, fit


def test_what_is_written_into_has_to_fit():
    images, out = [noise(40, 60)] * 2, np.full((3, 3, 32, 32), np.nan, np.float32)
    batch, _ = preprocess(images, 32, out=out[:2])
    assert np.shares_memory(batch, out)
    assert np.isfinite(out[:2]).all()
    assert np.isnan(out[2]).all()
    with pytest.raises(ShapeError, match=r"expected: \(2, 3, 32, 32\)\n  received: \(3, 3, 32, 32\)"):
        preprocess(images, 32, out=out)
    with pytest.raises(ShapeError, match=r"received: \(2, 3, 32, 32\), not contiguous"):
        preprocess(images, 32, out=np.empty((2, 3, 32, 64), np.float32)[..., ::2])
    with pytest.raises(DTypeError, match="out is to be float16, as the batch is\n  received: float32"):
        preprocess(images, 32, np.float16, out=out)


def test_images_are_prepared_in_a_forked_process_too():
    images = [noise(40, 60)] * 3
    expected, _ = preprocess(images, 32)
    child = os.fork()
    if child == 0:  # its parent's threads are not there
        os._exit(0 if np.array_equal(preprocess(images, 32)[0], expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


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


# -- other ways -------------------------------------------------------------------------------------------------------

SOURCES = [(480, 640), (333, 500), (50, 30), (97, 640)]
PLAIN = {"mean": (0.5, 0.25, 0.125), "std": (0.5, 2.0, 0.25)}


def normalised(canvas: np.ndarray) -> np.ndarray:
    return (canvas.astype(np.float64) / 255 - PLAIN["mean"]) / PLAIN["std"]


def prepared(image: np.ndarray, size: tuple[int, int], fit: str, **options: object) -> tuple[np.ndarray, Placement]:
    """One picture's input, as (height, width, 3), and its placement."""
    (planes,), (placement,) = preprocess([image], size, how=Preprocessing(fit, **PLAIN, **options))
    assert planes.dtype == np.float32
    return planes.transpose(1, 2, 0), placement


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [(96, 160), (128, 64)])
class TestWaysToLie:
    def test_at_the_corner(self, source, size):
        image = noise(*source)
        pixels, placement = prepared(image, size, "corner", fill=(10, 20.5, 30))
        ratio = min(size[0] / source[0], size[1] / source[1])
        height, width = (int(side * ratio + 1e-6) for side in source)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
        resized = torch.nn.functional.interpolate(planes, size=(height, width), mode="bilinear")[0].permute(1, 2, 0)
        expected = np.full((*size, 3), (10, 20.5, 30))
        expected[:height, :width] = resized
        np.testing.assert_allclose(pixels, normalised(expected), atol=1e-3)
        assert height == size[0] or width == size[1]
        assert placement == Placement(source, size, (width / source[1], height / source[0]), (0, 0))

    def test_by_an_affine_map(self, source, size):
        image = noise(*source)
        pixels, placement = prepared(image, size, "warp", fill=(255, 0, 64))
        # CenterNet's points: the middle to the middle, and a step from there that is scaled.
        middle, target = np.float32(source[::-1]) / 2, np.float32(size[::-1]) / 2
        ratio = min(size[0] / source[0], size[1] / source[1])
        steps = np.float32([[0, 0], [0, -100], [-100, 0]])
        matrix = cv2.getAffineTransform(middle + steps, np.float32(target + steps * ratio))
        expected = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(255, 0, 64))
        off = np.abs(pixels - normalised(expected)).max(2) > 0.02
        assert off.mean() < 0.01  # OpenCV rounds places to 1/32 pixel, where the matrices' last digits count
        corners = np.float64([[0, 0, 1], [source[1], source[0], 1]])
        np.testing.assert_allclose(placement.area, (corners @ matrix.T).ravel(), atol=1e-3)

    def test_stretched(self, source, size):
        image = noise(*source)
        pixels, placement = prepared(image, size, "stretch")
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(pixels, normalised(expected), atol=1e-5)
        assert placement.area == pytest.approx((0, 0, size[1], size[0]))

    def test_stretched_with_antialiasing(self, source, size):
        """As torch resizes bytes, to the byte; by the mean in double within one of 255."""
        image = noise(*source)
        pixels, placement = prepared(image, size, "stretch-antialias")
        np.testing.assert_allclose(pixels, normalised(by_torch(image, size)), atol=1e-5)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
        exact = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        canvas = (pixels * PLAIN["std"] + PLAIN["mean"]) * 255
        assert np.abs(canvas - exact.numpy()).max() < 1.001
        assert placement == Placement(source, size, (size[1] / source[1], size[0] / source[0]), (0, 0))

    @pytest.mark.parametrize(("fit", "share"), [("crop", 256 / 224), ("cover", 1)])
    def test_the_middle_cut_out(self, source, size, fit, share):
        image = noise(*source)
        pixels, placement = prepared(image, size, fit)
        shorter = round(max(size) * share)
        height, width = (shorter if side == min(source) else int(shorter * side / min(source)) for side in source)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)
        top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
        cut = resized[0].permute(1, 2, 0).numpy()[top : top + size[0], left : left + size[1]]
        assert np.abs(pixels - normalised(np.rint(cut))).max() < 1.01 / 255 / min(PLAIN["std"])  # where halves are
        assert np.abs(pixels - normalised(np.rint(cut))).mean() < 1e-4
        assert placement.offset == (-left, -top)
        assert placement.scale == (width / source[1], height / source[0])

    @pytest.mark.parametrize("fit", ["letterbox", "corner", "warp", "stretch", "stretch-antialias", "crop", "cover"])
    def test_boxes_come_back(self, source, size, fit):
        _, placement = prepared(noise(*source), size, fit)
        boxes = np.array([[0, 0, source[1], source[0]], [3, 4, 20, 11.5]])
        on_canvas = boxes * np.tile(placement.scale, 2) + np.tile(placement.offset, 2)
        np.testing.assert_allclose(placement.area, on_canvas[0], atol=1e-9)
        np.testing.assert_allclose(placement.to_source(on_canvas), boxes, atol=1e-4)


@pytest.mark.parametrize("fit", ["letterbox", "corner", "warp", "stretch", "stretch-antialias", "crop", "cover"])
def test_what_is_seen_is_where_the_placement_says(fit):
    image = np.zeros((240, 320, 3), np.uint8)
    image[90:150, 120:200] = 255
    pixels, (placement,) = preprocess([image], (160, 160), how=Preprocessing(fit, fill=(0, 0, 0)))
    y, x = np.nonzero(pixels[0, 0] > 0.5)
    seen = placement.to_source([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
    np.testing.assert_allclose(seen, [[120, 90, 200, 150]], atol=1.5 / min(placement.scale))


@pytest.mark.parametrize("fit", ["letterbox", "corner", "warp", "stretch", "stretch-antialias", "crop", "cover"])
def test_blue_comes_first_where_it_is_to(fit):
    image, numbers = noise(60, 80), {"fill": (1, 2, 3), "mean": (0.1, 0.2, 0.3), "std": (1, 2, 4)}
    (rgb,), _ = preprocess([image], 64, how=Preprocessing(fit, **{n: v[::-1] for n, v in numbers.items()}))
    (bgr,), _ = preprocess([image], 64, how=Preprocessing(fit, "BGR", **numbers))
    np.testing.assert_array_equal(bgr, rgb[::-1])
    assert not np.array_equal(bgr, rgb)


def test_a_fixed_square_canvas_is_centernets():
    """Its longer side fills the canvas, whichever it is."""
    for source in SOURCES:
        _, placement = prepared(noise(*source), (512, 512), "warp")
        ratio = 512 / max(source)
        assert placement.scale == (ratio, ratio)
        assert placement.offset == pytest.approx((256 - source[1] / 2 * ratio, 256 - source[0] / 2 * ratio))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"fit": "lettrbox"},
            "preprocessing has no fit 'lettrbox'\n"
            "  known: letterbox, corner, warp, stretch, stretch-antialias, crop, cover",
        ),
        ({"channels": "GBR"}, "preprocessing has no channels 'GBR'\n  known: RGB, BGR"),
        ({"mean": (1, 2)}, r"mean of preprocessing is a number for each channel\n  got: \(1, 2\)"),
        ({"fill": "grey"}, "fill of preprocessing is a number for each channel\n  got: grey"),
        ({"std": (1, 0, 1)}, "std of preprocessing is a number for each channel, none of them zero"),
        ({"std": (1, float("nan"), 1)}, "std of preprocessing is a number for each channel"),
        ({"mean": (123.7, 116.3, 103.5)}, r"mean of preprocessing is of pixels in 0\.\.1\n.*divide it by 255"),
        ({"std": (255, 255, 255)}, r"std of preprocessing is of pixels in 0\.\.1\n.*divide it by 255"),
    ],
)
def test_wrong_ways_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        Preprocessing(**options)


def test_a_way_with_changes():
    way = Preprocessing("warp", "BGR")
    changed = way.changed({"mean": [0.5, 0.5, 0.5], "fit": "corner"})  # JSON has lists
    assert changed == Preprocessing("corner", "BGR", mean=(0.5, 0.5, 0.5))
    assert way.changed({}) == way
    with pytest.raises(ArgumentError, match="preprocessing has no 'means'\n  nearest: mean\n  known: fit, channels, "):
        way.changed({"means": (0, 0, 0)})


@pytest.mark.parametrize("size", [64.0, (64,), (64, 64, 3), "64", (64.5, 64), None, ("a", "b"), [[64, 64]]])
def test_what_is_no_size_is_told(size):
    for make in (lambda: letterbox(np.zeros((4, 6, 3), np.uint8), size), lambda: preprocess([], size)):
        message = message_of(ArgumentError, make)
        assert message.startswith("the size of a canvas is (height, width), whole numbers, or one\n  received: ")


@pytest.mark.parametrize("size", [(32, 64), [32, 64], np.array([32, 64]), (np.int32(32), 64)])
def test_sizes_of_other_kinds(size):
    assert letterbox(np.zeros((4, 6, 3), np.uint8), size)[0].shape == (32, 64, 3)
    assert letterbox(np.zeros((4, 6, 3), np.uint8), np.int64(32))[0].shape == (32, 32, 3)
