"""Darknet's .weights files, written here by Python's own struct."""

import struct

import numpy as np
import pytest

from tests.helpers import message_of
from trtnn.checkpoint import convert, load, save
from trtnn.errors import CheckpointError

HEADERS = {
    "0.0": struct.pack("<4i", 0, 0, 0, 32),
    "0.1": struct.pack("<4i", 0, 1, 0, 32),
    "0.2": struct.pack("<3iq", 0, 2, 5, 32_013_312),
    "0.3": struct.pack("<3iq", 0, 3, 0, 1),
}


@pytest.fixture
def load_bytes(tmp_path):
    def load_content(content):
        (tmp_path / "a.weights").write_bytes(content)
        return load(tmp_path / "a.weights")

    return load_content


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_numbers_behind_the_header(load_bytes, header):
    values = np.random.default_rng(0).standard_normal(1001).astype(np.float32)
    state = load_bytes(header + struct.pack("<1001f", *values))
    assert list(state) == ["darknet"]
    assert state["darknet"].dtype == np.float32
    np.testing.assert_array_equal(state["darknet"], values)


def test_the_array_is_a_view_that_may_be_written_to(load_bytes, tmp_path):
    state = load_bytes(HEADERS["0.2"] + bytes(8))
    assert not state["darknet"].flags.owndata
    state["darknet"][0] = 1
    assert load(tmp_path / "a.weights")["darknet"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        (b"\0" * 11, ["is not a Darknet .weights file", "it has 11 bytes"]),
        (b"PK\x03\x04" + b"x" * 100, ["is not a Darknet .weights file", "67324752", "known: 0, 0 to 0, 3"]),
        (b"<!DOCTYPE html>" + b"x" * 100, ["is not a Darknet .weights file", "like a web page"]),
        (struct.pack("<3iq", 0, 4, 0, 0) + bytes(8), ["are 0, 4, 0"]),
        (struct.pack("<3iq", 2000, 1, 0, 0) + bytes(8), ["are 2000, 1, 0"]),
        (HEADERS["0.2"], ["it has 20 bytes: expected a header of 20, then float32"]),
        (HEADERS["0.2"][:-4], ["it has 16 bytes: expected a header of 20"]),
        (HEADERS["0.2"] + bytes(10), ["it has 30 bytes", "4 bytes each", "download it again"]),
    ],
)
def test_what_is_no_such_file(load_bytes, content, words):
    message = message_of(CheckpointError, load_bytes, content)
    for word in words:
        assert word in message


def test_it_is_not_written(tmp_path):
    message = message_of(CheckpointError, save, {"a": np.zeros(2)}, tmp_path / "a.weights")
    assert "cannot be written as .weights" in message
    assert not list(tmp_path.iterdir())


def test_it_is_converted(load_bytes, tmp_path):
    load_bytes(HEADERS["0.2"] + struct.pack("<2f", 1, 2))
    convert(tmp_path / "a.weights", tmp_path / "a.npz")
    assert load(tmp_path / "a.npz")["darknet"].tolist() == [1, 2]


# -- the .cfg beside it -----------------------------------------------------------------------------------------------

CFG = """
# a tiny network
[net]
width=320
height = 416 ; of a picture
[convolutional]
activation=leaky
[yolo]
mask = 3,4,5
anchors = 1,2, 3,4, 5,6, 7,8, 9,10, 11.5,12
classes=2
[convolutional]
activation=linear
[yolo]
mask = 0,1,2
anchors = 1,2, 3,4, 5,6, 7,8, 9,10, 11.5,12
classes=2
"""


def load_with(tmp_path, cfg):
    (tmp_path / "a.weights").write_bytes(HEADERS["0.2"] + bytes(8))
    (tmp_path / "a.cfg").write_text(cfg)
    return load(tmp_path / "a.weights").metadata


def test_a_cfg_of_the_same_name_tells_the_anchors(tmp_path):
    assert load_with(tmp_path, CFG) == {
        "classes": 2,
        "anchors": [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11.5, 12]]],
        "imgsz": [416, 320],
        "activations": ["leaky", "linear"],
    }
    assert load_with(tmp_path, "[net]\nwidth=3") == load_with(tmp_path, "nothing") == {}
    assert load_with(tmp_path, CFG.replace("classes=2", "classes=2\nscale_x_y = 1.05"))["stretched"] is True


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("classes=2\n[conv", "classes=3\n[conv", "its heads have 2 and 3 classes"),
        ("mask = 3,4,5", "mask = 4,5,6", "a mask of 4,5,6 does not fit 6 anchors"),
        ("1,2, 3,4", "1,x, 3,4", "x"),
        ("classes=2", "classes=many", "many"),
    ],
)
def test_a_cfg_that_contradicts_itself(tmp_path, old, new, words):
    message = message_of(CheckpointError, load_with, tmp_path, CFG.replace(old, new))
    assert "a.cfg, which is the network of the weights beside it, is not understood" in message
    assert words in message
