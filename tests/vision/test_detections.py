import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from trtnn.errors import ArgumentError, BackendError, ShapeError
from trtnn.vision import Detection, Detections, Placement


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

    def __init__(self, *, xyxy, confidence, class_id, data):
        self.xyxy, self.confidence, self.class_id, self.data = xyxy, confidence, class_id, data


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
