"""Arrays of the host on their way to a GPU that is stood in for."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest

from tests.standin import Lane
from trtnn.engine import staging
from trtnn.engine.staging import Staging

RNG = np.random.default_rng(0)
PIECE = 3000


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    """All is a thousandth of what it is, so that arrays of the tests are in several pieces."""
    for name, value in (("_SMALL_BYTES", 500), ("_PIECE_BYTES", PIECE), ("_GRAIN_BYTES", 4096)):
        monkeypatch.setattr(staging, name, value)


def image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def there(address: int, array: np.ndarray) -> np.ndarray:
    """What lies on the GPU in an array's place."""
    return np.frombuffer(ctypes.string_at(address, array.nbytes), array.dtype).reshape(array.shape)


def check(lane: Lane, stage: Staging, arrays: list[np.ndarray]) -> None:
    addresses = stage.upload(arrays)
    assert len({*addresses}) == len(arrays)
    for address, array in zip(addresses, arrays, strict=True):
        assert address % 256 == 0
        np.testing.assert_array_equal(there(address, array), array)


def test_arrays_of_any_sizes_and_strides_come_to_their_places():
    lane = Lane([])
    stage = Staging(lane)
    whole = image(90, 80)
    check(lane, stage, [image(40, 50), image(1, 1), whole[3:70, 5:60], image(1, 2000), image(200, 1), whole[::2, ::-1]])
    check(lane, stage, [image(100, 90) for _ in range(7)])
    check(lane, stage, [image(3, 4)])
    assert stage.upload([]) == []


def test_a_large_array_goes_in_pieces_and_a_small_one_at_once():
    lane = Lane([])
    Staging(lane).upload([image(100, 100), image(10, 10)])
    uploads = [entry[1] for entry in lane.log if entry[0] == "upload"]
    assert uploads[0] == 300  # the small one, which waits for no thread
    assert sum(uploads[1:]) == 30000
    assert len(uploads) == 11
    assert max(uploads) <= PIECE


def test_what_is_page_locked_is_not_copied_before(monkeypatch):
    lane = Lane([])
    memory = lane.pinned(30000).reshape(100, 100, 3)
    memory[:] = image(100, 100)
    check(lane, Staging(lane), [memory])
    assert [entry[1] for entry in lane.log if entry[0] == "upload"] == [30000]
    assert len(lane.locked) == 1  # the one here
    lane.log.clear()
    check(lane, Staging(lane), [memory[:, ::-1]])  # the GPU would need its strides
    assert len([entry for entry in lane.log if entry[0] == "upload"]) == 10


def test_memory_grows_in_grains_and_is_given_back():
    lane = Lane([])
    stage = Staging(lane)
    for side in (30, 60, 20, 60):
        stage.upload([image(side, side)])
    assert [entry for entry in lane.log if entry[0] in ("allocate", "release", "release pinned")] == [
        ("allocate", 4096),
        ("release",),
        ("allocate", 12288),
        ("release pinned",),
    ]
    assert [memory.nbytes for memory in lane.locked.values()] == [12288]


def test_the_batch_before_is_not_overwritten_on_the_host_before_it_is_copied():
    """Pieces lie where their arrays lie on the GPU, so that no two share memory."""
    lane = Lane([])
    stage, sources = Staging(lane), []
    lane.upload = lambda address, array: sources.append((array.ctypes.data, array.nbytes))
    stage.upload([image(50, 60), image(70, 20)])
    ends = sorted(sources)
    assert all(start + size <= behind for (start, size), (behind, _) in itertools.pairwise(ends))
