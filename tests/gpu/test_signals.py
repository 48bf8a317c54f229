"""What handlers of signals raise while TensorRT builds and loads on a GPU, with a monitor (10 and later) or without."""

from __future__ import annotations

import signal

import pytest

import trtnn
from tests.helpers import numbers
from trtnn.modules import Conv2d, Sequential


class Stop(BaseException):
    pass


@pytest.fixture
def alarmed():
    def stop(number, frame):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    yield stop
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def network():
    net = Sequential(*(Conv2d(16, 16, 3, padding=1) for _ in range(6)))
    net.load_state_dict({name: numbers(*p.shape, scale=0.1) for name, p in net.named_parameters()})
    return net.trace({"input": (1, 16, 16, 16)})


def test_it_comes_out_of_a_build_and_the_next_one_is_sound(network, alarmed):
    for seconds in (0.02, 0.1, 0.2):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(Stop):
            network.build(optimization_level=1, timing_cache=False, progress=False)
        assert signal.getsignal(signal.SIGALRM) is alarmed
    engine = network.build(optimization_level=0, timing_cache=False, progress=False)
    assert engine(numbers(1, 16, 16, 16)).shape == (1, 16, 16, 16)


def test_it_comes_out_of_loading(network, alarmed):
    engine = network.build(optimization_level=0, timing_cache=False, progress=False)

    def load_again_and_again():
        while True:
            trtnn.Engine(engine.plan, engine.description)._open()

    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(Stop):
        load_again_and_again()
    assert engine(numbers(1, 16, 16, 16)).shape == (1, 16, 16, 16)
