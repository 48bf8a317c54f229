"""The timing of calls and engines, with a clock of the tests' own and a GPU that is stood in for."""

import json

import numpy as np
import pytest

from tests.helpers import ONE_TARGET, message_of, trace
from tests.standin import stand_in
from trtnn.engine import bench
from trtnn.engine.bench import Benchmark, Timing, bench_engine, circumstances, latencies, milliseconds
from trtnn.errors import ArgumentError


class Clock:
    """Time that passes only where the test says so."""

    def __init__(self, monkeypatch):
        self.seconds, self.log = 0.0, []
        monkeypatch.setattr(bench.time, "perf_counter", lambda: self.seconds)

    def call(self, durations):
        """Return a call whose n-th takes so long; the GPU works on while it has returned."""
        durations = iter(durations)

        def call():
            self.log.append("call")
            self.pending = getattr(self, "pending", 0) + next(durations)

        return call

    def wait(self):
        self.log.append("wait")
        self.seconds += getattr(self, "pending", 0)
        self.pending = 0


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_milliseconds_are_the_median_of_means(clock):
    durations = [9, 9, *(1, 3), *(3, 5), *(100, 100)]  # two of warm-up, three rounds of two
    assert milliseconds(clock.call(durations), rounds=3, runs=2, warm_up=2, wait=clock.wait) == pytest.approx(4000)
    assert clock.log == ["call"] * 2 + ["wait", "call", "call", "wait"] * 3


def test_latencies_are_percentiles_of_single_calls(clock):
    durations = [index / 1000 for index in range(101)]
    assert latencies(clock.call(durations), runs=101, wait=clock.wait) == pytest.approx((50, 90, 99))
    assert clock.log == ["wait", "call", "wait"] * 101


def test_a_single_run_has_percentiles_too(clock):
    assert latencies(clock.call([2, 2]), runs=1, wait=clock.wait) == pytest.approx((2000, 2000, 2000))


def timing(ms):
    return Timing(ms, ms, ms * 2, ms * 3)


def test_the_table():
    found = Benchmark({"execute": timing(0.5), "engine(tensors)": timing(0.52)}, batch=4)
    assert found.overhead_ms == pytest.approx(0.02)
    lines = str(found).splitlines()
    assert lines[0].split() == ["ms", "a", "second", "p50", "ms", "p90", "ms", "p99", "ms"]
    assert lines[2].split() == ["execute", "0.5000", "8,000", "0.5000", "1.0000", "1.5000"]
    assert lines[-1] == "engine(tensors) takes 20.0 us more than execute"
    values = json.loads(json.dumps(found.to_json()))
    assert values["timings"]["execute"] == {"ms": 0.5, "p50_ms": 0.5, "p90_ms": 1.0, "p99_ms": 1.5}
    assert values["overhead_ms"] == pytest.approx(0.02)
    without = Benchmark({"execute": timing(0.5)}, batch=1)
    assert without.overhead_ms is None
    assert "more than execute" not in str(without)


def test_an_engine(monkeypatch):
    network = trace(lambda x: x + 1, (2, 3))
    stood_in = stand_in(monkeypatch, network)
    engine = network.build(**ONE_TARGET)
    monkeypatch.setattr(bench, "has_torch_cuda", lambda: False)
    found = bench_engine(engine, {"x0": np.zeros((2, 3), np.float32)}, rounds=2, runs=3)
    kinds = ["execute", "graph execute", "engine(arrays)", "engine(pinned arrays)", "graph engine(arrays)"]
    assert list(found.timings) == kinds
    once = 1 + 1 + 3  # a call, and what has to run before: of bare calls, and of a graph its set-up and capture too
    assert stood_in.runs == once + len(kinds) * (bench.WARM_UP + 6 + 6)
    assert found.batch == 2
    assert all(t.ms > 0 and t.p50_ms <= t.p90_ms <= t.p99_ms for t in found.timings.values())
    message = message_of(ArgumentError, bench_engine, engine, {}, rounds=0, runs=3)
    assert "rounds and runs are positive numbers, not 0 and 3" in message
    assert message_of(ArgumentError, bench_engine, engine, {"y": np.zeros((2, 3), np.float32)})


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release\nGCC 1.2.3",
            "580.65.06",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54  Tue", "535.54"),
        (None, ""),
    ],
)
def test_circumstances(tmp_path, monkeypatch, text, driver):
    path = tmp_path / "version"
    if text:
        path.write_text(text)
    monkeypatch.setattr(bench, "_DRIVER", path)
    monkeypatch.setattr(bench.sys, "argv", ["/usr/bin/trtnn", "bench", "a b.engine"])
    found = circumstances()
    assert found["driver"] == driver
    assert found["command"] == "trtnn bench 'a b.engine'"
    assert found.keys() == {"date", "command", "gpu", "driver", "tensorrt", "torch", "python", "trtnn"}
    assert found["torch"].startswith("2.")
    json.dumps(found)
