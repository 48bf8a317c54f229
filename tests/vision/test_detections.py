import copy
import json
import pickle
import sys
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from trtnn.errors import ArgumentError, BackendError, DTypeError, ShapeError
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


# -- equal, and joined ------------------------------------------------------------------------------------------------


def rows_of(found: Detections) -> list[dict]:
    return found.to_dict()["detections"]


@pytest.mark.parametrize("name", [field.name for field in fields(Detections)])
def test_equal_are_those_with_equal_numbers(three, name):
    same = copy.deepcopy(three)
    assert same == three
    values = {field.name: np.array(getattr(three, field.name)) for field in fields(Detections)}
    assert Detections(**values) == three
    values[name].flat[-1] = not values[name].flat[-1] if name == "masks" else 7
    assert Detections(**values) != three
    if name in ("masks", "keypoints", "rotated"):
        assert Detections(**{**values, name: None}) != three


def test_those_of_another_order_number_or_kind_are_unequal(three, two):
    assert three[::-1] != three
    assert three[:2] != three
    assert two != list(two)
    assert two[:0] == Detections.empty() != three[:0]
    assert Detections(BOXES, [1, np.nan, 1], [0] * 3) != Detections(BOXES, [1, np.nan, 1], [0] * 3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(two)


def test_emptiness(two):
    assert not two.is_empty()
    assert two[two.scores > 1].is_empty()
    assert not Detections.empty()
    assert (len(Detections.empty()), list(Detections.empty())) == (0, [])


def test_those_of_several_are_joined(three, two):
    """Element by element, as NumPy joins their parts; the order is theirs."""
    others = Detections([[0, 0, 9, 8]], [0.99], [5], MASKS[1:2], POINTS[2:], ROTATED[:1])
    joined = Detections.merge([three[1:], three[:0], others])
    for name, array in {"boxes": BOXES, "masks": MASKS, "keypoints": POINTS, "rotated": ROTATED}.items():
        expected = np.concatenate([np.array(array)[1:], np.array(getattr(others, name))])
        np.testing.assert_array_equal(getattr(joined, name), expected)
    np.testing.assert_array_equal(joined.scores, np.float32([0.75, 0.5, 0.99]))
    np.testing.assert_array_equal(joined.classes, [0, 1, 5])
    assert (joined.boxes.dtype, joined.classes.dtype) == (np.float32, np.int64)
    assert rows_of(joined) == rows_of(three[1:]) + rows_of(others)
    assert Detections.merge(iter([two])) == Detections.merge([Detections.empty(), two]) == two
    assert Detections.merge([]) == Detections.merge([Detections.empty()] * 2) == Detections.empty()
    assert Detections.merge([Detections.empty(), three]) == three
    before = two.boxes.copy()
    Detections.merge([two, two]).boxes[:] = -1
    np.testing.assert_array_equal(two.boxes, before)


@pytest.mark.parametrize("real", [("boxes",), ("boxes", "masks")], ids=str)
def test_supervision_joins_the_same(three, real):
    supervision = pytest.importorskip("supervision")
    plain = Detections(BOXES, [0.9, 0.75, 0.5], [2, 0, 1], three.masks if "masks" in real else None)
    parts = [plain[:2], plain[2:]]
    theirs = supervision.Detections.merge([part.to_supervision() for part in parts])
    assert Detections.merge(parts).to_supervision() == theirs == plain.to_supervision()


def refused(parts, kind=ArgumentError) -> str:
    return message_of(kind, Detections.merge, parts)


def test_what_does_not_fit_is_not_joined(three, two):
    plain = Detections(BOXES, [1] * 3, [0] * 3)
    words = refused([Detections.empty(), plain, three])
    assert "detections with masks and without cannot be joined: networks of other tasks found them" in words
    assert "received: masks at index 2, none at index 1" in words
    posed = Detections(BOXES, [1] * 3, [0] * 3, keypoints=POINTS)
    rotated = Detections(BOXES, [1] * 3, [0] * 3, rotated=ROTATED)
    assert "with keypoints and without" in refused([posed, rotated])
    assert "with rotated and without" in refused([plain, rotated[:0]])  # whether it found some or not
    words = refused([posed, Detections(BOXES, [1] * 3, [0] * 3, keypoints=POINTS[..., :2])], ShapeError)
    assert words == "keypoints of other shapes cannot be joined\n  received: (n, 2, 3) and (n, 2, 2)"
    larger = Detections(BOXES, [1] * 3, [0] * 3, np.zeros((3, 16, 18), bool))
    smaller = Detections(BOXES, [1] * 3, [0] * 3, MASKS)
    assert "masks of images of other sizes cannot be joined\n  received: 8×9, 16×18 px" in refused(
        [smaller, larger], ShapeError
    )
    assert "takes a list of Detections\n  received: one; [it] is a list" in refused(two)
    assert "received: trtnn.Detection at index 1" in refused([two, two[0]])
    assert "received: list at index 0" in refused([[two], [two]])


def test_other_names_and_sizes_of_a_detectors_are_not_joined(two):
    image, other = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)
    cats, birds = (two[:].found_in(image, names) for names in (["cat", "dog"], ["cat", "bird"]))
    assert "class 1 is 'dog' and 'bird'" in refused([cats, two, birds])
    assert "class 2 is none and 'cow'" in refused([cats, two[:].found_in(image, ["cat", "dog", "cow"])])
    words = refused([cats, two[:].found_in(other)], ShapeError)
    assert "their boxes are in px of each\n  received: 9×9, 9×8 px\n" in words
    del other  # what was said of it stays
    joined = Detections.merge([cats, two, two[:].found_in(image, ("cat", "dog"))])
    assert len(joined) == 6
    assert "dog" in joined._repr_html_()
    assert "birds" not in joined._repr_html_()
    assert "class 1 is 'dog' and 'bird'" in refused([joined, birds])


def test_joined_are_shown_in_the_image_that_is_one(two):
    image, other = np.zeros((9, 9, 3), np.uint8), np.ones((9, 9, 3), np.uint8)
    first, second, elsewhere = two[:].found_in(image), two[1:].found_in(image), two[:].found_in(other)
    assert "<img" in Detections.merge([first, second, Detections.empty()])._repr_html_()
    for parts in ([first, elsewhere], [first, two]):
        assert "<img" not in Detections.merge(parts)._repr_html_()


@pytest.mark.parametrize(
    ("classes", "received"),
    [([0, 1.5], "1.5"), ([0, np.nan], "nan"), (["0", "1"], "<U1"), (np.uint64([0, 2**63]), str(2**63))],
)
def test_classes_that_are_no_indices_are_not_rounded(classes, received):
    words = message_of(DTypeError, Detections, BOXES[:2], [1, 1], classes)
    assert words == f"classes are whole numbers, the indices of classes\n  received: {received}"
    assert Detections(BOXES[:2], [1, 1], np.float32([0, 3])).classes.tolist() == [0, 3]


# -- what is given in torch tensors, lists and dicts ------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("value", [False, True])
def test_masks_of_torch_pick_as_those_of_numpy(three, count, value):
    """One of a single bool is an index to NumPy: nothing picked was the first of them."""
    some = three[:count]
    mask = torch.full((count,), value)
    assert some[mask] == some[mask.numpy()]
    assert len(some[mask]) == count * value
    np.testing.assert_array_equal(some.masks[mask], np.asarray(some.masks)[mask.numpy()])
    assert three[torch.tensor([2, 0])] == three[[2, 0]]
    assert three[torch.tensor(1)] == three[1]


@pytest.mark.parametrize("index", [None, True, np.array([[0]])], ids=str)
def test_an_index_is_of_one_dimension(two, index):
    assert message_of(ShapeError, lambda: two[index]).startswith("an index picks along one dimension\n  received: ")


def test_tensors_of_any_type_are_taken(two):
    tensors = [torch.tensor(value) for value in (two.boxes, two.scores, two.classes)]
    assert Detections(tensors[0].bfloat16(), tensors[1].half(), tensors[2].int()) == two
    assert Detections(tensors[0].requires_grad_(), tensors[1].double(), tensors[2].float()) == two
    assert Detections(tensors[0], tensors[1], tensors[2].bfloat16().requires_grad_()) == two


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"boxes": [["1", "2", "3", "4"]]}, DTypeError, "boxes are numbers\n  received: <U1"),
        ({"boxes": [[1, 2, 3, None]]}, DTypeError, "boxes are numbers\n  received: object"),
        ({"boxes": [[1, 2, 3, 4j]]}, DTypeError, "boxes are numbers\n  received: complex128"),
        ({"boxes": [[1, 2, 3, 4], [1, 2]]}, ShapeError, "boxes are an array of numbers\n  "),
        ({"scores": ["high"]}, DTypeError, "scores are numbers\n  received: <U4"),
        ({"keypoints": [[["1", "2"]]]}, DTypeError, "key points are numbers\n  received: <U1"),
        ({"rotated": [["1"] * 5]}, DTypeError, "rotated boxes are numbers\n  received: <U1"),
    ],
)
def test_what_is_no_number_is_told(more, kind, words):
    given = {"boxes": [[1, 2, 3, 4]], "scores": [1], "classes": [0], **more}
    assert message_of(kind, Detections, **given).startswith(words)


def test_names_in_a_dict_are_by_index(two):
    image = np.zeros((9, 9, 3), np.uint8)
    assert [row["label"] for row in two.to_dict({1: "dog", 0: "cat", 7: "cow"})["detections"]] == ["dog", "cat"]
    assert "class 1 has no name: there are 2 labels" in message_of(ArgumentError, two.to_dict, {0: "cat", 2: "dog"})
    listed, by_index, other = (
        two[:].found_in(image, names) for names in (["cat", "dog"], {1: "dog", 0: "cat"}, {0: "cat", 1: "bird"})
    )
    assert len(Detections.merge([listed, by_index])) == 4
    assert "class 1 is 'dog' and 'bird'" in refused([listed, by_index, other])
