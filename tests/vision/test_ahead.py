"""What threads read ahead: in order, as far as there is room, and no further."""

import gc
import os
import platform
import random
import subprocess
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

import trtnn.vision.ahead
from trtnn.vision.ahead import ReadAhead, reading_threads

THREADS = 2


@pytest.fixture
def pool():
    with reading_threads(THREADS) as threads:
        yield threads


class Slow:
    """The first item is done once it is told, the others at once; each has a size."""

    def __init__(self, size=10):
        self.begun, self.may_end, self.size = [], threading.Event(), size

    def __call__(self, item):
        self.begun.append(item)
        if item == 0:
            assert self.may_end.wait(30)
        return item

    def settled(self):
        """How many are begun once nothing happens any more."""
        count, end = -1, time.monotonic() + 30
        while count != len(self.begun):
            assert time.monotonic() < end
            count = len(self.begun)
            time.sleep(0.2)
        return count


def ahead_of(pool, items, make, size=10):
    return ReadAhead(pool, THREADS, 2 * THREADS, items, make, lambda made: size)


def test_all_come_in_order_and_errors_in_theirs(pool):
    def make(item):
        time.sleep(random.random() / 500)
        if item % 7 == 3:
            raise ValueError(item)
        return item * item

    ahead, seen = ahead_of(pool, range(200), make), []
    while ahead:
        item, future = ahead.take()
        assert future.done()
        seen.append((item, future.exception() and "error", None if future.exception() else future.result()))
    assert seen == [(i, "error", None) if i % 7 == 3 else (i, None, i * i) for i in range(200)]
    assert (ahead._under_way, ahead._bytes, ahead.is_all_begun) == (0, 0, True)


def test_nothing_is_nothing(pool):
    ahead = ahead_of(pool, [], int)
    assert not ahead
    assert ahead.is_all_begun


def test_one_that_takes_long_does_not_hold_up_the_others(pool):
    slow = Slow()
    ahead = ahead_of(pool, range(100), slow)
    try:
        assert slow.settled() == 8 * THREADS
    finally:
        slow.may_end.set()
    assert [ahead.take()[1].result() for _ in range(100)] == [*range(100)]
    assert not ahead


def test_no_more_bytes_than_there_is_room_for(pool, monkeypatch):
    """Three are done below the most, and three more are begun then."""
    monkeypatch.setattr(trtnn.vision.ahead, "MOST_BYTES", 35)
    slow = Slow()
    ahead = ahead_of(pool, range(100), slow)
    try:
        assert slow.settled() == 1 + 3 + 3
        assert ahead._bytes == 60
    finally:
        slow.may_end.set()
    taken = []
    while ahead:
        taken.append(ahead.take()[0])
        assert ahead._bytes <= 35 + 10 * 2 * THREADS
    assert taken == [*range(100)]
    assert ahead._bytes == 0


def test_as_many_as_are_always_begun_whatever_they_have(pool, monkeypatch):
    monkeypatch.setattr(trtnn.vision.ahead, "MOST_BYTES", 0)
    slow = Slow()
    ahead = ReadAhead(pool, THREADS, THREADS, range(100), slow, lambda made: 1)
    try:
        assert slow.settled() == THREADS
        monkeypatch.setattr(trtnn.vision.ahead, "MOST_BYTES", 100)
        slow.may_end.set()
        assert slow.settled() == 4 * THREADS
    finally:
        slow.may_end.set()
    assert [ahead.take()[1].result() for _ in range(100)] == [*range(100)]


def test_bytes_stay_bounded_whatever_takes_long(pool, monkeypatch):
    monkeypatch.setattr(trtnn.vision.ahead, "MOST_BYTES", 300)
    rng = random.Random(0)
    sizes = [rng.choice([1, 1, 1, 100]) for _ in range(400)]

    def make(item):
        time.sleep(sizes[item] / 50_000)
        return item

    ahead, most = ReadAhead(pool, THREADS, 2 * THREADS, range(400), make, sizes.__getitem__), 0
    for index in range(400):
        most = max(most, ahead._bytes)
        assert ahead.take()[0] == index
        time.sleep(0.001)
    assert 300 < most <= 300 + 100 * 2 * THREADS


def test_a_closed_one_begins_no_more(pool):
    slow = Slow()
    ahead = ahead_of(pool, range(100), slow)
    slow.settled()
    ahead.close()
    slow.may_end.set()
    assert not ahead
    assert slow.settled() == 8 * THREADS


def test_it_may_be_closed_while_it_begins(pool):
    """As the garbage collector does, in a thread that holds its lock."""
    made = []

    def items():
        for index in range(100):
            if index == 30:
                made[0].close()
            yield index

    made.append(ahead_of(pool, items(), lambda item: item))
    taken = []
    while made[0]:
        taken.append(made[0].take()[0])
    assert taken == sorted(taken)  # those before it, and the one that it was about to begin
    assert taken[-1] == 30
    assert made[0].is_all_begun


def test_what_was_taken_is_not_held(pool):
    class Image:
        pass

    ahead = ReadAhead(pool, THREADS, 2 * THREADS, range(100), lambda item: Image(), lambda made: 1)
    gc.disable()
    try:
        for _ in range(50):
            gone = weakref.ref(ahead.take()[1].result())
            assert gone() is None
    finally:
        gc.enable()
        ahead.close()


# -- memory -----------------------------------------------------------------------------------------------------------

FREED = """
import os, resource, sys
import numpy as np
from trtnn.vision import ahead

def touch():
    images = [np.ones((720, 1280, 3), np.uint8) for _ in range(12)]
    del images

def faults(pool):
    for _ in range(3):
        pool.submit(touch).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        pool.submit(touch).result()
    count = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return count * resource.getpagesize() / (36 * 720 * 1280 * 3)

print(faults(ahead.reading_threads(1)))
"""


_SAYS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what others keep is theirs to say")
def test_memory_of_images_is_used_again():
    """By how much of it the system clears anew."""
    kept = {name: value for name, value in os.environ.items() if name not in _SAYS}
    told = subprocess.run([sys.executable, "-c", FREED], env=kept, capture_output=True, text=True, check=True)
    assert float(told.stdout) < 0.2


@pytest.mark.parametrize(
    ("said", "is_asked"),
    [
        ({}, True),
        ({"GLIBC_TUNABLES": "glibc.cpu.x86_ibt=on"}, True),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, False),
    ],
)
def test_who_says_how_much_memory_is_kept_is_obeyed(said, is_asked, monkeypatch):
    asked = []
    for name in _SAYS:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    library = SimpleNamespace(mallopt=lambda option, value: asked.append((option, value)))
    monkeypatch.setattr(trtnn.vision.ahead.ctypes, "CDLL", lambda name: library)
    trtnn.vision.ahead.keep_freed_memory.__wrapped__()
    assert asked == ([(-3, 1 << 25), (-1, 1 << 30)] if is_asked else [])
