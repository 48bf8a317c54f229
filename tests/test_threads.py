"""How many threads work: as many as this process may use processors, however many the machine has."""

import concurrent.futures
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import trtnn
import trtnn.threads
from tests.helpers import Turn
from trtnn.dtypes import float32
from trtnn.engine import staging
from trtnn.graph import weights
from trtnn.vision.gpu_io import JpegReader


@pytest.fixture
def three(monkeypatch, tmp_path):
    """Three processors, of a machine of 64, on which nothing else is told."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 7}, raising=False)
    monkeypatch.setattr(trtnn.threads, "Path", lambda path: tmp_path / "none")


def test_weights_are_filled_by_no_more(three, monkeypatch):
    started = []

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, workers):
            started.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(weights, "_ENOUGH_FOR_THREADS", 1)
    arrays = weights.Weights()
    products = [
        arrays.scaled(np.full((2, 2), index, np.float32), np.float32([[3], [3]]), float32, float32, "a")
        for index in range(20)
    ]
    arrays.fill()
    assert started == [3]
    for index, product in enumerate(products):
        np.testing.assert_array_equal(product, np.full((2, 2), 3 * index, np.float32))


def test_arrays_go_up_and_jpegs_are_decoded_by_no_more(three):
    with staging._threads.__wrapped__() as pool:
        assert pool._max_workers == 2  # the thread that waits for them works as well
    assert JpegReader(16)._helpers == 2


def test_nothing_else_asks_how_many_the_machine_has():
    root = Path(trtnn.__file__).parent
    asking = [path for path in root.rglob("*.py") if "cpu_count" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(root).as_posix() for path in asking] == ["threads.py"]


def test_warnings_are_as_they_were_when_two_threads_ignore_some(monkeypatch):
    """The second comes while the first ignores some, and ignores its own once that is done."""
    turn = Turn(trtnn.threads._quiet)
    monkeypatch.setattr(trtnn.threads, "_quiet", turn)
    before, seen = [*warnings.filters], []

    def second() -> None:
        with trtnn.threads.without_warnings(FutureWarning):
            seen.append([*warnings.filters])

    thread = threading.Thread(target=second)
    with trtnn.threads.without_warnings(UserWarning):
        thread.start()
        assert turn.comes.wait(60)
        assert not seen
        warnings.warn("ignored", UserWarning, stacklevel=1)
    thread.join()
    assert seen == [[("ignore", None, FutureWarning, None, 0), *before]]
    assert [*warnings.filters] == before
