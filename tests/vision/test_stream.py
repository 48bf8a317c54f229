"""Batches under way: their order, how many there are, and what becomes of errors."""

import contextlib
import gc
import itertools
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from trtnn.vision import Detections
from trtnn.vision.stream import IN_FLIGHT, call, stream

NONE = np.zeros((0, 4)), [], []


class Numbers:
    """Steps whose images are numbers, and whose detections tell them; what each step is doing is noted."""

    def __init__(self, batch=2):
        self.batch, self.in_flight = batch, IN_FLIGHT
        self.firsts, self.held, self.most_held = [], 0, 0
        self.busy = {"prepare": 0, "compute": 0, "finish": 0}
        self.seen = {name: [] for name in self.busy}
        self.lock = threading.Lock()

    def step(self, name, images):
        with self.lock:
            self.busy[name] += 1
            assert self.busy[name] == 1  # a step is never called twice at a time
            self.seen[name] += images
        with self.lock:
            self.busy[name] -= 1
        return images

    def prepare(self, images, first):
        self.firsts.append(first)
        with self.lock:
            self.held += 1
            self.most_held = max(self.most_held, self.held)
        return self.step("prepare", images)

    def compute(self, images):
        return self.step("compute", images)

    def finish(self, images):
        with self.lock:
            self.held -= 1
        return [Detections([[0, 0, i, i]], [1], [i]) for i in self.step("finish", images)]


def threads():
    """The threads of streams that are there."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("trtnn-stream")]


def indices(detections):
    return [index for found in detections for index in found.classes.tolist()]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 29])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_image_comes_once_and_in_order(count, batch):
    for way in (stream, call):
        steps = Numbers(batch)
        assert indices(way(steps, range(count))) == list(range(count))
        assert all(seen == list(range(count)) for seen in steps.seen.values())
        assert steps.firsts == list(range(0, count, batch))
        assert steps.held == 0


def test_a_stream_without_an_end_is_read_a_few_batches_ahead():
    taken = []
    steps = Numbers(3)
    found = stream(steps, (taken.append(i) or i for i in itertools.count()))
    for expected in range(100):
        assert next(found).classes.tolist() == [expected]
        assert len(taken) <= (expected // 3 + 1 + IN_FLIGHT) * 3
    found.close()
    assert steps.most_held <= IN_FLIGHT
    before = len(taken)
    assert threads() == []
    assert len(taken) == before  # nobody takes any more of what the caller has for itself again


def test_steps_overlap():
    """The first batch is being finished once the second computes and the third is prepared: none waits for another."""
    meeting = threading.Barrier(3, timeout=60)

    class Meeting(Numbers):
        def prepare(self, images, first):
            if first == 2:
                meeting.wait()
            return images

        def compute(self, images):
            if images == [1]:
                meeting.wait()
            return images

        def finish(self, images):
            if images == [0]:
                meeting.wait()
            return [Detections(*NONE) for _ in images]

    assert len(list(stream(Meeting(1), range(5)))) == 5


@pytest.mark.parametrize("place", ["source", "prepare", "compute", "finish"])
def test_an_error_comes_in_its_turn(place):
    """Behind all that is done, and once; no thread is left."""

    class Broken(Numbers):
        def step(self, name, images):
            if name == place and 7 in images:
                raise ValueError(f"{name} of {images}")
            return super().step(name, images)

    def source():
        for i in range(20):
            if place == "source" and i == 7:
                raise ValueError("source of [7]")
            yield i

    found, seen = stream(Broken(2), source()), []
    with pytest.raises(ValueError, match=rf"^{place} of \[.*7\]$"):
        seen.extend(iter(lambda: indices([next(found)])[0], None))
    assert list(found) == []
    assert threads() == []


@pytest.mark.parametrize("place", ["prepare", "compute", "finish"])
def test_an_error_that_is_forgotten_holds_no_batch(place):
    """By counting: the garbage collector would free what lies on a GPU in any thread, also in one that captures."""

    class Images(list):
        pass

    class Broken(Numbers):
        def prepare(self, images, first):
            images = Images(images)
            held.append(weakref.ref(images))
            return super().prepare(images, first)

        def step(self, name, images):
            if name == place:
                raise ValueError
            return images

    held = []
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            list(stream(Broken(2), range(20)))
        assert [batch() for batch in held] == [None] * len(held) != []
    finally:
        gc.enable()


def test_python_ends_while_a_stream_is_open():
    program = """
import itertools
from tests.vision.test_stream import Numbers, stream
found = stream(Numbers(), itertools.count())
print(next(found).classes)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[0]\n", "")


def test_errors_before_others_are_told_first():
    found = stream(Numbers(1), iter([0, 1, None]))
    assert next(found).classes.tolist() == [0]
    assert next(found).classes.tolist() == [1]
    with pytest.raises(TypeError):
        next(found)


def test_who_holds_a_stream_of_his_own_images_is_freed_with_it():
    class Application:
        def __init__(self):
            self.found = stream(Numbers(1), self.frames())

        def frames(self):
            while self is not None:
                yield 0

    application = Application()
    next(application.found)
    gone = weakref.ref(application)
    del application
    gc.collect()
    assert gone() is None
    assert threads() == []


def test_the_garbage_collector_may_close_a_stream_in_a_thread_of_its_own():
    """There it waits for none of the others, which may wait for this one."""
    given, closed = threading.Event(), []

    class Closes(Numbers):
        def finish(self, images):
            if images[0] == 1:
                given.wait(30)
                try:
                    found.close()
                    closed.append(None)
                except RuntimeError as error:
                    closed.append(error)
            return super().finish(images)

    found = stream(Closes(1), itertools.count())
    assert indices([next(found)])[0] == 0
    mine = threads()
    given.set()
    for thread in mine:
        thread.join(30)
    assert closed == [None]
    assert threads() == []
