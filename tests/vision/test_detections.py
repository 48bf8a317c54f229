import copy
import json
import pickle
import sys
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError, BackendError, ShapeError
from trtnn.vision import Detection, Detections, Masks, Placement, corners_of
from trtnn.vision.detections import pack, unpack


@pytest.fixture
def two() -> Detections:
    return Detections(np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]]), np.array([0.75, 0.5]), np.array([1, 0]))


def test_rows_are_plain_numbers(two):
    assert len(two) == 2
    assert list(two) == [Detection((1, 2, 3, 4), 0.75, 1), Detection((5, 6, 7, 8.5), 0.5, 0)]
    assert {type(number) for row in two for number in (*row.box, row.score)} == {float}


def test_arrays_have_their_types(two):
    assert (two.boxes.dtype, two.scores.dtype, two.classes.dtype) == (np.float32, np.float32, np.int64)
    none = Detections([], [], [])
    assert (none.boxes.shape, none.scores.shape, none.classes.shape) == ((0, 4), (0,), (0,))


def test_json_with_and_without_labels(two):
    rows = json.loads(json.dumps(two.to_dict(("cat", "dog"))))["detections"]
    assert rows[0] == {"box": [1, 2, 3, 4], "score": 0.75, "class": 1, "label": "dog"}
    assert [row["label"] for row in rows] == ["dog", "cat"]
    assert two.to_dict()["detections"][1] == {"box": [5, 6, 7, 8.5], "score": 0.5, "class": 0}


def test_a_class_without_a_name_is_an_error(two):
    with pytest.raises(ArgumentError, match="class 1 has no name: there are 1 labels"):
        two.to_dict(("cat",))


def test_scaled_to_the_picture(two):
    scaled = two.scaled(Placement((4, 8), (16, 16), (2, 2), (0, 4)))  # twice as large, 4 px above and below
    np.testing.assert_allclose(scaled.boxes, [[0.5, 0, 1.5, 0], [2.5, 1, 3.5, 2.25]])
    assert scaled.scores is two.scores
    assert scaled.classes is two.classes


def test_arrays_must_fit_together():
    with pytest.raises(ShapeError, match=r"\(2,\) for 2 boxes\n.*received: scores \(3,\), classes \(2,\)"):
        Detections(np.zeros((2, 4)), np.zeros(3), np.zeros(2))
    with pytest.raises(ShapeError, match=r"shape \(n, 4\)\n.*received: \(2, 3\)"):
        Detections(np.zeros((2, 3)), np.zeros(2), np.zeros(2))


class Theirs:
    """A stand-in for supervision's class, which takes these by name and nothing else."""

    def __init__(self, *, xyxy, confidence, class_id, data, mask=None):
        self.xyxy, self.confidence, self.class_id, self.data, self.mask = xyxy, confidence, class_id, data, mask


@pytest.mark.parametrize("real", [False, True])
def test_supervision_gets_all_of_it(monkeypatch, real):
    if real:
        pytest.importorskip("supervision")
    else:
        monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Theirs))
    found = Detections([[1, 2, 3, 4], [5, 6, 7, 8]], [0.9, 0.5], [2, 0])
    theirs = found.to_supervision(["a", "b", "c"])
    np.testing.assert_array_equal(theirs.xyxy, found.boxes)
    np.testing.assert_array_equal(theirs.confidence, found.scores)
    np.testing.assert_array_equal(theirs.class_id, found.classes)
    assert theirs.data["class_name"].tolist() == ["c", "a"]
    assert found.to_supervision().data == {}
    assert len(Detections([], [], []).to_supervision(["a"]).data["class_name"]) == 0
    with pytest.raises(ArgumentError, match="class 2 has no name"):
        found.to_supervision(["a"])


def test_supervision_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(BackendError, match=r"supervision cannot be imported: .*\n  pip install supervision"):
        Detections([], [], []).to_supervision()


# -- masks, key points, rotated boxes ---------------------------------------------------------------------------------

BOXES = [[0, 0, 4, 4], [2, 1, 8, 6], [5, 5, 9, 8]]
MASKS = np.stack([np.tri(8, 9, k, bool) for k in (0, 2, -3)])
POINTS = np.float32([[[x, 1, 0.25], [2, x, 0.75]] for x in (1, 5, 8)])
ROTATED = np.float32([[2, 2, 4, 4, 0], [5, 3.5, 6, 5, 0.5], [7, 6, 4, 3, -0.25]])


@pytest.fixture
def three() -> Detections:
    return Detections(BOXES, [0.9, 0.75, 0.5], [2, 0, 1], MASKS, POINTS, ROTATED)


@pytest.mark.parametrize("index", [[2, 0], slice(1, 3), np.array([True, False, True]), []], ids=str)
def test_all_of_it_is_picked_together(three, index):
    picked = three[index]
    assert isinstance(picked, Detections)
    assert isinstance(picked.masks, Masks)
    for name, array in {"boxes": BOXES, "masks": MASKS, "keypoints": POINTS, "rotated": ROTATED}.items():
        np.testing.assert_array_equal(getattr(picked, name), np.array(array)[index])
    np.testing.assert_array_equal(picked.angles, ROTATED[index][:, 4])
    np.testing.assert_allclose(picked.corners, corners_of(ROTATED)[index])


def test_one_that_is_picked_is_a_row(three, two):
    assert [three[i] for i in range(-3, 3)] == [*three, *three]
    assert type(three[np.int64(1)]) is Detection
    with pytest.raises(IndexError):
        three[3]
    assert two[:1].masks is two[:1].keypoints is two[:1].rotated is two[:1].angles is two[:1].corners is None


def test_json_has_what_there_is(three):
    rows = json.loads(json.dumps(three.to_dict()))["detections"]
    assert [row["mask"] for row in rows] == [three.masks.rle(i) for i in range(3)]
    assert rows[0]["mask"]["size"] == [8, 9]
    assert [row["keypoints"] for row in rows] == POINTS.tolist()
    assert [row["rotated"] for row in rows] == ROTATED.tolist()
    np.testing.assert_allclose([row["corners"] for row in rows], corners_of(ROTATED), rtol=1e-6)
    assert set(Detections(BOXES, [1] * 3, [0] * 3).to_dict()["detections"][0]) == {"box", "score", "class"}


def test_all_of_it_goes_back_to_the_picture(three):
    placement = Placement((16, 18), (8, 9), (0.5, 0.5), (0, 0))
    back = three.scaled(placement)
    np.testing.assert_allclose(back.keypoints, POINTS * np.float32([2, 2, 1]))
    np.testing.assert_allclose(back.rotated, ROTATED * np.float32([2, 2, 2, 2, 1]))
    assert back.masks.size == (16, 18)
    doubled = MASKS.repeat(2, 1).repeat(2, 2)
    assert (np.asarray(back.masks) == doubled).mean() > 0.9
    far = Detections([[0, 0, 1, 1]], [1], [0], keypoints=[[[99, -99], [3, 4]]]).scaled(placement)
    assert far.keypoints.tolist() == [[[18, 0], [6, 8]]]


def test_supervision_gets_masks_points_and_corners(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Theirs))
    theirs = three.to_supervision()
    assert theirs.mask.dtype == bool
    np.testing.assert_array_equal(theirs.mask, MASKS)
    np.testing.assert_array_equal(theirs.data["keypoints"], POINTS)
    np.testing.assert_allclose(theirs.data["xyxyxyxy"], corners_of(ROTATED))
    assert Detections(BOXES, [1] * 3, [0] * 3).to_supervision().mask is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"keypoints": np.zeros((1, 17, 3))}, "as many keypoints as boxes\n  received: 2 boxes, 1 keypoints"),
        ({"rotated": np.zeros((3, 5))}, "as many rotated as boxes"),
        ({"keypoints": np.zeros((2, 17, 4))}, "or (n, points, 2)\n  received: (2, 17, 4)"),
        ({"rotated": np.zeros((2, 4))}, "rotated boxes do not have the shape (n, 5)"),
        ({"masks": np.zeros((2, 4))}, "masks have the shape (n, height, width)"),
    ],
)
def test_more_than_boxes_must_fit_them(more, words):
    assert words in message_of(ShapeError, Detections, np.zeros((2, 4)), [0, 0], [0, 0], **more)


def test_those_of_a_detector_are_pickled_and_copied(three):
    """They know the image that they were found in by a reference that cannot be pickled, and need not be."""
    three.found_in(np.zeros((8, 9, 3), np.uint8), ["cat", "dog", "bird"])
    for other in (pickle.loads(pickle.dumps(three)), pickle.loads(pickle.dumps(three[1:]))[:], copy.deepcopy(three)):
        whole = three[len(three) - len(other) :]
        assert other.masks.size == (8, 9)
        for field in fields(Detections):
            before, after = (np.asarray(getattr(each, field.name)) for each in (whole, other))
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(after, before)
        assert other.to_dict() == whole.to_dict()
        assert "detections" in other._repr_html_()


@pytest.mark.parametrize("more", [(), ("masks",), ("keypoints",), ("rotated",)])
def test_those_of_several_images_go_packed_and_come_back(more):
    """With types, shapes and memory of their own, whatever the task; an image may have none."""
    rng = np.random.default_rng(0)
    made = {
        "masks": lambda n: rng.integers(0, 2, (n, 20, 30)).astype(bool),
        "keypoints": lambda n: rng.random((n, 17, 3)),
        "rotated": lambda n: rng.random((n, 5)),
    }
    found = [
        Detections(rng.random((n, 4)), rng.random(n), rng.integers(0, 9, n), **{name: made[name](n) for name in more})
        for n in (3, 0, 1, 7)
    ]
    counts, columns = pack(found)
    columns = {  # of any order in memory, as what is pickled keeps it
        name: np.asfortranarray(column) if isinstance(column, np.ndarray) else column
        for name, column in columns.items()
    }
    back = unpack(pickle.loads(pickle.dumps((counts, columns))))
    assert len(back) == len(found)
    for one, other in zip(back, found, strict=True):
        for field in fields(Detections):
            value, expected = getattr(one, field.name), getattr(other, field.name)
            assert type(value) is type(expected)
            if expected is not None:
                np.testing.assert_array_equal(value, expected)
        assert one.boxes.dtype == np.float32
        assert one.classes.dtype == np.int64
        assert one.boxes.base.flags.owndata
        assert one.boxes.base.nbytes == one.boxes.nbytes
    assert unpack(pack([])) == []
    one, *_ = unpack((counts, columns))
    one.boxes[:] = -1  # whoever changes one changes no other, and not what it was made of
    np.testing.assert_array_equal(columns["boxes"][:3], found[0].boxes)
