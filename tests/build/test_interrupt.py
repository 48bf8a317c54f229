"""Ctrl-C, and what handlers of other signals raise, while TensorRT builds, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from tests import ROOT
from tests.helpers import ONE_TARGET
from trtnn import get_backend
from trtnn.build.watching import watched
from trtnn.signals import held_signals

pytestmark = pytest.mark.skipif(
    not get_backend().capabilities.progress, reason="this TensorRT has no IProgressMonitor, so a build cannot be ended"
)

# A builder that does something at one step of TensorRT's progress, from within its monitor.
BUILDER = """
import os, signal, sys
import numpy as np
from trtnn.modules import Conv2d, Sequential

net = Sequential(*[Conv2d(32, 32, 3, padding=1) for _ in range(50)])
rng = np.random.default_rng(0)
net.load_state_dict({n: rng.random(p.shape, np.float32) for n, p in net.named_parameters()})
network = net.trace({"input": (1, 32, 32, 32)})
plans = []

class Builder:
    create_builder_config = network.graph.builder.create_builder_config
    build = staticmethod(network.graph.builder.build_serialized_network)
    at, act = 0, staticmethod(lambda: None)

    def build_serialized_network(self, definition, settings):
        monitor, steps = settings.progress_monitor, []
        step_complete = monitor.step_complete

        def step(*args):
            steps.append(args)
            if len(steps) == self.at:
                self.act()
            return step_complete(*args)

        monitor.step_complete = step
        plans.append(self.build(definition, settings))
        return plans[-1]

builder = network.graph.builder = Builder()
"""
INTERRUPTED = f"""
{BUILDER}
def wait_for_the_parent():
    print("building", flush=True)
    sys.stdin.readline()

builder.at, builder.act = 3, wait_for_the_parent
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs begin without
try:
    network.build(cache_dir=sys.argv[1], progress=sys.argv[2] == "show", **OPTIONS)
except KeyboardInterrupt:
    print("interrupted", plans, flush=True)
builder.at = 0
engine = network.build(cache_dir=sys.argv[1], progress=False, **OPTIONS)
print("engine", engine.plan.nbytes == plans[-1].nbytes, flush=True)
"""


@pytest.mark.parametrize("progress", ["show", "hide"])
def test_ctrl_c_ends_a_build(tmp_path, progress):
    terminal, stderr = os.openpty()
    code = INTERRUPTED.replace("OPTIONS", repr(ONE_TARGET))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), progress],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm"},
        text=True,
    )
    os.close(stderr)
    shown = []
    reader = threading.Thread(target=lambda: shown.extend(read_all(terminal)))
    reader.start()
    assert child.stdout.readline() == "building\n"
    child.send_signal(signal.SIGINT)
    rest = child.communicate("\n")[0].splitlines()
    reader.join()
    screen = b"".join(shown).decode()
    assert rest == ["interrupted [None]", "engine True"], screen  # None: TensorRT did stop
    assert len(list(tmp_path.glob("*.engine"))) == 1
    assert list(tmp_path.glob(".*")) == []  # nothing half-written
    if progress == "show":
        assert "building Sequential" in screen
        assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is back
    else:
        assert screen == ""


SIGNALLED = f"""
{BUILDER}
raised = []

class Stop(BaseException):
    pass

def stop(number, frame):
    raise Stop(number)

for number in NUMBERS:
    signal.signal(number, stop)
for attempt in range(6):
    number = NUMBERS[attempt % len(NUMBERS)]
    builder.at, builder.act = 1 + 2 * attempt, lambda: os.kill(os.getpid(), number)
    try:
        network.build(progress=False, **OPTIONS)
    except Stop as error:
        raised.append(error.args[0])
print(raised == NUMBERS * 2, plans.count(None), all(signal.getsignal(number) is stop for number in NUMBERS))
"""


def test_what_any_handler_raises_ends_a_build_and_comes_out():
    numbers = [int(signal.SIGALRM), int(signal.SIGTERM), int(signal.SIGUSR1)]
    code = SIGNALLED.replace("NUMBERS", repr(numbers)).replace("OPTIONS", repr(ONE_TARGET))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "True 6 True"  # each time TensorRT did stop


def read_all(terminal):
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # how a terminal says that its other end is closed
            data = b""
        if not data:
            os.close(terminal)
            return
        yield data


@pytest.fixture
def handler():
    """Set a handler of SIGINT for the test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda function: signal.signal(signal.SIGINT, function)
    signal.signal(signal.SIGINT, before)


def watch(during):
    """Watch a build that only calls ``during``, with what its monitor's next step answers."""
    settings = SimpleNamespace(progress_monitor=None)
    with watched(get_backend().trt, settings, "building", show=False):
        monitor = settings.progress_monitor
        monitor.phase_start("build", None, 2)
        assert monitor.step_complete("build", 0)
        during()
        watch.answers.append(monitor.step_complete("build", 1))
    assert settings.progress_monitor is None


@pytest.fixture(autouse=True)
def answers():
    watch.answers = []
    return watch.answers


def test_an_interrupt_is_held_until_tensorrt_is_done(handler, answers):
    before = signal.default_int_handler  # which a shell's background jobs begin without
    handler(before)
    with pytest.raises(KeyboardInterrupt):
        watch(lambda: signal.raise_signal(signal.SIGINT))
    assert answers == [False]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_ones_own_decides(handler, answers):
    calls = []
    handler(lambda number, frame: calls.append(number))
    watch(lambda: signal.raise_signal(signal.SIGINT))
    assert calls == [signal.SIGINT]
    assert answers == [True]

    def stop(number, frame):
        raise SystemExit(3)

    handler(stop)
    with pytest.raises(SystemExit, match="3"):
        watch(lambda: signal.raise_signal(signal.SIGINT))
    assert answers == [True, False]


def test_an_ignored_interrupt_stays_ignored(handler, answers):
    handler(signal.SIG_IGN)
    watch(lambda: signal.raise_signal(signal.SIGINT))
    assert answers == [True]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_leaves_the_handler_alone(answers):
    before = signal.getsignal(signal.SIGINT)
    inside = []
    thread = threading.Thread(target=watch, args=(lambda: inside.append(signal.getsignal(signal.SIGINT)),))
    thread.start()
    thread.join()
    assert inside == [before]
    assert answers == [True]


@pytest.fixture
def alarmed():
    """Set a handler of SIGALRM for the test, which raises."""

    def stop(number, frame):
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, stop)
    yield stop
    signal.signal(signal.SIGALRM, before)


def test_any_signal_is_held_until_tensorrt_is_done(alarmed, answers):
    with pytest.raises(TimeoutError, match="too long"):
        watch(lambda: signal.raise_signal(signal.SIGALRM))
    assert answers == [False]
    assert signal.getsignal(signal.SIGALRM) is alarmed


def test_of_two_the_first_comes_out(alarmed, handler):
    handler(signal.default_int_handler)
    with pytest.raises(TimeoutError):
        watch(lambda: (signal.raise_signal(signal.SIGALRM), signal.raise_signal(signal.SIGINT)))


def test_it_comes_out_of_work_that_failed_as_well(alarmed):
    """As of TensorRT that was called back by Python."""

    def work():
        with held_signals():
            signal.raise_signal(signal.SIGALRM)
            raise ValueError("no plan")

    with pytest.raises(TimeoutError) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_signal_while_handlers_are_restored_is_raised_then(alarmed, monkeypatch):
    original, restoring = signal.signal, []

    def restore(number, handler):
        if restoring:
            restoring.clear()
            signal.raise_signal(signal.SIGALRM)
        return original(number, handler)

    monkeypatch.setattr("trtnn.signals.signal.signal", restore)

    def work():
        with held_signals():
            restoring.append(True)

    with pytest.raises(TimeoutError):
        work()
    with pytest.raises(TimeoutError):  # whoever holds it now
        signal.raise_signal(signal.SIGALRM)
