"""Many arrays into one memory, held against the bytes of each."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import trtnn.vision.copying
from trtnn.vision.copying import copy_into

WAYS = {
    "contiguous": lambda image: image,
    "turned": lambda image: image[::-1],
    "BGR": lambda image: image[..., ::-1],
    "upright": lambda image: image.transpose(1, 0, 2),
    "cut": lambda image: image[:, 1:] if image.shape[1] > 1 else image,
    "read-only": lambda image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape),
}


@pytest.mark.parametrize("most", [trtnn.vision.copying._MOST_BYTES, 100])
def test_every_byte_has_its_place_and_what_lies_between_stays(monkeypatch, most):
    monkeypatch.setattr(trtnn.vision.copying, "_MOST_BYTES", most)
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 8, 33) * 20:
        sizes, ways = rng.integers(1, 30, (count, 2)), rng.choice(list(WAYS), count)
        images = [WAYS[way](rng.integers(0, 256, (*size, 3), np.uint8)) for size, way in zip(sizes, ways, strict=True)]
        starts, end = [], int(rng.integers(0, 9))
        for image in images:
            starts.append(end)
            end += image.nbytes + int(rng.integers(0, 3)) * int(rng.integers(0, 200))
        memory = rng.integers(0, 256, end + 5, np.uint8)
        expected = bytearray(memory)
        for start, image in zip(starts, images, strict=True):
            expected[start : start + image.nbytes] = image.tobytes()
        copy_into(memory, starts, images)
        assert memory.tobytes() == bytes(expected)


@pytest.mark.parametrize(
    ("way", "starts"), [("contiguous", [0, 200]), ("contiguous", [0, 50]), ("BGR", [0, 200]), ("BGR", [200, 0])]
)
def test_arrays_that_have_no_place(way, starts):
    """OpenCV would write into memory of its own, and leave this one as it is."""
    images = [WAYS[way](np.ones((5, 10, 3), np.uint8)), np.ones((5, 10, 3), np.uint8)]
    with pytest.raises(ValueError):
        copy_into(np.zeros(300, np.uint8), starts, images)


def test_one_call_copies_all_that_are_contiguous(monkeypatch):
    """Each call gives up Python's lock once: OpenCV's whatever it is given, NumPy's for one array."""
    calls, hconcat, copyto = [], cv2.hconcat, np.copyto

    def noted(name, call):
        return lambda *given: (calls.append(name), call(*given))[1]

    monkeypatch.setattr(trtnn.vision.copying, "opencv", lambda: SimpleNamespace(hconcat=noted("all", hconcat)))
    monkeypatch.setattr(np, "copyto", noted("one", copyto))
    images = [np.full((50, 20 + place, 3), place, np.uint8) for place in range(24)]
    images[7] = images[7][:, ::-1]
    memory = np.zeros(24 * 10_000, np.uint8)
    copy_into(memory, range(0, 24 * 10_000, 10_000), images)
    assert calls == ["one", "all"]
    assert [memory[10_000 * place] for place in range(24)] == list(range(24))
