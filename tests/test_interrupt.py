"""Ctrl-C while TensorRT builds, on a terminal, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import ONE_TARGET
from trtnn import get_backend
from trtnn.progress import watched

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not get_backend().capabilities.progress, reason="this TensorRT has no IProgressMonitor, so a build cannot be ended"
)

BUILDER = """
import signal, sys, time
import numpy as np
from trtnn.modules import Conv2d, Sequential

net = Sequential(*[Conv2d(32, 32, 3, padding=1) for _ in range(250)])
rng = np.random.default_rng(0)
net.load_state_dict({n: rng.random(p.shape, np.float32) for n, p in net.named_parameters()})
network = net.trace({"input": (1, 32, 32, 32)})
plans = []

class Builder:
    create_builder_config = network.graph.builder.create_builder_config
    build = staticmethod(network.graph.builder.build_serialized_network)

    def build_serialized_network(self, definition, settings):
        print("building", flush=True)
        plans.append(self.build(definition, settings))
        return plans[-1]

network.graph.builder = Builder()
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs begin without
try:
    network.build(cache_dir=sys.argv[1], progress=sys.argv[2] == "show", **OPTIONS)
except KeyboardInterrupt:
    print("interrupted", plans, flush=True)
engine = network.build(cache_dir=sys.argv[1], progress=False, **OPTIONS)
print("engine", engine.plan.nbytes == plans[-1].nbytes, flush=True)
"""


@pytest.mark.parametrize("progress", ["show", "hide"])
def test_ctrl_c_ends_a_build(tmp_path, progress):
    terminal, stderr = os.openpty()
    code = BUILDER.replace("OPTIONS", repr(ONE_TARGET))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), progress],
        cwd=ROOT,
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
    threading.Event().wait(0.1)  # well into a build of a second or more
    child.send_signal(signal.SIGINT)
    rest = child.communicate(timeout=60)[0].splitlines()
    reader.join(10)
    screen = b"".join(shown).decode()
    assert rest == ["interrupted [None]", "building", "engine True"], screen  # None: TensorRT did stop
    assert len(list(tmp_path.glob("*.engine"))) == 1
    assert list(tmp_path.glob(".*")) == []  # nothing half-written
    if progress == "show":
        assert "building Sequential" in screen
        assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is back
    else:
        assert screen == ""


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
