import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import message_of
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.vision import COCO, COCO_LIMBS, Detections, corners_of, draw


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def changed(height: int, width: int, *boxes, score=0.87, labels=COCO, first_class=0) -> np.ndarray:
    """Where drawing changes a grey picture."""
    count = len(boxes)
    detections = Detections(np.array(boxes), np.full(count, score), np.arange(count) + first_class)
    return (draw(grey(height, width), detections, labels) != 128).any(axis=2)


def test_the_picture_given_is_left_alone():
    image = grey(100, 100)
    image.flags.writeable = False
    result = draw(image, Detections([[10, 20, 50, 60]], [0.9], [0]), COCO)
    assert result is not image
    assert (image == 128).all()
    assert result.flags.writeable


def test_nothing_found_is_the_picture_itself():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw(image, Detections([], [], [])), image)


def test_lines_run_along_the_box_and_nowhere_else():
    mask = changed(480, 640, (100, 200, 300, 400))
    for line in (mask[200, 100:301], mask[400, 100:301], mask[200:401, 100], mask[200:401, 300]):
        assert line.all()
    assert not mask[210:390, 110:290].any()
    assert not mask[410:].any()
    assert not mask[:170].any()
    assert mask[187:198, 100:150].mean() > 0.9  # the label's ground stands above the box


def test_a_label_without_room_above_stands_inside():
    mask = changed(480, 640, (100, 0, 300, 400))
    assert mask[2:14, 102:150].mean() > 0.9


def test_labels_keep_clear_of_each_other():
    box = [100, 200, 300, 400]
    first, second = (draw(grey(480, 640), Detections([box], [0.9], [index]), COCO) for index in (0, 1))
    both = draw(grey(480, 640), Detections([box, box], [0.9, 0.5], [0, 1]), COCO)
    assert (both[185:199, 100:300] == first[185:199, 100:300]).all()  # the first's label is whole
    assert (both == second[400, 300]).all(axis=2).sum() > 300  # the second's, in its colour, is elsewhere


def colors(*indices) -> np.ndarray:
    return np.array([draw(grey(100, 100), Detections([[5, 40, 95, 95]], [0.5], [i]), COCO)[95, 50] for i in indices])


def test_a_class_keeps_its_color_and_differs_from_the_others():
    np.testing.assert_array_equal(colors(7), colors(7))
    ten = colors(*range(10)).astype(int)
    distance = np.abs(ten[:, None] - ten).sum(axis=2) + 1000 * np.eye(10, dtype=int)
    assert distance.min() > 60
    assert len({tuple(color) for color in colors(*range(80)).tolist()}) == 80


def test_lines_and_letters_grow_with_the_picture():
    small, large = (changed(h, w, (w * 0.2, h * 0.4, w * 0.6, h * 0.8)) for h, w in ((480, 640), (1920, 2560)))
    assert (small[300, 64:192].sum(), large[1200, 256:768].sum()) == (3, 7)  # the left line's width in px
    assert large[:760].sum() > 12 * small[:190].sum()  # the label, 16 times as large


def test_higher_scores_lie_on_top():
    boxes = [[20, 40, 80, 90]] * 2
    for scores in ([0.9, 0.3], [0.3, 0.9]):
        result = draw(grey(100, 100), Detections(boxes, scores, [0, 1]), COCO)
        assert result[90, 50].tolist() == colors(int(np.argmax(scores)))[0].tolist()


def test_the_text_is_the_name_and_two_decimals():
    a, b, c = (draw(grey(100, 200), Detections([[5, 40, 95, 95]], [s], [0]), ["cat"]) for s in (0.871, 0.8749, 0.878))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert (a != draw(grey(100, 200), Detections([[5, 40, 95, 95]], [0.871], [0]))).any()  # "0 0.87"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.tuples(*[st.floats(-400, 400)] * 4), st.integers(0, 79))
def test_any_box_in_any_picture_can_be_drawn(height, width, box, index):
    result = draw(grey(height, width), Detections([box, box], [0.9, 0.4], [index, index]), COCO)
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("box", [(150, 50, 159, 60), (-9, 0, 20, 20), (100, 110, 159, 119), (0, 0, 159, 119)])
def test_labels_lie_wholly_within_the_picture(box):
    label = changed(120, 160, (40, 60, 40, 60))  # a box without extent: little but its label
    assert changed(120, 160, box).sum() >= label.sum()


def test_a_long_label_is_made_to_fit():
    mask = changed(90, 104, (40, 60, 41, 61), labels=["a name that is very long"])
    columns = np.flatnonzero(mask.any(axis=0))
    assert 70 < columns[-1] - columns[0] < 103


# -- masks, key points, rotated boxes ---------------------------------------------------------------------------------


def test_a_mask_is_tinted_and_nothing_else():
    mask = np.zeros((1, 90, 120), bool)
    mask[0, 40:60, 30:80] = True
    box = [[20, 30, 100, 80]]
    plain = draw(grey(90, 120), Detections(box, [0.5], [3])).astype(int)
    tinted = draw(grey(90, 120), Detections(box, [0.5], [3], masks=mask)).astype(int)
    color = plain[80, 60]
    assert (color != 128).any()
    changed = (plain != tinted).any(axis=2)
    np.testing.assert_array_equal(changed, mask[0])
    np.testing.assert_allclose(tinted[50, 50], 128 * 0.55 + color * 0.45, atol=1)
    beside = Detections([[500, 500, 600, 600]], [0.5], [3], masks=np.zeros((1, 90, 120), bool))
    assert draw(grey(90, 120), beside).shape == (90, 120, 3)


def test_the_higher_score_s_mask_is_tinted_last():
    masks = np.ones((2, 60, 60), bool)
    boxes = [[0, 0, 60, 60]] * 2
    first, second = (draw(grey(60, 60), Detections(boxes, s, [0, 1], masks=masks)) for s in ([0.9, 0.4], [0.4, 0.9]))
    assert (np.abs(first[40, 30].astype(int) - second[40, 30]) > 10).any()


def test_a_rotated_box_is_drawn_as_it_lies():
    rotated = [[160, 120, 100, 40, np.pi / 6]]
    corners = corners_of(rotated)[0]
    found = Detections([[*corners.min(0), *corners.max(0)]], [0.5], [3], rotated=rotated)
    mask = (draw(grey(240, 320), found) != 128).any(axis=2)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.linspace(start, end, 50)[5:-5].round().astype(int)
        assert mask[along[:, 1], along[:, 0]].mean() > 0.9
    assert not mask[115:125, 150:170].any()
    (_, _, x2, y2) = found.boxes[0].round().astype(int)
    assert not mask[y2, : x2 - 60].any()  # the upright one is not


@pytest.mark.parametrize("count", [4, 17])
def test_key_points_that_are_seen_are_dots_and_those_of_persons_are_joined(count):
    points = np.zeros((1, count, 3), np.float32)
    points[0, :, 0], points[0, :, 1] = np.linspace(30, 270, count), np.where(np.arange(count) % 2, 60, 160)
    points[0, :, 2] = 0.9
    points[0, 2, 2] = 0.49
    found = Detections([[0, 0, 0, 0]], [0.5], [3], keypoints=points)
    mask = (draw(grey(200, 300), found) != 128).any(axis=2)
    seen = [mask[int(y), round(float(x))] for x, y, _ in points[0]]
    assert seen[3:] == [True] * (count - 3)
    assert not seen[2] or count == 17  # a line may pass
    middles = (
        [(points[0, a, :2] + points[0, b, :2]) / 2 for a, b in COCO_LIMBS if 2 not in (a, b)] if count == 17 else []
    )
    assert all(mask[int(y), int(x)] for x, y in middles)
    if count == 4:
        assert mask.sum() < 600
    without = Detections([[0, 0, 0, 0]], [0.5], [3], keypoints=points[..., :2])
    assert (draw(grey(200, 300), without) != 128).any(axis=2)[160, round(float(points[0, 2, 0]))]


def test_errors_are_named():
    with pytest.raises(ArgumentError, match="class 1 has no name: there are 1 labels"):
        draw(grey(50, 50), Detections([[1, 1, 9, 9]], [0.5], [1]), ["cat"])
    with pytest.raises(DTypeError, match="must be uint8"):
        draw(np.zeros((50, 50, 3)), Detections([], [], []))


def test_what_is_nan_is_told_or_left_out():
    found = Detections([[1, 2, 30, 40], [1, 2, np.nan, 40]], [0.9, 0.8], [0, 1])
    message = message_of(ArgumentError, draw, grey(50, 60), found)
    assert message.startswith("box 1 of those to draw is nan\n  without such: found[")
    way = message.partition("without such: ")[2]
    rest = eval(way, {"numpy": np, "found": found})  # the words are the code
    np.testing.assert_array_equal(draw(grey(50, 60), rest), draw(grey(50, 60), found[:1]))
    for numbers in (2, 3):
        points = np.ones((1, 3, numbers), np.float32) * 20
        points[0, 1, 0] = np.nan
        with_nan, without = (
            Detections([[5, 5, 40, 40]], [0.5], [0], keypoints=of) for of in (points, points[:, [0, 2]])
        )
        np.testing.assert_array_equal(draw(grey(50, 60), with_nan), draw(grey(50, 60), without))


def test_half_a_character_in_a_label_is_a_question_mark():
    """OpenCV would end the process; a command's arguments that are not UTF-8 have them, and files of weights may."""
    found = Detections([[10, 40, 90, 80]], [0.9], [0])
    np.testing.assert_array_equal(draw(grey(100, 200), found, ["caf\udce9"]), draw(grey(100, 200), found, ["caf?"]))


@pytest.mark.parametrize("size", [(50, 50), (100, 200), (200, 200)])
def test_masks_of_a_picture_of_another_size_are_told(size):
    found = Detections([[10, 10, 90, 90]], [0.5], [0], masks=np.ones((1, 100, 100), bool))
    message = message_of(ShapeError, draw, grey(*size), found)
    assert message == (
        f"what is drawn was detected in a picture of 100×100 pixels, and this one has {size[0]}×{size[1]}"
    )
    assert draw(grey(100, 100), found).shape == (100, 100, 3)


def test_what_is_no_detections_is_told():
    message = message_of(ArgumentError, draw, grey(9, 9), [Detections([], [], [])])
    assert message == (
        "what is drawn are the Detections of a picture, not list\n  of those of several pictures: detector(images)[0]"
    )
    assert message_of(ArgumentError, draw, grey(9, 9), None).endswith("not NoneType")
