"""A process that is forked of one in which images are read, or detected in: it has none of the threads that do it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import cv2
import numpy as np
import pytest

from trtnn.errors import TrtnnError
from trtnn.vision import write_image
from trtnn.vision.ahead import ReadAhead, reading_threads
from trtnn.vision.frames import read_frames
from trtnn.vision.readers import can_share
from trtnn.vision.sources import Frame, Source, find_sources
from trtnn.vision.stream import stream

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")

COUNT = 40
PATIENCE_S = 30


class Steps:
    """Gives what it is given, in batches of two."""

    batch, in_flight = 2, 3

    def prepare(self, images, first):
        return images

    def compute(self, prepared):
        return prepared

    def finish(self, computed):
        return computed


def files(folder):
    for index in range(COUNT):
        write_image(folder / f"{index:02}.png", np.full((8, 8, 3), index, np.uint8))
    return find_sources(str(folder))


def read_files(folder):
    return read_frames(files(folder), print, threads=2)


def read_by_processes(folder):
    return read_frames(files(folder), print, processes=2)


def read_live(folder):
    def images(most):
        for index in range(COUNT):
            time.sleep(0.01)
            yield Frame(np.full((8, 8, 3), index, np.uint8))

    return read_frames([Source("camera", images, is_live=True)], print, every_frame=False)


def read_video(folder):
    writer = cv2.VideoWriter(str(folder / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for index in range(COUNT):
        writer.write(np.full((48, 64, 3), index, np.uint8))
    writer.release()

    def fail(source, error):
        raise error

    return read_frames(find_sources(str(folder / "a.mp4")), fail)


def detect(folder):
    return stream(Steps(), (np.full((8, 8, 3), index, np.uint8) for index in range(COUNT)))


MAKERS = [
    read_files,
    pytest.param(read_by_processes, marks=pytest.mark.skipif(not can_share(), reason="processes share on Linux")),
    read_live,
    read_video,
    detect,
]


def in_fork(act):
    """Return what act returns in a forked process, as text, and its exit status, once it has ended."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        os.write(writes, str(act()).encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as said:
        text = said.read()
    return text, os.waitpid(child, 0)[1]


@pytest.mark.parametrize("make", MAKERS)
def test_what_began_before_a_fork_is_refused_there_and_goes_on_here(tmp_path, make):
    began = [make(tmp_path)]  # the only thing that holds it, so that it ends in the fork as well
    next(began[0])

    def go_on():
        try:
            return next(began[0])
        except TrtnnError as error:
            began.clear()
            return f"{os.getpid()} {error}"

    said, status = in_fork(go_on)
    assert status == 0, "it hangs"
    words = re.fullmatch(r"(\d+) this (.*) began in process (\d+), of which this one, (\d+), was forked\n(.*)", said)
    child, what, parent, again, advice = words.groups()
    assert what == ("stream of detections" if make is detect else "reading of images")
    assert parent == str(os.getpid())
    assert again == child != parent
    assert advice == "  the threads that do it are there alone; begin anew in this process"
    with contextlib.closing(began[0]) as rest:
        assert 0 < sum(1 for _ in rest) <= COUNT - 1
    assert make is read_live or sum(1 for _ in make(tmp_path)) == COUNT


@pytest.mark.parametrize("make", MAKERS)
def test_it_may_begin_anew_in_the_fork(tmp_path, make):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    with contextlib.closing(make(tmp_path / "here")) as began:
        next(began)
        said, status = in_fork(lambda: sum(1 for _ in make(tmp_path / "there")))
    assert status == 0, "it hangs"
    assert 1 <= int(said) <= COUNT
    assert make is read_live or int(said) == COUNT


def test_locks_that_a_thread_held_are_not_waited_for(tmp_path):
    ahead = ReadAhead(reading_threads(1), 1, 2, range(COUNT), lambda item: item, lambda made: 0)
    with contextlib.closing(ahead):
        held, let_go = threading.Event(), threading.Event()

        def hold():
            with ahead._lock:
                held.set()
                let_go.wait(PATIENCE_S)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(PATIENCE_S)

        def end():
            ahead.close()
            with pytest.raises(TrtnnError, match="this reading ahead began in process"):
                ahead.take()
            return "ended"

        try:
            assert in_fork(end) == ("ended", 0)
        finally:
            let_go.set()
            thread.join()


def test_a_fork_ends_that_does_nothing_with_what_it_has(tmp_path):
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.vision.test_forks import detect, read_files, read_live, read_video
        folders = [Path({str(tmp_path)!r}, name) for name in "abcd"]
        for folder in folders:
            folder.mkdir()
        began = [make(folder) for make, folder in zip((detect, read_files, read_live, read_video), folders)]
        for one in began:
            next(one)
        child = os.fork()
        if child == 0:
            signal.alarm({PATIENCE_S})
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
