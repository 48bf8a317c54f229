"""Arrays of the host on their way to a GPU that is stood in for."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest

from tests.helpers import message_of
from tests.standin import Lane
from trtnn.engine import staging
from trtnn.engine.staging import Staging
from trtnn.errors import EngineError

RNG = np.random.default_rng(0)
PIECE = 3000


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    """All is a thousandth of what it is, so that arrays of the tests are in several pieces."""
    for name, value in (("_MANY_BYTES", 9000), ("_PIECE_BYTES", PIECE), ("_GRAIN_BYTES", 4096)):
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


def test_much_goes_in_pieces_and_little_at_once():
    lane = Lane([])
    Staging(lane).upload([image(100, 100), image(10, 10)])
    uploads = [entry[1] for entry in lane.log if entry[0] == "upload"]
    assert sum(uploads) == 30300
    assert len(uploads) == 11
    assert max(uploads) <= PIECE
    lane.log.clear()
    little = Staging(lane)
    check(lane, little, [image(50, 50), image(10, 10)[:, ::2]])
    assert [entry[1] for entry in lane.log if entry[0] == "upload"] == [7500, 150]
    assert len(lane.locked) == 1  # for what was much


@pytest.mark.parametrize("threads", [1, 2, 5, 100])
def test_any_number_of_threads_share_pieces_out(monkeypatch, threads):
    monkeypatch.setattr(staging, "_THREADS", threads)
    lane = Lane([])
    check(lane, Staging(lane), [image(100, 70), image(30, 90), image(2, 3)])


def test_what_fails_in_a_thread_is_raised(monkeypatch):
    lane = Lane([])
    monkeypatch.setattr(lane, "upload", lambda address, array: (_ for _ in ()).throw(EngineError("no more")))
    assert message_of(EngineError, Staging(lane).upload, [image(100, 70)]) == "no more"


def test_what_is_page_locked_is_not_copied_before(monkeypatch):
    lane = Lane([])
    memory = lane.pinned(30000).reshape(100, 100, 3)
    memory[:] = image(100, 100)
    check(lane, Staging(lane), [memory])
    assert [entry[1] for entry in lane.log if entry[0] == "upload"] == [30000]
    assert len(lane.locked) == 1  # the one here
    lane.log.clear()
    check(lane, Staging(lane), [memory[:, ::-1]])  # which has strides
    assert len([entry for entry in lane.log if entry[0] == "upload"]) == 10


def test_memory_grows_in_grains_and_is_given_back():
    lane = Lane([])
    stage = Staging(lane)
    for side in (60, 90, 40, 90):
        stage.upload([image(side, side)])
    assert [entry for entry in lane.log if entry[0] in ("allocate", "release", "release pinned")] == [
        ("allocate", 12288),
        ("release",),
        ("allocate", 24576),
        ("release pinned",),
    ]
    assert [memory.nbytes for memory in lane.locked.values()] == [24576]


def test_the_batch_before_is_not_overwritten_on_the_host_before_it_is_copied():
    """Pieces lie where their arrays lie on the GPU, so that no two share memory."""
    lane = Lane([])
    stage, sources = Staging(lane), []
    lane.upload = lambda address, array: sources.append((array.ctypes.data, array.nbytes))
    stage.upload([image(50, 60), image(70, 20)])
    ends = sorted(sources)
    assert all(start + size <= behind for (start, size), (behind, _) in itertools.pairwise(ends))
