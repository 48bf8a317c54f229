"""Arrays of the host on their way to a GPU that is stood in for."""

from __future__ import annotations

import concurrent.futures
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
        self.lock = threading.Lock()
        self.waits: list[tuple[int, np.ndarray]] = []  # what was asked for, but not done
        self.done = 0  # of all that was asked for
        self.marked: tuple[Lane, int] | None = None

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        with self.lock:
            self.log.append(("upload", array.nbytes))
            self.waits.append((address, array))

    def work(self, until: int) -> None:
        with self.lock:
            while self.waits and self.done < until:
                address, array = self.waits.pop(0)
                ctypes.memmove(address, array.ctypes.data, array.nbytes)
                self.done += 1

    def synchronize(self) -> None:
        self.work(self.done + len(self.waits))

    def mark(self, stream: int) -> None:
        lane = self.lanes[stream]
        with lane.lock:
            self.marked = lane, lane.done + len(lane.waits)

    def wait_marked(self) -> None:
        if self.marked:
            lane, until = self.marked
            lane.work(until)


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
    stage.wait()
    lane.synchronize()
    check_there(addresses, arrays)


def check_there(addresses: list[int], arrays: list[np.ndarray]) -> None:
    assert len({*addresses}) == len(arrays)
    for address, array in zip(addresses, arrays, strict=True):
        assert address % 256 == 0
        np.testing.assert_array_equal(there(address, array), array)


def uploads(lane: Lane) -> list[int]:
    return [entry[1] for entry in lane.log if entry[0] == "upload"]


def chunks(lane: Lane) -> list[Lane]:
    """The lanes of the chunks."""
    return [other for other in Lane.lanes.values() if other is not lane and other.locked]


def test_arrays_of_any_sizes_and_strides_come_to_their_places():
    lane = Lane()
    stage = Staging(lane)
    whole = image(90, 80)
    check(lane, stage, [image(40, 50), image(1, 1), whole[3:70, 5:60], image(1, 900), image(200, 1), whole[::2, ::-1]])
    check(lane, stage, [image(100, 90) for _ in range(7)])
    check(lane, stage, [RNG.standard_normal(5000), image(3, 4)])
    check(lane, stage, [image(3, 4)])
    assert stage.upload([]) == []


def test_much_goes_in_pieces_that_are_alike_and_little_at_once():
    lane = Lane()
    check(lane, Staging(lane), [image(100, 100), image(10, 10)])
    # Two for each of six threads: 9 rows each, and the last row, the bytes up to the next array's place, and that one.
    assert sorted(uploads(lane)) == [300 + 208 + 300, *[2700] * 11]
    lane.log.clear()
    check(lane, Staging(lane), [image(50, 50), image(10, 10)[:, ::2]])
    assert uploads(lane) == [7500, 150]


def test_small_arrays_share_a_piece():
    lane = Lane()
    check(lane, Staging(lane), [image(7, 10) for _ in range(60)])
    assert len(uploads(lane)) == 6
    assert max(uploads(lane)) <= CHUNK


def test_a_row_that_is_longer_than_a_chunk_goes_by_the_driver():
    lane = Lane()
    check(lane, Staging(lane), [image(5, 1000), image(5, 1001), image(5, 1000), image(4, 2002)[:, ::2], image(1, 9)])
    assert uploads(lane)[:2] == [15015, 12012]
    assert sorted(uploads(lane)[2:]) == [27, *[3000] * 10]


@pytest.mark.parametrize("threads", [1, 2, 5, 100])
def test_any_number_of_threads_share_pieces_out(monkeypatch, threads):
    monkeypatch.setattr(staging, "_THREADS", threads)
    lane = Lane()
    stage = Staging(lane)
    for _ in range(2):
        lane.log.clear()
        check(lane, stage, [image(100, 70), image(30, 90), image(2, 3)])
    assert threads <= len(uploads(lane)) or threads == 100
    assert 2 <= len(chunks(lane)) <= 2 * min(threads, len(uploads(lane)))  # kept from one batch to the next


def test_chunks_are_filled_again_once_the_gpu_has_what_they_held(monkeypatch):
    """Whichever lane it went along: batches that are not done yet have all that was sent before."""
    monkeypatch.setattr(staging, "_THREADS", 1)
    lanes = [Lane() for _ in range(4)]
    stages = [Staging(lane) for lane in lanes]
    batches = [[image(60, 70), image(3, 90)] for _ in lanes]
    addresses = [stage.upload(batch) for stage, batch in zip(stages, batches, strict=True)]
    for stage in stages:
        stage.wait()
    assert sum(bool(lane.locked) for lane in Lane.lanes.values()) == 2
    for lane, there_at, batch in zip(lanes, addresses, batches, strict=True):
        lane.synchronize()
        check_there(there_at, batch)


def held(monkeypatch, upload, may_end):
    """Return what has begun to bring up an image by two threads; who waits for them lets their uploads end."""

    def wait(futures):
        may_end.set()
        return concurrent.futures.wait(futures)

    for owner, name, value in ((staging, "_THREADS", 2), (staging, "wait", wait), (Lane, "upload", upload)):
        monkeypatch.setattr(owner, name, value)
    stage = Staging(Lane())
    stage.upload([image(40, 80)])
    return stage


def test_what_fails_in_a_thread_is_raised_when_the_others_are_through(monkeypatch):
    began, may_end, ended = threading.Event(), threading.Event(), []

    def upload(lane, address, array):
        if threading.current_thread() is not threading.main_thread():
            began.set()
            may_end.wait(30)
            ended.append(array)
            lane.waits.append((address, array))
            return
        assert began.wait(30)
        raise EngineError("no more")

    stage = held(monkeypatch, upload, may_end)
    assert message_of(EngineError, stage.wait) == "no more"
    assert len(ended) == 1  # of four pieces: one failed, and two nobody takes any more
    assert not any(lane.waits for lane in Lane.lanes.values())  # nothing is on its way to memory that is used again


def test_what_is_page_locked_is_not_copied_before():
    lane = Lane()
    memory = lane.pinned(30000).reshape(100, 100, 3)
    memory[:] = image(100, 100)
    few = lane.pinned(27).reshape(3, 3, 3)
    few[:] = image(3, 3)
    check(lane, Staging(lane), [memory, image(15, 50), few, image(15, 50)])
    assert uploads(lane)[:2] == [30000, 27]
    assert sorted(uploads(lane)[2:]) == [450, 450, 900, 900, 900, 900]  # no piece spans what goes without one
    lane.log.clear()
    check(lane, Staging(lane), [memory[:, ::-1], memory])  # which has strides, so that nobody asks of the others
    assert max(uploads(lane)) <= CHUNK


def test_the_driver_is_asked_once_of_a_batch_in_ordinary_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(Lane, "is_pinned", lambda lane, array: asked.append(array) is not None)
    lane = Lane()
    check(lane, Staging(lane), [image(30, 40) for _ in range(9)])
    assert len(asked) == 1


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


def test_who_drops_it_has_the_arrays_for_himself_again(monkeypatch):
    began, may_end, ended = threading.Event(), threading.Event(), []

    def upload(lane, address, array):
        began.set()
        may_end.wait(30)
        ended.append(array)

    stage = held(monkeypatch, upload, may_end)
    assert began.wait(30)
    del stage
    assert len(ended) == 1  # of four pieces


def test_an_error_of_any_kind_is_told(monkeypatch):
    """Also one that a deque raises that is empty."""

    def upload(lane, address, array):
        raise IndexError("of upload")

    monkeypatch.setattr(Lane, "upload", upload)
    stage = Staging(Lane())
    stage.upload([image(40, 80)])
    assert message_of(IndexError, stage.wait) == "of upload"


def test_page_locked_memory_that_goes_is_not_read_any_more(monkeypatch):
    """Another batch's stream may still fetch from it."""
    chunks, waited = (staging._Chunk(), staging._Chunk()), []

    def upload(lane, address, array):
        raise EngineError("no more")

    def wait(chunk):
        waited.append(chunk)

    monkeypatch.setattr(staging._Chunk, "wait", wait)
    for owner, name, value in ((staging, "_THREADS", 1), (staging, "_take", lambda: chunks), (Lane, "upload", upload)):
        monkeypatch.setattr(owner, name, value)
    stage = Staging(Lane())
    stage.upload([image(40, 80)])
    assert message_of(EngineError, stage.wait) == "no more"
    assert waited == [chunks[0], *chunks]  # before it is filled, and both in the end


def test_nobody_waits_for_threads_that_have_not_begun(monkeypatch):
    """They bring another batch up, and all of this one is on its way."""
    pool, may_end = concurrent.futures.ThreadPoolExecutor(1), threading.Event()
    monkeypatch.setattr(staging, "_threads", lambda: pool)
    other = pool.submit(may_end.wait, 30)
    lane = Lane()
    check(lane, Staging(lane), [image(100, 90)])
    assert not other.done()
    may_end.set()
    pool.shutdown()
