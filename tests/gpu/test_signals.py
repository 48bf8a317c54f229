"""What handlers of signals raise while TensorRT builds and loads on a GPU, with a monitor (10 and later) or without."""

from __future__ import annotations

import signal

import pytest

import trtnn
from tests.helpers import numbers
from trtnn import get_backend
from trtnn.modules import Conv2d, Sequential


class Stop(BaseException):
    pass


@pytest.fixture
def handler():
    def stop(number, frame):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    yield stop
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def signal_at(handler, monkeypatch):
    """Return what lets a signal come when TensorRT, at work, has written so many more lines to its log."""
    kind, left = type(get_backend().logger), 0
    log = kind.log

    def log_and_count(logger, severity, message):
        nonlocal left
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGALRM)
        log(logger, severity, message)

    def after(lines):
        nonlocal left
        left = lines

    monkeypatch.setattr(kind, "log", log_and_count)
    return after


@pytest.fixture(scope="module")
def network():
    net = Sequential(*(Conv2d(16, 16, 3, padding=1) for _ in range(6)))
    net.load_state_dict({name: numbers(*p.shape, scale=0.1) for name, p in net.named_parameters()})
    return net.trace({"input": (1, 16, 16, 16)})


def test_it_comes_out_of_a_build_and_the_next_one_is_sound(network, handler, signal_at):
    for lines in (1, 5, 20):
        signal_at(lines)
        with pytest.raises(Stop):
            network.build(optimization_level=1, timing_cache=False, progress=False)
        assert signal.getsignal(signal.SIGALRM) is handler
    engine = network.build(optimization_level=0, timing_cache=False, progress=False)
    assert engine(numbers(1, 16, 16, 16)).shape == (1, 16, 16, 16)


def test_it_comes_out_of_loading(network, signal_at):
    engine = network.build(optimization_level=0, timing_cache=False, progress=False)
    signal_at(1)
    with pytest.raises(Stop):
        trtnn.Engine(engine.plan, engine.description)._open()
    assert engine(numbers(1, 16, 16, 16)).shape == (1, 16, 16, 16)
