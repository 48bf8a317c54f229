"""Columns of detections, held against those that pyarrow makes of Python's lists, row by row."""

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError
from trtnn.ray.columns import columns_of
from trtnn.vision import Detections

LABELS = ["cat", "dog", "Straßenbahn", ""]
TYPES = {
    "boxes": pa.list_(pa.list_(pa.float32(), 4)),
    "scores": pa.list_(pa.float32()),
    "classes": pa.list_(pa.int64()),
    "labels": pa.list_(pa.string()),
}


def some(count):
    random = np.random.default_rng(count)
    boxes = np.sort(random.random((count, 2, 2), np.float32) * 700, axis=1).reshape(count, 4)
    return Detections(boxes, random.random(count, np.float32), random.integers(0, len(LABELS), count))


def of_lists(found, labels):
    each = [
        ([], [], []) if one is None else (one.boxes.tolist(), one.scores.tolist(), one.classes.tolist())
        for one in found
    ]
    columns = dict(zip(("boxes", "scores", "classes"), map(list, zip(*each, strict=True)), strict=True)) if each else {}
    if labels is not None:
        columns["labels"] = [[labels[index] for index in classes] for _, _, classes in each]
    names = [name for name in TYPES if name != "labels" or labels is not None]
    return {name: pa.array(columns.get(name, []), TYPES[name]) for name in names}


@pytest.mark.parametrize("labels", [None, LABELS], ids=["numbered", "named"])
@pytest.mark.parametrize(
    "found",
    [[some(3), None, some(0), some(1), None, some(300)], [None, None], [some(0)], [some(2)], []],
    ids=["mixed", "errors", "nothing", "one", "no rows"],
)
def test_columns_are_those_of_lists(found, labels):
    columns, expected = columns_of(found, labels), of_lists(found, labels)
    assert list(columns) == list(expected)
    for name, column in columns.items():
        column.validate(full=True)
        assert column.type == TYPES[name]
        assert column.null_count == 0
        assert column.equals(expected[name])
    table = pa.table(columns)
    assert table.schema.equals(pa.table(expected).schema)
    assert str(table.schema) == str(pa.table(expected).schema)  # names of what is in lists are no part of equality


def test_arrays_of_any_layout_and_width():
    """As a head may leave them: what it picks is a view, and classes of the GPU are 32 bits wide."""
    wide = np.arange(48, dtype=np.float32).reshape(6, 8)
    strided = Detections.of_arrays(wide[::2, 1:5], wide[::2, 6], np.array([3, 0, 2], np.int32))
    transposed = Detections.of_arrays(np.asfortranarray(wide[:3, :4]), wide[:3, 7].astype(float), np.array([1, 1, 0]))
    for found in ([strided], [transposed], [strided, transposed]):
        columns, expected = columns_of(found, LABELS), of_lists(found, LABELS)
        assert all(columns[name].equals(expected[name]) for name in TYPES)


def test_numbers_that_are_none_are_no_nulls():
    found = Detections(np.zeros((3, 4)), np.array([np.nan, np.inf, 0.5]), np.zeros(3, int))
    scores = columns_of([found], None)["scores"]
    assert scores.values.null_count == 0
    np.testing.assert_array_equal(scores.values.to_numpy(), np.array([np.nan, np.inf, 0.5], np.float32))


def test_columns_are_of_their_own_memory():
    found = some(2)
    columns = columns_of([found], None)
    scores = found.scores.tolist()
    found.scores[:] = 0
    assert columns["scores"].to_pylist() == [scores]


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_class_without_a_name(wrong):
    """A negative index would else be counted from the end."""
    found = Detections(np.zeros((2, 4)), np.zeros(2), np.array([1, wrong]))
    message = message_of(ArgumentError, columns_of, [None, found], LABELS)
    assert message.startswith(f"class {wrong} has no name: there are 4 labels\n")
    assert columns_of([None], [])["labels"].equals(pa.array([[]], TYPES["labels"]))
