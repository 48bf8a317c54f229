"""Arrays of the host on their way to a GPU that is stood in for."""

from __future__ import annotations

import ctypes
import itertools
import threading

import numpy as np
import pytest

import tests.standin
from tests.helpers import message_of
from trtnn.engine import staging
from trtnn.engine.staging import Staging
from trtnn.errors import EngineError

RNG = np.random.default_rng(0)
CHUNK = 3000


class Lane(tests.standin.Lane):
    """A stream that does nothing before it is waited for, as a GPU may be late."""

    handles = itertools.count(1)
    lanes: dict[int, Lane] = {}

    def __init__(self) -> None:
        super().__init__([])
        self.handle = next(self.handles)
        self.lanes[self.handle] = self
        self.waits: list[tuple[int, np.ndarray]] = []  # what was asked for, but not done

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.log.append(("upload", array.nbytes))
        self.waits.append((address, array))

    def synchronize(self) -> None:
        for address, array in self.waits:
            super().upload(address, array)
            self.log.pop()
        self.waits = []

    def wait_for(self, stream: int) -> None:
        self.lanes[stream].synchronize()


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    """All is a thousandth of what it is, so that arrays of the tests are in several pieces."""
    for name, value in (("_MANY_BYTES", 9000), ("_CHUNK_BYTES", CHUNK), ("_GRAIN_BYTES", 4096)):
        monkeypatch.setattr(staging, name, value)
    monkeypatch.setattr(staging, "Lane", Lane)
    monkeypatch.setattr(staging, "_idle", [])
    monkeypatch.setattr(Lane, "lanes", {})


def image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def there(address: int, array: np.ndarray) -> np.ndarray:
    """What lies on the GPU in an array's place."""
    return np.frombuffer(ctypes.string_at(address, array.nbytes), array.dtype).reshape(array.shape)


def check(lane: Lane, stage: Staging, arrays: list[np.ndarray]) -> None:
    addresses = stage.upload(arrays)
    for other in Lane.lanes.values():
        assert other is lane or not other.waits  # the lane waits for all that goes by others
    lane.synchronize()
    assert len({*addresses}) == len(arrays)
    for address, array in zip(addresses, arrays, strict=True):
        assert address % 256 == 0
        np.testing.assert_array_equal(there(address, array), array)


def uploads(*lanes: Lane) -> list[int]:
    return [entry[1] for lane in lanes for entry in lane.log if entry[0] == "upload"]


def chunks(lane: Lane) -> list[Lane]:
    """The lanes of the chunks."""
    return [other for other in Lane.lanes.values() if other is not lane]


def test_arrays_of_any_sizes_and_strides_come_to_their_places():
    lane = Lane()
    stage = Staging(lane)
    whole = image(90, 80)
    check(lane, stage, [image(40, 50), image(1, 1), whole[3:70, 5:60], image(1, 900), image(200, 1), whole[::2, ::-1]])
    check(lane, stage, [image(100, 90) for _ in range(7)])
    check(lane, stage, [RNG.standard_normal(5000), image(3, 4)])
    check(lane, stage, [image(3, 4)])
    assert stage.upload([]) == []


def test_much_goes_in_pieces_and_little_at_once():
    lane = Lane()
    check(lane, Staging(lane), [image(100, 100), image(10, 10)])
    assert sum(uploads(*chunks(lane))) == 30300
    assert len(uploads(*chunks(lane))) == 11
    assert max(uploads(*chunks(lane))) <= CHUNK
    assert uploads(lane) == []
    check(lane, Staging(lane), [image(50, 50), image(10, 10)[:, ::2]])
    assert uploads(lane) == [7500, 150]


def test_a_row_that_is_longer_than_a_chunk_goes_by_the_driver():
    lane = Lane()
    check(lane, Staging(lane), [image(5, 1001), image(5, 1000), image(4, 2002)[:, ::2]])
    assert uploads(lane) == [15015, 12012]
    assert sum(uploads(*chunks(lane))) == 15000


@pytest.mark.parametrize("threads", [1, 2, 5, 100])
def test_any_number_of_threads_share_pieces_out(monkeypatch, threads):
    monkeypatch.setattr(staging, "_THREADS", threads)
    lane = Lane()
    stage = Staging(lane)
    for _ in range(2):
        check(lane, stage, [image(100, 70), image(30, 90), image(2, 3)])
    pieces = 8 + 3 + 1  # of 14 rows of the first, 11 of the second, and all of the third
    assert len(chunks(lane)) == 2 * min(threads, pieces)  # kept from one batch to the next


def test_what_fails_in_a_thread_is_raised_when_the_others_are_through(monkeypatch):
    monkeypatch.setattr(staging, "_THREADS", 2)
    began, may_end, ended = threading.Event(), threading.Event(), []

    def upload(lane, address, array):
        if threading.current_thread() is not threading.main_thread():
            began.set()
            may_end.wait(30)
            ended.append(array)
            lane.waits.append((address, array))
            return
        assert began.wait(30)
        threading.Timer(0.2, may_end.set).start()
        raise EngineError("no more")

    monkeypatch.setattr(Lane, "upload", upload)
    assert message_of(EngineError, Staging(Lane()).upload, [image(40, 80)]) == "no more"
    assert len(ended) == 2  # of four pieces
    assert not any(lane.waits for lane in Lane.lanes.values())  # nothing is on its way to memory that is used again


def test_what_is_page_locked_is_not_copied_before():
    lane = Lane()
    memory = lane.pinned(30000).reshape(100, 100, 3)
    memory[:] = image(100, 100)
    check(lane, Staging(lane), [memory])
    assert uploads(lane) == [30000]
    assert chunks(lane) == []
    check(lane, Staging(lane), [memory[:, ::-1]])  # which has strides
    assert sum(uploads(*chunks(lane))) == 30000


def test_memory_grows_in_grains_and_is_given_back():
    lane = Lane()
    stage = Staging(lane)
    for side in (60, 90, 40, 90):
        check(lane, stage, [image(side, side)])
    assert [entry for entry in lane.log if entry[0] in ("allocate", "release")] == [
        ("allocate", 12288),
        ("release",),
        ("allocate", 24576),
    ]
    assert {memory.nbytes for chunk in chunks(lane) for memory in chunk.locked.values()} == {CHUNK}
